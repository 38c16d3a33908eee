"""TaskScheduler: the native queue with a number of slots, and what all schedulers can do."""

from __future__ import annotations

from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Callable,
    Coroutine,
    Iterable,
    Mapping,
    Sequence,
)
from typing import Any, Literal, TypeVar, overload

from .. import _core
from ..limits import Limit, check_not_negative, check_positive
from ..mapping import map_calls
from ..stats import Stats, stats_from

T = TypeVar("T")
Item = TypeVar("Item")
Estimate = float | Mapping[str, float]


class Slots:
    """What programs read of 0.4.4's ``scheduler.semaphore``: a view, to look at only."""

    def __init__(self, scheduler: _core.Scheduler) -> None:
        self._scheduler = scheduler

    @property
    def _value(self) -> int | None:
        total = self._scheduler.max_concurrency
        return None if total is None else max(0, total - self._scheduler.active_tasks)

    def locked(self) -> bool:
        """Whether a new call would have to wait for a slot."""
        return self._value == 0 or self._scheduler.waiting > 0

    def __repr__(self) -> str:
        free = self._value
        return f"<slots free={'unlimited' if free is None else free}>"


class TaskScheduler(_core.Scheduler):
    """Runs coroutines, no more than ``max_concurrency`` at a time, in order of submission.

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
        check_not_negative("burst_ratio", burst_ratio)
        self._burst_ratio = burst_ratio
        super().__init__(
            limits=[self._define(limit) for limit in limits], max_concurrency=max_concurrency
        )

    def _define(self, limit: Limit) -> tuple[str, float, float, float]:
        if not isinstance(limit, Limit):
            raise TypeError(f"limits must be Limit objects, not {limit!r}")
        capacity = limit.capacity
        if capacity is None:
            capacity = self._burst_ratio * limit.rate
        return limit.name, float(limit.amount), float(limit.per), float(capacity)

    def set_limit(self, limit: Limit) -> None:
        """Replace the limit of the same name by ``limit``; its level stays, up to the new capacity.

        Where several limits have that name, the one of the same period is meant.

        Raises:
            ValueError: There is no such limit.
        """
        definition = self._define(limit)
        named = [i for i, name in enumerate(self.limit_names) if name == limit.name]
        if len(named) > 1:
            named = [i for i in named if self._periods[i] == limit.per]
        if not named:
            raise ValueError(f"there is no limit like {limit!r}; there are {self.limit_names!r}")
        self._retune(named[0], definition)

    @property
    def semaphore(self) -> Slots:
        """The free slots, as far as programs for 0.4.4 looked at its semaphore."""
        return Slots(self)

    async def wait_pending(self) -> None:
        """Wait until no call waits or is in flight, those that start meanwhile included.

        Called from within a call of this scheduler, it waits for all the others.
        """
        await self._drained()

    def stats(self) -> Stats:
        """Return what has happened so far, and what left quota idle."""
        return stats_from(self._snapshot())
