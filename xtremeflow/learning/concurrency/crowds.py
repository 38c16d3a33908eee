"""Whether it is the number of calls in flight for which a provider refuses.

Where concurrency is limited, calls are refused just when more are in flight than ever pass. Where a
rate is, that number is what it happens to be: sometimes large, sometimes small. So each refusal is
ranked among the calls that passed lately; only a row of highest ranks tells of concurrency. The
first calls prove nothing, for then there are more and more in flight anyway.
"""

from __future__ import annotations

from collections import deque

REMEMBERED, FEWEST = 256, 16  # calls that passed
HIGH = 0.95  # rank: of all that passed, the share sent with fewer in flight
CONVINCING = 3  # refusals in a row


class Crowds:
    """Takes the numbers of calls in flight at each dispatch, the call itself included."""

    def __init__(self, *, convinced: bool = False) -> None:
        self.convinced = convinced
        self._passed: deque[int] = deque(maxlen=REMEMBERED)
        self._row = 0
        self._heard = float("-inf")

    def passed(self, crowd: int) -> None:
        self._passed.append(crowd)

    def refused(self, now: float, sent_at: float, crowd: int) -> bool:
        """Whether concurrency is what is limited. Times are in seconds on any clock."""
        if not self.convinced and sent_at > self._heard and len(self._passed) >= FEWEST:
            self._row = self._row + 1 if self._rank(crowd) >= HIGH else 0
            self.convinced = self._row >= CONVINCING
        self._heard = max(self._heard, now)  # what was sent before is of the same moment
        return self.convinced

    def explained(self) -> None:
        """A call was refused for want of something else."""
        self._row = 0

    def _rank(self, crowd: int) -> float:
        fewer = sum(other < crowd for other in self._passed)
        equal = sum(other == crowd for other in self._passed)
        return (fewer + equal / 2) / len(self._passed)
