"""A sliding window: when a call arrives, the charges of the last minute count.

A bucket of its rate keeps to that on average. But calls that are charged when they end do not end
as evenly as they were sent, so at times the charges are too high. Then no call passes until enough
of them are a minute old. The client knows that moment from the costs and ends of its calls. Clients
that share a window fill it and meet its limit together. So each takes the usage of the others to
slide out as its own does.

Their pace follows the rest, but no rest tells the number of clients. If each used all that has slid
out, all would meet the limit together, and again a minute later. So a client keeps to the part that
it has had in the last minute, and a fifth of the pace is the same for all. Unequal parts become
equal within some minutes.

Pure: times and amounts come with each answer.
"""

from __future__ import annotations

from math import exp, inf

from xtremeflow._core import Gauge
from xtremeflow.learning.ledger import Ledger

# Of the amount: so much, or a call's cost, may be charged and not be known here yet. Beside others
# it is the rest at which a client keeps its pace, and the change of it that e-folds that. From so
# much usage of others on the window is shared.
KEPT = 0.02
EVEN = 0.2  # of the pace is the same for all clients
AHEAD = 1.5  # times the rate: a call waits for the pace of each limit, which costs about a third


class Sliding:
    """The charges of a limit in any `window` seconds.

    is_late  whether calls are charged when they end, not when they arrive
    """

    def __init__(self, window: float, is_late: bool) -> None:
        self._window, self._is_late = window, is_late
        self._charged = Ledger(1, window)
        self.others = 0.0
        """The units charged besides, when that was last told."""
        self._cost = 0.0  # of the latest call

    def see(self, gauge: Gauge, i: int, *, passed: bool, refused: bool) -> None:
        """Takes an answer. The limit has the index `i`."""
        now, reading = gauge.now, gauge.readings[i]
        if refused:
            self._charged.refuse([reading])
        uncharged = reading.flying if self._is_late else 0.0
        if self._is_late and (passed or refused):
            uncharged -= reading.cost
        self._charged.note(now, [reading], uncharged)
        self._cost = reading.cost

    def told(self, now: float, amount: float, remaining: float) -> None:
        """Takes the told rest of `amount`."""
        others = amount - remaining - self._own(now)
        self.others = others if remaining > 0 else max(others, self.others)

    def wait(self, now: float, amount: float) -> float:
        """Returns the seconds until calls pass if `amount` is the limit and no charge is added."""
        own, used = self._used(now)
        excess = used + max(KEPT * amount, self._cost) - amount
        if excess <= 0 or own <= 0:
            return 0.0
        # The less of the usage is one's own, the less is known of when it slides out.
        (gone,) = self._charged.at(now - self._window)
        slides = self._charged.when(0, gone + excess * own / used) + self._window - now
        return min(self._window * own / used, slides)

    def pace(self, now: float, amount: float) -> float:
        """Returns the pace as a multiple of the rate; infinity where no other user is noticed."""
        own, used = self._used(now)
        if used - own <= KEPT * amount:
            return inf
        left = 1.0 - used / amount
        part = EVEN + (1.0 - EVEN) * own / used
        return AHEAD * part * exp(min(0.0, left / KEPT - 1.0))

    def _used(self, now: float) -> tuple[float, float]:
        """Returns what was charged in the window, of one's own calls and in all."""
        own = self._own(now)
        return own, own + max(0.0, self.others)

    def _own(self, now: float) -> float:
        (charged,), (gone,) = self._charged.at(now), self._charged.at(now - self._window)
        return charged - gone
