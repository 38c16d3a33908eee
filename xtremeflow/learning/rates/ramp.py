"""How fast the calls per second may grow, where a provider refuses growth that is too steep.

Such a provider (OpenAI says `slow_down`) lets pass a multiple of the latest calls, though its
limits allow more. It tells neither the multiple nor the time that counts as latest. So the pace
exceeds the latest use by a part of it, and grows evenly, as a power of the time. Each refusal makes
the part smaller, because growth that was too steep once is too steep later, too.
"""

from __future__ import annotations

from math import inf

from xtremeflow.learning.rates.control import PATIENCE
from xtremeflow.learning.rates.state import Knowledge

LATELY = 5.0  # s
GROWTH = 0.2  # the part of the latest use, until a refusal
LESS = 0.8  # times that part, after each further refusal
BACK = 0.9  # of the latest use: the pace after a refusal


class Ramp(Knowledge):
    """Decides the highest pace, in calls per second. Times are in seconds on any one clock."""

    TIMES = ("_grown_at", "_heard")

    def __init__(self) -> None:
        self.pace = inf
        """Calls per second, at most."""
        self._growth = GROWTH / LESS
        self._has_passed = True  # since the last refusal
        self._heard = -inf  # when that came
        self._patience = 0.0  # from then until the next try

    def refused(self, now: float, sent_at: float, rate: float) -> float:
        """Takes the refusal of growth; `rate` is that of the calls used LATELY, before it was sent.
        Returns the seconds until the next try."""
        if sent_at > self._heard:
            if self._has_passed:
                self._growth *= LESS
                self._patience = 0.0
                self.pace = max(BACK * rate, 1 / LATELY)
            else:
                self._patience = PATIENCE
            self._has_passed = False
            self._heard = now
        return max(0.0, self._heard + self._patience - now)

    def passed(self, sent_at: float, rate: float) -> None:
        """Takes the pass of a call; `rate` is that of the calls used LATELY."""
        if self.pace < inf and sent_at > self._heard:
            self._has_passed = True
            self.pace = max(self.pace, (1.0 + self._growth) * rate)
