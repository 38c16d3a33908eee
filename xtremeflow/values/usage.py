"""The usage of a call."""

from __future__ import annotations

from typing import NamedTuple


class Usage(NamedTuple):
    """The tokens of a call. `input` includes `cached`, the tokens read from the provider's cache,
    and `written`, those written to it; only some providers tell the latter."""

    input: int
    output: int
    cached: int = 0
    written: int = 0

    @property
    def total(self) -> int:
        return self.input + self.output
