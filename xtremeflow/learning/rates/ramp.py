"""How fast the calls per second may grow, where a provider refuses growth that is too steep.

Such a provider (OpenAI says `slow_down`) lets pass some times the calls of shortly before, though
its limits allow more. It tells neither how many times nor how long before. So after a refusal the
pace is what has passed lately, and it grows evenly, as a power of the time; after each further
refusal more slowly. What was too steep once is too steep later, too: the pace never exceeds some
times what is used.
"""

from __future__ import annotations

from math import inf

LATELY = 5.0  # s
DOUBLING = 12.0  # s in which the pace doubles after the first refusal
SLOWER = 1.2  # times that after each further one
BACK = 0.8  # of what has passed lately is the pace after a refusal
AHEAD = 2.0  # times what is used is the pace at most
PATIENCE = 1.0  # s until the next try; then twice as long


class Ramp:
    """Decides the highest pace, in calls per second. Times are in seconds on any one clock."""

    def __init__(self) -> None:
        self.pace = inf
        """Calls per second, at most."""
        self._doubling = DOUBLING / SLOWER
        self._grown_at = 0.0
        self._heard = float("-inf")  # when the last refusal came
        self._patience = PATIENCE

    def refused(self, now: float, sent_at: float, rate: float) -> float:
        """Takes the refusal of growth; `rate` is that of the calls that have passed LATELY. Returns
        the seconds until the next try."""
        if sent_at > self._heard:
            if self._grown_at >= self._heard:  # calls have passed since
                self._doubling *= SLOWER
                self._patience = PATIENCE
            else:
                self._patience *= 2
            self.pace = BACK * rate
            self._heard = now
        return max(0.0, self._heard + self._patience - now)

    def passed(self, now: float, sent_at: float, rate: float) -> None:
        """Takes the pass of a call; `rate` is as for `refused`."""
        if self.pace < inf and sent_at > self._heard:
            # It is even for as long as the provider may look back, then it grows.
            elapsed = max(0.0, now - max(self._grown_at, self._heard + 2 * LATELY))
            grown = self.pace * 2.0 ** min(elapsed / self._doubling, 1.0)
            self.pace = max(self.pace, min(grown, AHEAD * rate))
            self._grown_at = now
