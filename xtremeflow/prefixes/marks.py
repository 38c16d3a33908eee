"""Cache marks: the places in a body up to which Anthropic caches its prompt."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from xtremeflow.prefixes.prompt import blocks_of, settings_of
from xtremeflow.values.forms import is_array, is_object

_MARK = {"type": "ephemeral"}


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

    def mark(self, body: dict[str, Any], ends: Sequence[int], least: int) -> bool:
        """Marks the last block whose end another call has, too, `least` characters or more from
        the start of the prompt. Returns whether there is one."""
        last: tuple[Any, Any] | None = None
        length = 0
        for (text, holder, key), end in zip(blocks_of(body), ends, strict=True):
            length += len(text)
            if self._calls.get(end, 0) < 2:
                break
            if length >= least and isinstance(holder[key], (str, dict)):
                last = holder, key
        if last is not None:
            _mark(*last)
        return last is not None


def _mark(holder: Any, key: Any) -> None:
    part = holder[key]
    if is_object(part):
        holder[key] = {**part, "cache_control": _MARK}
        return
    text = {"type": "text", "text": part, "cache_control": _MARK}
    holder[key] = text if is_array(holder) else [text]
