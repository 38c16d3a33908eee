"""An asyncio event loop on virtual time: sleeping costs nothing, and every run is the same.

When no callback is ready, the loop does not wait for its next timer: it moves its clock to it.
An hour of `asyncio.sleep` passes in milliseconds, and the clock stands still while code runs.
"""

from __future__ import annotations

import asyncio
import math
import selectors
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

T = TypeVar("T")
Clock = Callable[[], float]
_Events = list[tuple[selectors.SelectorKey, int]]


class DeadlockError(RuntimeError):
    """The loop would hang for ever: no callback is ready, no timer is set and no input is
    awaited."""


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """A selector event loop whose `time()` is virtual and jumps from timer to timer.

    The clock starts at `start` (seconds). By default it starts at `time.monotonic()`, or at the end
    of earlier loops of this kind if that is later. So an object that outlives its loop never sees
    time go back. While a thread started by `asyncio.to_thread` or `run_in_executor` works, the
    clock runs at real speed. The loop takes waiting for any other thread for a deadlock.
    """

    _latest: ClassVar[float] = 0.0  # the latest end of closed loops whose start was not chosen

    def __init__(self, start: float | None = None) -> None:
        super().__init__(_HookedSelector(self._select))
        self._threads = 0  # running executor calls
        self._follows = start is None
        if start is None:
            start = float(math.ceil(max(time.monotonic(), VirtualClockLoop._latest)))
        elif not math.isfinite(start):
            super().close()
            raise ValueError(f"start must be a finite number of seconds, got {start!r}")
        self._set_time(start)

    def time(self) -> float:
        return self._now

    def _set_time(self, now: float) -> None:
        self._now = now
        # asyncio runs the timers before time() + resolution. One float step makes a timer due at
        # exactly `now` run, and none that is due later.
        self._clock_resolution = math.ulp(now)

    def _select(self, selector: _HookedSelector, timeout: float | None) -> _Events:
        """Polls where asyncio would wait, and moves the clock by the wait that it skips."""
        if timeout is not None and not self._threads and selector.is_unlikely:
            events: _Events = []
            if timeout > 0:
                self._set_time(self._next_timer())
            return events
        if timeout is not None and timeout <= 0:
            return selector.wait(0)
        if self._threads:
            return self._select_real(selector, timeout)
        events = selector.wait(0)
        if events:
            return events
        if timeout is not None:
            self._set_time(self._next_timer())
            return events
        if selector.has_input:
            return selector.wait(None)
        raise DeadlockError(_describe_deadlock(self))

    def _select_real(self, selector: _HookedSelector, timeout: float | None) -> _Events:
        began = time.monotonic()
        events = selector.wait(timeout)
        now = self._now + time.monotonic() - began
        if timeout is not None:
            now = min(now, self._next_timer()) if events else self._next_timer()
        self._set_time(now)
        return events

    def _next_timer(self) -> float:
        # The heap's own value: `now + (when - now)` may miss `when` by a rounding error.
        scheduled = cast("list[asyncio.TimerHandle]", self._scheduled)  # type: ignore[attr-defined]
        return max(scheduled[0].when(), self._now)

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        future = super().run_in_executor(executor, func, *args)
        self._threads += 1
        future.add_done_callback(self._thread_done)
        return future

    def _thread_done(self, _: asyncio.Future[Any]) -> None:
        self._threads -= 1

    async def shutdown_default_executor(self, *args: Any) -> None:
        self._threads += 1  # asyncio joins the executor's threads in a thread of its own
        try:
            await super().shutdown_default_executor(*args)
        finally:
            self._threads -= 1

    def close(self) -> None:
        super().close()
        if self._follows:
            VirtualClockLoop._latest = max(VirtualClockLoop._latest, self._now)


_UNPOLLED = 64  # selects in a row, at most


class _HookedSelector(selectors.DefaultSelector):
    """A selector that lets its owner decide how a `select` waits."""

    def __init__(self, hook: Callable[[_HookedSelector, float | None], _Events]) -> None:
        super().__init__()
        self._hook = hook
        self._unpolled = 0
        self._watched = 0  # counted, since each turn of the loop asks for it

    def register(
        self, fileobj: FileDescriptorLike, events: int, data: Any = None
    ) -> selectors.SelectorKey:
        key = super().register(fileobj, events, data)
        self._watched += 1
        return key

    def unregister(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        key = super().unregister(fileobj)
        self._watched -= 1
        return key

    @property
    def has_input(self) -> bool:
        """Whether more is watched than the loop's own wake-up pipe."""
        return self._watched > 1

    @property
    def is_unlikely(self) -> bool:
        """Whether an event is so unlikely that it need not be looked for this time. The wake-up
        pipe alone tells of signals: asyncio runs what other threads hand over without it."""
        self._unpolled += 1
        if self._unpolled <= _UNPOLLED and self._watched <= 1:
            return True
        self._unpolled = 0
        return False

    def select(self, timeout: float | None = None) -> _Events:
        return self._hook(self, timeout)

    def wait(self, timeout: float | None) -> _Events:
        return super().select(timeout)


def _describe_deadlock(loop: asyncio.AbstractEventLoop) -> str:
    tasks = sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name())
    lines = [f"nothing is ready and no timer is set, but {len(tasks)} task(s) still wait:"]
    for task in tasks[:10]:
        stack = task.get_stack(limit=1)
        where = f"{stack[0].f_code.co_filename}:{stack[0].f_lineno}" if stack else "not started"
        lines.append(f"  {task.get_name()}: {task.get_coro()!r} at {where}")
    if len(tasks) > 10:
        lines.append(f"  and {len(tasks) - 10} more")
    return "\n".join(lines)


def run(main: Coroutine[Any, Any, T], *, start: float | None = None, debug: bool = False) -> T:
    """Runs `main` as `asyncio.run` does, on a new `VirtualClockLoop`, and returns its result.

    Cancels the tasks that are left over and closes the loop.

    Raises DeadlockError where `asyncio.run` would hang.
    """
    if asyncio._get_running_loop() is not None:
        main.close()
        raise RuntimeError("run() cannot be called while an event loop is running")
    loop = VirtualClockLoop(start)
    try:
        loop.set_debug(debug)
        return loop.run_until_complete(main)
    finally:
        try:
            _cancel_all(loop)
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            main.close()  # does nothing to a coroutine that has run
            loop.close()


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    if not tasks:
        return
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    for task in tasks:
        if not task.cancelled() and (error := task.exception()) is not None:
            loop.call_exception_handler(
                {"message": "exception after the end of run()", "exception": error, "task": task}
            )


def clock_of(loop: asyncio.AbstractEventLoop) -> Clock:
    """Returns the clock that `loop`'s timers follow, a function that returns seconds.

    For asyncio's own loops, virtual or not, that is `time()`. Other loops (uvloop) may return a
    value there that is cached once per iteration and cut to milliseconds. For these it is
    `time.monotonic`.
    """
    return loop.time if isinstance(loop, asyncio.BaseEventLoop) else time.monotonic
