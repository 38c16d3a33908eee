"""How much a told bucket holds at once, where refusals contradict what answers say is left.

Providers tell of a minute's bucket and enforce, some, each second's or ten seconds' part of it. The
rate is right then, and the bucket is smaller: it held what had been used of it when a call was
refused. As that may have been less than it holds, it is tried to hold more, little by little, as
long as all of it is used and nothing refused. It is the same number of seconds for all limits.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

LEAST = 0.5  # s: no bucket holds less than its rate brings in so many seconds
SOON = 20.0  # s: if a cut to that does not help for so long, the rate is another one
BACK = 1.5  # times less is the most that a further cut takes off
STEP, EVERY = 0.05, 3.0  # by that part more is tried every so many seconds
AHEAD = 1.1  # times what was used at once is the most that is tried


class Burst:
    """The seconds that buckets hold. Times are in seconds on any one clock."""

    def __init__(self) -> None:
        self.seconds = inf
        """Of its rate a bucket holds at most that."""
        self._highest: dict[int, float] = {}  # levels since the last cut, in seconds of the rate
        self._proven = 0.0  # s used at once since then
        self._cut_at = self._tried_at = -inf
        self._every = EVERY

    def __contains__(self, index: int) -> bool:
        """Whether that limit's bucket is one of these, and holds less than it is told to."""
        return self.seconds < inf and index in self._highest

    @property
    def limits(self) -> list[int]:
        """Returns the limits whose buckets these are."""
        return list(self._highest)

    def begin(self, index: int, seconds: float) -> None:
        """Notes that a bucket is told to hold so much, and may be full."""
        self._highest[index] = seconds

    def forget(self, index: int) -> None:
        self._highest.pop(index, None)

    def see(self, now: float, levels: Mapping[int, float]) -> bool:
        """Takes the levels, in seconds of the rates. Returns whether the buckets are to hold more
        now."""
        for index, level in levels.items():
            self._highest[index] = max(self._highest[index], level)
            self._proven = max(self._proven, self._highest[index] - level)
        due = now - self._tried_at >= self._every and self.seconds < AHEAD * self._proven
        if due:
            self._tried_at = now
            self.seconds *= 1.0 + STEP
        return due and self.seconds < inf

    def refused(self, now: float, levels: Mapping[int, float]) -> bool:
        """Takes a refusal at these levels, at which enough was left. Returns whether buckets that
        hold less explain it."""
        used = max((self._highest[index] - level for index, level in levels.items()), default=0.0)
        if not levels or (used < LEAST and now - self._cut_at < SOON):
            return False
        used = max(used, LEAST)
        if self.seconds < inf:
            used = max(used, self.seconds / BACK)
            self._every *= 2
        self.seconds = min(self.seconds, used)
        self._cut_at = self._tried_at = now
        self._proven = 0.0
        self._highest = dict.fromkeys(self._highest, 0.0)
        return True
