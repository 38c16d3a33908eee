"""Whatever a server answers, each line of the output is strict JSON, and the run goes on."""

from __future__ import annotations

import base64
import json
import math
import urllib.parse
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.runs import Scripted, answered, by_line, errors_in, go, make, plain, results_in

from xtremeflow import Limit
from xtremeflow._http import is_sound
from xtremeflow.run.input.keys import Key
from xtremeflow.run.output.counts import Counts
from xtremeflow.run.output.strict import document, encoded, quoted
from xtremeflow.run.views.summary import Summary
from xtremeflow.run.wire.transport import Reply
from xtremeflow.values.text import printable, printable_lines


def _no_constant(name: str) -> NoReturn:
    raise AssertionError(f"{name} in strict JSON")


def strictly(line: bytes) -> Any:
    assert b"\n" not in line
    assert b"\r" not in line
    value = json.loads(line.decode(), parse_constant=_no_constant)
    json.dumps(value, ensure_ascii=False).encode()  # no half of a surrogate pair
    return value


USAGE = '"usage": {"prompt_tokens": 3, "completion_tokens": 5}'
# A body, and what of it is in the results; None: it is none, and stands in the errors as a text.
BODIES: dict[str, tuple[bytes, Any]] = {
    "as usual": (b'{"a": 1}', {"a": 1}),
    "byte order mark": (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
    "UTF-16": ('{"a": "é"}'.encode("utf-16"), {"a": "é"}),
    "UTF-16 without a mark": ('{"a": "é"}'.encode("utf-16-le"), {"a": "é"}),
    "UTF-32": ('{"a": "é"}'.encode("utf-32"), {"a": "é"}),
    "half a pair": (b'{"a": "\\ud800 \\ude00"}', {"a": "\ufffd \ufffd"}),
    "no half": (b'{"a": "\\\\ud800 \\ud83d\\ude00"}', {"a": "\\ud800 😀"}),
    "half a pair in UTF-8": (b'{"a": "\xed\xa0\x80"}', {"a": "\ufffd\ufffd\ufffd"}),
    "bytes that are no UTF-8": (b'{"a": "\xff"}', {"a": "\ufffd"}),
    "NaN": (b'{"a": NaN, "b": [-Infinity, Infinity]}', {"a": None, "b": [None, None]}),
    "NaN as a text": (b'{"a": "NaN \\" NaN", "b": NaN}', {"a": 'NaN " NaN', "b": None}),
    "raw line ends": (b'{"a":\r\n 1\r}\n', {"a": 1}),
    "raw control characters": (b'{"a": "x\ty\x01"}', {"a": "x\ty\x01"}),
    "digits": (b'{"a": 1234567890123456789012345678901234567890}', None),
    "thousands of digits": (
        b'{"a": [%s, -%s], "b": "%s", "c": 1.%s}' % (((b"123456789" * 600),) * 4),
        {"a": [math.inf, -math.inf], "b": "123456789" * 600, "c": 1.1234567891234568},
    ),
    "too deep": (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", None),
    "deep enough": (b'{"a": ' + b"[" * 600 + b"]" * 600 + b"}", None),
    "deep in a text": (b'{"a": "' + b"[" * 600 + b'"}', {"a": "[" * 600}),
    "usage of 10^12": (b'{"usage": {"prompt_tokens": 1000000000000, "completion_tokens": 1}}', ...),
    "usage of 10^30": (
        b'{"usage": {"prompt_tokens": 1%s, "completion_tokens": 1%s}}' % (b"0" * 30, b"0" * 30),
        ...,
    ),
    "usage below 0": (b'{"usage": {"prompt_tokens": -5, "completion_tokens": -1}}', ...),
    "usage of a float": (b'{"usage": {"prompt_tokens": 1e300, "completion_tokens": 1e999}}', ...),
    "usage of a text": (b'{"usage": "a lot"}', ...),
    "no error": (b'{"a": 1, "error": null}', {"a": 1, "error": None}),
    "a page": (b"<html>\n\xff</html>", None),
    "nothing": (b"", None),
    "an array": (b"[1]", None),
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("status", [200, 400])
def test_every_line_is_strict_json(tmp_path: Path, name: str, status: int) -> None:
    body, expected = BODIES[name]
    if name == "digits":
        expected = json.loads(body)
    elif expected is ...:
        expected = document(body).value  # type: ignore[union-attr]

    def script(request: Any, attempt: int) -> Any:
        headers = {"x-request-id": "\udcff\x1b[2J"}
        return Reply(status, headers, body) if request.line % 3 == 0 else answered()

    out = tmp_path / "o.jsonl"
    limits = [Limit("tokens", 1e6, 60.0, 1e6), Limit("requests", 600, 60.0, 600)]
    runner = make(out, Scripted(script), limits=limits, concurrency=2)
    took = go(runner, [plain(str(i)) for i in range(12)])
    assert runner.stopped is None
    assert took < 60
    for path in (out, out.with_name("o.errors.jsonl")):
        for line in path.read_bytes().split(b"\n"):
            if line:
                strictly(line)
    done, failed = by_line(results_in(out)), by_line(errors_in(out))
    assert len(done) + len(failed) == 12
    odd = failed if status == 400 or expected is None else done
    for line in (3, 6, 9, 12):
        said = odd[line]["response"]["body"]
        assert said == expected if expected is not None else isinstance(said, (str, list, dict))


@given(st.binary(max_size=60) | st.text(max_size=40).map(str.encode))
def test_any_answer_is_written_as_one_strict_line(body: bytes) -> None:
    strictly(quoted(body))
    read = document(body)
    if read is not None:
        strictly(read.line)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(
    st.characters(), max_size=5), lambda inner: st.lists(inner) | st.dictionaries(
    st.text(st.characters(), max_size=3), inner)), st.booleans(), st.sampled_from(
    ["utf-8", "utf-8-sig", "utf-16", "utf-32"]))  # fmt: skip
def test_any_json_of_any_server_is_read(value: Any, ascii_only: bool, encoding: str) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    body = text.encode(encoding, "surrogatepass")
    if body[:1] == b"\0" or (encoding.startswith("utf-16") and len(text) < 2):
        return  # too short to tell
    read = document(body)
    assert read is not None
    strictly(read.line)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abc\\é😀", max_size=3), inner),
)  # fmt: skip
OBJECTS = st.dictionaries(st.text("abc"), VALUES)


