"""The usage is read as an answer goes by: at its place only, wherever the answer is cut."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xtremeflow import TaskScheduler, _http
from xtremeflow.answers.usage import usage_of
from xtremeflow.http import Client
from xtremeflow.http._terms import USUAL
from xtremeflow.http._usage import Tap, usage_in
from xtremeflow.learning.costs.estimates import Estimate, model_of, most_output
from xtremeflow.values.usage import Usage

ABSURD = 10**30


def in_pieces(body: bytes, size: int) -> Usage | None:
    tap = Tap()
    for i in range(0, len(body), size):
        tap.see(body[i : i + size])
    return tap.usage()


def events(*datas: str) -> bytes:
    return b"".join(f"event: x\ndata: {data}\n\n".encode() for data in datas)


# ---- places ----

PLACES = {
    "openai": (b'{"usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 8}}',
               Usage(5, 3)),
    "openai, cached": (
        b'{"usage": {"prompt_tokens": 9, "prompt_tokens_details": {"audio_tokens": 0, '
        b'"cached_tokens": 8}, "completion_tokens": 2}}', Usage(9, 2, 8)),
    "details in any order": (
        b'{"usage": {"input_tokens_details": {"cached_tokens": 8, "x": [{}]}, "input_tokens": 9}}',
        Usage(9, 0, 8)),
    "openai, stream": (
        events('{"choices": [{}], "usage": null}',
               '{"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}', "[DONE]"),
        Usage(5, 2)),
    "responses, stream": (
        events('{"type": "response.created", "response": {"usage": null, "output": []}}',
               '{"type": "response.completed", "response": {"output": [{"usage": {"x": 1}}], '
               '"usage": {"input_tokens": 9, "input_tokens_details": {"cached_tokens": 4}, '
               '"output_tokens": 7, "total_tokens": 16}}}'),
        Usage(9, 7, 4)),
    "anthropic": (
        b'{"usage":{"input_tokens":5,"output_tokens":2,"cache_creation_input_tokens":100,'
        b'"cache_read_input_tokens":1000,"cache_creation":{"ephemeral_5m_input_tokens":100}}}',
        Usage(1105, 2, 1000, 100)),
    "openai, written": (
        b'{"usage": {"input_tokens": 9, "output_tokens": 1, "input_tokens_details": '
        b'{"cached_tokens": 4, "cache_write_tokens": 3}}}',
        Usage(9, 1, 4, 3)),
    "anthropic, stream": (
        events('{"type": "message_start", "message": {"content": [], "usage": '
               '{"input_tokens": 25, "cache_read_input_tokens": 10, "output_tokens": 1}}}',
               '{"type": "content_block_delta", "delta": {"text": "usage"}}',
               '{"type": "message_delta", "delta": {}, "usage": {"output_tokens": 15}}'),
        Usage(35, 15, 10)),
    "gemini": (
        b'{"usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 2, '
        b'"thoughtsTokenCount": 3, "totalTokenCount": 10, "cachedContentTokenCount": 4}}',
        Usage(5, 5, 4)),
    "gemini, array of chunks": (
        b'[{"candidates": [], "usageMetadata": {"promptTokenCount": 5}}\r\n,\r\n'
        b'{"usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 7}}]', Usage(5, 7)),
    "groq, stream": (
        events('{"x_groq": {"id": "r", "usage": {"prompt_tokens": 3, "completion_tokens": 4}}}'),
        Usage(3, 4)),
    "deepseek": (
        b'{"usage": {"prompt_tokens": 9, "completion_tokens": 4, "prompt_cache_hit_tokens": 5}}',
        Usage(9, 4, 5)),
    "embeddings": (
        b'{"data": [{"embedding": [-0.1, 2e-3]}], '
        b'"usage": {"prompt_tokens": 8, "total_tokens": 8}}',
        Usage(8, 0)),
    "embeddings, the total only": (b'{"usage": {"total_tokens": 8}}', Usage(0, 8)),
    "both APIs' names": (
        b'{"usage": {"prompt_tokens": 9, "completion_tokens": 4, "input_tokens": 0, '
        b'"output_tokens": 0}}', Usage(9, 4)),
    "json in lines": (
        b'{"usage": {"prompt_tokens": 1}}\n{"usage": {"prompt_tokens": 2}}\n', Usage(2, 0)),
    "data in several lines": (
        b':c\r\ndata: {"usage":\rdata:{"prompt_tokens":\r\nid: 7\ndata: 4}}\n\n', Usage(4, 0)),
    "a byte order mark": (b'\xef\xbb\xbf {"usage": {"prompt_tokens": 4}}', Usage(4, 0)),
    "an event that is cut": (
        b'data: {"usage": {"prompt_tokens": 4}\n\ndata: {"usage": {"prompt_tokens": 5}}\n\n',
        Usage(5, 0)),
    "nothing": (b"{}", None),
    "null": (b'{"usage": null}', None),
    "no text": (b"", None),
}  # fmt: skip


@pytest.mark.parametrize(("body", "expected"), PLACES.values(), ids=PLACES)
def test_usage_is_read_at_its_place(body: bytes, expected: Usage | None) -> None:
    assert usage_in(body) == expected
    for size in (1, 2, 7, 64):
        assert in_pieces(body, size) == expected
    if body.startswith(b"{") and body.count(b"\n") == 0:  # decoded it says the same
        assert usage_of(json.loads(body)) == expected


CONTENT = [
    {"usage": {"total_tokens": 900_000}},
    [{"usage": {"prompt_tokens": 900_000}}],
    {"message": {"usage": {"input_tokens": 900_000}}},
    {"usageMetadata": {"totalTokenCount": 900_000}},
    '"usage": {"total_tokens": 900000}}',
    '\\"}, "usage": {"total_tokens": 900000}, "x": "\\',
    'data: {"usage": {"total_tokens": 900000}}\n\n',
]


@pytest.mark.parametrize("content", CONTENT, ids=range(len(CONTENT)))
@pytest.mark.parametrize("told", [None, {"input_tokens": 3, "output_tokens": 4}])
def test_usage_in_the_content_is_no_usage(content: Any, told: Any) -> None:
    around: list[dict[str, Any]] = [
        {"content": [{"type": "tool_use", "input": content}]},
        {"choices": [{"message": {"tool_calls": [{"function": {"arguments": content}}]}}]},
        {"output": [{"arguments": content}], "metadata": {"a": content}, "prompt": content},
        {"candidates": [{"content": {"parts": [{"functionCall": {"args": content}}]}}]},
        {"message": {"content": content, "metadata": content}},
        {"response": {"instructions": content, "metadata": {"usage": content}}},
        {"usage": {"note": content, "prompt_tokens_details": {"x": content}}},
        {"type": "content_block_delta", "delta": content, "item": content, "part": content},
    ]
    for answer in around:
        if told is not None:
            answer = {**answer, "usage": told}
        expected = None if told is None else Usage(3, 4)
        whole = json.dumps(answer)
        for body in (whole.encode(), events(whole), json.dumps([answer], indent=2).encode()):
            assert usage_in(body) == expected
            assert in_pieces(body, 3) == expected
        tap = Tap()
        tap.see_event(whole)
        assert tap.usage() == expected


def test_usage_in_the_first_and_the_last_of_large_events() -> None:
    large = "x" * 20_000
    start = {
        "content": large,
        "message": {"large": large, "usage": {"input_tokens": 5}},
        "y": large,
    }
    end = {"content": large, "usage": {"output_tokens": 4}, "z": large}
    body = events(json.dumps(start), *[json.dumps({"text": large})] * 50, json.dumps(end))
    assert usage_in(body) == Usage(5, 4)
    for size in (999, 8192, 70_000):
        assert in_pieces(body, size) == Usage(5, 4)
    tap = Tap()
    for event in (start, {"text": large}, end):
        tap.see_event(json.dumps(event))
    assert tap.usage() == Usage(5, 4)


# ---- what is not as it should be ----

ODD = {
    "cut": (b'{"usage": {"total_tokens": ', None),
    "cut behind the usage": (b'{"usage": {"total_tokens": 4}', None),
    "of other types": (b'{"usage": {"total_tokens": -4, "prompt_tokens": true, '
                       b'"input_tokens": "5", "output_tokens": 1.5}}', None),
    "a list": (b'{"usage": [{"total_tokens": 4}]}', None),
    "a text": (b'"usage"', None),
    "absurd": (b'{"usage": {"prompt_tokens": %d, "completion_tokens": %d, "total_tokens": 1}}'
               % (ABSURD, 10**12), Usage(0, 1)),
    "only absurd": (b'{"usage": {"prompt_tokens": %d}}' % ABSURD, None),
    "twice": (b'{"usage": {"total_tokens": 4, "prompt_tokens": 1}, "usage": {"total_tokens": 5}}',
              Usage(0, 5)),
    "twice, within": (b'{"usage": {"total_tokens": 4, "total_tokens": 5}}', Usage(0, 5)),
    "not a number": (b'{"x": NaN, "y": -Infinity, "usage": {"prompt_tokens": 5, '
                     b'"completion_tokens": NaN}}', Usage(5, 0)),
    "half a surrogate pair": (b'{"x": "\\ud800", "usage": {"prompt_tokens": 5}}', Usage(5, 0)),
    "bytes that are no text": (b'{"x\xff": "\x80\x00", "usage": {"prompt_tokens": 5}}',
                               Usage(5, 0)),
    "deep arrays": (b'{"x": %s%s, "usage": {"prompt_tokens": 5}}'
                    % (b"[" * 100_000, b"]" * 100_000), Usage(5, 0)),
    "deep objects": (b'{"x": %s1%s, "usage": {"prompt_tokens": 5}}'
                     % (b'{"usage":' * 100_000, b"}" * 100_000), Usage(5, 0)),
    "deep and not closed": (b'{"x": ' + b'[{"usage": ' * 100_000, None),
    "deep from the start": (b"[" * 100_000 + b'{"usage": {"prompt_tokens": 5}}', None),
    "utf-16": ('{"usage": {"prompt_tokens": 5}}'.encode("utf-16"), None),
    "html": (b"<html>{\"usage\": {\"prompt_tokens\": 5}}</html>", None),
    "a comma too many": (b'{"a": 1,, "usage": {"prompt_tokens": 5}}', None),
}  # fmt: skip


@pytest.mark.parametrize(("body", "expected"), ODD.values(), ids=ODD)
def test_odd_answers_do_no_harm(body: bytes, expected: Usage | None) -> None:
    assert usage_in(body) == expected
    for size in (1, 5):
        assert in_pieces(body, size) == expected


def test_absurd_numbers_of_a_decoded_answer_count_as_not_said() -> None:
    assert usage_of({"usage": {"prompt_tokens": ABSURD, "completion_tokens": 3}}) == Usage(0, 3)
    assert usage_of({"usage": {"prompt_tokens": 10**9 + 1}}) is None


# ---- against a plain reader ----

NAMES = [
    "usage", "usageMetadata", "response", "message", "x_groq", "prompt_tokens", "input_tokens",
    "completion_tokens", "output_tokens", "total_tokens", "totalTokenCount", "thoughtsTokenCount",
    "cache_read_input_tokens", "prompt_tokens_details", "cached_tokens", "x", "", 'a"\\b', "é",
]  # fmt: skip
_COUNTS = {
    "prompt_tokens", "input_tokens", "completion_tokens", "output_tokens", "total_tokens",
    "totalTokenCount", "thoughtsTokenCount", "cache_read_input_tokens",
}  # fmt: skip

values = st.recursive(
    st.one_of(st.integers(-2, 30), st.booleans(), st.none(), st.floats(allow_nan=True),
              st.sampled_from(["", "usage", '{"usage": {"total_tokens": 9}}', '\\"', "\\", "é\n"])),
    lambda inner: st.one_of(st.lists(inner, max_size=3),
                            st.dictionaries(st.sampled_from(NAMES), inner, max_size=5)),
    max_leaves=20,
)  # fmt: skip
documents = st.dictionaries(st.sampled_from(NAMES), values, max_size=6)


def usages(document: Any) -> Iterator[dict[str, Any]]:
    for name, value in document.items():
        if isinstance(value, dict):
            if name in {"usage", "usageMetadata"}:
                yield value
            elif name in {"response", "message", "x_groq"}:
                yield from (
                    inner
                    for name, inner in value.items()
                    if name in {"usage", "usageMetadata"} and isinstance(inner, dict)
                )


def is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def expected_of(documents: list[Any]) -> Usage | None:
    told: dict[str, Any] = {}
    for document in documents:
        *_, usage = ({}, *usages(document))
        told |= {name: usage[name] for name in _COUNTS if is_count(usage.get(name))}
        details = usage.get("prompt_tokens_details")
        if isinstance(details, dict) and is_count(details.get("cached_tokens")):
            told["prompt_tokens_details"] = details
    return usage_of({"usage": told})


@given(st.lists(documents, min_size=1, max_size=4), st.sampled_from(["lines", "array", "events"]),
       st.sampled_from([None, 2]), st.booleans(), st.data())  # fmt: skip
def test_usage_as_a_plain_reader_finds_it(
    answers: list[Any], form: str, indent: int | None, ascii_only: bool, data: st.DataObject
) -> None:
    texts = [json.dumps(answer, indent=indent, ensure_ascii=ascii_only) for answer in answers]
    if form == "lines":
        body = "\n".join(texts)
    elif form == "array":
        body = json.dumps(answers, indent=indent, ensure_ascii=ascii_only)
    else:
        end = data.draw(st.sampled_from(["\n", "\r", "\r\n"]))
        body = "".join(
            "".join(f"data: {line}{end}" for line in text.split("\n")) + end for text in texts
        )
    raw = body.encode()
    expected = expected_of(answers)
    assert usage_in(raw) == expected
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=8)))
    tap = Tap()
    for i, j in zip([0, *cuts], [*cuts, len(raw)], strict=True):
        tap.see(raw[i:j])
    assert tap.usage() == expected
    tap = Tap()
    for text in texts:
        tap.see_event(text)
    assert tap.usage() == expected


@given(st.binary(max_size=300))
def test_no_bytes_break_it(body: bytes) -> None:
    assert in_pieces(body, 1) == in_pieces(body, 3) == usage_in(body)
    _http.asked(body)


# ---- requests ----

asked = st.one_of(st.integers(-1, 30), st.none(), st.just("m"), documents)
configs = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("maxOutputTokens", "max_output_tokens", "max_tokens", "n"), asked)
)
requests = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("model", "max_tokens", "max_completion_tokens", "max_output_tokens", "n",
                         "messages", "metadata"), asked),
        "generationConfig": st.one_of(configs, asked), "generation_config": configs,
    },
)  # fmt: skip


@given(requests)
def test_a_request_is_read_as_a_plain_reader_reads_it(request: dict[str, Any]) -> None:
    body = json.dumps(request).encode()
    assert _http.asked(body) == (model_of(request), most_output(request))


def test_names_in_the_content_of_a_request_are_content() -> None:
    inner = {"model": "other", "max_tokens": 99_999, "n": 7}
    body: dict[str, Any] = {
        "messages": [{"role": "user", "content": json.dumps(inner), "x": inner}],
        "tools": [{"function": {"parameters": {"properties": inner, **inner}}}],
        "metadata": inner,
        "response_format": inner,
    }
    assert _http.asked(json.dumps(body).encode()) == ("", None)
    body |= {"model": "m-1", "max_completion_tokens": 30}
    assert _http.asked(json.dumps(body).encode()) == ("m-1", 30)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", ("", None)),
        (b"[]", ("", None)),
        (b'{"model": "m", "max_tokens": 5, "n": 3}', ("m", 15)),
        (b'{"max_tokens": 0}', ("", 0)),
        (b'{"max_tokens": %d}' % ABSURD, ("", None)),
        (b'{"max_tokens": 10, "n": %d}' % ABSURD, ("", 10)),
        (b'{"generationConfig": {"maxOutputTokens": 8}}', ("", 8)),
        (b'{"generationConfig": {"maxOutputTokens": 8}, "generation_config": '
         b'{"maxOutputTokens": null}}', ("", 8)),
        (b'{"model": "a", "model": "b"}', ("b", None)),
        (b'{"model": "cut', ("", None)),
        (b'{"model": "%s"}' % (b"m" * 1000), ("", None)),
        (b'{"model": "\xff"}', ("\ufffd", None)),
    ],
)  # fmt: skip
def test_the_model_and_the_most_tokens_are_read_from_the_request(
    body: bytes, expected: tuple[str, int | None]
) -> None:
    assert _http.asked(body) == expected


def test_a_request_for_embeddings_has_no_output() -> None:
    body = b'{"input": "x", "model": "m-1"}'
    client = Client(scheduler=TaskScheduler())
    assert client._admission is not None
    for url, most in (("/v1/embeddings?a", 0), ("/v1/x", None)):
        estimate = client._admission.priced(USUAL, url, body).estimate
        assert isinstance(estimate, Estimate)
        assert (estimate.model, estimate.size, estimate.most) == ("m-1", len(body), most)


def test_only_bytes_are_read() -> None:
    with pytest.raises(TypeError):
        _http.usage_in("text")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Tap().see("text")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Tap(5)  # type: ignore[call-arg]
    assert usage_in(bytearray(b'{"usage": {"prompt_tokens": 5}}')) == Usage(5, 0)
    assert usage_in(memoryview(b'{"usage": {"prompt_tokens": 5}}')) == Usage(5, 0)
