"""The semaphore of version 0.4.4, for programs that read it."""

from __future__ import annotations

from xtremeflow import _core


class Semaphore:
    """A view of a scheduler's slots with the methods of 0.4.4's asyncio.Semaphore."""

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
        return f"<Semaphore, {'no limit' if free is None else f'{free} free'}>"
