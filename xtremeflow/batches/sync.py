"""The implementation of `scheduler.map_sync`: results of an event loop for code that has none."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import queue
import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing
from typing import Any, Generic, TypeVar

R = TypeVar("R")


def results_of(source: AsyncGenerator[R, None]) -> Generator[R, None, None]:
    """Yields what an async generator does, which runs in an event loop and a thread of its own.

    It runs ahead by one result at most. When the consumer leaves, it is closed and the thread has
    ended before control returns.
    """
    reading = _Reading(source)
    thread = threading.Thread(
        target=contextvars.copy_context().run, args=(reading.main,), name="xtremeflow.map_sync"
    )
    thread.start()
    try:
        while (taken := reading.take()) is not None:
            yield taken[0]
    finally:
        reading.leave()
        thread.join()


class _Reading(Generic[R]):
    """One async generator on its way through a thread."""

    def __init__(self, source: AsyncGenerator[R, None]) -> None:
        self._source = source
        self._ready = threading.Event()
        self._results: queue.SimpleQueue[tuple[R] | BaseException | None] = queue.SimpleQueue()

    # ---- in the thread ----

    def main(self) -> None:
        try:
            asyncio.run(self._read())
        except BaseException as error:
            self._results.put(error)
        else:
            self._results.put(None)
        finally:
            self._ready.set()

    async def _read(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._room = asyncio.Semaphore(1)
        self._ready.set()
        async with aclosing(self._source) as source:
            async for result in source:
                await self._room.acquire()
                self._results.put((result,))

    # ---- in the consumer's ----

    def take(self) -> tuple[R] | None:
        """Waits for the next result. None at the end; the source's exception is raised."""
        taken = self._results.get()
        if isinstance(taken, BaseException):
            raise taken
        if taken is not None:
            self._call(self._room.release)
        return taken

    def leave(self) -> None:
        """Ends the source, wherever it is."""
        self._ready.wait()
        task: asyncio.Task[Any] | None = getattr(self, "_task", None)
        if task is not None:
            self._call(task.cancel)

    def _call(self, function: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the source has ended
            self._loop.call_soon_threadsafe(function)
