"""Tokens: what a request is likely to use, and what its answer says it has used."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .. import _http

Cost = float | Mapping[str, float]

#: Gives the estimate for a request from its URL and its body (b"" if it has none): a number of
#: tokens, or a mapping of limit names to amounts.
Estimate = Callable[[str, bytes], Cost]


Usage = tuple[int, int, int]  # tokens of the input, of the output, and of both

_BYTES_PER_TOKEN = 4


def default_estimate(body: bytes) -> Usage:
    """A token for every four bytes of the request, and all that the answer may have."""
    most = _http.max_tokens(body)
    prompt = -(-len(body) // _BYTES_PER_TOKEN)
    return prompt, most, prompt + most


class Amounts:
    """Turns usage into what a scheduler with limits of these names takes."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._input = "input_tokens" in names
        self._output = "output_tokens" in names
        self._plain = not (self._input or self._output) and (
            "tokens" in names or set(names) <= {"requests"}
        )

    def of(self, usage: Usage) -> Cost:
        taken, given, both = usage
        if self._plain:
            return both
        amounts = {"tokens": both}
        if self._input:
            amounts["input_tokens"] = taken
        if self._output:
            amounts["output_tokens"] = given
        return amounts


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
        return _http.usage_in(self._start, self._end)
