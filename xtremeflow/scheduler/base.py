"""TaskScheduler: the native queue with a number of slots, and what all schedulers can do."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine, Iterable
from typing import Any, Literal, TypeVar, overload

from .. import _core
from .._arguments import check_number
from ..limits import Limit
from ..mapping import Cost, map_calls
from ..stats import Stats, stats_from

T = TypeVar("T")
R = TypeVar("R")


class TaskScheduler(_core.Scheduler):
    """Runs coroutines in order of submission, no more than ``max_concurrency`` at a time.

    Args:
        max_concurrency: Calls in flight at a time, at least 1; ``None`` is no limit. May be
            changed later by assignment.
        limits: Rate limits that every call must pass as well.
        burst_ratio: Seconds of its rate that a limit without a capacity allows at once.

    Raises:
        TypeError, ValueError: An argument is of the wrong type or out of its range.
    """

    def __init__(
        self,
        max_concurrency: int | None = None,
        *,
        limits: Iterable[Limit] = (),
        burst_ratio: float = 0.0,
    ) -> None:
        check_number("burst_ratio", burst_ratio, zero=True)
        self._burst_ratio = burst_ratio
        self._limits = list(limits)
        super().__init__(
            limits=[self._defined(limit) for limit in self._limits],
            max_concurrency=max_concurrency,
        )

    def _defined(self, limit: Limit) -> tuple[str, float, float, float]:
        if not isinstance(limit, Limit):
            raise TypeError(f"limits must be Limit objects, got {limit!r}")
        capacity = limit.capacity
        if capacity is None:
            capacity = self._burst_ratio * limit.rate
        return limit.name, float(limit.amount), float(limit.per), float(capacity)

    @overload
    def map(
        self,
        fn: Callable[[T], Coroutine[Any, Any, R]],
        items: Iterable[T] | AsyncIterable[T],
        *,
        estimated_tokens: Cost | Callable[[T], Cost] = 0,
        priority: int = 0,
        timeout: float | None = None,
        ordered: bool = True,
        return_exceptions: Literal[False] = False,
        window: int | None = None,
    ) -> AsyncGenerator[R, None]: ...
    @overload
    def map(
        self,
        fn: Callable[[T], Coroutine[Any, Any, R]],
        items: Iterable[T] | AsyncIterable[T],
        *,
        estimated_tokens: Cost | Callable[[T], Cost] = 0,
        priority: int = 0,
        timeout: float | None = None,
        ordered: bool = True,
        return_exceptions: Literal[True],
        window: int | None = None,
    ) -> AsyncGenerator[R | BaseException, None]: ...
    def map(
        self,
        fn: Callable[[T], Coroutine[Any, Any, R]],
        items: Iterable[T] | AsyncIterable[T],
        *,
        estimated_tokens: Cost | Callable[[T], Cost] = 0,
        priority: int = 0,
        timeout: float | None = None,
        ordered: bool = True,
        return_exceptions: bool = False,
        window: int | None = None,
    ) -> AsyncGenerator[Any, None]:
        """Call ``fn`` on every item, each call admitted by this scheduler, and yield the results.

        See `xtremeflow.mapping.map_calls`, which says it all.
        """
        return map_calls(
            self,
            fn,
            items,
            estimated_tokens=estimated_tokens,
            priority=priority,
            timeout=timeout,
            ordered=ordered,
            return_exceptions=return_exceptions,
            window=window,
        )

    async def wait_pending(self) -> None:
        """Wait until no call waits or is in flight, those that start meanwhile included.

        Called from within a call of this scheduler, it waits for all the others. The results and
        exceptions stay in the tasks.
        """
        await self._drained()

    @property
    def limits(self) -> tuple[Limit, ...]:
        """The rate limits, as they are now."""
        return tuple(self._limits)

    def set_limit(self, limit: Limit) -> None:
        """Replace the limit of the same name; the bucket's level stays, up to the new capacity.

        Where several limits have that name, the one of the same period is meant. Calls that wait
        are looked at again at once.

        Raises:
            ValueError: There is no such limit.
        """
        definition = self._defined(limit)
        named = [i for i, own in enumerate(self._limits) if own.name == limit.name]
        if len(named) > 1:
            named = [i for i in named if self._limits[i].per == limit.per]
        if not named:
            raise ValueError(f"limit must be like one of {self._limits!r}, got {limit!r}")
        self._retune(named[0], definition)
        self._limits[named[0]] = limit

    def stats(self) -> Stats:
        """Return what has happened so far, and what left quota idle."""
        return stats_from(self._snapshot())

    @property
    def semaphore(self) -> Slots:
        """The free slots, for programs that look at the semaphore of version 0.4.4."""
        return Slots(self)


class Slots:
    """A view of a scheduler's slots that answers as the asyncio.Semaphore of 0.4.4 did."""

    def __init__(self, scheduler: _core.Scheduler) -> None:
        self._scheduler = scheduler

    @property
    def _value(self) -> int | None:
        total = self._scheduler.max_concurrency
        return None if total is None else max(0, total - self._scheduler.active_tasks)

    def locked(self) -> bool:
        """Whether a new call would have to wait for a slot."""
        return self._value == 0

    def __repr__(self) -> str:
        free = self._value
        return f"<Slots, {'no limit' if free is None else f'{free} free'}>"
