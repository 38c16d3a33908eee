"""OpenAI's responses."""

from __future__ import annotations

from typing import Any

from xtremeflow.providers.openai import BREAKPOINT, TTLS, only_marked
from xtremeflow.serve.apis.base import Stream, event
from xtremeflow.serve.apis.chat import chosen_tool, functions
from xtremeflow.serve.apis.prompt import PromptText
from xtremeflow.serve.fields import (
    BadRequestError,
    count_field,
    object_field,
    object_in,
    text_field,
    told_length,
)
from xtremeflow.serve.inquiry import Inquiry, Json, ServedAnswer, dumps
from xtremeflow.serve.profiles import Profile
from xtremeflow.values.forms import is_array, is_object


class Responses:
    def inquiry(self, body: Json, path: str) -> Inquiry:
        given = body.get("input")
        if isinstance(given, str):
            given = [{"role": "user", "content": given}]
        if not is_array(given) or not given:
            raise BadRequestError("'input' must be a string or a non-empty array")
        items = [object_in(item, f"input[{index}]") for index, item in enumerate(given)]
        prompt = PromptText(BREAKPOINT)
        prompt.add_content(body.get("instructions"))
        if body.get("tools"):
            prompt.add(dumps(body["tools"]).decode())
        for item in items:
            prompt.add(f"{item.get('role', '')}\n")
            prompt.add_content(item.get("content") or item.get("output") or item)
            prompt.add("\n")
        answered = items[-1].get("type") == "function_call_output"
        return Inquiry(
            model=text_field(body, "model"),
            prompt=prompt.text,
            max_tokens=0 if _only_warms(body) else count_field(body, "max_output_tokens"),
            stream=body.get("stream") is True,
            tool=chosen_tool(functions(body), body.get("tool_choice"), answered=answered),
            schema=_schema(body),
            cache_key=str(body.get("prompt_cache_key") or ""),
            marks=prompt.marks,
            only_marked=only_marked(body),
            cache_lifetime=_lifetime(body),
            settings={
                "model_changed": body.get("model"),
                "prompt_cache_key_changed": body.get("prompt_cache_key") or "",
                "tools_changed": body.get("tools") or [],
            },
            compared=_compared(body),
            told=told_length(body),
            body=body,
        )

    def body(self, inquiry: Inquiry, answer: ServedAnswer, profile: Profile) -> Json:
        status = _status(inquiry, answer)
        return _response(inquiry, answer, status, _output(inquiry, answer, status), _usage(answer))

    def stream(self, inquiry: Inquiry, answer: ServedAnswer, profile: Profile) -> Stream:
        return _ResponseStream(inquiry, answer)


class _ResponseStream:
    def __init__(self, inquiry: Inquiry, answer: ServedAnswer) -> None:
        self._inquiry = inquiry
        self._answer = answer
        self._number = 0
        self._at = {"item_id": _item(answer, "in_progress")["id"], "output_index": 0}
        if answer.tool is None:
            self._at["content_index"] = 0

    def _event(self, kind: str, **fields: Any) -> bytes:
        data = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return event(data, kind)

    def begin(self) -> bytes:
        response = _response(self._inquiry, self._answer, "in_progress", [], None)
        events = [
            self._event("response.created", response=response),
            self._event("response.in_progress", response=response),
        ]
        if _only_warms(self._inquiry.body):
            return b"".join(events)
        item = _item(self._answer, "in_progress", empty=True)
        events.append(self._event("response.output_item.added", output_index=0, item=item))
        if self._answer.tool is None:
            part = _part("")
            events.append(self._event("response.content_part.added", **self._at, part=part))
        return b"".join(events)

    def piece(self, text: str) -> bytes:
        if self._answer.tool is None:
            return self._event("response.output_text.delta", **self._at, delta=text, logprobs=[])
        return self._event("response.function_call_arguments.delta", **self._at, delta=text)

    def end(self) -> bytes:
        answer = self._answer
        status = _status(self._inquiry, answer)
        output = _output(self._inquiry, answer, status)
        events = self._item_end(output[0]) if output else []
        response = _response(self._inquiry, answer, status, output, _usage(answer))
        events.append(self._event(f"response.{status}", response=response))
        return b"".join(events)

    def _item_end(self, item: Json) -> list[bytes]:
        answer = self._answer
        if answer.tool is None:
            events = [
                self._event("response.output_text.done", **self._at, text=answer.text, logprobs=[]),
                self._event("response.content_part.done", **self._at, part=_part(answer.text)),
            ]
        else:
            events = [
                self._event(
                    "response.function_call_arguments.done",
                    **self._at,
                    name=answer.tool.name,
                    arguments=answer.text,
                )
            ]
        events.append(self._event("response.output_item.done", output_index=0, item=item))
        return events

    def fail(self, body: object) -> bytes:
        error = object_field(body, "error") if is_object(body) else {}
        message, code = error.get("message"), error.get("code")
        return self._event("error", code=code, message=message, param=None)


