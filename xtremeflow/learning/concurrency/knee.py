"""Finds the number of calls that a queueing server works on at once. More calls only wait there.

Such a server refuses no call, or only late: the calls that exceed its batch wait, and answers take
longer. The time of an answer depends mainly on its length, so a mean says little of waiting. But a
wait is added to every answer, also to the shortest. So the delay of the quick answers, compared
with the quickest so far, is the wait. The wait times the answers per second is the number of calls
that wait (Little's law, https://doi.org/10.1287/opre.9.3.383).

Fewer calls must not cost throughput. So each step down is a trial. If quick answers do not come
sooner after it, or fewer come per second, no calls had waited: the server has become slower, or the
answers longer. Then the step is undone.
"""

from __future__ import annotations

from dataclasses import dataclass

WINDOW = 64  # answers of a window, at least,
TURNS = 2  # and at least so many for each call in flight
QUICK = 0.1  # the share of the answers that are quicker than a quick one
MANY = 0.2  # waiting calls, as a share of those in flight; half of them are enough
DEEPEST = 0.25  # the largest step down, as a share of the calls in flight
LOOK = 8  # windows until a step down without need; then twice as many, and so on


@dataclass(frozen=True)
class _Window:
    """A window of answers to calls that were sent with the same number in flight."""

    now: float
    size: int  # calls in flight when the last of them was sent
    quick: float  # s: the time of a quick answer
    rate: float  # answers per second, those to earlier calls included


@dataclass(frozen=True)
class _Trial:
    """A step down, and the state before it."""

    cap: int | None
    before: _Window

    def is_quicker(self, after: _Window) -> bool:
        """Whether answers are quicker, so that calls had waited before."""
        wait = (self.before.size - after.size) / self.before.rate
        return after.quick < self.before.quick - wait / 2

    def costs(self, after: _Window) -> bool:
        """Whether fewer answers come per second, so that the step costs throughput."""
        return after.rate < self.before.rate * (1 + after.size / self.before.size) / 2


class Knee:
    """Takes answers that came while the queue here was not empty. Times are in seconds."""

    def __init__(self) -> None:
        self.cap: int | None = None
        """No more calls than this; None while no wait was seen."""
        self.waiting = 0.0
        """How many calls seem to wait at the server."""
        self._base: float | None = None  # s: a quick answer without a wait
        self._trial: _Trial | None = None
        self._windows = 0  # since the last look
        self._look = LOOK
        # The window so far:
        self._latencies: list[float] = []
        self._began = 0.0
        self._wanted = 0  # answers that it needs
        self._others = 0  # answers meanwhile to calls sent before `_limited_at`
        self._limited_at = float("-inf")
        self._settling = 0  # answers until it begins

    def restart(self) -> None:
        """Drops the window, because fewer calls were in flight than allowed, and answers tell
        nothing."""
        self._latencies.clear()

    def answered(self, now: float, sent_at: float, crowd: int, in_flight: int) -> bool:
        """Takes the answer to a call sent with `crowd` in flight, with `in_flight` now. Returns
        whether `cap` is lower now, because calls wait."""
        latencies = self._latencies
        if self._settling > 0 or sent_at < self._limited_at:
            self._settling -= 1
            self._others += 1
            return False
        if not latencies:
            turns = TURNS if self._trial is None else 1
            self._began, self._wanted, self._others = now, max(WINDOW, turns * crowd), 0
        latencies.append(now - sent_at)
        if len(latencies) < self._wanted or now <= self._began:
            return False
        latencies.sort()
        quick = latencies[int(QUICK * len(latencies))]
        rate = (len(latencies) - 1 + self._others) / (now - self._began)
        latencies.clear()
        return self._judge(_Window(now, crowd, quick, rate), in_flight)

    def _judge(self, window: _Window, in_flight: int) -> bool:
        size, quick = window.size, window.quick
        trial, self._trial = self._trial, None
        if trial is not None and not trial.is_quicker(window):
            self.cap, self._base = trial.cap, trial.before.quick
            return False
        if self._base is None or quick < self._base:
            self._base = quick
        if trial is not None and trial.costs(window):
            self.cap = trial.before.size
            return False
        self.waiting = min(float(size), (quick - self._base) * window.rate)
        share = self.waiting / size
        self._windows += 1
        if share > MANY:
            if self.cap is None:
                # No more for now. The effect of fewer calls shows when the number is constant.
                self._limit(window.now, in_flight)
            else:
                self._step_down(window, min(share - MANY / 2, DEEPEST))
            return True
        if self._windows >= self._look and size > 4:
            self._windows, self._look = 0, 2 * self._look
            self._step_down(window, DEEPEST)
        elif share < MANY / 2:
            self._base += (quick - self._base) / 16
            if self.cap is not None:
                self.cap = max(self.cap, size + max(1, size // 8))
        return False

    def _step_down(self, window: _Window, share: float) -> None:
        self._trial = _Trial(self.cap, window)
        self._limit(window.now, max(1, window.size - max(1, round(share * window.size))))

    def _limit(self, now: float, cap: int) -> None:
        self.cap = cap
        self._limited_at = now
        self._settling = cap  # of many calls sent together the quick answers come first
