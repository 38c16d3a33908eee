"""An answer put together from its stream is the plain answer, over the shapes of real streams."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kit.serve import Client, simulated

from xtremeflow.prefixes.streams import Whole, fields_of_stream

Json = dict[str, Any]


def put_together(api: str, events: list[Json | str]) -> Whole:
    whole = Whole(api)
    for event in events:
        whole.add(event if isinstance(event, str) else json.dumps(event))
    return whole


def chunk(choices: list[Json], **more: Any) -> Json:
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return {**head, "choices": choices, **more}


def choice(delta: Json, finish: str | None = None, index: int = 0, **more: Any) -> Json:
    return {"index": index, "delta": delta, "finish_reason": finish, **more}


def completion(message: Json, finish: str = "stop", index: int = 0, logprobs: Any = None) -> Json:
    return {"index": index, "finish_reason": finish, "message": message, "logprobs": logprobs}


USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
OPENAI = {"role": "assistant", "refusal": None, "annotations": []}

CHAT: dict[str, tuple[list[Json], list[Json]]] = {
    "text": (
        [
            chunk([choice({"role": "assistant", "content": "", "refusal": None})]),
            chunk([choice({"content": "hel"})], obfuscation="xyz"),
            chunk([choice({"content": "lo"})]),
            chunk([choice({}, "stop")]),
        ],
        [completion({**OPENAI, "content": "hello"})],
    ),
    "an empty text": (
        [
            chunk([choice({"role": "assistant", "content": "", "refusal": None})]),
            chunk([choice({}, "length")]),
        ],
        [completion({**OPENAI, "content": ""}, "length")],
    ),
    "two tool calls": (
        [
            chunk([choice({"role": "assistant", "content": None, "refusal": None})]),
            chunk([choice({"tool_calls": [
                {"index": 0, "id": "a", "type": "function",
                 "function": {"name": "f", "arguments": ""}}]})]),
            chunk([choice({"tool_calls": [{"index": 0, "function": {"arguments": '{"x"'}}]})]),
            chunk([choice({"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]})]),
            chunk([choice({"tool_calls": [
                {"index": 1, "id": "b", "type": "function",
                 "function": {"name": "g", "arguments": "{}"}}]})]),
            chunk([choice({}, "tool_calls")]),
        ],
        [completion({**OPENAI, "content": None, "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
            {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ]}, "tool_calls")],
    ),
    "a tool call whose id is said in each chunk": (
        [
            chunk([choice({"role": "assistant", "content": "", "tool_calls": [
                {"index": 0, "id": "a", "type": "function",
                 "function": {"name": "f", "arguments": "{"}}]})]),
            chunk([choice({"tool_calls": [
                {"index": 0, "id": "a", "type": "function",
                 "function": {"name": "f", "arguments": "}"}}]}, "tool_calls")]),
        ],
        [completion({"role": "assistant", "content": None, "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
        ]}, "tool_calls")],
    ),
    "a refusal": (
        [
            chunk([choice({"role": "assistant", "content": "", "refusal": None})]),
            chunk([choice({"refusal": "I can"})]),
            chunk([choice({"refusal": "not."})]),
            chunk([choice({}, "stop")]),
        ],
        [completion({**OPENAI, "content": None, "refusal": "I cannot."})],
    ),
    "reasoning before the text": (
        [
            chunk([choice({"role": "assistant", "content": None, "reasoning_content": ""})]),
            chunk([choice({"content": None, "reasoning_content": "because "})]),
            chunk([choice({"content": None, "reasoning_content": "so"})]),
            chunk([choice({"content": "yes", "reasoning_content": None})]),
            chunk([choice({"content": ""}, "stop")]),
        ],
        [completion({"role": "assistant", "content": "yes", "reasoning_content": "because so"})],
    ),
    "three choices, mixed": (
        [
            chunk([choice({"role": "assistant", "content": "b"}, index=1)]),
            chunk([choice({"role": "assistant", "content": "a"}, index=0),
                   choice({"role": "assistant", "content": "c"}, index=2)]),
            chunk([choice({"content": "B"}, "stop", index=1)]),
            chunk([choice({"content": "C"}, "length", index=2)]),
            chunk([choice({"content": "A"}, "stop", index=0)]),
        ],
        [completion({"role": "assistant", "content": "aA"}, index=0),
         completion({"role": "assistant", "content": "bB"}, index=1),
         completion({"role": "assistant", "content": "cC"}, "length", index=2)],
    ),
    "log probabilities": (
        [
            chunk([choice({"role": "assistant", "content": "a"},
                          logprobs={"content": [{"token": "a"}], "refusal": None})]),
            chunk([choice({"content": "b"}, "stop",
                          logprobs={"content": [{"token": "b"}], "refusal": None})]),
        ],
        [completion({"role": "assistant", "content": "ab"},
                    logprobs={"content": [{"token": "a"}, {"token": "b"}], "refusal": None})],
    ),
    "annotations": (
        [
            chunk([choice({"role": "assistant", "content": "a", "refusal": None})]),
            chunk([choice({"annotations": [{"type": "url_citation", "n": 1}]})]),
            chunk([choice({"annotations": [{"type": "url_citation", "n": 2}]}, "stop")]),
        ],
        [completion({**OPENAI, "content": "a", "annotations": [
            {"type": "url_citation", "n": 1}, {"type": "url_citation", "n": 2}]})],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CHAT)
@pytest.mark.parametrize("apart", [True, False], ids=["usage apart", "usage in the last chunk"])
def test_a_chat_completion(case: str, apart: bool) -> None:
    chunks, choices = CHAT[case]
    sent: list[Any] = [{**each, "usage": None} for each in chunks]
    if apart:
        sent.append(chunk([], usage=USAGE))
    else:
        sent[-1]["usage"] = USAGE
    whole = put_together("chat/completions", [*sent, "[DONE]"])
    assert (whole.status, json.loads(whole.body)) == (200, {
        "id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": choices,
        "usage": USAGE,
    })  # fmt: skip


def test_a_plain_completion() -> None:
    def part(text: str, finish: str | None, tokens: list[str]) -> Json:
        probabilities = {"tokens": tokens, "text_offset": [0]}
        choice = {"index": 0, "text": text, "finish_reason": finish, "logprobs": probabilities}
        return {"id": "c", "object": "text_completion", "model": "m", "choices": [choice]}

    last = {"id": "c", "object": "text_completion", "model": "m", "choices": [], "usage": USAGE}
    events = [part("a", None, ["a"]), part("b", "stop", ["b"]), last, "[DONE]"]
    probabilities = {"tokens": ["a", "b"], "text_offset": [0, 0]}
    choice = {"index": 0, "text": "ab", "finish_reason": "stop", "logprobs": probabilities}
    assert json.loads(put_together("completions", events).body) == {
        "id": "c", "object": "text_completion", "model": "m", "choices": [choice], "usage": USAGE,
    }  # fmt: skip


@pytest.mark.parametrize("status", ["completed", "incomplete", "failed"])
def test_a_response_is_that_of_its_last_event(status: str) -> None:
    response = {"id": "r", "status": status, "output": [], "usage": {"input_tokens": 1}}
    whole = put_together("responses", [
        {"type": "response.created", "response": {"id": "r", "status": "in_progress"}},
        {"type": "response.output_text.delta", "delta": "hello"},
        {"type": f"response.{status}", "response": response},
    ])  # fmt: skip
    assert (whole.status, json.loads(whole.body)) == (200, response)


MESSAGE = {
    "id": "m", "type": "message", "role": "assistant", "model": "c", "content": [],
    "stop_reason": None, "stop_sequence": None,
    "usage": {"input_tokens": 9, "cache_read_input_tokens": 4, "output_tokens": 1},
}  # fmt: skip


def block(index: int, start: Json, *deltas: Json) -> list[Json]:
    return [
        {"type": "content_block_start", "index": index, "content_block": start},
        {"type": "ping"},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def test_a_message_of_all_kinds_of_blocks() -> None:
    whole = put_together("messages", [
        {"type": "message_start", "message": MESSAGE},
        *block(0, {"type": "thinking", "thinking": "", "signature": ""},
               {"type": "thinking_delta", "thinking": "let "},
               {"type": "thinking_delta", "thinking": "me"},
               {"type": "signature_delta", "signature": "s="}),
        *block(1, {"type": "redacted_thinking", "data": "d"}),
        *block(2, {"type": "text", "text": "", "citations": []},
               {"type": "text_delta", "text": "so "}, {"type": "text_delta", "text": "it is"},
               {"type": "citations_delta", "citation": {"cited_text": "x"}}),
        *block(3, {"type": "tool_use", "id": "t", "name": "f", "input": {}},
               {"type": "input_json_delta", "partial_json": ""},
               {"type": "input_json_delta", "partial_json": '{"city": '},
               {"type": "input_json_delta", "partial_json": '"Bern"}'}),
        *block(4, {"type": "tool_use", "id": "u", "name": "g", "input": {}}),
        {"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": None},
         "usage": {"output_tokens": 30, "input_tokens": None}},
        {"type": "message_stop"},
    ])  # fmt: skip
    assert json.loads(whole.body) == {
        **MESSAGE,
        "stop_reason": "tool_use",
        "content": [
            {"type": "thinking", "thinking": "let me", "signature": "s="},
            {"type": "redacted_thinking", "data": "d"},
            {"type": "text", "text": "so it is", "citations": [{"cited_text": "x"}]},
            {"type": "tool_use", "id": "t", "name": "f", "input": {"city": "Bern"}},
            {"type": "tool_use", "id": "u", "name": "g", "input": {}},
        ],
        "usage": {"input_tokens": 9, "cache_read_input_tokens": 4, "output_tokens": 30},
    }


@pytest.mark.parametrize(
    ("api", "event", "status"),
    [
        ("messages", {"type": "error", "error": {"type": "overloaded_error"}}, 503),
        ("messages", {"type": "error", "error": {"type": "api_error"}}, 500),
        ("messages", {"type": "error", "error": {"type": "rate_limit_error"}}, 429),
        ("responses", {"type": "error", "code": "server_error", "message": "m"}, 500),
        ("chat/completions", {"error": {"code": "rate_limit_exceeded", "message": "m"}}, 429),
        ("chat/completions", {"error": {"message": "m", "type": "server_error"}}, 500),
    ],
)
def test_an_error_in_the_middle_is_the_answer(api: str, event: Json, status: int) -> None:
    begun = {"messages": {"type": "message_start", "message": MESSAGE},
             "responses": {"type": "response.created", "response": {}},
             "chat/completions": chunk([choice({"content": "a"})])}[api]  # fmt: skip
    whole = put_together(api, [begun, event])
    assert whole.status == status
    assert "error" in json.loads(whole.body)


@pytest.mark.parametrize(
    ("api", "events"),
    [
        ("chat/completions", [chunk([choice({"content": "a"})]), "[DONE]"]),
        ("chat/completions", [chunk([choice({}, "stop"), choice({"content": "a"}, index=1)])]),
        ("chat/completions", ["[DONE]"]),
        ("responses", [{"type": "response.created", "response": {}}]),
        ("messages", [{"type": "message_start", "message": MESSAGE}]),
    ],
)
def test_a_stream_that_ends_early_is_no_answer(api: str, events: list[Json | str]) -> None:
    with pytest.raises(ValueError, match="has ended before"):
        _ = put_together(api, events).body


@pytest.mark.parametrize("event", ["{", "[]", "7", '{"type": 1}', '{"choices": [7]}', '"a"'])
@pytest.mark.parametrize("api", ["messages", "chat/completions"])
def test_what_is_no_event_is_refused(api: str, event: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        _ = put_together(api, [event]).body


@pytest.mark.parametrize("profile", ["openai", "anthropic", "mistral", "gemini"])
@pytest.mark.parametrize("more", [{}, {"tools": True}, {"n": 3}], ids=str)
def test_the_simulated_provider_says_the_same_both_ways(profile: str, more: Json) -> None:
    @simulated
    async def both() -> None:
        api = "messages" if profile == "anthropic" else "chat/completions"
        body: Json = {"model": "m", "messages": [{"role": "user", "content": "hello"}], **more}
        if "tools" in more:
            function = {"name": "f", "parameters": {"type": "object", "properties": {}}}
            named = {"name": "f", "input_schema": function["parameters"]}
            tool = {"type": "function", "function": function}
            body["tools"] = [named if api == "messages" else tool]
        if api == "messages":
            body["max_tokens"] = 50
            body.pop("n", None)
        client = Client(profile)
        path = "/v1beta/openai/chat/completions" if profile == "gemini" else f"/v1/{api}"
        plain = await client.send(path, body, x_simulated_output_tokens="9")
        fields = fields_of_stream(api, body, asks_for_usage=True)
        assert fields is not None
        got = await client.send(path, {**body, **fields}, x_simulated_output_tokens="9")
        events = [event.decode() if event == b"[DONE]" else event for event in got.events]
        expected = json.loads(plain.raw)
        found = json.loads(put_together(api, events).body)
        for answer in (expected, found):  # each has its own
            answer.pop("id")
            for part in (answer.get("choices") or [{}]) + answer.get("content", []):
                for call in part.get("message", {}).get("tool_calls", []):
                    call.pop("id")
                part.pop("id", None)
        assert found == expected

    both()


@pytest.mark.parametrize(
    "body", [{"stream": True}, {"background": True}, {"modalities": ["text", "audio"]}]
)
def test_what_cannot_be_put_together_is_not_streamed(body: Json) -> None:
    assert fields_of_stream("chat/completions", body, asks_for_usage=True) is None
