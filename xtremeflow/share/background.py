"""An event loop in a thread of its own, where members talk to their keepers.

So a member of a share may run on any event loop, or several, and its share goes on between two of
them. The thread lives as long as the process.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from threading import Lock, Thread
from typing import Any

from xtremeflow.share.keeper import Result

_lock = Lock()
_loop: asyncio.AbstractEventLoop | None = None


class Background:
    """A `keeper.KeeperLoop`: that loop."""

    def clock(self) -> int:
        """Returns ns on the system's clock."""
        return time.monotonic_ns()

    def wake(self, call: Callable[[], None]) -> None:
        """Calls it in the loop."""
        _running().call_soon_threadsafe(call)

    def finish(self, coroutine: Coroutine[Any, Any, Result], seconds: float) -> Result:
        """Runs it in the loop and returns its result. Raises TimeoutError."""
        future = asyncio.run_coroutine_threadsafe(coroutine, _running())
        try:
            return future.result(seconds)
        except FutureTimeout:
            future.cancel()
            raise TimeoutError from None

    def start(self, coroutine: Coroutine[Any, Any, None]) -> Callable[[float], None]:
        """Starts it in the loop. Returns a function that waits for its end."""
        future = asyncio.run_coroutine_threadsafe(coroutine, _running())

        def wait(seconds: float) -> None:
            with suppress(FutureTimeout):
                future.result(seconds)

        return wait


def _running() -> asyncio.AbstractEventLoop:
    global _loop
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            Thread(target=_run, args=(_loop,), name="xtremeflow-share", daemon=True).start()
        return _loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()


def _forget() -> None:
    """Lets a forked child start one of its own."""
    global _loop, _lock
    _loop, _lock = None, Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
