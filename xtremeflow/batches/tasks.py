"""Tasks that belong to one piece of work: ended together, their results read as a stream."""

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
    """Return once every one of the cancelled tasks has ended; their outcomes count as seen.

    A caller cancelled meanwhile passes the cancellation on to what still runs, waits all the
    same, and is cancelled afterwards: nothing is left running behind it.
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
    """Close an async generator that will not be read any further; leave other sources alone."""
    if isinstance(source, AsyncGenerator):
        await source.aclose()


def failed(task: asyncio.Future[Any]) -> bool:
    """Whether an ended task was cancelled or raised; its exception counts as retrieved."""
    return task.cancelled() or task.exception() is not None


class ResultStream(Generic[T]):
    """Hands ended futures to one consumer: in the order in which they were announced, or ended.

    A failure stops the stream (unless `keep_going`): the tasks that feed it are cancelled, and
    `stopped` asks the owner to start nothing more. The failed future is handed out where its
    result would have been if ordered, and after every result that is ready by then if not.
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
        """Start a task that ends with the stream at the latest."""
        task = asyncio.create_task(coro)
        self.feeders.append(task)
        return task

    def run(self, task: asyncio.Task[Any]) -> None:
        """Take charge of a task that works on results: it will not outlive the stream."""
        self.running.add(task)
        task.add_done_callback(self.running.discard)
        if self.stopped:  # the feeder was slow to end
            task.cancel()

    def announce(self, future: asyncio.Future[T]) -> None:
        """There will be a result: `settle` must follow when the future has ended."""
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
        """Nothing more will be announced: the stream ends with what is."""
        self._complete = True
        self._changed.set()

    async def next(self) -> asyncio.Future[T] | None:
        """The next ended future; None at the end of the stream."""
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
        """Cancel what still runs and return once all of it has ended."""
        self._stop()
        cancel(self.running)
        try:
            await all_ended(self.feeders)
        finally:
            await all_ended(self.running)

    def _stop(self) -> None:
        if not self.stopped:  # once: a second cancellation would break into their clean-up
            self.stopped = True
            cancel(self.feeders)
