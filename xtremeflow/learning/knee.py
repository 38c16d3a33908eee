"""How many calls a server that queues can work on at once: more only wait there.

A server of this kind refuses nothing, or late: what exceeds its batch waits, and answers take
longer. How long an answer takes depends above all on its length, so a mean says little of waiting.
But a wait is added to every answer, to the shortest as well: how much later the quick ones come
than they once did is the wait, and times the answers per second that is how many calls wait
(Little). A server that has become slower moves the quick ones little, for they are short.

Fewer calls must not cost throughput. So each step down is a trial: if the answers per second fall
with it, nothing had waited, and it is undone.
"""

from __future__ import annotations

from dataclasses import dataclass

WINDOW = 64  # answers, at least, that are looked at together,
TURNS = 2  # and so many for each call in flight
QUICK = 0.1  # the share of the answers that are quicker
FEW, ENOUGH, MANY = 0.05, 0.1, 0.2  # waiting calls, as a share of those in flight
DEEPEST = 0.25  # the share of the calls in flight that is taken off at a time
LOOK = 8  # windows until a step down is tried without need; then twice as many, and so on


@dataclass(frozen=True)
class _Trial:
    """A step down, and what was before it."""

    cap: int | None
    size: int
    rate: float  # answers per second
    quick: float  # s, of a quick answer

    def is_quicker(self, size: int, quick: float) -> bool:
        """Whether the calls that are fewer now had made the others wait."""
        return quick < self.quick - (self.size - size) / self.rate / 2

    def costs(self, size: int, rate: float) -> bool:
        """Whether they are missed."""
        return rate < self.rate * (1 + size / self.size) / 2


class Knee:
    """Fed with answers that came while the queue here was not empty."""

    def __init__(self) -> None:
        self.cap: int | None = None
        """No more calls than this; None while no wait was seen."""
        self.waiting = 0.0
        """How many calls seem to wait at the server."""
        self._base: float | None = None  # s, of a quick answer without a wait
        self._latencies: list[float] = []
        self._began = 0.0  # of the window,
        self._wanted = 0  # and how many answers it takes
        self._others = 0  # answers meanwhile to calls from before
        self._settling = 0  # answers that are not looked at
        self._lowered_at = float("-inf")
        self._trial: _Trial | None = None
        self._windows = 0
        self._look = LOOK

    def restart(self) -> None:
        """The calls were fewer for a while than they could be: their answers tell nothing."""
        self._latencies.clear()

    def answered(self, now: float, sent_at: float, crowd: int, in_flight: int) -> bool:
        """A call sent with `crowd` in flight was answered, with `in_flight` now. True: `cap` has
        changed."""
        latencies = self._latencies
        if self._settling > 0 or sent_at < self._lowered_at:
            self._settling -= 1
            self._others += 1
            return False
        if not latencies:
            turns = TURNS if self._trial is None else 1
            self._began, self._wanted, self._others = now, max(WINDOW, turns * crowd), -1
        latencies.append(now - sent_at)
        if len(latencies) < self._wanted or now <= self._began:
            return False
        latencies.sort()
        quick = latencies[int(QUICK * len(latencies))]
        rate = (len(latencies) + self._others) / (now - self._began)
        latencies.clear()
        before = self.cap
        self._judge(now, quick, rate, crowd, in_flight)
        return self.cap != before

    def _judge(self, now: float, quick: float, rate: float, size: int, in_flight: int) -> None:
        trial, self._trial = self._trial, None
        if trial is not None and not trial.is_quicker(size, quick):
            self.cap, self._base = trial.cap, trial.quick
            return
        if self._base is None or quick < self._base:
            self._base = quick
        if trial is not None and trial.costs(size, rate):
            self.cap = trial.size
            return
        self.waiting = min(float(size), (quick - self._base) * rate)
        share = self.waiting / size
        self._windows += 1
        if share > MANY and self.cap is None:
            self._limit(now, in_flight)  # no more for now; what fewer would do must wait until then
        elif share > MANY:
            self._step_down(now, quick, rate, size, min(share - ENOUGH, DEEPEST))
        elif self._windows >= self._look and size > 4:
            self._windows, self._look = 0, 2 * self._look
            self._step_down(now, quick, rate, size, DEEPEST)
        elif share < FEW:
            self._base += (quick - self._base) / 16
            if self.cap is not None:
                self.cap = max(self.cap, size + max(1, size // 8))

    def _step_down(self, now: float, quick: float, rate: float, size: int, share: float) -> None:
        self._trial = _Trial(self.cap, size, rate, quick)
        self._limit(now, max(1, size - max(1, round(share * size))))

    def _limit(self, now: float, cap: int) -> None:
        self.cap = cap
        self._lowered_at = now
        self._settling = cap  # the first answers of many sent together are the quick ones
