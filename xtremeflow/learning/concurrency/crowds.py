"""Finds out whether a provider refuses calls for the number of calls in flight.

Where concurrency is limited, the provider refuses calls just when more are in flight than ever
pass. Where a rate is limited, that number is sometimes large, sometimes small. So each refusal gets
a rank among the calls that passed lately. Only a row of highest ranks, at about the same number,
shows that concurrency is limited. While more and more calls are in flight, every refusal has the
highest rank, but not the same number.
"""

from __future__ import annotations

from collections import deque

REMEMBERED, FEWEST = 256, 16  # calls that passed
SAME = 0.05  # by this share, and one call, the numbers of a row may differ
HIGH = 1.0 - SAME  # rank: of all that passed, the share sent with fewer in flight
CONVINCING = 4  # refusals in a row


class Crowds:
    """Takes the numbers of calls in flight at each dispatch, the call itself included."""

    def __init__(self, *, convinced: bool = False) -> None:
        self.convinced = convinced
        self._passed: deque[int] = deque(maxlen=REMEMBERED)
        self._row: list[int] = []  # the numbers at the last refusals, one for each moment
        self._before: list[int] = []  # the same before the last moment,
        self._highest = 0  # and the number that counts in it
        self._heard = float("-inf")

    def passed(self, *crowds: int) -> None:
        self._passed += crowds

    def refused(self, now: float, sent_at: float, crowd: int, *, busy: bool = False) -> bool:
        """Whether concurrency is limited, not a rate. Times are in seconds on any clock.

        busy  whether the provider has said so, or that it is overloaded; no rate is meant then
        """
        is_new = sent_at > self._heard  # what was sent before is of the same moment
        if is_new:
            self._before, self._highest = self._row, crowd
        # Calls sent together arrive in any order. Where no rate is meant the highest counts.
        counts = is_new or (busy and crowd > self._highest)
        if counts and not self.convinced and len(self._passed) >= FEWEST:
            self._highest = crowd
            near = [c for c in self._before if abs(c - crowd) <= 1 + SAME * crowd]
            self._row = [*near, crowd] if self._rank(crowd) >= HIGH else []
            self.convinced = len(self._row) >= CONVINCING
        self._heard = max(self._heard, now)
        return self.convinced

    @property
    def is_suspected(self) -> bool:
        """Whether the last refusal may have been for that."""
        return self.convinced or len(self._row) > 1

    def _rank(self, crowd: int) -> float:
        fewer = sum(other < crowd for other in self._passed)
        equal = sum(other == crowd for other in self._passed)
        return (fewer + equal / 2) / len(self._passed)
