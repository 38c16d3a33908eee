"""What a run is doing now, sampled: for the views."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from xtremeflow import LimitStats, Stats
from xtremeflow.learning.follower import UNLIMITED
from xtremeflow.run.runner import Counts

_WINDOW = 5.0  # s, over which rates are taken
_HISTORY = 240  # seconds that a sparkline can show
_PLENTY = 600.0  # s: a bucket with so much in store limits no rate for now, as one per day


@dataclass(frozen=True)
class Gauge:
    """A rate per second, its limit if it has one, and how it was in each of the last seconds."""

    name: str
    rate: float
    limit: float | None
    history: tuple[float, ...]


@dataclass(frozen=True)
class Snapshot:
    """`total` is the number of lines, None while it is not known; times are in seconds.
    `concurrency` is how many calls at a time were allowed, `learned_concurrency` how many of them
    the provider takes, None while that is not known; the next two say why, and how sure that is."""

    elapsed: float
    counts: Counts
    total: int | None
    gauges: tuple[Gauge, ...]
    limits: tuple[LimitStats, ...]
    margin: float
    in_flight: int
    waiting: int
    concurrency: int | None
    learned_concurrency: int | None
    concurrency_learned: str | None
    concurrency_confidence: float | None
    cooldown: float
    held_back_by: str
    left: float | None
    stopping: str | None

    @property
    def done(self) -> int:
        return self.counts.done_before + self.counts.finished


@dataclass(frozen=True)
class _Sample:
    time: float
    finished: int
    used: dict[str, float]
    held: dict[str, float]


class Monitor:
    """Call `look` several times a second."""

    def __init__(self, start: float) -> None:
        self._start = start
        self._recent: deque[_Sample] = deque()
        self._seconds: dict[str, deque[float]] = {}
        self._last_second = _Sample(start, 0, {}, {})
        self._first_done: tuple[float, int] | None = None

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
    ) -> Snapshot:
        used: dict[str, float] = {}
        limits: dict[str, float] = {}
        for limit in stats.limits:
            used[limit.name] = limit.used
            if limit.level < _PLENTY * limit.rate and limit.rate < UNLIMITED:
                limits[limit.name] = min(limit.rate, limits.get(limit.name, limit.rate))
        used.setdefault("requests", counts.attempts)
        if "tokens" not in used and "input_tokens" not in used:
            used["tokens"] = counts.input_tokens + counts.output_tokens
        sample = _Sample(now, counts.finished, used, _held(stats))
        self._recent.append(sample)
        while len(self._recent) > 2 and now - self._recent[0].time > _WINDOW:
            self._recent.popleft()
        self._note_second(sample)
        first = self._recent[0]
        span = max(now - first.time, 1e-9)
        gauges = tuple(
            Gauge(
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
            gauges=gauges,
            limits=stats.limits,
            margin=stats.margin,
            in_flight=in_flight,
            waiting=stats.waiting,
            concurrency=concurrency,
            learned_concurrency=stats.learned_concurrency,
            concurrency_learned=stats.concurrency_learned,
            concurrency_confidence=stats.concurrency_confidence,
            cooldown=stats.cooldown_left,
            held_back_by=_holding(first.held, sample.held),
            left=self._left(now, counts, total),
            stopping=stopping,
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

    def _left(self, now: float, counts: Counts, total: int | None) -> float | None:
        """By the rate since the first call ended, which the calls in flight have no part in."""
        if total is None or not counts.finished:
            return None
        if self._first_done is None:
            self._first_done = (now, counts.finished)
        since, before = self._first_done
        if now - since < 2.0 or counts.finished <= before:
            return None
        rate = (counts.finished - before) / (now - since)
        return max(0, total - counts.done_before - counts.finished) / rate


def _held(stats: Stats) -> dict[str, float]:
    """For how many seconds each thing held the queue back so far."""
    shares: dict[str, float] = {}
    for limit in stats.limits:  # two may have one name
        shares[limit.name] = shares.get(limit.name, 0.0) + limit.held_back
    shares["concurrency"] = stats.held_by_concurrency
    shares["a cooldown"] = stats.held_by_cooldown
    shares[""] = stats.idle
    return {name: share * stats.elapsed for name, share in shares.items()}


def _holding(before: dict[str, float], after: dict[str, float]) -> str:
    grown = {name: seconds - before.get(name, 0.0) for name, seconds in after.items()}
    most = max(grown, key=lambda name: grown[name])
    return most.replace("_", " ") if grown[most] > 0 else ""
