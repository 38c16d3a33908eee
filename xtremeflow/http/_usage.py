"""Tokens: what a request is likely to use, and what its answer says it has used."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Cost = float | Mapping[str, float]

#: Gives the estimate for a request from its URL and its body (b"" if it has none): a number of
#: tokens, or a mapping of limit names to amounts.
Estimate = Callable[[str, bytes], Cost]


class Usage(NamedTuple):
    """Tokens by the names that limits have."""

    input_tokens: int
    output_tokens: int
    tokens: int

    def amounts(self, names: tuple[str, ...]) -> Cost:
        """In the form that a scheduler with limits of these names takes."""
        split = [name for name in names if name in {"input_tokens", "output_tokens"}]
        if not split and ("tokens" in names or set(names) <= {"requests"}):
            return self.tokens
        return {"tokens": self.tokens, **{name: getattr(self, name) for name in split}}


# A quote within a JSON string is escaped, so these do not match in the text of a prompt.
_MAX_TOKENS = re.compile(
    rb'"(?:max_tokens|max_completion_tokens|max_output_tokens|maxOutputTokens)"\s*:\s*(\d{1,9})\b'
)
_USAGE = re.compile(rb'"usage(?:Metadata)?"\s*:\s*(?=\{)')
_USAGE_SIZE = 4096
_BYTES_PER_TOKEN = 4
_decode = json.JSONDecoder().raw_decode


def default_estimate(body: bytes) -> Usage:
    """A token for every four bytes of the request, and all that the answer may have."""
    most = max((int(found) for found in _MAX_TOKENS.findall(body)), default=0)
    prompt = -(-len(body) // _BYTES_PER_TOKEN)
    return Usage(prompt, most, prompt + most)


def usage_in(*pieces: bytes) -> Usage | None:
    """What the `usage` objects of an answer (or of parts of it, in order) say; None: nothing.

    Anthropic's streams give the input at the start and the output at the end: later numbers
    replace earlier ones of the same name.
    """
    found: dict[str, int] = {}
    for piece in pieces:
        for match in _USAGE.finditer(piece):
            text = piece[match.end() : match.end() + _USAGE_SIZE].decode("utf-8", "replace")
            try:
                value: dict[str, Any] = _decode(text)[0]
            except (ValueError, RecursionError):
                continue
            for name, number in value.items():
                if type(number) is int and number >= 0:
                    found[name] = number
    if not found:
        return None

    def first(*names: str) -> int:
        return next((found[name] for name in names if name in found), 0)

    # Anthropic's input_tokens are without what was written to the cache, which counts, and
    # without what was read from it, which does not.
    taken = first("prompt_tokens", "input_tokens", "promptTokenCount")
    taken += first("cache_creation_input_tokens")
    given = first("completion_tokens", "output_tokens", "candidatesTokenCount")
    given += first("thoughtsTokenCount")
    return Usage(taken, given, first("total_tokens", "totalTokenCount") or taken + given)


class Tap:
    """Sees a streamed answer go by and keeps what may hold its usage: its start and its end."""

    __slots__ = ("_end", "_start")
    _KEPT = 8192

    def __init__(self) -> None:
        self._start = self._end = b""

    def see(self, piece: bytes) -> None:
        if len(self._start) < self._KEPT:
            self._start += piece[: self._KEPT]
        self._end = (self._end + piece)[-self._KEPT :] if len(piece) < self._KEPT else (
            piece[-self._KEPT :]
        )  # fmt: skip

    def see_event(self, data: str) -> None:
        if '"usage' in data:
            self.see(data.encode())

    def usage(self) -> Usage | None:
        return usage_in(self._start, self._end)
