"""What a scheduler tells a learner of itself when an answer comes, and what was admitted so far."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

REMEMBERED = 4096  # times,
APART = 0.03  # s, at least: two minutes in all

Amounts = tuple[float, ...]  # units, by limit


class Reading(NamedTuple):
    """Of one limit, in its units.

    used   admitted so far, refused attempts and all
    since  of these in flight and dispatched not before the answer's call
    cost   of the answer's call
    held   seconds for which this limit was what the head of the queue waited for
    flying of the units used those of all calls in flight
    """

    used: float
    since: float
    cost: float
    held: float
    flying: float


class Gauge(NamedTuple):
    """Times are in seconds on the loop's clock.

    sent_at    when the answer's call was dispatched
    first      when the first call was submitted
    resumes    the end of the cooldown; now where there is none
    in_flight  calls, the answer's included
    waiting    calls in the queue
    """

    now: float
    sent_at: float
    first: float
    resumes: float
    in_flight: int
    waiting: int
    readings: Sequence[Reading]


Seen = tuple[float, float, float, float, int, int, tuple[tuple[int, int, float, float, int], ...]]


def gauge_of(seen: Seen) -> Gauge:
    """From what the scheduler's native part tells."""
    *_, readings = seen
    return Gauge(*seen[:6], [Reading(*reading) for reading in readings])


class Ledger:
    """What was admitted of each limit, less what was refused: that is not charged.

    The first limit is that on requests.
    """

    def __init__(self, limits: int) -> None:
        self.costs = [0.0] * limits
        """Of a call, on average, as known when it is dispatched; 0 where that is not known."""
        self._refused = [0.0] * limits
        self._past: deque[tuple[float, Amounts]] = deque(maxlen=REMEMBERED)

    def note(self, gauge: Gauge) -> None:
        if not self._past or gauge.now >= self._past[-1][0] + APART:
            self._past.append((gauge.now, self.admitted(gauge)))

    def admitted(self, gauge: Gauge) -> Amounts:
        pairs = zip(gauge.readings, self._refused, strict=True)
        return tuple(reading.used - refused for reading, refused in pairs)

    def before(self, gauge: Gauge) -> Amounts:
        """Before the answer's call was dispatched."""
        pairs = zip(gauge.readings, self._refused, strict=True)
        return tuple(reading.used - reading.since - refused for reading, refused in pairs)

    def refuse(self, gauge: Gauge) -> None:
        calls = max(1.0, gauge.readings[0].used)
        for i, reading in enumerate(gauge.readings):
            self._refused[i] += reading.cost
            if reading.cost > 0:
                self.costs[i] = reading.used / calls

    def at(self, time: float) -> Amounts | None:
        """As it was then, as near as answers came; None is: too long ago."""
        later: tuple[float, Amounts] | None = None
        for noted in reversed(self._past):
            if noted[0] <= time:
                near = later is not None and later[0] - time < time - noted[0]
                return later[1] if near and later is not None else noted[1]
            later = noted
        return None
