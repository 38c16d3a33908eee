"""Tasks of one piece of work, which end together and whose results are read as a stream."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Coroutine, Iterable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


def cancel(tasks: Iterable[asyncio.Future[Any]]) -> None:
    for task in tasks:
        task.cancel()


async def all_ended(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Returns when all of the cancelled tasks have ended. Their outcomes count as retrieved.

    If the caller is cancelled meanwhile, it cancels the running tasks again, waits for them all the
    same, and is cancelled afterwards. So no task is left running.
    """
    tasks = list(tasks)
    interrupted: asyncio.CancelledError | None = None
    while pending := [task for task in tasks if not task.done()]:
        try:
            await asyncio.wait(pending)
        except asyncio.CancelledError as exc:
            interrupted = exc
            cancel(pending)
    for task in tasks:
        failed(task)
    if interrupted is not None:
        raise interrupted


async def close_source(source: object) -> None:
    """Closes an async generator that will not be read any further. Does nothing to other
    sources."""
    if isinstance(source, AsyncGenerator):
        await source.aclose()


def failed(task: asyncio.Future[Any]) -> bool:
    """Whether an ended task was cancelled or raised. Its exception counts as retrieved."""
    return task.cancelled() or task.exception() is not None


class ResultStream(Generic[T]):
    """Hands ended futures to one consumer, in the order of announcement or of ending.

    A failure stops the stream (unless `keep_going`). The tasks that feed it are cancelled, and
    `stopped` tells the owner to start nothing more. An ordered stream hands out the failed future
    in its result's place, another one after all results that are ready by then.
    """

    def __init__(self, *, ordered: bool, keep_going: bool = False) -> None:
        self.running: set[asyncio.Task[Any]] = set()
        self.feeders: list[asyncio.Task[None]] = []
        self.stopped = False
        self.unsettled = 0  # announced, not ended
        self._ordered = ordered
        self._keep_going = keep_going
        self._complete = False
        self._outcomes: deque[asyncio.Future[T]] = deque()
        self._failure: asyncio.Future[T] | None = None
        self._changed = asyncio.Event()

    def feed(self, coro: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Starts a task that ends with the stream at the latest."""
        task = asyncio.create_task(coro)
        self.feeders.append(task)
        return task

    def run(self, task: asyncio.Task[Any]) -> None:
        """Takes charge of a task that works on results, so that it does not outlive the stream."""
        self.running.add(task)
        task.add_done_callback(self.running.discard)
        if self.stopped:  # the feeder ends late
            task.cancel()

    def announce(self, future: asyncio.Future[T]) -> None:
        """Announces a result. `settle` must follow when the future has ended."""
        self.unsettled += 1
        if self._ordered:
            self._outcomes.append(future)

    def settle(self, future: asyncio.Future[T]) -> None:
        self.unsettled -= 1
        fatal = failed(future) and not self._keep_going
        if fatal:
            self._stop()
        if not self._ordered:
            if not fatal:
                self._outcomes.append(future)
            elif self._failure is None:
                self._failure = future
        self._changed.set()

    def complete(self) -> None:
        """Ends the announcements: the stream ends with those so far."""
        self._complete = True
        self._changed.set()

    async def next(self) -> asyncio.Future[T] | None:
        """Returns the next ended future, or None at the end of the stream."""
        while True:
            if self._outcomes and self._outcomes[0].done():
                return self._outcomes.popleft()
            if self._failure is not None:
                return self._failure
            if self._complete and not self.unsettled:
                return None
            self._changed.clear()
            await self._changed.wait()

    async def close(self) -> None:
        """Cancels all running tasks and returns when they have ended."""
        self._stop()
        cancel(self.running)
        try:
            await all_ended(self.feeders)
        finally:
            await all_ended(self.running)

    def _stop(self) -> None:
        if not self.stopped:  # only once: a second cancellation would interrupt their clean-up
            self.stopped = True
            cancel(self.feeders)
