"""Tokens, without decoding a body: what a request asks for, and what its answer has used."""

from __future__ import annotations

import re
from collections.abc import Callable

from .. import _http
from ..learning.estimates import embeds
from ..learning.usage import Usage
from ..limits import Cost

#: Gives the estimate for a request from its URL and its body (b"" if it has none): a number of
#: tokens, or a mapping of limit names to amounts.
Estimate = Callable[[str, bytes], Cost]


_MODEL = re.compile(rb'"model"\s*:\s*"([^"\\]{1,200})"')


def measured(url: str, body: bytes) -> tuple[str, int, int | None]:
    """The model that a request names, the size of its body, and the most tokens that its answer
    may have, if it says that."""
    model = _MODEL.search(body)
    most: int | None = _http.max_tokens(body) or None
    if most is None and embeds(url):
        most = 0
    return model[1].decode(errors="replace") if model else "", len(body), most


def usage_in(*parts: bytes) -> Usage | None:
    """What parts of an answer, in order, say that it has used."""
    used = _http.usage_in(*parts)
    return None if used is None else Usage(*used)


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
