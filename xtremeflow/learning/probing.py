"""How much more than the estimate is tried, and when.

After a refusal the pace is for a while a little less than the estimate; then it grows, ever faster,
until something is refused. So a limit that stays costs one refusal now and then, and one that was
raised is found after the same time. How long that is follows from how many refusals are allowed.
"""

from __future__ import annotations

CAUTION = 0.02  # below the estimate, at first
SLOPE = 0.05  # by so much the pace grows evenly during the stretch,
GROWTH = 6  # besides growing with this power of time;
SEARCH_GROWTH = 3  # with this one where little is known
SHARED = 160.0  # s in which a claim of half a limit grows evenly by as much again,
SHARED_STRETCH = 110.0  # s, besides what it grows by ever faster
SEARCH = 15.0  # s until the pace has doubled, where little is known
STEADY = 55.0  # s, where much is: less would find a raised limit sooner than anybody needs
LONGEST = 600.0  # s
RELIED = 2.0  # times the time that an estimate rests on
BUDGET = 0.0075  # of the attempts may be refused by probing,
ALLOWED = 0.012  # and of all since the beginning
EACH = 1.3  # refused attempts that a probe costs, at first
MOST_EACH = 5
LOSS = 0.03  # of the time may be lost by probing
MOST_LOST = 16.0  # s
REFUSED_AT = 0.8  # of the stretch, mostly
UNEXPECTED = 2  # such refusals in a row: somebody else uses the limit as well


class Probing:
    """The pace relative to the estimate, and the *stretch*: the seconds after a refusal in which
    it doubles.

    unexpected  refusals in a row that came before more than the estimate had been used
    """

    def __init__(self) -> None:
        self._set(SEARCH, SEARCH_GROWTH)
        self._refused = 0
        self._lately = 0  # since calls passed
        self._each = EACH
        self._lost = 0.0
        self.unexpected = 0

    @property
    def is_searching(self) -> bool:
        """Whether little is known."""
        return self._growth == SEARCH_GROWTH

    def factor(self, seconds: float) -> float:
        """The pace, as a multiple of the estimate, so many seconds after a refusal."""
        x = seconds / self.stretch
        return self._start + self._slope * x + x**self._growth

    def excess(self, seconds: float) -> float:
        """Seconds of the estimated rate that were used beyond it by then."""
        x = seconds / self.stretch
        grown = self._start - 1 + self._slope * x / 2 + x**self._growth / (self._growth + 1)
        return seconds * grown

    def expected(self, is_expected: bool) -> None:
        """Whether a refusal was."""
        self.unexpected = 0 if is_expected else self.unexpected + 1

    def refused(self) -> None:
        """A call was refused."""
        self._refused += 1
        self._lately += 1

    def passed(self, lost: float) -> None:
        """Calls pass again, after a probe that has cost `lost` seconds."""
        self._lost += (min(lost, MOST_LOST) - self._lost) / 4
        self._each += (min(self._lately, MOST_EACH) - self._each) / 4
        self._lately = 0

    def plan(self, attempts: float, seconds: float, span: float) -> None:
        """Set the stretch for a limit that is known well, after so many attempts and seconds.

        span  the seconds that the estimate rests on: nothing is relied on for much longer
        """
        if self.unexpected >= UNEXPECTED:
            self.steady()
            return
        rate = max(attempts, 1.0) / max(seconds, 1.0)
        usual = self._each / (BUDGET * rate)
        due = ((self._refused + self._each) / ALLOWED - attempts) / rate
        wanted = max(usual, min(due, 2 * usual), self._lost / LOSS) / REFUSED_AT
        longest = min(max(STEADY, RELIED * span), LONGEST)
        self._set(min(max(STEADY, wanted), longest), GROWTH)

    def steady(self) -> None:
        """Keep to an estimate that is about right."""
        self._set(STEADY, GROWTH)

    def search(self) -> None:
        """Look for a better estimate at once."""
        self._set(SEARCH, SEARCH_GROWTH)

    def share(self, start: float) -> None:
        """Keep to a claim, on average, beginning with that part of it."""
        self._set(SHARED_STRETCH, GROWTH, start, SHARED_STRETCH / SHARED)

    def _set(
        self, stretch: float, growth: int, start: float = 1 - CAUTION, slope: float = SLOPE
    ) -> None:
        self.stretch, self._growth = stretch, growth
        self._start, self._slope = start, slope
