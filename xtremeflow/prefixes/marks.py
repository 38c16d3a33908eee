"""Cache marks: the places in a body up to which its prompt is cached."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from xtremeflow.prefixes.prompt import blocks_of, settings_of
from xtremeflow.providers.openai import BREAKPOINT
from xtremeflow.values.forms import is_array, is_object

_MARKS = {
    "cache_control": {"type": "ephemeral"},
    BREAKPOINT: {"mode": "explicit"},
}
# Source: https://developers.openai.com/api/docs/guides/prompt-caching
_WITH_BREAKPOINT = {
    "text", "image_url", "input_audio", "file", "input_text", "input_image", "input_file",
}  # fmt: skip


class Ends:
    """The ends of the blocks of the last prompts, up to `most` of them, as hashes of the text up to
    there. Another call can read what was cached up to an end that both have."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._calls: OrderedDict[int, int] = OrderedDict()

    def note(self, body: dict[str, Any]) -> list[int]:
        """Counts the ends of a call's blocks, and returns them."""
        digest, ends = hash(settings_of(body)), list[int]()
        for text, _, _ in blocks_of(body):
            digest = hash((digest, text))
            ends.append(digest)
            self._calls[digest] = self._calls.pop(digest, 0) + 1
        while len(self._calls) > self._most:
            self._calls.popitem(last=False)
        return ends

    def mark(self, body: dict[str, Any], ends: Sequence[int], least: int, field: str) -> bool:
        """Marks by `field` the last block whose end another call has, too, `least` characters or
        more from the start of the prompt. Returns whether there is one."""
        last: tuple[Any, Any] | None = None
        length = 0
        for (text, holder, key), end in zip(blocks_of(body), ends, strict=True):
            length += len(text)
            if self._calls.get(end, 0) < 2:
                break
            if length >= least and _takes(field, holder, key):
                last = holder, key
        if last is not None:
            _mark(body, field, *last)
        return last is not None


def _takes(field: str, holder: Any, key: Any) -> bool:
    """Whether a block can be marked. OpenAI takes marks in the content of messages only, and in
    that of an answer only if it stands there in parts."""
    part = holder[key]
    if field == "cache_control":
        return isinstance(part, (str, dict))
    if is_object(part):
        return part.get("type") in _WITH_BREAKPOINT
    return isinstance(part, str) and key == "content" and holder.get("role") != "assistant"


def _mark(body: dict[str, Any], field: str, holder: Any, key: Any) -> None:
    part, mark = holder[key], _MARKS[field]
    if is_object(part):
        holder[key] = {**part, field: mark}
        return
    text = {"type": "input_text" if "input" in body else "text", "text": part, field: mark}
    holder[key] = text if is_array(holder) else [text]
