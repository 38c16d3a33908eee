"""The pace of an account's chunks, where its members may not be the only users of the key.

It is the law of csrc/core/pace.h: the lower the level, the slower. There it holds for calls, and
here for chunks. Each member keeps its part of the account's pace.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, inf

LONGEST = 60.0  # seconds between two chunks of all members, whatever the level says


@dataclass
class Pace:
    """The pace of a limit, in units and seconds.

    Attributes:
        most: The highest pace.
        kept: The level at which the pace is the limit's rate.
        scale: The change of the level that e-folds the pace; 0: the pace is always `most`.
        fits: Waiting calls that cost at most this part of the level pass at once.
        until: The instant at which it ends.
    """

    most: float
    kept: float = 0.0
    scale: float = 0.0
    fits: float = 0.0
    until: float = inf
    _burst: float = 0.0  # what has passed at once
    _faded: float = 0.0  # and has faded until this instant

    def after(self, before: Pace | None) -> Pace:
        """Returns this pace, with the bursts that have passed at the one before."""
        if before is not None:
            self._burst, self._faded = before._burst, before._faded
        return self

    def gap(
        self, rate: float, capacity: float, cost: float, level: float, waiting: float, now: float
    ) -> float:
        """Returns the seconds after which the next chunks may begin.

        Args:
            rate: That of the limit.
            capacity: That of the limit.
            cost: The units of the chunks of all members that begin at about `now`.
            level: The level after the member's own.
            waiting: The units of the calls that still wait.
            now: An instant.
        """
        if cost <= 0 or self._fit(rate, capacity, cost, level, waiting, now):
            return 0.0
        pace = self.most
        if self.scale > 0:
            pace = min(pace, rate * exp((level - self.kept) / self.scale))
        return max(0.0, min(LONGEST, cost / max(pace, 1e-300), self.until - now))

    def _fit(
        self, rate: float, capacity: float, cost: float, level: float, waiting: float, now: float
    ) -> bool:
        """Whether the waiting calls may pass at once."""
        if self.fits <= 0:
            return False
        if capacity > 0 and now > self._faded:
            self._burst *= exp((self._faded - now) * rate / capacity)
            self._faded = now
        burst = self._burst + cost
        if waiting + burst > self.fits * (level + burst):
            return False
        self._burst = burst
        return True
