"""The implementation of `scheduler.map`."""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Callable,
    Coroutine,
    Hashable,
    Iterable,
)
from contextlib import aclosing
from typing import Any, Protocol, TypeVar

from xtremeflow.batches.progress import Progress, known_length, look_of
from xtremeflow.batches.tasks import ResultStream, close_source
from xtremeflow.values.arguments import check_callable, check_flag, check_int, check_iterable
from xtremeflow.values.limits import Cost

T = TypeVar("T")
R = TypeVar("R")

# The window of a scheduler without max_concurrency, which bounds its calls in flight.
_WINDOW = 1024


class _Scheduler(Protocol):
    @property
    def max_concurrency(self) -> int | None: ...

    def start_task(
        self,
        coro: Coroutine[Any, Any, R],
        estimated_tokens: Cost = 0,
        /,
        *,
        priority: int = 0,
        timeout: float | None = None,
    ) -> Coroutine[Any, Any, asyncio.Task[R]]: ...

    def submit(
        self,
        coro: Coroutine[Any, Any, R],
        estimated_tokens: Cost = 0,
        /,
        *,
        priority: int = 0,
        timeout: float | None = None,
        prefix: Hashable = None,
        prefix_tokens: int = 0,
        prefix_life: float | None = None,
    ) -> asyncio.Task[R]: ...


def map_calls(
    scheduler: _Scheduler,
    fn: Callable[[T], Coroutine[Any, Any, R]],
    items: Iterable[T] | AsyncIterable[T],
    *,
    estimated_tokens: Cost | Callable[[T], Cost] = 0,
    priority: int = 0,
    timeout: float | None = None,
    ordered: bool = True,
    return_exceptions: bool = False,
    window: int | None = None,
    prefix: Callable[[T], Hashable] | None = None,
    prefix_tokens: int = 0,
    prefix_life: float | None = None,
    progress: bool = False,
) -> AsyncGenerator[R | BaseException, None]:
    """Calls `fn` on every item, each call admitted by the scheduler, and yields the results.

    Args:
        fn: Returns a coroutine for an item.
        items: An iterable or async iterable of any length, read one item ahead of admission, and
            with `prefix` as far ahead as the window allows.
        estimated_tokens: The cost of a call: a number of tokens, a mapping of limit name to
            amount, or a function of the item that returns one of these.
        priority, timeout: As for `start_task`; `timeout` is of each call, in seconds.
        ordered: Whether to yield in the order of the items, or of completion.
        return_exceptions: Whether to yield the exceptions of calls in place of results and go on.
            Otherwise the first exception ends the map.
        window: Calls that may be in flight or wait for the consumer. Default: twice the scheduler's
            max_concurrency, or 1024 if it has none. With `prefix` also those that wait.
        prefix: A function of the item that returns the key of its prompt's prefix, see
            `start_task`; None for an item without one.
        prefix_tokens, prefix_life: The tokens of a prefix, and the seconds for which it is kept,
            see `start_task`.
        progress: Whether to show how many calls are done, and the time left by the limit that
            binds: a bar where tqdm is installed, else a line every ten seconds.

    An exception of a call is raised after the results that are ready by then; with `ordered`, in
    its item's place. That holds also for one of `fn`, or of a refused or timed out admission. An
    exception of `items` is raised after the results of all items before it. Whichever way the
    generator ends, an `aclose()` included, the remaining calls have been cancelled and have ended,
    and an async generator given as `items` is closed.
    """
    check_callable("fn", fn, "an async function of an item")
    if prefix is not None:
        check_callable("prefix", prefix, "a function of an item, or None")
    elif prefix_tokens != 0:
        raise ValueError(f"prefix_tokens must be 0 without prefix=, got {prefix_tokens!r}")
    elif prefix_life is not None:
        raise ValueError(f"prefix_life must be None without prefix=, got {prefix_life!r}")
    check_iterable("items", items)
    if window is None:
        bound = scheduler.max_concurrency
        window = _WINDOW if bound is None else 2 * bound
    window = check_int("window", window, 1)
    for name, flag in (
        ("ordered", ordered), ("return_exceptions", return_exceptions), ("progress", progress),
    ):  # fmt: skip
        check_flag(name, flag)

    shown = Progress("map", known_length(items), look_of(scheduler)) if progress else None

    async def start(item: T) -> asyncio.Task[R]:
        try:
            cost = estimated_tokens(item) if callable(estimated_tokens) else estimated_tokens
            coro = fn(item)
            if not asyncio.iscoroutine(coro):
                raise TypeError(f"fn must be an async function, but it returned {coro!r}")
            if prefix is None:
                task = await scheduler.start_task(coro, cost, priority=priority, timeout=timeout)
            else:
                # Not awaited: calls that are held must not keep those of other groups out.
                key = _key_of(prefix, item, coro)
                task = scheduler.submit(
                    coro, cost, priority=priority, timeout=timeout,
                    prefix=key, prefix_tokens=0 if key is None else prefix_tokens,
                    prefix_life=None if key is None else prefix_life,
                )  # fmt: skip
        except Exception as exc:
            task = asyncio.create_task(_raise(exc))
        if shown is not None:
            task.add_done_callback(shown.step)
        return task

    stream = _stream(start, items, window, ordered=ordered, return_exceptions=return_exceptions)
    return stream if shown is None else _watched(stream, shown)


async def _watched(stream: AsyncGenerator[R, None], shown: Progress) -> AsyncGenerator[R, None]:
    with shown:
        async with aclosing(stream):
            async for result in stream:
                yield result


async def _stream(
    start: Callable[[T], Coroutine[Any, Any, asyncio.Task[R]]],
    items: Iterable[T] | AsyncIterable[T],
    window: int,
    *,
    ordered: bool,
    return_exceptions: bool,
) -> AsyncGenerator[R | BaseException, None]:
    stream: ResultStream[R] = ResultStream(ordered=ordered, keep_going=return_exceptions)
    source = aiter(items if isinstance(items, AsyncIterable) else _async(items))
    room = asyncio.Semaphore(window)

    # Beside the consumer: results are yielded while the next call waits for its admission.
    async def feed() -> None:
        await room.acquire()
        async for item in source:
            task = await start(item)
            stream.run(task)
            stream.announce(task)
            task.add_done_callback(stream.settle)
            if stream.stopped:
                break
            await room.acquire()

    feeding = stream.feed(feed())
    feeding.add_done_callback(lambda _: stream.complete())
    try:
        while (task := await stream.next()) is not None:
            room.release()
            if return_exceptions:
                yield _outcome(task)
            else:
                yield task.result()
        feeding.result()
    finally:
        await stream.close()
        await close_source(source)


def _key_of(prefix: Callable[[T], Hashable], item: T, coro: Coroutine[Any, Any, Any]) -> Hashable:
    try:
        return prefix(item)
    except BaseException:
        coro.close()
        raise


async def _async(items: Iterable[T]) -> AsyncGenerator[T, None]:
    for item in items:
        yield item


async def _raise(exc: Exception) -> Any:
    raise exc


def _outcome(task: asyncio.Future[Any]) -> Any:
    if task.cancelled():
        return asyncio.CancelledError()
    exc = task.exception()
    return task.result() if exc is None else exc
