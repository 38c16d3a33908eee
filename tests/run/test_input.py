"""Lines: what they are taken for, and where they come from."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xtremeflow.providers import PROVIDERS
from xtremeflow.providers.provider import ANY
from xtremeflow.run.input import source
from xtremeflow.run.input.requests import BadLine, RequestLine, fingerprint, parse
from xtremeflow.run.input.source import Source, SourceError


def taken(line: Any, paths: Any = ANY.paths) -> RequestLine | BadLine:
    data = line if isinstance(line, bytes) else json.dumps(line).encode()
    return parse(data, 7, fingerprint(data), paths)


def good(line: Any, paths: Any = ANY.paths) -> RequestLine:
    request = taken(line, paths)
    assert isinstance(request, RequestLine), request
    return request


def reason(line: Any) -> str:
    bad = taken(line)
    assert isinstance(bad, BadLine), bad
    assert bad.line == 7
    return bad.reason


def test_openais_batch_format_is_understood_and_sent_as_it_stands() -> None:
    line = {"custom_id": "a", "method": "POST", "url": "/v1/x", "body": {"model": "m", "n": "é"}}
    request = good(line)
    assert (request.custom_id, request.url, request.model) == ("a", "/v1/x", "m")
    assert request.content == b'{"model": "m", "n": "\\u00e9"}'  # as it was


def test_anthropics_batch_format_is_understood() -> None:
    line = {"custom_id": "a", "params": {"model": "m", "messages": []}}
    assert good(line, PROVIDERS["anthropic"].paths).url == "/v1/messages"


@pytest.mark.parametrize(
    ("body", "url"),
    [
        ({"messages": []}, "/v1/chat/completions"),
        ({"input": "x", "model": "gpt-5"}, "/v1/responses"),
        ({"input": "x", "model": "text-embedding-3-small"}, "/v1/embeddings"),
        ({"prompt": "x"}, "/v1/completions"),
    ],
)
def test_a_body_alone_goes_where_its_fields_say(body: Any, url: str) -> None:
    request = good(body)
    assert request.url == url
    assert request.custom_id == "line-7"
    assert request.content == json.dumps(body).encode()  # as it was


def test_an_endpoint_that_was_given_takes_any_body() -> None:
    assert good({"query": "x"}, {"": "/v1/rerank"}).url == "/v1/rerank"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"{", "is not JSON"),
        (b"\xef\xbb\xbf{}", "begins with a byte order mark"),
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b"[" * 100_000, "is nested too deep"),
        (b"\xc3\x28", "is not UTF-8"),
        (b'"text"', "must be a JSON object"),
        (b"null", "must be a JSON object, not null"),
        (b"{}", "empty object"),
        ({"hello": 1}, "is not a request"),
        ({"custom_id": "", "url": "/v1/x", "body": {}}, "custom_id must be a string"),
        ({"custom_id": 5, "url": "/v1/x", "body": {}}, "custom_id must be a string"),
        ({"url": "/v1/x", "body": {}}, "lacks custom_id"),
        ({"custom_id": "a", "body": {}}, "lacks url"),
        ({"custom_id": "a", "url": "/v1/x"}, "lacks body"),
        ({"custom_id": "a", "url": "/v1/x", "body": {}, "boddy": 1}, "unknown keys"),
        ({"custom_id": "a", "url": "/v1/x", "body": []}, "body must be a JSON object"),
        ({"custom_id": "a", "url": "https://x.example/", "body": {}}, "url must be a path"),
        ({"custom_id": "a", "url": "/v1/x y", "body": {}}, "url must be a path"),
        ({"custom_id": "a", "url": "/v1/x\r\nHost: y", "body": {}}, "url must be a path"),
        ({"custom_id": "a", "method": "GET", "url": "/v1/x", "body": {}}, "method must be POST"),
        ({"custom_id": "a", "url": "/v1/x", "body": {"x": "\ud800"}}, "surrogate"),
        ({"custom_id": "a", "messages": []}, "custom_id but no body"),
        ({"messages": [], "stream": True}, "stream must not be true"),
    ],
)
def test_a_bad_line_says_what_is_wrong(line: Any, why: str) -> None:
    assert why in reason(line)


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_no_line_raises(data: bytes) -> None:
    parse(data, 1, fingerprint(data), ANY.paths)


KEYS = ["custom_id", "method", "url", "body", "params", "messages", "input", "stream", "n"]


def _nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), _nested))
def test_no_json_raises(value: Any) -> None:
    data = json.dumps(value).encode()
    parse(data, 1, fingerprint(data), ANY.paths)


def read(path: Path) -> list[bytes]:
    async def main() -> list[bytes]:
        return [line async for lines in Source(str(path)).batches() for line in lines]

    return asyncio.run(main())


@pytest.mark.parametrize("data", [b"", b"a", b"a\n", b"a\nb", b"a\nb\n", b"\n\n", b"a\n\nb"])
def test_lines_with_and_without_an_end(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "in"
    path.write_bytes(data)
    lines = read(path)
    assert b"\n".join(lines) == data.removesuffix(b"\n")
    assert Source(str(path)).count() == sum(map(bool, lines))


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 100])
def test_blank_lines_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(source, "_CHUNK", chunk)
    path = tmp_path / "in"
    path.write_bytes(b" \r\n  a  b \r\n\n\t\n \x0bc\n   ")
    assert Source(str(path)).count() == 2


def test_a_line_longer_than_any_chunk(tmp_path: Path) -> None:
    path = tmp_path / "in"
    path.write_bytes(b"x" * 3_000_000 + b"\n" + b"y")
    assert [len(line) for line in read(path)] == [3_000_000, 1]


def test_a_line_of_many_pieces_takes_time_by_its_length_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "_CHUNK", 64)
    path = tmp_path / "in"
    path.write_bytes(b"x" * 8_000_000 + b"\n" + b"y")
    begin = time.monotonic()
    assert [len(line) for line in read(path)] == [8_000_000, 1]
    assert time.monotonic() - begin < 30  # it would be minutes, if each piece copied the others


def test_an_input_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is a directory"):
        Source(str(tmp_path))
    with pytest.raises(SourceError, match="No such file"):
        Source(str(tmp_path / "none"))
    path = tmp_path / "in"
    path.write_bytes(b"\x1f\x8b and no gzip at all")
    with pytest.raises(SourceError, match="cannot read"):
        read(path)


def _packed(form: str, data: bytes) -> bytes:
    if form == "gzip":
        return gzip.compress(data[:2]) + gzip.compress(data[2:]) + bytes(512)  # as tapes are filled
    if form == "zstd":
        skipped = b"\x50\x2a\x4d\x18" + (300_000).to_bytes(4, "little") + bytes(300_000)
        zstandard = pytest.importorskip("zstandard")
        return bytes(
            skipped + zstandard.compress(data[:2]) + skipped + zstandard.compress(data[2:])
        )
    return data


@pytest.mark.parametrize("form", ["plain", "gzip", "zstd"])
@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"\xef\xbb\xbf", []),
        (b"\xef\xbb\xbfa\nb", [b"a", b"b"]),
        (b"a\r\n\n\nb\n", [b"a\r", b"", b"", b"b"]),
        ("a\nb\n".encode("utf-16"), "is UTF-16"),
        ("a\nb\n".encode("utf-16-be"), [b"\0a\0", b"\0b\0"]),  # lines that are no JSON
    ],
)
def test_packed_input_is_read_as_plain_input_is(
    tmp_path: Path, form: str, data: bytes, lines: list[bytes] | str
) -> None:
    path = tmp_path / "in"
    path.write_bytes(_packed(form, data))
    if isinstance(lines, str):
        with pytest.raises(SourceError, match=lines):
            read(path)
        return
    assert read(path) == lines
    assert Source(str(path)).count() == sum(map(bool, lines))


@pytest.mark.parametrize("form", ["gzip", "zstd"])
@pytest.mark.parametrize("size", [6, 20])
def test_a_packed_input_that_breaks_off_is_told(tmp_path: Path, form: str, size: int) -> None:
    path = tmp_path / "in"
    path.write_bytes(_packed(form, b"a\n" * 50)[:size])
    with pytest.raises(SourceError, match="breaks off"):
        read(path)


def test_a_body_is_sent_as_it_stands() -> None:
    """Also numbers that no float holds, and forms that no encoder of Python's writes."""
    body = (
        b'{"model":"m","x":1e999,  "y":0.1000,"z":-0.0,"n":123456789012345678901234567890,"d":%s}'
    )
    body %= b"7" * 5000
    for line in (
        b'{"custom_id":"a","url":"/v1/x","body":%s}' % body,
        b'{"body" :\t%s,"url":"/v1/x","custom_id":"\\"body\\": {}"}' % body,
        b'{"custom_id":"a","url":"/v1/x","body":{"old":1},"body":%s}' % body,
    ):
        assert good(line).content == body
    params = b'{"messages":[],"params":{"messages":[]},"x":1E400}'
    assert good(b'{"custom_id":"a","params":%s}' % params).content == params
    assert good(params).content == params
    request = good(b'{"messages":[],"n":2,"max_tokens":30,"d":-%s}' % (b"7" * 5000))
    assert (request.body["n"], request.body["max_tokens"]) == (2, 30)
