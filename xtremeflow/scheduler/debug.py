"""Faults of a program that a scheduler finds in asyncio's debug mode."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Coroutine
from typing import Any

from xtremeflow import _core

logger = logging.getLogger("xtremeflow")


def is_debugged() -> bool:
    """Whether asyncio is in debug mode: for the process, or in the running loop."""
    if sys.flags.dev_mode or (
        not sys.flags.ignore_environment and os.environ.get("PYTHONASYNCIODEBUG")
    ):
        return True
    try:
        return asyncio.get_running_loop().get_debug()
    except RuntimeError:
        return False


def watch_slots(scheduler: _core.Scheduler) -> None:
    """Makes `start_task` and `submit` warn from now on where a call may wait for a slot while its
    caller holds one. `map` and `kv_batch` go through these. When such callers hold all slots, none
    goes on."""
    start, submit = scheduler.start_task, scheduler.submit

    def is_stuck() -> bool:
        caller, slots = _core.current_call(), scheduler.max_concurrency
        return (
            caller is not None
            and caller.scheduler is scheduler
            and slots is not None
            and scheduler.active_tasks >= slots
        )

    async def start_task(coro: Any, *args: Any, **kwargs: Any) -> asyncio.Task[Any]:
        if is_stuck():
            _warn(scheduler, coro)
        return await start(coro, *args, **kwargs)

    # Plain functions, as the scheduler's own: what they return is awaited later.
    def started(coro: Any, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, asyncio.Task[Any]]:
        return start_task(coro, *args, **kwargs)

    def submitted(coro: Any, *args: Any, **kwargs: Any) -> asyncio.Task[Any]:
        if is_stuck():
            _warn(scheduler, coro)
        return submit(coro, *args, **kwargs)

    scheduler.start_task = started  # type: ignore[method-assign]
    scheduler.submit = submitted  # type: ignore[method-assign]


def _warn(scheduler: _core.Scheduler, coro: object) -> None:
    logger.warning(
        "%r waits for a slot of %r, while the call that starts it holds one: if such calls wait "
        "for it and hold all slots, none goes on. Start it from outside the call, or give it a "
        "scheduler of its own",
        coro,
        scheduler,
    )
