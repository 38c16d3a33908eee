"""How much more than the estimate is tried, and when.

After a refusal the pace is for a while a little less than the estimate; then it grows, ever faster,
until something is refused. So a limit that stays costs one refusal now and then, and one that was
raised is found after the same time. How long that is follows from how many refusals are allowed.
"""

from __future__ import annotations

CAUTION = 0.02  # below the estimate, at first
GROWTH = 6  # the power of time with which the pace grows,
SEARCH_GROWTH = 3  # where little is known
SEARCH = 15.0  # s until the pace has doubled, where little is known
STEADY = 55.0  # s, where much is: less would find a raised limit sooner than anybody needs
LONGEST = 600.0  # s
BUDGET = 0.0075  # of the attempts may be refused by probing,
ALLOWED = 0.012  # and of all since the beginning
EACH = 1.3  # refused attempts that a probe costs
REFUSED_AT = 0.85  # of the stretch, mostly


class Probing:
    """The pace relative to the estimate, `seconds` after a refusal."""

    def __init__(self) -> None:
        self.stretch = SEARCH
        self._growth = SEARCH_GROWTH
        self._refused = 0
        self.surprises = 0

    def factor(self, seconds: float) -> float:
        return 1 - CAUTION + (seconds / self.stretch) ** self._growth

    def excess(self, seconds: float) -> float:
        """Seconds of the estimated rate that were used beyond it by then."""
        part = (seconds / self.stretch) ** self._growth / (self._growth + 1)
        return seconds * (part - CAUTION)

    def refused(self) -> None:
        self._refused += 1

    def plan(self, attempts: float, seconds: float) -> None:
        """Set the stretch for a limit that is known well, after so many attempts and seconds."""
        if self.surprises > 1:
            self.steady()
            return
        rate = max(attempts, 1.0) / max(seconds, 1.0)
        usual = EACH / (BUDGET * rate)
        due = ((self._refused + EACH) / ALLOWED - attempts) / rate
        wanted = max(usual, min(due, 2 * usual)) / REFUSED_AT
        self.stretch, self._growth = min(max(STEADY, wanted), LONGEST), GROWTH

    def steady(self) -> None:
        """The estimate is one that was made before."""
        self.stretch, self._growth = STEADY, GROWTH

    def search(self) -> None:
        self.stretch, self._growth = SEARCH, SEARCH_GROWTH