@given(OBJECTS, st.booleans())
def test_a_strict_object_is_known_without_decoding(value: Any, ascii_only: bool) -> None:
    body = json.dumps(value, ensure_ascii=ascii_only).encode()
    assert is_sound(body)
    assert is_sound(body.replace(b"{", b'{"error": null, ', 1)) == bool(value)
    assert not is_sound(body.replace(b"{", b'{"error": {}, ', 1))
    assert not is_sound(body.replace(b"{", b'{"\\u0065rror": {}, ', 1))
    read = document(body)
    assert read is not None
    assert read.is_sound
    assert read.line == body
    assert read.value == value


@given(OBJECTS, st.booleans(), st.lists(st.tuples(st.integers(0, 10_000), st.sampled_from([
    b"", b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"0", b"-", b".", b"e", b"n", b" ", b"\n",
    b"\x00", b"\x80", b"\xc3", b"\xed\xa0\x80", b"\\ud800", b"\\udc00", b"error", b"NaN", b"true",
])), max_size=4))  # fmt: skip
def test_what_is_known_without_decoding_is_strict(
    value: Any, ascii_only: bool, changes: list[tuple[int, bytes]]
) -> None:
    body = json.dumps(value, ensure_ascii=ascii_only).encode()
    for place, new in changes:
        place %= len(body) + 1
        body = body[:place] + new + body[place + 1 :]
    if is_sound(body):
        read = strictly(body)
        assert isinstance(read, dict)
        assert read.get("error") is None


@pytest.mark.parametrize("depth", [499, 500])
@pytest.mark.parametrize("inner", ["", "1", '"a"', '{"a": 1}'])
def test_what_is_nested_too_deep_is_not_sound(depth: int, inner: str) -> None:
    deepest = depth + 1 + inner.count("{")
    assert is_sound(f'{{"a": {"[" * depth}{inner}{"]" * depth}}}'.encode()) == (deepest <= 500)


def test_our_own_values_are_strict_whatever_text_is_in_them() -> None:
    assert strictly(encoded({"a\ud800": ["\udfff", "\\ud800", "😀"]})) == {
        "a\ufffd": ["\ufffd", "\\ud800", "😀"]
    }


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ({"code": 400, "message": "too long"}, "http_400"),
        ({"code": "400", "message": "too long"}, "http_400"),
        ({"message": "too long"}, "error_in_answer"),
        ({"code": "content_filter", "message": "too long"}, "error_in_answer"),
        ("too long", "error_in_answer"),
    ],
)
def test_an_error_in_a_200_is_an_error(tmp_path: Path, error: Any, code: str) -> None:
    def script(request: Any, attempt: int) -> Any:
        return answered(200, {"error": error, "choices": []}) if request.line == 2 else answered()

    out = tmp_path / "o.jsonl"
    runner = make(out, Scripted(script), concurrency=1)
    go(runner, [plain()] * 3)
    assert sorted(by_line(results_in(out))) == [1, 3]
    [failed] = errors_in(out)
    assert failed["error"] == {"code": code, "message": "too long"}
    assert failed["response"]["status_code"] == 200
    assert failed["response"]["body"]["error"] == error