def _only_warms(body: Json) -> bool:
    """Whether a request writes the cache, and has no output."""
    return object_field(body, "prompt_cache_options").get("prewarm") is True


def _status(inquiry: Inquiry, answer: ServedAnswer) -> str:
    return "incomplete" if answer.cut and not _only_warms(inquiry.body) else "completed"


def _output(inquiry: Inquiry, answer: ServedAnswer, status: str) -> list[Json]:
    return [] if _only_warms(inquiry.body) else [_item(answer, status)]


def _response(
    inquiry: Inquiry, answer: ServedAnswer, status: str, output: list[Json], usage: Json | None
) -> Json:
    body = inquiry.body
    return {
        "id": f"resp_{answer.id}",
        "object": "response",
        "created_at": answer.created,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "instructions": body.get("instructions"),
        "max_output_tokens": inquiry.max_tokens,
        "metadata": body.get("metadata") or {},
        "model": inquiry.model,
        "output": output,
        "parallel_tool_calls": body.get("parallel_tool_calls", True),
        "previous_response_id": body.get("previous_response_id"),
        "prompt_cache_diagnostics": answer.diagnosis,
        "prompt_cache_key": inquiry.cache_key or None,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "temperature": body.get("temperature", 1.0),
        "text": body.get("text") or {"format": {"type": "text"}},
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": body.get("tools") or [],
        "top_p": body.get("top_p", 1.0),
        "truncation": "disabled",
        "usage": usage,
    }


def _item(answer: ServedAnswer, status: str, *, empty: bool = False) -> Json:
    text = "" if empty else answer.text
    if answer.tool is not None:
        return {
            "id": f"fc_{answer.id}",
            "type": "function_call",
            "status": status,
            "arguments": text,
            "call_id": f"call_{answer.id[-20:]}0",
            "name": answer.tool.name,
        }
    return {
        "id": f"msg_{answer.id}",
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": [] if empty else [_part(text)],
    }


def _part(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _lifetime(body: Json) -> float | None:
    """Returns the time to live of prompt_cache_options, in seconds."""
    ttl = object_field(body, "prompt_cache_options").get("ttl")
    return TTLS.get(str(ttl))


def _compared(body: Json) -> str | None:
    """Returns the id of the answer with which the request asks to be compared."""
    asked = object_field(body, "prompt_cache_options").get("comparison_response_id")
    return None if asked is None else str(asked).removeprefix("resp_")


def _usage(answer: ServedAnswer) -> Json:
    return {
        "input_tokens": answer.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": answer.cached_tokens,
            "cache_write_tokens": answer.cache_written_tokens,
        },
        "output_tokens": answer.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": answer.total_tokens,
    }


def _schema(body: Json) -> Json | None:
    wanted = object_field(object_field(body, "text"), "format")
    if wanted.get("type") == "json_schema":
        return object_field(wanted, "schema")
    return {"type": "object"} if wanted.get("type") == "json_object" else None
