"""Anthropic's messages."""

from __future__ import annotations

import json
from typing import Any

from xtremeflow.providers.anthropic import TTLS
from xtremeflow.serve.apis.base import Stream, event
from xtremeflow.serve.apis.prompt import PromptText
from xtremeflow.serve.fields import (
    BadRequestError,
    count_field,
    object_field,
    objects_field,
    some_objects_field,
    text_field,
)
from xtremeflow.serve.inquiry import Inquiry, Json, ServedAnswer, Tool, dumps
from xtremeflow.serve.profiles import Profile
from xtremeflow.values.forms import is_array, is_object


class Messages:
    def inquiry(self, body: Json, path: str) -> Inquiry:
        most = count_field(body, "max_tokens", least=0)  # 0 writes the cache, and no answer
        if most is None and not path.endswith("/count_tokens"):
            raise BadRequestError("max_tokens: Field required")
        messages = some_objects_field(body, "messages")
        prompt = PromptText("cache_control")
        for tool in objects_field(body, "tools"):
            prompt.add(dumps(tool).decode(), tool)
        prompt.add_content(body.get("system"))
        for message in messages:
            prompt.add(f"{message.get('role', '')}\n")
            prompt.add_content(message.get("content"))
        prompt.mark(body.get("cache_control"))  # whatever is last
        return Inquiry(
            model=text_field(body, "model"),
            prompt=prompt.text,
            max_tokens=most,
            stream=body.get("stream") is True,
            tool=_tool(body, messages[-1]),
            schema=_schema(body),
            marks=prompt.marks,
            parts=prompt.ends,
            cache_lifetime=_lifetime(prompt.asked),
            body=body,
        )

    def body(self, inquiry: Inquiry, answer: ServedAnswer, profile: Profile) -> Json:
        return {
            **_message(inquiry, answer),
            "content": [_block(answer)],
            "stop_reason": _stop_reason(answer),
            "usage": _usage(answer, answer.completion_tokens),
        }

    def stream(self, inquiry: Inquiry, answer: ServedAnswer, profile: Profile) -> Stream:
        return _MessageStream(inquiry, answer)


class _MessageStream:
    def __init__(self, inquiry: Inquiry, answer: ServedAnswer) -> None:
        self._inquiry = inquiry
        self._answer = answer

    def begin(self) -> bytes:
        message = {**_message(self._inquiry, self._answer), "usage": _usage(self._answer, 1)}
        block = _block(self._answer, empty=True)
        return b"".join(
            event(data, str(data["type"]))
            for data in (
                {"type": "message_start", "message": message},
                {"type": "content_block_start", "index": 0, "content_block": block},
                {"type": "ping"},
            )
        )

    def piece(self, text: str) -> bytes:
        if self._answer.tool is None:
            delta = {"type": "text_delta", "text": text}
        else:
            delta = {"type": "input_json_delta", "partial_json": text}
        data = {"type": "content_block_delta", "index": 0, "delta": delta}
        return event(data, "content_block_delta")

    def end(self) -> bytes:
        answer = self._answer
        delta = {"stop_reason": _stop_reason(answer), "stop_sequence": None}
        usage = _usage(answer, answer.completion_tokens)
        return b"".join(
            event(data, str(data["type"]))
            for data in (
                {"type": "content_block_stop", "index": 0},
                {"type": "message_delta", "delta": delta, "usage": usage},
                {"type": "message_stop"},
            )
        )

    def fail(self, body: object) -> bytes:
        return event(body, "error")


def _message(inquiry: Inquiry, answer: ServedAnswer) -> Json:
    return {
        "id": f"msg_{answer.id}",
        "type": "message",
        "role": "assistant",
        "model": inquiry.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def _block(answer: ServedAnswer, *, empty: bool = False) -> Json:
    if answer.tool is None:
        return {"type": "text", "text": "" if empty else answer.text}
    return {
        "type": "tool_use",
        "id": f"toolu_{answer.id}",
        "name": answer.tool.name,
        "input": {} if empty else _arguments(answer),
    }


def _arguments(answer: ServedAnswer) -> Any:
    try:
        return json.loads(answer.text)
    except ValueError:  # cut at max_tokens
        return {}


def _stop_reason(answer: ServedAnswer) -> str:
    if answer.cut:
        return "max_tokens"
    return "end_turn" if answer.tool is None else "tool_use"


def _lifetime(marks: list[Any]) -> float | None:
    """Returns the time to live that the marks ask for, in seconds."""
    hour = any(is_object(mark) and mark.get("ttl") == "1h" for mark in marks)
    return TTLS["1h"] if hour else None


def _usage(answer: ServedAnswer, output: int) -> Json:
    read, written = answer.cached_tokens, answer.cache_written_tokens
    hour = answer.cache_lifetime is not None
    return {
        "input_tokens": answer.prompt_tokens - read - written,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": 0 if hour else written,
            "ephemeral_1h_input_tokens": written if hour else 0,
        },
        "output_tokens": output,
        "service_tier": "standard",
    }


def _tool(body: Json, last: Json) -> Tool | None:
    tools = [
        Tool(text_field(tool, "name"), object_field(tool, "input_schema"))
        for tool in objects_field(body, "tools")
        if "input_schema" in tool
    ]
    choice = object_field(body, "tool_choice")
    kind = choice.get("type", "auto")
    if kind == "tool":
        tools = [tool for tool in tools if tool.name == choice.get("name")]
        if not tools:
            raise BadRequestError(f"tool_choice: there is no tool {choice.get('name')!r:.100}")
    content = last.get("content")
    answered = is_array(content) and any(
        is_object(part) and part.get("type") == "tool_result" for part in content
    )
    if not tools or kind == "none" or (kind == "auto" and answered):
        return None
    return tools[0]


def _schema(body: Json) -> Json | None:
    config = object_field(body, "output_config")
    wanted = object_field(config, "format") or object_field(body, "output_format")
    return object_field(wanted, "schema") or None
