"""Tells refusals that have a reason from those of a share of the calls that is refused for none.

If a share p is refused at random, k more refusals fall into n calls with a probability of at most
(p n)^k / k!, by the Poisson distribution. Refusals that make that small have a reason.
"""

from __future__ import annotations

from collections import deque
from math import factorial

from xtremeflow.learning.rates.state import Knowledge

CLOSE = 8  # calls: two refusals within these have a reason, as long as no share is known
UNLIKELY = 0.0003  # a probability
MOST = 8  # refusals that are looked at together
KNOWN = 2  # refusals for no reason: so many show their share
MEMORY = 2000.0  # calls after which one counts half; a longer stretch between refusals is as long


class Noise(Knowledge):
    """Takes refusals."""

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=MOST)  # the calls before each
        self._latest = 0.0  # the calls before the latest
        self._count = 0.0  # refusals for no reason,
        self._calls = 0.0  # and the calls of which they are a share

    @property
    def is_known(self) -> bool:
        """Whether some calls are refused for no reason."""
        return self._count >= KNOWN

    def refused(self, calls: float, undue: float, *, is_due: bool) -> bool:
        """Takes a refusal before which so many calls were admitted. Returns whether others were
        refused too soon before it, so that all of these have a reason.

        undue   the part of the calls since the refusal before that no limit could have refused
        is_due  whether a limit may refuse a call at this pace; then it says nothing of the share
        """
        self._calls += min(undue * (calls - self._latest), MEMORY)
        self._latest = calls
        if self._calls > MEMORY:
            self._count, self._calls = self._count / 2, self._calls / 2
        for more, then in enumerate(reversed(self._last), 1):
            if self._is_unlikely(more, calls - then):
                self._count = max(0.0, self._count - more) if self.is_known else 0.0
                self._last.clear()
                return True
        self._last.append(calls)
        if not is_due:
            self._count += 1
        return False

    def _is_unlikely(self, more: int, calls: float) -> bool:
        if not self.is_known:
            return more == 1 and calls <= CLOSE
        expected = self._count / max(self._calls, 1.0) * calls
        return expected**more / factorial(more) < UNLIKELY
