"""OpenAI's chat completions, which most providers speak."""

from __future__ import annotations

from typing import Any

from xtremeflow.providers.openai import BREAKPOINT, only_marked
from xtremeflow.serve.apis.base import Stream, event
from xtremeflow.serve.apis.prompt import PromptText
from xtremeflow.serve.fields import (
    BadRequestError,
    count_field,
    object_field,
    objects_field,
    some_objects_field,
    text_field,
    told_length,
)
from xtremeflow.serve.inquiry import Inquiry, Json, ServedAnswer, Tool, dumps
from xtremeflow.serve.profiles import Profile
from xtremeflow.values.forms import is_object

MOST_ANSWERS = 128


class Chat:
    def inquiry(self, body: Json, path: str) -> Inquiry:
        messages = some_objects_field(body, "messages")
        last = messages[-1].get("role")
        tools = functions(body)
        prompt = PromptText(BREAKPOINT)
        if tools:
            prompt.add(dumps(body["tools"]).decode())
        for message in messages:
            prompt.add(f"{message.get('role', '')}\n")
            prompt.add_content(message.get("content"))
            prompt.add("\n")
            if message.get("tool_calls"):
                prompt.add(dumps(message["tool_calls"]).decode())
        most = count_field(body, "max_completion_tokens")
        options = object_field(body, "stream_options")
        return Inquiry(
            model=text_field(body, "model"),
            prompt=prompt.text,
            max_tokens=count_field(body, "max_tokens") if most is None else most,
            stream=body.get("stream") is True,
            answers=count_field(body, "n", MOST_ANSWERS) or 1,
            tool=chosen_tool(tools, body.get("tool_choice"), answered=last == "tool"),
            schema=_schema(body),
            cache_key=str(body.get("prompt_cache_key") or ""),
            marks=prompt.marks,
            only_marked=only_marked(body),
            told=told_length(body),
            usage=options.get("include_usage") is True,
            body=body,
        )

    def body(self, inquiry: Inquiry, answer: ServedAnswer, profile: Profile) -> Json:
        choices = [
            {
                "index": index,
                "message": _message(answer, f"call_{answer.id[-20:]}{index}"),
                "logprobs": None,
                "finish_reason": _finish(answer),
            }
            for index in range(inquiry.answers)
        ]
        return {
            "id": f"chatcmpl-{answer.id}",
            "object": "chat.completion",
            "created": answer.created,
            "model": inquiry.model,
            "choices": choices,
            "usage": _usage(answer, profile),
            "service_tier": "default",
            "system_fingerprint": "fp_simulated",
        }

    def stream(self, inquiry: Inquiry, answer: ServedAnswer, profile: Profile) -> Stream:
        return _ChatStream(inquiry, answer, profile)


class _ChatStream:
    def __init__(self, inquiry: Inquiry, answer: ServedAnswer, profile: Profile) -> None:
        self._inquiry = inquiry
        self._answer = answer
        self._profile = profile
        self._usage = inquiry.usage or profile.usage_always

    def _chunk(self, choices: list[Json], **more: object) -> bytes:
        chunk: Json = {
            "id": f"chatcmpl-{self._answer.id}",
            "object": "chat.completion.chunk",
            "created": self._answer.created,
            "model": self._inquiry.model,
            "choices": choices,
            "service_tier": "default",
            "system_fingerprint": "fp_simulated",
        }
        if self._inquiry.usage:
            chunk["usage"] = None
        return event({**chunk, **more})

    def _each(self, delta: Json, finish: str | None = None) -> bytes:
        return b"".join(
            self._chunk(
                [{"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}]
            )
            for index in range(self._inquiry.answers)
        )

    def begin(self) -> bytes:
        tool = self._answer.tool
        if tool is None:
            return self._each({"role": "assistant", "content": "", "refusal": None})
        call = {
            "index": 0,
            "id": f"call_{self._answer.id[-20:]}0",
            "type": "function",
            "function": {"name": tool.name, "arguments": ""},
        }
        first = {"role": "assistant", "content": None, "refusal": None, "tool_calls": [call]}
        return self._each(first)

    def piece(self, text: str) -> bytes:
        if self._answer.tool is None:
            return self._each({"content": text})
        return self._each({"tool_calls": [{"index": 0, "function": {"arguments": text}}]})

    def end(self) -> bytes:
        finish = _finish(self._answer)
        usage = _usage(self._answer, self._profile)
        if not self._usage:
            last = self._each({}, finish)
        elif self._inquiry.usage:  # OpenAI's way
            last = self._each({}, finish) + self._chunk([], usage=usage)
        else:  # in the chunk that finishes
            choices: list[Json] = [
                {"index": index, "delta": {}, "logprobs": None, "finish_reason": finish}
                for index in range(self._inquiry.answers)
            ]
            last = self._chunk(choices, usage=usage)
        return last + b"data: [DONE]\n\n"

    def fail(self, body: object) -> bytes:
        return event(body)


def _message(answer: ServedAnswer, call_id: str) -> Json:
    message: Json = {"role": "assistant", "content": answer.text, "refusal": None}
    if answer.tool is not None:
        function = {"name": answer.tool.name, "arguments": answer.text}
        message["content"] = None
        message["tool_calls"] = [{"id": call_id, "type": "function", "function": function}]
    return {**message, "annotations": []}


def _finish(answer: ServedAnswer) -> str:
    if answer.cut:
        return "length"
    return "stop" if answer.tool is None else "tool_calls"


def _usage(answer: ServedAnswer, profile: Profile) -> Json:
    return {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "total_tokens": answer.total_tokens,
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
        **profile.chat_usage(answer),
    }


def _schema(body: Json) -> Json | None:
    wanted = object_field(body, "response_format")
    if wanted.get("type") == "json_schema":
        return object_field(object_field(wanted, "json_schema"), "schema")
    return {"type": "object"} if wanted.get("type") == "json_object" else None


def functions(body: Json) -> list[Tool]:
    """Returns the functions among the tools of a request, nested or flat (as in the responses
    API)."""
    found: list[Tool] = []
    for tool in objects_field(body, "tools"):
        if tool.get("type") == "function":
            function = object_field(tool, "function") or tool
            parameters = object_field(function, "parameters") or {"type": "object"}
            found.append(Tool(text_field(function, "name"), parameters))
    return found


def chosen_tool(tools: list[Tool], choice: Any, *, answered: bool) -> Tool | None:
    """Returns the tool to call: the named one, or the first, but none in answer to its result."""
    if is_object(choice):
        name = (object_field(choice, "function") or choice).get("name")
        named = [tool for tool in tools if tool.name == name]
        if name is not None and not named:
            raise BadRequestError(f"'tool_choice' names {name!r:.100}, which is not in 'tools'")
        tools = named or tools
        return tools[0] if tools else None
    if not tools or choice == "none" or (answered and choice not in ("required", "any")):
        return None
    return tools[0]
