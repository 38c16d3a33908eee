"""A job done without a scheduler: so many calls at a time, and waits between retries as SDKs do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from random import Random
from typing import Protocol

from bench.learning.calls import Refused
from bench.learning.jobs.world import EPOCH
from xtremeflow.refusals import is_refusal, retry_delay
from xtremeflow.testing import CallRequest


class CallSource(Protocol):
    """Requests for a provider; `call` sends one of them, and raises Refused."""

    @property
    def seed(self) -> int: ...
    @property
    def requests(self) -> Sequence[CallRequest]: ...
    @property
    def call(self) -> Callable[[int], Awaitable[object]]: ...


async def sdk(job: CallSource) -> None:
    """64 at a time; retries as the SDKs do them, but without an end."""
    await pooled(job, lambda: 64, lambda ok: None)


async def aimd(job: CallSource) -> None:
    """The number of calls at a time grows by one a round, and is halved by a refusal."""
    size, halved = 8.0, float("-inf")
    clock = asyncio.get_running_loop().time

    def learn(ok: bool) -> None:
        nonlocal size, halved
        if ok:
            size += 1 / size
        elif clock() - halved > 1.0:
            size, halved = max(1.0, size / 2), clock()

    await pooled(job, lambda: int(size), learn)


async def pooled(job: CallSource, size: Callable[[], int], learn: Callable[[bool], None]) -> None:
    """`size` says how many calls at a time, `learn` is told of each attempt whether it passed."""
    random = Random(job.seed)
    running = 0
    changed = asyncio.Event()

    async def one(index: int) -> None:
        nonlocal running
        for retries in count():
            try:
                await job.call(index)
                learn(True)
                break
            except Refused as refused:
                learn(False)
                if refused.status_code < 500 and not is_refusal(refused):
                    break
                told = retry_delay(refused, EPOCH)
                guess = min(0.5 * 2.0**retries, 8.0) * random.uniform(0.75, 1.0)
                await asyncio.sleep(guess if told is None else told)
        running -= 1
        changed.set()

    tasks: set[asyncio.Task[None]] = set()
    try:
        for index in range(len(job.requests)):
            while running >= size():
                changed.clear()
                await changed.wait()
            running += 1
            task = asyncio.create_task(one(index))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
