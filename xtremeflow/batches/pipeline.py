"""async_pipeline: a producer, bounded queues and an elastic number of workers.

    producer --put--> queue --> process_item (at most `workers` at a time) --> results

Each side waits when the next is full, so a slow consumer slows the producer down. A worker is a
task that exists only while there are items for it. No task waits in the queue's `get`, so the end
needs no marks among the items, and the number of workers is just a number.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import math
import warnings
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from typing import Any, TypeVar, overload

from xtremeflow.batches.tasks import ResultStream
from xtremeflow.values.arguments import (
    check_async_iterable,
    check_callable,
    check_flag,
    check_int,
    check_number,
)

T = TypeVar("T")
R = TypeVar("R")


@overload
def async_pipeline(
    producer: Callable[[asyncio.Queue[T]], Awaitable[object]],
    process_item: None = None,
    workers: int = 1,
    max_workers: int | None = None,
    load_factor: float = 2,
    check_interval: float = 1.0,
    *,
    maxsize: int = 1024,
    ordered: bool = False,
) -> AsyncGenerator[T, None]: ...
@overload
def async_pipeline(
    producer: Callable[[asyncio.Queue[T]], Awaitable[object]],
    process_item: Callable[[T], Awaitable[R]],
    workers: int = 1,
    max_workers: int | None = None,
    load_factor: float = 2,
    check_interval: float = 1.0,
    *,
    maxsize: int = 1024,
    ordered: bool = False,
) -> AsyncGenerator[R, None]: ...
def async_pipeline(
    producer: Callable[[asyncio.Queue[Any]], Awaitable[object]],
    process_item: Callable[[Any], Awaitable[Any]] | None = None,
    workers: int = 1,
    max_workers: int | None = None,
    load_factor: float = 2,
    check_interval: float = 1.0,
    *,
    maxsize: int = 1024,
    ordered: bool = False,
) -> AsyncGenerator[Any, None]:
    """Yields `await process_item(item)` for every item that the producer puts into its queue.

    Args:
        producer: `async def producer(queue)`. It writes items, None included, with
            `await queue.put(item)`, which waits while the queue is full. `put_nowait` never
            refuses, as on an unbounded queue. The pipeline ends when the producer has returned
            and all its items are done.
        process_item: An async function of one item. None passes the items on as they are.
        workers: Items that are processed at a time.
        max_workers: The number of workers grows up to this while items pile up, and falls back to
            `workers` when no item waits. None: no growth.
        load_factor: Items (waiting or in process) per worker that growth aims at.
        check_interval: Seconds between two looks at the load.
        maxsize: Items that may wait for a worker, and results that may wait for the consumer
            besides those of the items in process. 0: no bound.
        ordered: Whether to yield in the order of the queue, or of completion.

    Processing runs ahead of the consumer within these bounds. A producer's error is raised after
    its items have been processed and yielded. An error of process_item stops the producer and the
    waiting items. It is raised after the results that are ready by then; with `ordered`, in its
    item's place. Whichever way the generator ends, an `aclose()` included, the producer and the
    items in process have ended too: wrap it in `contextlib.aclosing` if you may leave it early.
    """
    check_callable("producer", producer, "an async function of a queue")
    if process_item is not None:
        check_callable("process_item", process_item, "an async function of an item or None")
    workers = check_int("workers", workers, 1)
    maxsize = check_int("maxsize", maxsize, 0)
    load_factor = check_number("load_factor", load_factor, zero=False)
    check_interval = check_number("check_interval", check_interval, zero=True)
    check_flag("ordered", ordered)
    if max_workers is None:
        max_workers = workers
    max_workers = check_int("max_workers", max_workers)
    if max_workers < workers:
        warnings.warn(
            f"max_workers={max_workers} is below workers={workers} and is ignored", stacklevel=2
        )
        max_workers = workers
    pipeline = _Pipeline(producer, process_item, workers, max_workers, maxsize, ordered)
    return pipeline.run(load_factor, check_interval)


def async_chunks(iterable: AsyncIterable[T], size: int) -> AsyncGenerator[list[T], None]:
    """Yields the items of an async iterable in lists of `size`; the last may be shorter.

    If the iterable raises, the items read so far are yielded before its error is raised.
    """
    check_async_iterable("iterable", iterable)
    return _chunks(iterable, check_int("size", size, 1))


async def _chunks(iterable: AsyncIterable[T], size: int) -> AsyncGenerator[list[T], None]:
    iterator = aiter(iterable)
    while True:
        chunk: list[T] = []
        try:
            while len(chunk) < size:
                chunk.append(await anext(iterator))
        except Exception as exc:
            if chunk:
                yield chunk
            if isinstance(exc, StopAsyncIteration):
                return
            raise
        yield chunk


class _ProducerQueue(asyncio.Queue[Any]):
    """A queue whose `put` waits while it is full, and whose `put_nowait` never refuses.

    In 0.4.4 producers had an unbounded queue. Those that use put_nowait keep working.
    """

    def __init__(self, maxsize: int, on_put: Callable[[], None]) -> None:
        super().__init__(maxsize)
        self._on_put = on_put
        self._forced = False

    def full(self) -> bool:
        return not self._forced and super().full()

    def put_nowait(self, item: Any) -> None:
        self._forced = True
        try:
            super().put_nowait(item)
        finally:
            self._forced = False
        self._on_put()


class _Pipeline:
    # Whichever side makes room starts the next worker, but all work in the consumer's context.
    context: contextvars.Context

    def __init__(
        self,
        producer: Callable[[asyncio.Queue[Any]], Awaitable[object]],
        process_item: Callable[[Any], Awaitable[Any]] | None,
        workers: int,
        max_workers: int,
        maxsize: int,
        ordered: bool,
    ) -> None:
        self.producer = producer
        self.process_item = process_item
        self.workers = workers
        self.max_workers = max_workers
        self.maxsize = maxsize
        self.limit = workers  # workers allowed now
        self.working = 0
        self.starting = 0  # of these, those that have taken no item yet
        self.taken = 0  # items taken from the queue whose results the consumer has not received
        self.produced = False
        self.stream: ResultStream[Any] = ResultStream(ordered=ordered)
        self.queue = _ProducerQueue(maxsize, self.dispatch)

    async def run(self, load_factor: float, check_interval: float) -> AsyncGenerator[Any, None]:
        self.context = contextvars.copy_context()
        producing = self.stream.feed(self.produce())
        producing.add_done_callback(self.end_of_production)
        if self.max_workers > self.workers:
            self.stream.feed(self.adapt(load_factor, check_interval))
        try:
            while (outcome := await self.stream.next()) is not None:
                self.taken -= 1
                self.dispatch()
                yield outcome.result()
            producing.result()
        finally:
            await self.stream.close()

    def dispatch(self) -> None:
        """Starts workers for the items that may be taken now. Called whenever these may have
        changed."""
        while self.working < self.limit and self.starting < self.queue.qsize() and self.may_take():
            self.working += 1
            self.starting += 1
            # A copy: an eager task may come back here while its context is entered.
            self.stream.run(self.context.copy().run(asyncio.create_task, self.work()))
        if self.stream.stopped:
            while not self.queue.empty():  # wakes the tasks that wait in put()
                self.queue.get_nowait()
        if self.produced and self.queue.empty():
            self.stream.complete()

    def may_take(self) -> bool:
        room = not self.maxsize or self.taken < self.limit + self.maxsize
        return room and not self.queue.empty() and not self.stream.stopped

    async def work(self) -> None:
        """Processes items while some may be taken and there are not too many workers."""
        self.starting -= 1
        loop = asyncio.get_running_loop()
        try:
            while self.working <= self.limit and self.may_take():
                item = self.queue.get_nowait()
                self.taken += 1
                outcome = loop.create_future()
                self.stream.announce(outcome)
                try:
                    outcome.set_result(await self.process(item))
                except BaseException as exc:
                    outcome.set_exception(exc)
                self.stream.settle(outcome)
                self.queue.task_done()
        finally:
            self.working -= 1
            self.dispatch()

    async def process(self, item: Any) -> Any:
        if self.process_item is None:
            return item
        result = self.process_item(item)
        if not inspect.isawaitable(result):
            raise TypeError(f"process_item must be an async function, but it returned {result!r}")
        return await result

    async def produce(self) -> None:
        done = self.producer(self.queue)
        if not inspect.isawaitable(done):
            raise TypeError(f"producer must be an async function, but it returned {done!r}")
        await done

    def end_of_production(self, _: asyncio.Task[None]) -> None:
        self.produced = True
        self.dispatch()

    async def adapt(self, load_factor: float, check_interval: float) -> None:
        while True:
            await asyncio.sleep(check_interval)
            if self.queue.full():  # the producer waits, so the load has no known end
                wanted = self.max_workers
            else:
                load = self.queue.qsize() + self.stream.unsettled
                wanted = min(math.ceil(load / load_factor), self.max_workers)
            if wanted > self.limit or self.queue.empty():
                self.limit = max(wanted, self.workers)
                self.dispatch()
