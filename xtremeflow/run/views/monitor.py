"""Samples of a run for the views."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from xtremeflow.learning.learner import UNLIMITED
from xtremeflow.run.output.counts import Counts
from xtremeflow.scheduler.causes import causes
from xtremeflow.scheduler.stats import (
    LearnedConcurrency,
    LimitStats,
    PrefixStats,
    ShareStats,
    Stats,
)

_WINDOW = 5.0  # s, over which rates are taken
_SHORTEST = 1.0  # s: the first calls come at once, and are no rate
_PACE = 60.0  # s, over which the pace for the time left is taken
_HISTORY = 240  # seconds that a sparkline can show
_WORDS = {
    "cooldown": "a cooldown",
    "share": "other members of the share",
    "prefix": "a prefix that is not in the cache yet",
}
_PAUSE = "a pause"
_PLENTY = 600.0  # s: a bucket with so much in store does not bind now, such as one per day


@dataclass(frozen=True)
class Meter:
    """A rate per second, its limit if it has one, and its value in each of the last seconds."""

    name: str
    rate: float
    limit: float | None
    history: tuple[float, ...]

    @property
    def share(self) -> str:
        """The share of the limit. Above 1 a full bucket is being used at once."""
        if not self.limit:
            return ""
        share = self.rate / self.limit
        return f"{min(share, 1.0):.0%}" if share < 1.05 else "burst"


@dataclass(frozen=True)
class Snapshot:
    """A sample of a run. Times are in seconds.

    The rates are of passed calls, `refusals` of refused ones. `total` is the number of lines, None
    while it is unknown. `concurrency` is the given bound on calls at a time. `learned`
    is the number that the provider takes, None while it is unknown. `input_price` is in US dollars
    for a million tokens, None if it is not given. `waited_for_share` is the time for which the
    queue has waited for other members of the share."""

    elapsed: float
    counts: Counts
    total: int | None
    meters: tuple[Meter, ...]
    refusals: float
    limits: tuple[LimitStats, ...]
    margin: float
    in_flight: int
    waiting: int
    concurrency: int | None
    learned: LearnedConcurrency | None
    cooldown: float
    held_back_by: str
    left: float | None
    stopping: str | None
    prefixes: PrefixStats | None = None
    input_price: float | None = None
    share: ShareStats | None = None
    waited_for_share: float = 0.0

    @property
    def done(self) -> int:
        return self.counts.done_before + self.counts.finished


@dataclass(frozen=True)
class _Sample:
    time: float
    finished: int
    refused: int
    used: dict[str, float]
    held: dict[str, float]


class Monitor:
    """Takes samples of a run. Call `look` several times a second."""

    def __init__(self, start: float, input_price: float | None = None) -> None:
        self._start = start
        self._input_price = input_price
        self._recent: deque[_Sample] = deque()
        self._seconds: dict[str, deque[float]] = {}
        self._last_second = _Sample(start, 0, 0, {}, {})
        self._paces: deque[tuple[float, int]] = deque()  # times and numbers of finished lines

    def look(
        self,
        now: float,
        counts: Counts,
        stats: Stats,
        *,
        total: int | None,
        in_flight: int,
        concurrency: int | None,
        stopping: str | None,
        paused: bool = False,
    ) -> Snapshot:
        used: dict[str, float] = {}
        limits: dict[str, float] = {}
        for limit in stats.limits:
            used[limit.name] = counts.passed(limit)
            if limit.level < _PLENTY * limit.rate and limit.rate < UNLIMITED:
                limits[limit.name] = min(limit.rate, limits.get(limit.name, limit.rate))
        used.setdefault("requests", counts.requests)
        if "tokens" not in used and "input_tokens" not in used:
            used["tokens"] = counts.input_tokens + counts.output_tokens
        sample = _Sample(now, counts.finished, counts.refused, used, _held(stats))
        self._recent.append(sample)
        while len(self._recent) > 2 and now - self._recent[0].time > _WINDOW:
            self._recent.popleft()
        self._note_second(sample)
        first = self._recent[0]
        span = max(now - first.time, _SHORTEST)
        meters = tuple(
            Meter(
                name,
                max(0.0, amount - first.used.get(name, 0.0)) / span,
                limits.get(name),
                tuple(self._seconds.get(name, ())),
            )
            for name, amount in sorted(used.items(), key=lambda item: item[0] == "requests")
        )
        return Snapshot(
            elapsed=now - self._start,
            counts=counts,
            total=total,
            meters=meters,
            refusals=(sample.refused - first.refused) / span,
            limits=stats.limits,
            margin=stats.margin,
            in_flight=in_flight,
            waiting=stats.waiting,
            concurrency=concurrency,
            learned=stats.concurrency,
            cooldown=stats.cooldown_left,
            held_back_by=_PAUSE if paused else _holding(first.held, sample.held),
            left=None if paused else self._left(now, counts, stats, total, in_flight, concurrency),
            stopping=stopping,
            prefixes=stats.prefixes,
            input_price=self._input_price,
            share=stats.share,
            waited_for_share=sample.held.get("share", 0.0),
        )

    def _note_second(self, sample: _Sample) -> None:
        span = sample.time - self._last_second.time
        if span < 1.0:
            return
        for name, amount in sample.used.items():
            before = self._last_second.used.get(name, 0.0)
            history = self._seconds.setdefault(name, deque(maxlen=_HISTORY))
            history.append(max(0.0, amount - before) / span)
        self._last_second = sample

    def _left(
        self,
        now: float,
        counts: Counts,
        stats: Stats,
        total: int | None,
        in_flight: int,
        concurrency: int | None,
    ) -> float | None:
        """Returns the time left that the limits allow, but not less than the last minute's pace
        needs. (At first a full bucket is used, and that pace says nothing of the rest.)"""
        if total is None or not counts.timed:
            return None
        self._paces.append((now, counts.finished))
        while len(self._paces) > 2 and now - self._paces[1][0] > _PACE:
            self._paces.popleft()
        undone = max(0, total - counts.done_before - counts.finished)
        waiting = max(0, undone - in_flight)
        seconds = counts.seconds / counts.timed
        times = [stats.cooldown_left if undone else 0.0]
        for limit in stats.limits:
            if 0 < limit.rate < UNLIMITED:
                each = counts.passed(limit) / max(1, counts.requests)
                times.append((waiting * each - limit.level) / limit.rate)
        slots = concurrency if stats.concurrency is None else stats.concurrency.calls
        if slots:
            times.append(waiting * seconds / slots)
        since, before = self._paces[0]
        if now - since >= _PACE and counts.finished > before:
            times.append(undone * (now - since) / (counts.finished - before) - seconds)
        return max(times) + (seconds if undone else 0.0)


def _held(stats: Stats) -> dict[str, float]:
    """Returns the seconds for which each cause has held the queue back so far."""
    return {cause: share * stats.elapsed for cause, share in causes(stats).items()}


def _holding(before: dict[str, float], after: dict[str, float]) -> str:
    grown = {name: seconds - before.get(name, 0.0) for name, seconds in after.items()}
    most = max(grown, key=lambda name: grown[name])
    return _WORDS.get(most, most.replace("_", " ")) if grown[most] > 0 else ""
