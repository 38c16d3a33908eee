"""The progress of a batch: a bar where tqdm is installed, else a line every ten seconds."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import time
from collections.abc import Callable, Iterable, Sized
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Protocol

_INTERVAL = 10.0  # s, between two lines
_LOOKS = 1.0  # s, between two looks at the limits


class Limited(Protocol):
    """A limit, of `xtremeflow.LimitStats`."""

    @property
    def name(self) -> str: ...
    @property
    def rate(self) -> float: ...
    @property
    def level(self) -> float: ...
    @property
    def used(self) -> int: ...


class StatsLike(Protocol):
    """A scheduler's state, of `xtremeflow.Stats`."""

    @property
    def admitted(self) -> int: ...
    @property
    def in_flight(self) -> int: ...
    @property
    def limits(self) -> Iterable[Limited]: ...
    @property
    def cooldown_left(self) -> float: ...


def time_left(stats: StatsLike, undone: int, pace: float) -> tuple[float, str] | None:
    """Returns the seconds that `undone` calls still need, and the cause that binds.

    A limit needs the rest of the calls' cost, at the mean of the calls so far, divided by its rate;
    its level is there at once. `pace`, the calls per second so far, stands for everything else:
    the calls at a time and their duration. A cooldown comes before. None while nothing is known.
    """
    if undone <= 0:
        return 0.0, ""
    causes: list[tuple[float, str]] = []
    waiting = max(0, undone - stats.in_flight)
    if pace > 0:
        causes.append((undone / pace, "pace"))
    for limit in stats.limits:
        if stats.admitted and limit.rate > 0:
            each = limit.used / stats.admitted
            causes.append(((waiting * each - limit.level) / limit.rate, limit.name))
    if not causes or pace <= 0:
        return None
    seconds, cause = max(causes)
    return max(0.0, seconds) + stats.cooldown_left, cause


class Progress(AbstractContextManager["Progress"]):
    """Shows how many of the items of a batch are done. `total` is None where it is unknown."""

    def __init__(
        self,
        what: str,
        total: int | None,
        look: Callable[[], StatsLike] | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total = total
        self._done = 0
        self._look = look
        self._clock = clock
        self._what = what
        self._began = self._next_look = 0.0
        self._view: _View | None = None

    def grow(self, items: int) -> None:
        """Notes that the batch has so many items more."""
        self._total = (self._total or 0) + items
        if self._view is not None:
            self._view.total(self._total)

    def __enter__(self) -> Progress:
        self._began = self._clock()
        self._next_look = self._began + _LOOKS
        view = _bar(self._what, self._total)
        self._view = _Lines(self._what, self._total, self._clock) if view is None else view
        return self

    def step(self, _: object = None) -> None:
        """Notes that an item is done."""
        if self._view is None:
            return
        self._done += 1
        now = self._clock()
        if now >= self._next_look and self._look is not None and self._total is not None:
            self._next_look = now + _LOOKS
            pace = self._done / (now - self._began)
            self._view.left(time_left(self._look(), self._total - self._done, pace))
        self._view.step(self._done)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        view, self._view = self._view, None
        if view is not None:
            view.close(self._done)


def look_of(scheduler: Any) -> Callable[[], StatsLike] | None:
    """Returns what tells of a scheduler's limits, if it is one of ours."""
    return getattr(scheduler, "stats", None)


def known_length(items: object) -> int | None:
    """Returns the number of items where that is known."""
    return len(items) if isinstance(items, Sized) else None


def _shown(left: tuple[float, str] | None) -> str:
    if left is None:
        return "?"
    seconds, cause = left
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"
    return text if cause in ("", "pace") else f"{text} by {cause.replace('_', ' ')}"


class _View(Protocol):
    def total(self, items: int) -> None: ...
    def left(self, left: tuple[float, str] | None) -> None: ...
    def step(self, done: int) -> None: ...
    def close(self, done: int) -> None: ...


class _Lines:
    """A line on standard error every ten seconds, and one at the end if there was another."""

    def __init__(self, what: str, total: int | None, clock: Callable[[], float]) -> None:
        self._what = what
        self._total = total
        self._clock = clock
        self._next = clock() + _INTERVAL
        self._left: tuple[float, str] | None = None
        self._has_written = False

    def total(self, items: int) -> None:
        self._total = items

    def left(self, left: tuple[float, str] | None) -> None:
        self._left = left

    def step(self, done: int) -> None:
        now = self._clock()
        if now >= self._next:
            self._next = now + _INTERVAL
            self._write(done, "" if self._left is None else f", {_shown(self._left)} left")

    def close(self, done: int) -> None:
        if self._has_written:
            self._write(done, "")

    def _write(self, done: int, rest: str) -> None:
        self._has_written = True
        of = "" if self._total is None else f" of {self._total:,}"
        print(f"{self._what}: {done:,}{of} done{rest}", file=sys.stderr, flush=True)


def _bar(what: str, total: int | None) -> _View | None:
    """Returns tqdm's bar, a notebook's in a notebook; None where tqdm is not installed."""
    if importlib.util.find_spec("tqdm") is None:
        return None
    auto: Any = importlib.import_module("tqdm.auto")

    class Bar(auto.tqdm):  # type: ignore[misc]
        """tqdm's bar, with the time left that the limits allow in place of its own guess."""

        told = "?"

        @property
        def format_dict(self) -> dict[str, Any]:
            base: Any = super()
            return {**base.format_dict, "told": self.told}

    return _Bar(Bar, what, total)


class _Bar:
    def __init__(self, cls: Any, what: str, total: int | None) -> None:
        form = "{desc}: {n_fmt} [{elapsed}, {rate_fmt}]"
        if total is not None:
            form = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{told}, {rate_fmt}]"
        self._bar = cls(desc=what, total=total, bar_format=form)

    def total(self, items: int) -> None:
        self._bar.total = items

    def left(self, left: tuple[float, str] | None) -> None:
        self._bar.told = _shown(left)

    def step(self, done: int) -> None:
        self._bar.update()

    def close(self, done: int) -> None:
        self._bar.told = "00:00"
        self._bar.close()
