"""Tells from refusals whether a provider counts by the minute, and when its minutes begin.

A bucket lets the next call pass after a moment. A window that is used up lets nothing pass until
its end. So the end of such a blockade is a boundary, and the next one comes a minute later. That
holds if blockades end at the same second of the minute, and if as much passes in each window.
"""

from __future__ import annotations

from xtremeflow.learning.gauge import Amounts

WINDOW = 60.0  # s
FIRST_WINDOWS = (10.0, WINDOW)  # s that the first one may last: some count requests in ten
WAITED_FOR = 5.0  # s: to this a boundary must be known to be waited for
EXACT = 1.5  # s: it is not worth a refusal to know it better
ALIKE = 0.15  # what windows let pass, relative to each other
REMEMBERED = 6
MISSES = 3  # blockades that do not fit, until no more is made of them


class Windows:
    """What is known of their boundaries: one lies in (`low`, `high`], in seconds, as `seen`
    blockades have shown."""

    def __init__(self) -> None:
        self.low: float | None = None
        self.high = 0.0
        self.seen = 0
        self._misses = 0
        self.amounts: list[Amounts] = []
        """What the last ones let pass that were used up."""
        self._alike = False  # whether the last two let the same pass

    @property
    def known(self) -> bool:
        return (
            self.low is not None
            and self.high - self.low <= WAITED_FOR
            and self.seen >= 2
            and self._alike
        )

    def blocked(self, last: float, passed: float) -> None:
        """A call sent at `last` was refused, the next one, at `passed`, was not."""
        if self._misses >= MISSES or last >= passed:
            return
        if self.low is not None:
            low, high = self.next(last)
            low, high = max(low, last), min(high, passed)
            if low < high:
                self.low, self.high = low, high
                self.seen += 1
                return
            self.contradicted()
        if self._misses < MISSES:
            self.low, self.high, self.seen = last, passed, 1

    def used_up(self, amounts: Amounts, limits: set[int]) -> None:
        """So many units after the last boundary a call was refused, for want of one of `limits`."""
        if self.amounts:
            last = self.amounts[-1]
            self._alike = any(abs(amounts[i] - last[i]) <= ALIKE * last[i] for i in limits)
        self.amounts = [*self.amounts, amounts][-REMEMBERED:]

    def contradicted(self) -> None:
        self._misses += 1
        self.low, self.seen, self._alike = None, 0, False
        self.amounts = []

    def next(self, time: float) -> tuple[float, float]:
        """Where the first boundary lies that may come after `time`."""
        assert self.low is not None
        turns = (time - self.high) // WINDOW + 1
        return self.low + turns * WINDOW, self.high + turns * WINDOW

    def previous(self, time: float) -> float:
        """About when the last boundary was before `time`."""
        low, high = self.next(time)
        return (low + high) / 2 - WINDOW
