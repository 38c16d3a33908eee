"""An answer that came as a stream, put together: the JSON that it would have been otherwise."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from xtremeflow.answers.answer import Answer
from xtremeflow.answers.table import judged
from xtremeflow.answers.verdict import Meaning
from xtremeflow.values.forms import is_array, is_object

Json = dict[str, Any]

_STATUS = {
    Meaning.RATE: 429,
    Meaning.STEEP: 429,
    Meaning.PLACES: 429,
    Meaning.SPENT: 429,
    Meaning.OVERLOADED: 503,
    Meaning.TOO_LARGE: 413,
}


def fields_of_stream(api: str, body: Mapping[str, Any], *, asks_for_usage: bool) -> Json | None:
    """Returns the fields that have a request answered as a stream that tells its usage. None if
    there is no such stream, or it could not be put together.

    asks_for_usage  whether a stream of chat completions has to be asked for its usage
    """
    if body.get("stream") or body.get("background") or "audio" in (body.get("modalities") or ()):
        return None
    if asks_for_usage and api.endswith("completions"):
        return {"stream": True, "stream_options": {"include_usage": True}}
    return {"stream": True}


class Whole:
    """An answer of one API, from its events.

    error   the error that came in its place, or in its middle; else None
    """

    def __init__(self, api: str) -> None:
        self.error: Json | None = None
        self._parts: _Choices | _Message | _Object
        if api == "messages":
            self._parts = _Message()
        elif api == "responses":
            self._parts = _Object()
        else:
            self._parts = _Choices(api)

    def add(self, data: str) -> None:
        """Adds the data of the next event. Raises ValueError if it is none of this API."""
        if data == "[DONE]":
            return
        try:
            event = json.loads(data)
            if event.get("error") and not event.get("choices"):
                self.error = event
            elif event.get("type") == "error":  # of the responses API, which has no envelope
                self.error = {"error": event}
            else:
                self._parts.add(event)
        except (AttributeError, IndexError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"no event of this API: {error}") from None

    @property
    def status(self) -> int:
        """The status that the answer would have had: that of its error, or 200."""
        if self.error is None:
            return 200
        return _STATUS.get(judged(Answer(200, {}, self.error)).meaning, 500)

    @property
    def body(self) -> bytes:
        """Raises ValueError if not all of it has come."""
        answer = self._parts.answer() if self.error is None else self.error
        if answer is None:
            raise ValueError("the stream has ended before the answer")
        return json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode(
            "utf-8", "surrogatepass"
        )


# ---- OpenAI's completions, which most providers speak ----

_OF_CHUNKS = {"object", "choices", "obfuscation"}
_SAID_ONCE = {"id", "type", "role", "index", "name"}  # some say it again in each chunk


class _Choices:
    def __init__(self, api: str) -> None:
        self._is_chat = api.startswith("chat")
        self._fields: Json = {}
        self._choices: dict[int, Json] = {}

    def add(self, chunk: Json) -> None:
        for name, value in chunk.items():
            if name not in _OF_CHUNKS and (value is not None or name not in self._fields):
                self._fields[name] = value
        for part in chunk.get("choices") or ():
            choice = self._choices.setdefault(part.get("index", 0), {})
            _merge(choice, {name: value for name, value in part.items() if name != "delta"})
            if self._is_chat:
                _merge(choice.setdefault("message", {}), part.get("delta") or {})

    def answer(self) -> Json | None:
        choices = [self._choices[index] for index in sorted(self._choices)]
        if not choices or any(choice.get("finish_reason") is None for choice in choices):
            return None
        kind = "chat.completion" if self._is_chat else "text_completion"
        answer = {"id": None, "object": kind, **self._fields, "choices": choices}
        for choice in choices:
            choice.setdefault("logprobs", None)
            if self._is_chat:
                _finish(choice["message"])
        return answer


def _finish(message: Json) -> None:
    """Completes a message that was joined from its deltas, so that it is as in a plain answer."""
    message.setdefault("role", "assistant")
    has_other = bool(message.get("tool_calls") or message.get("refusal"))
    if not message.get("content") and (has_other or "content" not in message):
        message["content"] = None
    if "refusal" in message:  # so it is OpenAI's
        message.setdefault("annotations", [])
    for call in message.get("tool_calls") or ():
        call.pop("index", None)


def _merge(into: Json, part: Json) -> None:
    for name, value in part.items():
        old = into.get(name)
        if is_array(value):
            into[name] = _extended(old if is_array(old) else [], value)
        elif old is None or (not old and isinstance(old, str) and isinstance(value, str)):
            into[name] = value
        elif is_object(old) and is_object(value):
            _merge(old, value)
        elif isinstance(old, str) and isinstance(value, str) and name not in _SAID_ONCE:
            into[name] = old + value
        elif value is not None and name not in _SAID_ONCE:
            into[name] = value


def _extended(old: list[Any], more: list[Any]) -> list[Any]:
    """Adds the items of a list; those that carry an index to the item with the same one."""
    for item in more:
        if is_object(item) and "index" in item:
            for same in old:
                if same.get("index") == item["index"]:
                    _merge(same, item)
                    break
            else:
                old.append(item)
        else:
            old.append(item)
    return old


# ---- OpenAI's responses ----


class _Object:
    """The last event has all of it."""

    def __init__(self) -> None:
        self._response: Json | None = None

    def add(self, event: Json) -> None:
        if event["type"] in ("response.completed", "response.incomplete", "response.failed"):
            self._response = event["response"]

    def answer(self) -> Json | None:
        return self._response


# ---- Anthropic's messages ----

_LONGER = {  # what a delta adds to its block
    "text_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "signature",
}


class _Message:
    def __init__(self) -> None:
        self._message: Json = {}
        self._blocks: dict[int, Json] = {}
        self._inputs: dict[int, str] = {}
        self._is_over = False

    def add(self, event: Json) -> None:
        kind = event["type"]
        if kind == "message_start":
            self._message = event["message"]
        elif kind == "content_block_start":
            self._blocks[event["index"]] = event["content_block"]
        elif kind == "content_block_delta":
            self._add_to_block(event["index"], event["delta"])
        elif kind == "message_delta":
            told: Json = event.get("usage") or {}
            usage = {name: count for name, count in told.items() if count is not None}
            self._message["usage"] = {**self._message["usage"], **usage}
            self._message.update(event["delta"])
            more = {name: value for name, value in event.items() if name not in _OF_DELTA}
            self._message.update(more)
        elif kind == "message_stop":
            self._is_over = True

    def _add_to_block(self, index: int, delta: Json) -> None:
        block, kind = self._blocks[index], delta["type"]
        if kind == "input_json_delta":
            self._inputs[index] = self._inputs.get(index, "") + delta["partial_json"]
        elif kind == "citations_delta":
            block["citations"] = [*(block.get("citations") or ()), delta["citation"]]
        elif kind in _LONGER:
            name = _LONGER[kind]
            block[name] = (block.get(name) or "") + delta[name]
        else:
            raise ValueError(f"no such delta is known: {kind!r:.100}")

    def answer(self) -> Json | None:
        if not self._is_over:
            return None
        for index, text in self._inputs.items():
            if text:
                self._blocks[index]["input"] = json.loads(text)
        content = [self._blocks[index] for index in sorted(self._blocks)]
        return {**self._message, "content": content}


_OF_DELTA = {"type", "delta", "usage"}
