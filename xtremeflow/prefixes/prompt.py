"""The prompt of a request: the text that its model reads, in the order in which it is cached."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, TypeAlias

from xtremeflow.providers.openai import BREAKPOINT
from xtremeflow.values.forms import is_array, is_object

Json = Mapping[str, Any]

_API = re.compile(r"/(chat/completions|completions|responses|messages)/?(?:\?|$)")

# A prefix is not read by calls that differ in one of these.
_SETTINGS = {
    "model", "reasoning_effort", "reasoning", "thinking", "response_format", "text",
    "output_config", "output_format", "tool_choice", "service_tier", "prompt_cache_key",
}  # fmt: skip

NEXT = "\x1e"  # between two blocks
SAID = "\x1f"  # between the speaker and the words


@dataclass(slots=True)
class Prompt:
    """A prompt.

    settings  those that a cached prefix depends on
    text      as far as it may be cached, in UTF-8
    size      bytes of all of it
    ttl       how long it asks to be kept, in the provider's words; None: it does not
    marks     bytes up to each of its marks, if only marked prefixes are cached
    """

    settings: bytes
    text: bytes
    size: int
    ttl: object = None
    marks: Sequence[int] = ()


#: A part of a prompt, at whose end a provider can be told to cache: its text, and the object and
#: the key (or the list and the index) under which it stands there.
Block: TypeAlias = tuple[str, Any, Any]

_text_of = itemgetter(0)


def api_of(url: str) -> str | None:
    """Returns the API behind a URL: "chat/completions", "completions", "responses", "messages"."""
    found = _API.search(url)
    return None if found is None else found[1]


def prompt_of(body: Json) -> Prompt:
    """Reads a decoded body: its tools, its system prompt, its messages, without cache marks."""
    text = _encoded(NEXT.join(map(_text_of, blocks_of(body))))
    return Prompt(settings_of(body), text, len(text), _ttl_in(_options_of(body)))


def marked_prompt_of(body: Json, field: str) -> Prompt | None:
    """Reads a body up to its last part that `field` marks; None if it has none."""
    blocks = blocks_of(body)
    parts = [_encoded(part) for part, _, _ in blocks]
    text = NEXT.encode().join(parts)
    marks: list[int] = []
    end, last = 0, None
    for block, part in zip(blocks, parts, strict=True):
        end += len(part)
        if end and (mark := _mark_of(block, field)):
            marks.append(end)
            last = mark
        end += len(NEXT)
    if text and (mark := body.get(field)):  # that of the last block
        marks = [*(each for each in marks if each < len(text)), len(text)]
        last = mark
    if not marks:
        return None
    ttl = _ttl_in(_options_of(body) or last)
    return Prompt(settings_of(body), text[: marks[-1]], len(text), ttl, marks)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _options_of(body: Json) -> Any:
    return body.get("prompt_cache_options")


def _ttl_in(options: Any) -> object:
    return options.get("ttl") if is_object(options) else None


def _mark_of(block: Block, field: str) -> Any:
    _, holder, key = block
    return holder[key].get(field) if is_object(holder[key]) else None


def blocks_of(body: Json) -> list[Block]:
    """Returns the blocks of the prompt in their order."""
    blocks: list[Block] = []
    for field in _FIELDS:
        if field not in body or (content := body[field]) is None:
            continue
        if field in _OF_MESSAGES and is_array(content):
            for index, message in enumerate(content):
                if is_object(message):
                    _add_message(blocks, message)
                else:
                    blocks.append((repr(message), content, index))
        else:
            _add(blocks, body, field, "")
    return blocks


_FIELDS = ("tools", "system", "instructions", "messages", "input", "prompt")
_OF_MESSAGES = ("messages", "input")


def _add_message(blocks: list[Block], message: dict[str, Any]) -> None:
    said = f"{message.get('role')}{SAID}"
    if len(message) > 2 or "content" not in message:
        rest = [f"{key}={message[key]!r}" for key in message if key not in _OF_CONTENT]
        said = f"{said}{rest}"
        if not message.get("content"):
            blocks.append((said, {"": None}, ""))
            return
    _add(blocks, message, "content", said)


_MARKS = ("cache_control", BREAKPOINT)
_OF_CONTENT = ("role", "content", *_MARKS)


def _add(blocks: list[Block], holder: Json, field: str, said: str) -> None:
    """Adds the blocks of a field, the first of them behind the text `said`."""
    content = holder[field]
    if isinstance(content, str):
        blocks.append((said + content, holder, field))
    elif is_array(content):
        for index, part in enumerate(content):
            blocks.append((said + _text(part), content, index))
            said = ""
    else:
        blocks.append((said + _text(content), holder, field))


def _text(part: Any) -> str:
    if isinstance(part, str):
        return part
    if is_object(part):
        text = part.get("text")
        if isinstance(text, str) and part.keys() <= _ONLY_TEXT:
            return text
        if not part.keys().isdisjoint(_MARKS):
            part = {key: value for key, value in part.items() if key not in _MARKS}
    return repr(part)


_ONLY_TEXT = {"type", "text", *_MARKS}


def settings_of(body: Json) -> bytes:
    """Returns the settings that a cached prefix depends on, in whatever order they stand there."""
    found = [f"{name}={value!r}" for name, value in body.items() if name in _SETTINGS]
    found.sort()
    return _encoded(NEXT.join(found))
