"""Gemini's own generateContent and streamGenerateContent."""

from __future__ import annotations

import json
from typing import Any

from xtremeflow.serve.apis.base import Stream, event
from xtremeflow.serve.fields import (
    BadRequestError,
    content_text,
    count_field,
    object_field,
    objects_field,
    some_objects_field,
    text_field,
)
from xtremeflow.serve.inquiry import Inquiry, Json, ServedAnswer, Tool, dumps
from xtremeflow.serve.profiles import Profile
from xtremeflow.values.forms import is_array

MOST_CANDIDATES = 8


class GenerateContent:
    def inquiry(self, body: Json, path: str) -> Inquiry:
        contents = some_objects_field(body, "contents")
        system = object_field(body, "systemInstruction", "system_instruction")
        prompt = [content_text(system.get("parts"))]
        if body.get("tools"):
            prompt.append(dumps(body["tools"]).decode())
        for item in contents:
            prompt.append(f"{item.get('role', '')}\n{content_text(item.get('parts'))}\n")
        config = object_field(body, "generationConfig", "generation_config")
        schema = object_field(config, "responseSchema", "responseJsonSchema") or None
        if schema is None and config.get("responseMimeType") == "application/json":
            schema = {"type": "object"}
        return Inquiry(
            model=path.rsplit("/", 1)[-1].split(":")[0],
            prompt="".join(prompt),
            max_tokens=count_field(config, "maxOutputTokens"),
            stream=path.endswith(":streamGenerateContent"),
            answers=count_field(config, "candidateCount", MOST_CANDIDATES) or 1,
            tool=_tool(body, contents[-1]),
            schema=schema,
            body=body,
        )

    def body(self, inquiry: Inquiry, answer: ServedAnswer, profile: Profile) -> Json:
        return _chunk(inquiry, answer, answer.text, last=True)

    def stream(self, inquiry: Inquiry, answer: ServedAnswer, profile: Profile) -> Stream:
        return _GeminiStream(inquiry, answer)


class _GeminiStream:
    """Events that are responses of their own. Arguments of a function come in one piece."""

    def __init__(self, inquiry: Inquiry, answer: ServedAnswer) -> None:
        self._inquiry = inquiry
        self._answer = answer

    def begin(self) -> bytes:
        return b""

    def piece(self, text: str) -> bytes:
        if self._answer.tool is not None:
            return b""
        return event(_chunk(self._inquiry, self._answer, text))

    def end(self) -> bytes:
        text = self._answer.text if self._answer.tool is not None else ""
        return event(_chunk(self._inquiry, self._answer, text, last=True))

    def fail(self, body: object) -> bytes:
        return event(body)


def _chunk(inquiry: Inquiry, answer: ServedAnswer, text: str, *, last: bool = False) -> Json:
    part: Json = {"text": text}
    if answer.tool is not None:
        part = {"functionCall": {"name": answer.tool.name, "args": _arguments(text)}}
    candidates: list[Json] = [
        {"content": {"parts": [part], "role": "model"}, "index": index}
        for index in range(inquiry.answers)
    ]
    usage = {"promptTokenCount": answer.prompt_tokens, "totalTokenCount": answer.prompt_tokens}
    if last:
        for candidate in candidates:
            candidate["finishReason"] = "MAX_TOKENS" if answer.cut else "STOP"
        usage["candidatesTokenCount"] = answer.completion_tokens
        usage["totalTokenCount"] = answer.total_tokens
    if answer.cached_tokens:
        usage["cachedContentTokenCount"] = answer.cached_tokens
    return {
        "candidates": candidates,
        "usageMetadata": usage,
        "modelVersion": inquiry.model,
        "responseId": answer.id,
    }


def _arguments(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:  # cut at maxOutputTokens
        return {}


def _tool(body: Json, last: Json) -> Tool | None:
    tools = [
        Tool(
            text_field(function, "name"),
            object_field(function, "parameters", "parametersJsonSchema") or {"type": "object"},
        )
        for group in objects_field(body, "tools")
        for function in objects_field(group, "functionDeclarations")
    ]
    config = object_field(object_field(body, "toolConfig"), "functionCallingConfig")
    mode = config.get("mode", "AUTO")
    allowed = config.get("allowedFunctionNames")
    if is_array(allowed) and allowed:
        tools = [tool for tool in tools if tool.name in allowed]
        if not tools:
            raise BadRequestError(f"allowedFunctionNames: there is no {allowed!r:.100}")
    answered = any("functionResponse" in part for part in objects_field(last, "parts"))
    if not tools or mode == "NONE" or (mode == "AUTO" and answered):
        return None
    return tools[0]
