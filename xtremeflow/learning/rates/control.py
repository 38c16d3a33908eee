"""How fast to send where a limit is only known from refusals: growth, dips, tests and waits.

After a refusal the pace dips below the rate that is believed in, comes back to it, stays near it
for long, and grows beyond it, ever faster, until the next refusal: a cubic of the time. Dips are of
alternating depth, so that wrong models of the limit contradict themselves. How long the *stretch*
from the dip to the rate lasts is a budget: it follows from how many calls are refused.

Refusals are not always for the rate: some providers refuse a share of the calls for no reason. So a
refusal is a sign of the rate if others were refused too soon before it (noise.py). One alone is a
sign only from the rate on, where it is due, and only while no share is known to be refused for no
reason. While nothing passes at all that is a stop and not a rate: single tries, and the rate left
alone.
"""

from __future__ import annotations

from enum import Enum
from math import inf

from xtremeflow.learning.rates.noise import Noise
from xtremeflow.learning.rates.state import Knowledge

DEEP = 0.3  # of the rate: the dip after a refusal, half of it after the next one, and so on,
SHALLOW = DEEP / 3  # once the limit is identified, and as far the pace grows in another stretch
DUE = 0.97  # of the rate: a refusal at a lower pace was not foretold
DOUBLING = 2.5  # s in which the pace doubles where nothing is known
SHORTEST = 15.0  # s of the stretch, at least
BUDGET = 0.006  # the share of the calls that tests may have refused
PATIENCE = 1.0  # s between two tries while nothing passes, at first; then up to eight times that


class Refusal(Enum):
    """The kind of a refusal."""

    SAME = "of the same moment as the one before"
    CHANCE = "not for the rate"
    EPISODE = "the limit"
    STILL = "nothing has passed since"


class Control(Knowledge):
    """The control of the pace. Times are in seconds on any one clock."""

    TIMES = ("_first", "_last", "_heard", "_heard_before")

    def __init__(self) -> None:
        self.episodes = 0
        self.is_searching = True
        """Whether nothing is known of the rate but that it may be higher."""
        self.is_closed = False
        """Whether nothing has passed since the last episode began."""
        self._depth = DEEP
        self._stretch = SHORTEST
        self._ahead = 0.0
        # Of the last episode:
        self._first = self._last = 0.0  # when the first and last try of it was sent
        self._heard = -1.0  # when the last one's refusal came,
        self._heard_before = -1.0  # and the one's before
        self._tries = 0
        self._patience = PATIENCE
        # Since then:
        self._began_with = 0.0  # calls
        self._refused = 0
        self._refused_after = 0.0  # s: when the latest call was refused
        self._noise = Noise()

    @property
    def stop(self) -> float | None:
        """The seconds for which nothing will pass, by the last episode; None: no long time."""
        return self._patience if self._patience > PATIENCE else None

    def factor(self, seconds: float) -> float:
        """Returns the pace as a multiple of the rate, `seconds` after the last episode."""
        if self.is_searching:
            return float(2.0 ** min(seconds / DOUBLING, 30.0))
        x = (seconds + self._ahead) / self._stretch - 1.0
        return 1.0 + (self._depth if x < 0 else SHALLOW) * x * x * x

    def know(self) -> None:
        """Begins with a known rate."""
        self.is_searching = False
        self._depth, self._ahead, self.episodes = SHALLOW, SHORTEST, 1

    def refused(
        self,
        now: float,
        sent_at: float,
        calls: float,
        seconds: float,
        told: float | None,
        *,
        unlikely: bool,
    ) -> tuple[Refusal, float | None]:
        """Takes a refusal. Returns its kind, and the seconds that the call is to wait; None: for
        its turn.

        calls     calls admitted before it
        seconds   time after the last episode
        told      the wait that the provider tells
        unlikely  whether the provider's headers speak against a limit
        """
        if sent_at <= self._heard:
            self._refused += 1
            return Refusal.SAME, told
        if self.is_closed:
            self._hear(now)
            self._tries += 1
            self._last = sent_at
            patience = min(self._patience * 2.0 ** min(self._tries - 2, 3), 8 * PATIENCE)
            return Refusal.STILL, max(told or 0.0, patience)
        factor = self.factor(seconds)
        is_due = factor >= DUE and not self.is_searching
        is_sign = self._noise.refused(calls, self._undue(seconds), is_due=is_due)
        is_enough = is_due and not self._noise.is_known
        if told is None and not is_sign and (unlikely or not is_enough):
            self._refused_after = seconds
            return Refusal.CHANCE, told
        self._hear(now)
        self._refused_after = 0.0
        self._plan(calls, factor)
        self.is_closed, self._tries = True, 1
        self._first = self._last = sent_at
        return Refusal.EPISODE, told

    def passed(self, sent_at: float) -> float | None:
        """Takes the pass of a call sent at `sent_at`. If that ends an episode, returns the seconds
        for which no call had passed."""
        # From the second try on also with that try, which was refused together with it.
        heard = self._heard if self._tries < 2 else self._heard_before
        if not self.is_closed or sent_at <= heard:
            return None
        self.is_closed = False
        lasted = self._last - self._first
        self._patience = max(PATIENCE, min((sent_at - self._first) / 2, 8 * PATIENCE))
        return lasted

    def dip(self, span: float, *, identified: bool) -> None:
        """Begins below a rate that a model with that span has found."""
        self._stretch = max(self._stretch, span / 2)  # a window follows the pace as it slides
        self._depth = (SHALLOW if identified else DEEP) / (1 + self.episodes % 2)
        self._ahead = 0.0
        self.is_searching = False

    def _undue(self, seconds: float) -> float:
        """Returns the part of the time since the latest refusal in which the pace was below DUE."""
        due = inf if self.is_searching else self._due_after()
        since = self._refused_after
        if seconds <= max(since, due):
            return float(seconds <= due)
        return max(0.0, due - since) / (seconds - since)

    def _due_after(self) -> float:
        """Returns the seconds after the last episode at which the pace is DUE, see `factor`."""
        below = float(((1.0 - DUE) / self._depth) ** (1 / 3))
        return self._stretch * (1.0 - below) - self._ahead

    def _hear(self, now: float) -> None:
        self._heard_before, self._heard = self._heard, now
        self._refused += 1

    def _plan(self, calls: float, factor: float) -> None:
        """Chooses the stretch after the next dip."""
        share = self._refused / max(calls - self._began_with, 1.0)
        change = 0.7  # the belief is wrong: test sooner
        if not self.is_searching and DUE <= factor <= 1.0 + 2 * self._depth:
            change = min(max(share / BUDGET, change), 1.6)
        self._stretch = max(change * self._stretch, SHORTEST)
        self.episodes += 1
        self._began_with, self._refused = calls, 0