def test_a_refusal_in_a_200_is_a_refusal(tmp_path: Path) -> None:
    def script(request: Any, attempt: int) -> Any:
        said = {"error": {"code": 429, "message": "slow down"}}
        return answered(200, said) if attempt == 1 else answered()

    out = tmp_path / "o.jsonl"
    runner = make(out, Scripted(script), concurrency=1)
    go(runner, [plain()])
    assert runner.counts.refused == 1
    assert results_in(out)[0]["xtremeflow"]["attempts"] == 2


KEY = "sk-proj-AbC/dEf+123=4567wxyz"
BASIC = [base64.b64encode(f"{user}:{KEY}".encode()).decode() for user in ("", "u", "us", "user")]
QUOTED = [
    KEY,
    json.dumps(KEY)[1:-1].replace("/", "\\/"),
    "".join(f"\\u{ord(c):04X}" for c in KEY),
    urllib.parse.quote(KEY, safe=""),
    urllib.parse.quote(KEY, safe="").replace("%2F", "%2f"),
    *BASIC,
    base64.urlsafe_b64encode(f"u:{KEY}:x".encode()).decode(),
    *(urllib.parse.quote(form, safe="") for form in BASIC),
    KEY.upper(),
    KEY.lower(),
    KEY.encode().hex(),
    KEY.encode().hex().upper(),
    KEY.replace("/", "\\\\\\/"),  # JSON within JSON
    urllib.parse.quote(urllib.parse.quote(KEY, safe=""), safe=""),
    KEY.replace("/", "&#47;").replace("+", "&#x2b;").replace("=", "&#x3D;"),
    "sk-proj-****************wxyz",
    "sk-proj-Ab...",
    "sk-p…wxyz",
    "sk-p\\u2026wxyz",
    "...wxyz",
]


@pytest.mark.parametrize("form", QUOTED)
def test_the_key_is_struck_out_in_every_form(tmp_path: Path, form: str) -> None:
    body = f'{{"a": "<{form}>", "error": null}}'.encode()
    said = f'{{"error": {{"message": "<{form}>", "code": "invalid_api_key"}}}}'.encode()
    secret = json.loads(f'"{form}"')

    def script(request: Any, attempt: int) -> Any:
        headers = {"x-request-id": f"req-{secret}"}
        return Reply(200, headers, body) if request.line == 1 else Reply(401, headers, said)

    out = tmp_path / "o.jsonl"
    runner = make(out, Scripted(script), key=Key(KEY), concurrency=1)
    go(runner, [plain(str(i)) for i in range(9)])
    [result], errors = results_in(out), errors_in(out)
    said_too = [result["response"]["body"]["a"], *(e["error"]["message"] for e in errors)]
    if form in BASIC or "%" in form or form == QUOTED[9]:  # what is around the key is no secret
        assert all("[key]" in text for text in said_too)
    else:
        assert set(said_too) == {"<[key]>"}
    ids = [record["response"]["request_id"] for record in (result, *errors)]
    everything = out.read_text() + out.with_name("o.errors.jsonl").read_text()
    assert all("[key]" in one for one in ids)
    assert form not in everything
    assert secret not in everything
    assert runner.stopped is not None
    assert secret not in runner.stopped


def test_text_that_is_not_the_key_stays() -> None:
    key = Key(KEY)
    for text in (b"sk-...", b"**bold** 50%25 \\u0041 \\/", b"... wxyz", b"sk-proj-", b"w...x"):
        assert key.hidden(text) is text
    assert Key("x" * 2000).hidden(b"a" + b"x" * 2000 + b"b") == b"a[key]b"


def test_text_of_others_commands_no_terminal() -> None:
    text = "a\x1b]0;title\x07\x9b2J\r\n\t\x7f\u202e\ud800é😀"
    assert printable(text) == ("a\\x1b]0;title\\x07\\x9b2J\\r\\n\\t\\x7f\\u202e\\ud800é😀")
    assert printable_lines("a\nb\x1b") == "a\nb\\x1b"
    assert printable(printable(text)) == printable(text)


@pytest.mark.parametrize("said", ["no credit is left", "no credit is left."])
def test_a_sentence_of_the_provider_ends_with_one_full_stop(said: str, tmp_path: Path) -> None:
    summary = Summary(
        counts=Counts(),
        seconds=1.0,
        left=None,
        stopped=said,
        to_be_mended=True,
        unusable=False,
        signal=None,
        results=tmp_path / "r.jsonl",
        errors_path=tmp_path / "r.errors.jsonl",
    )
    first, *_, last = summary.as_text().splitlines()
    assert first == "Stopped: no credit is left."
    assert last == "Mend that first. Then the command does what is left."
