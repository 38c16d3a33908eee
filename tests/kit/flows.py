"""Helpers for the tests of kv_batch, async_pipeline and map: a virtual clock, leak checks, a
scheduler, and cancellation at every step.
"""

from __future__ import annotations

import asyncio
import gc
import selectors
import sys
import warnings
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

from xtremeflow import TaskScheduler


class RecordingScheduler:
    """Passes calls on to a scheduler and notes the arguments they came with."""

    def __init__(self, max_concurrency: int | None = None) -> None:
        self.inner = TaskScheduler(max_concurrency)
        self.max_concurrency = max_concurrency
        self.admissions: list[tuple[Any, dict[str, Any]]] = []

    async def start_task(
        self, coro: Coroutine[Any, Any, Any], estimated_tokens: Any = 0, **kwargs: Any
    ) -> asyncio.Task[Any]:
        self.admissions.append((estimated_tokens, kwargs))
        return await self.inner.start_task(coro, 0, **kwargs)

    def submit(
        self, coro: Coroutine[Any, Any, Any], estimated_tokens: Any = 0, **kwargs: Any
    ) -> asyncio.Task[Any]:
        self.admissions.append((estimated_tokens, kwargs))
        return self.inner.submit(coro, 0, **kwargs)


class _JumpingSelector(selectors.DefaultSelector):
    """Moves a virtual clock to the next timer instead of waiting for it."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise RuntimeError("the test hangs: nothing is ready and no timer is set")
        self.now += timeout
        return super().select(0)


class VirtualClockLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def run(main: Callable[[], Coroutine[Any, Any, Any]], *, eager: bool = False) -> Any:
    """Run `main()` on a virtual clock; fail if it leaves a task, a coroutine or an error behind."""
    faults: list[Any] = []
    loop = VirtualClockLoop()
    loop.set_exception_handler(lambda _, context: faults.append(context))
    if eager:
        loop.set_task_factory(asyncio.eager_task_factory)
    hook, sys.unraisablehook = sys.unraisablehook, faults.append
    gc.freeze()  # so that the collection below looks at what the test made only, and is quick
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                result = loop.run_until_complete(main())
                faults += asyncio.all_tasks(loop)
            finally:
                loop.run_until_complete(loop.shutdown_asyncgens())
                loop.close()
                gc.collect()
        faults += [warning.message for warning in caught]
    finally:
        gc.unfreeze()
        sys.unraisablehook = hook
    assert faults == []
    return result


def cancel_at_every_step(
    scenario: Callable[[], Coroutine[Any, Any, Any]], *, twice: bool = False
) -> int:
    """Run `scenario()` once for every k, cancelled at its k-th step; return how many there are.

    The scenario must not wait for the clock, which stands still while steps are counted.
    """

    async def main() -> bool:
        task = asyncio.ensure_future(scenario())
        for _ in range(k):
            await asyncio.sleep(0)
        if task.done():
            await task
            return True
        task.cancel()
        if twice:
            await asyncio.sleep(0)
            task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return False

    k = 0
    while not run(main):
        k += 1
        assert k < 2_000
    return k


async def steps(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


class Calls:
    """Async calls that note what started and ended, and how many ran at once."""

    def __init__(self) -> None:
        self.started: list[Any] = []
        self.ended: list[Any] = []
        self.running = 0
        self.most = 0

    async def __call__(
        self, value: Any, wait: Callable[[], Awaitable[Any]] | None = None, fail: bool = False
    ) -> Any:
        self.started.append(value)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await (wait() if wait else steps(3))
            if fail:
                raise ValueError(value)
        finally:
            try:
                await steps(2)  # a clean-up takes its time
            finally:
                self.running -= 1
        self.ended.append(value)
        return value
