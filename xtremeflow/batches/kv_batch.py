"""kv_batch: the first call alone until its answer has begun, then the rest together.

Calls that share a long prefix (one job description, many resumes) are cheaper when the first of
them has filled the provider's prompt cache before the others arrive.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections import deque
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Sequence,
)
from contextlib import nullcontext
from typing import Any, Generic, Literal, Protocol, TypeAlias, TypeVar

from xtremeflow.batches.first_token import awaited
from xtremeflow.batches.progress import Progress, look_of
from xtremeflow.batches.tasks import all_ended, cancel, close_source, failed
from xtremeflow.values.arguments import check_flag, check_iterable
from xtremeflow.values.limits import Cost

T = TypeVar("T")

Item: TypeAlias = Awaitable[T] | Callable[[], Awaitable[T]]


class _Scheduler(Protocol):
    def submit(
        self, coro: Coroutine[Any, Any, T], estimated_tokens: Cost = 0, /
    ) -> asyncio.Task[T]: ...


def kv_batch(
    aws: Iterable[Item[T]] | AsyncIterable[Item[T]],
    *,
    scheduler: _Scheduler | None = None,
    estimated_tokens: Cost | Sequence[Cost] = 0,
    warm: Literal["first_token", "answer"] = "first_token",
    progress: bool = False,
) -> asyncio.Task[list[T]]:
    """Runs the first of `aws` (the warm-up), and all the others at once when its answer has begun.

    Args:
        aws: An iterable or async iterable of coroutines, or of zero-argument callables that
            return an awaitable, which are called only when it is their turn. Without `scheduler`
            the first may be any awaitable. A Task or Future behind the first is refused, because it
            runs already and cannot wait for the warm-up. An iterable is read before kv_batch
            returns. An async iterable is read on while the warm-up runs; items that it yields after
            the warm-up start at once.
        scheduler: The scheduler that admits every item, the warm-up included, by
            `scheduler.submit(coro, estimate)`. A callable is called once it is admitted.
        estimated_tokens: For `scheduler`: one estimate for every item, or a sequence with the
            estimate of each. An estimate is a number of tokens or a mapping of limit name to
            amount.
        warm: When the provider's cache is warm: ``"first_token"`` as soon as the first call streams
            its answer through `xtremeflow.http`, or calls `report_first_token`, and at its end if
            it does neither; ``"answer"`` at its end only.
        progress: Whether to show how many items are done, as for `map`.

    Returns:
        A Task of the results in the order of `aws`; of an empty list if there are none.

    The first error, of an item or of an async source, ends the batch, and the Task raises it. On an
    error, and when the Task is cancelled, running items are cancelled and awaited, items that have
    not started are closed, and so is an async generator. kv_batch itself raises the error of a
    plain iterable.

    Example:
        >>> scores = await kv_batch(score(resume, job) for resume in resumes)
    """
    loop = asyncio.get_running_loop()
    check_iterable("aws", aws)
    if scheduler is not None and not hasattr(scheduler, "submit"):
        raise TypeError(f"scheduler must be a scheduler of xtremeflow or None, got {scheduler!r}")
    if isinstance(estimated_tokens, (str, bytes)):
        raise TypeError(
            "estimated_tokens must be a number, a mapping, or a sequence of these, "
            f"got {estimated_tokens!r}"
        )
    if scheduler is None and estimated_tokens != 0:
        raise ValueError(f"estimated_tokens must be 0 without scheduler=, got {estimated_tokens!r}")
    if warm not in ("first_token", "answer"):
        raise ValueError(f"warm must be 'first_token' or 'answer', got {warm!r}")
    check_flag("progress", progress)
    batch: _Batch[T] = _Batch(scheduler, estimated_tokens, warm == "first_token")
    if progress:
        batch.shown = Progress("kv_batch", None, look_of(scheduler))
    source: AsyncIterable[Item[T]] | None = None
    if isinstance(aws, AsyncIterable):
        source = aws
    else:
        batch.hold_all(aws)
    task = loop.create_task(batch.run(source))
    # Not in a `finally` of run(): a task cancelled before its first step never enters it.
    task.add_done_callback(lambda _: batch.close_held())
    return task


class _Batch(Generic[T]):
    def __init__(
        self, scheduler: _Scheduler | None, estimates: Cost | Sequence[Cost], at_first_token: bool
    ) -> None:
        self.scheduler = scheduler
        self.estimates = estimates
        self.at_first_token = at_first_token
        self.held: deque[Item[T]] = deque()  # read, not started
        self.first: asyncio.Task[T] | None = None
        self.rest: list[asyncio.Task[T]] = []
        self.warm = False
        self.shown: Progress | None = None
        self.context = contextvars.copy_context()
        self.open: set[asyncio.Task[Any]] = set()
        self.loop = asyncio.get_running_loop()
        self.end: asyncio.Future[asyncio.Task[Any] | None] = self.loop.create_future()

    async def run(self, source: AsyncIterable[Item[T]] | None) -> list[T]:
        iterator = None if source is None else aiter(source)
        with self.shown or nullcontext():
            return await self.run_on(iterator)

    async def run_on(self, iterator: AsyncIterator[Item[T]] | None) -> list[T]:
        try:
            if iterator is not None:
                self.watch(asyncio.create_task(self.read(iterator)))
            elif self.held:
                self.start_warm_up()
            else:
                return []
            failure = await self.end
            if failure is not None:
                failure.result()
        finally:
            cancel(self.open)
            await all_ended(self.open)
            await close_source(iterator)
        return [] if self.first is None else [task.result() for task in (self.first, *self.rest)]

    async def read(self, iterator: AsyncIterator[Item[T]]) -> None:
        async for item in iterator:
            self.hold(item)
            if self.warm:
                self.start_held()
            elif self.first is None:
                self.start_warm_up()

    def start_warm_up(self) -> None:
        self.first = self.watch(asyncio.create_task(self.warm_up()))

    async def warm_up(self) -> T:
        first = self.held[0]
        call: Awaitable[T]
        if self.at_first_token:
            awaited.set(self.begun)  # in the contexts of this task and of the call's
        if self.scheduler is None and inspect.isawaitable(first):
            call = first
        else:
            call = self.start(first, 0)
        self.held.popleft()
        result = await call
        if self.shown is not None:
            self.shown.step()
        self.release()
        return result

    def begun(self) -> None:
        """Notes that the first answer has begun. Any thread may call it."""
        if asyncio._get_running_loop() is self.loop:
            self.release()
        else:
            self.loop.call_soon_threadsafe(self.release)

    def release(self) -> None:
        """Notes that the cache is warm, and starts the rest in the context of the batch."""
        if self.warm or self.end.done():
            return
        self.warm = True
        try:
            self.context.run(self.start_held)
        except Exception as exc:  # not the first call's: that one may have just begun
            self.watch(self.loop.create_task(_failed(exc)))

    def start_held(self) -> None:
        while self.held:
            # A refused item stays in `held`, so that it is closed with the others.
            task = self.start(self.held[0], len(self.rest) + 1)
            self.held.popleft()
            self.rest.append(self.watch(task))
            if self.shown is not None:
                task.add_done_callback(self.shown.step)

    def start(self, item: Item[T], index: int) -> asyncio.Task[T]:
        if self.scheduler is None:
            return asyncio.create_task(_coroutine(item, index))
        estimate = self.estimate(index)
        return self.scheduler.submit(_coroutine(item, index), estimate)

    def estimate(self, index: int) -> Cost:
        if not isinstance(self.estimates, Sequence):
            return self.estimates
        if index >= len(self.estimates):
            raise ValueError(
                f"estimated_tokens has {len(self.estimates)} entries, too few for element {index}"
            )
        return self.estimates[index]

    def watch(self, task: asyncio.Task[Any]) -> asyncio.Task[Any]:
        self.open.add(task)
        task.add_done_callback(self.settle)
        return task

    def settle(self, task: asyncio.Task[Any]) -> None:
        """Notes an ended task. The first failure, or the last task, ends the batch."""
        self.open.discard(task)
        failure = task if failed(task) else None
        if not self.end.done() and (failure is not None or not self.open):
            self.end.set_result(failure)

    def hold(self, item: Item[T]) -> None:
        self.held.append(item)
        if self.shown is not None:
            self.shown.grow(1)

    def hold_all(self, aws: Iterable[Item[T]]) -> None:
        """Reads a plain iterable at once, since the caller may change later what its items depend
        on."""
        try:
            for item in aws:
                self.hold(item)
            if isinstance(self.estimates, Sequence) and len(self.estimates) != len(self.held):
                raise ValueError(
                    f"estimated_tokens has {len(self.estimates)} entries "
                    f"for {len(self.held)} elements of aws"
                )
        except BaseException:
            self.close_held()
            raise

    def close_held(self) -> None:
        for item in self.held:
            if asyncio.iscoroutine(item):
                item.close()
        self.held.clear()


def _coroutine(item: Item[T], index: int) -> Coroutine[Any, Any, T]:
    """Returns the item as a coroutine that has not started."""
    if asyncio.iscoroutine(item):
        return item
    if callable(item) and not asyncio.isfuture(item):
        return _call(item, index)
    hint = " (it runs already and cannot be held back)" if asyncio.isfuture(item) else ""
    raise TypeError(
        "kv_batch rest elements must be coroutines or zero-argument callables returning one, "
        "and with scheduler= the first element too: "
        f"a coroutine was expected as element {index}, got {type(item).__name__}{hint}"
    )


async def _failed(exc: Exception) -> None:
    raise exc


async def _call(function: Callable[[], Awaitable[T]], index: int) -> T:
    result = function()
    if not inspect.isawaitable(result):
        raise TypeError(
            f"element {index} of kv_batch, {function!r}, must return an awaitable, "
            f"got {type(result).__name__}"
        )
    return await result
