"""No kind of call leaves anything behind: no object, no memory, no reference cycle.

Each kind runs a thousand times in a process of its own, which this file is the program of, with
the garbage collector off: so what is left is either a leak or a cycle.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import subprocess
import sys
import tracemalloc
import warnings
import weakref
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from xtremeflow import (
    RetryException,
    TaskScheduler,
    TokenRateScheduler,
    auto_backoff,
    report_token_usage,
)

Kind = Callable[[TokenRateScheduler], Awaitable[None]]
KINDS: dict[str, Kind] = {}


def kind(func: Kind) -> Kind:
    KINDS[func.__name__] = func
    return func


async def nap() -> tuple[int]:
    await asyncio.sleep(0)
    return (1,)


async def fail() -> None:
    await asyncio.sleep(0)
    raise KeyError


async def outcome(task: asyncio.Task[Any]) -> None:
    """Awaits a task without a traceback that ties the frames of this program to cycles."""
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()


@kind
async def started(scheduler: TokenRateScheduler) -> None:
    await (await scheduler.start_task(nap(), 5, name="name"))


@kind
async def submitted(scheduler: TokenRateScheduler) -> None:
    await scheduler.submit(nap(), {"tokens": 5}, priority=3, timeout=100)


@kind
async def queued(scheduler: TokenRateScheduler) -> None:
    await asyncio.gather(*(scheduler.submit(nap()) for _ in range(5)))


@kind
async def reported(scheduler: TokenRateScheduler) -> None:
    async def call() -> None:
        await report_token_usage(3)
        report_token_usage({"tokens": 4})
        await asyncio.create_task(nap())

    await scheduler.submit(call(), 5)


@kind
async def failed(scheduler: TokenRateScheduler) -> None:
    await outcome(scheduler.submit(fail()))


@kind
async def cancelled_while_running(scheduler: TokenRateScheduler) -> None:
    task = await scheduler.start_task(nap())
    await asyncio.sleep(0)
    task.cancel()
    await outcome(task)


@kind
async def cancelled_while_waiting(scheduler: TokenRateScheduler) -> None:
    tasks = [scheduler.submit(nap()) for _ in range(4)]
    tasks.append(asyncio.create_task(scheduler.start_task(nap())))
    await asyncio.sleep(0)
    for task in tasks[2:]:
        task.cancel()
    for task in tasks:
        await outcome(task)


@kind
async def cancelled_before_its_first_step(scheduler: TokenRateScheduler) -> None:
    task = await scheduler.start_task(nap())
    task.cancel()
    await outcome(task)


@kind
async def timed_out(scheduler: TokenRateScheduler) -> None:
    tasks = [scheduler.submit(nap()) for _ in range(2)]
    tasks.append(scheduler.submit(nap(), timeout=0))
    for task in tasks:
        await outcome(task)


@kind
async def retried(scheduler: TokenRateScheduler) -> None:
    refusals = 1

    @auto_backoff(base_retry_after=0)
    async def call() -> None:
        nonlocal refusals
        if refusals:
            refusals -= 1
            raise RetryException(retry_after=1e-6)

    await scheduler.submit(call(), 5)


@kind
async def refused_arguments(scheduler: TokenRateScheduler) -> None:
    for arguments in ({"estimated_tokens": -1}, {"timeout": "x"}, {"nme": 1}):
        with suppress(TypeError, ValueError):
            scheduler.submit(nap(), **arguments)  # type: ignore[arg-type]


@kind
async def never_awaited(scheduler: TokenRateScheduler) -> None:
    scheduler.start_task(nap())


@kind
async def dropped_while_waiting(scheduler: TokenRateScheduler) -> None:
    tasks = [scheduler.submit(nap()) for _ in range(2)]
    start = scheduler.start_task(nap())
    start.send(None)
    del start
    for task in tasks:
        await task


@kind
async def waited_for(scheduler: TokenRateScheduler) -> None:
    scheduler.submit(nap())
    given_up = asyncio.create_task(scheduler.wait_pending())
    await asyncio.sleep(0)
    given_up.cancel()
    await outcome(given_up)
    await scheduler.wait_pending()


@kind
async def looked_at(scheduler: TokenRateScheduler) -> None:
    task = scheduler.submit(nap())
    repr((task, scheduler.stats(), scheduler.pending_tasks, scheduler.semaphore, task.get_coro()))
    task.get_stack()
    await task


@kind
async def from_other_threads(scheduler: TokenRateScheduler) -> None:
    def thread() -> None:
        loop = asyncio.new_event_loop()
        try:
            loop.run_until_complete(queued(scheduler))
        finally:
            loop.close()

    await asyncio.to_thread(thread)


async def went_on() -> tuple[int, bool]:
    await asyncio.sleep(0)
    return 1, True


def exchange(scheduler: TokenRateScheduler, coro: Any, answered: Any = lambda *_: None) -> Any:
    return scheduler._exchange(coro, lambda _: (0, None, 5, None, 0, None), answered, None)


@kind
async def exchanged(scheduler: TokenRateScheduler) -> None:
    await asyncio.gather(*(exchange(scheduler, nap()) for _ in range(5)))


@kind
async def exchanged_and_gone_on(scheduler: TokenRateScheduler) -> None:
    await exchange(scheduler, nap(), lambda *_: went_on())
    task = asyncio.ensure_future(exchange(scheduler, fail(), lambda *_: went_on()))
    await outcome(task)


@kind
async def exchange_failed(scheduler: TokenRateScheduler) -> None:
    await outcome(asyncio.ensure_future(exchange(scheduler, fail(), lambda *_: fail())))
    await outcome(asyncio.ensure_future(exchange(scheduler, nap(), lambda: None)))


@kind
async def exchange_cancelled(scheduler: TokenRateScheduler) -> None:
    tasks = [asyncio.ensure_future(exchange(scheduler, nap())) for _ in range(4)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    for task in tasks:
        await outcome(task)


@kind
async def exchange_dropped(scheduler: TokenRateScheduler) -> None:
    exchanges = [exchange(scheduler, nap()) for _ in range(4)]
    for each in exchanges[1:]:
        each.send(None)


@kind
async def exchange_in_a_call(scheduler: TokenRateScheduler) -> None:
    async def call() -> None:
        await exchange(scheduler, nap())

    await scheduler.submit(call(), 5)


@kind
async def schedulers(_: TokenRateScheduler) -> None:
    scheduler = TokenRateScheduler(max_tps=1e6, max_concurrency=2)
    await started(scheduler)
    await queued(scheduler)
    await asyncio.sleep(0)


SLOW = {"from_other_threads": 300}


async def measure(name: str) -> list[str]:
    """Runs a kind again and again; what has grown."""
    run, times = KINDS[name], SLOW.get(name, 1000)
    scheduler = TokenRateScheduler(1e9, 1e9, max_concurrency=2, burst_ratio=1)

    async def repeat(n: int) -> None:
        for _ in range(n):
            await run(scheduler)
        await asyncio.sleep(0.001)

    await repeat(times // 4)
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    tracemalloc.start()
    await repeat(times)  # fills the interpreter's free lists
    total_refs = getattr(sys, "gettotalrefcount", lambda: 0)
    objects = Counter(type(o).__qualname__ for o in gc.get_objects())
    memory, references = tracemalloc.get_traced_memory()[0], total_refs()
    await repeat(times)
    references = total_refs() - references
    memory = tracemalloc.get_traced_memory()[0] - memory
    objects = Counter(type(o).__qualname__ for o in gc.get_objects()) - objects
    most = 50_000 + 40 * times  # less than one object a call, and some more free lists
    if memory > most:  # perhaps a table of the interpreter's was enlarged: that comes once
        before = tracemalloc.get_traced_memory()[0]
        await repeat(times)
        memory = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    faults = []
    if grown := {type_: n for type_, n in objects.items() if n > times // 4}:
        faults.append(f"objects: {grown}")
    if memory > most:
        faults.append(f"memory: {memory} bytes")
    if references > times // 2:
        faults.append(f"references: {references}")
    gc.collect()
    cycles = Counter(type(o).__qualname__ for o in gc.garbage)
    if cycles := Counter({type_: n for type_, n in cycles.items() if n > times // 4}):
        faults.append(f"cycles: {dict(cycles)}")
    return faults


def main(name: str) -> int:
    warnings.simplefilter("ignore")
    logging.disable()
    faults = asyncio.run(measure(name))
    print(*faults, sep="\n")
    return 1 if faults else 0


@pytest.mark.parametrize("name", KINDS)
def test_no_kind_of_call_leaves_anything_behind(name: str) -> None:
    done = subprocess.run(
        [sys.executable, __file__, name], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_leak_would_be_found() -> None:
    kept: list[Any] = []

    @kind
    async def leaky(scheduler: TokenRateScheduler) -> None:
        kept.append(scheduler.submit(nap()))
        await kept[-1]

    @kind
    async def cyclic(scheduler: TokenRateScheduler) -> None:
        cycle: list[Any] = [await scheduler.start_task(nap())]
        cycle.append(cycle)

    try:
        for name in ("leaky", "cyclic"):
            assert asyncio.run(measure(name))
    finally:
        gc.set_debug(0)
        gc.enable()
        gc.garbage.clear()
        del KINDS["leaky"], KINDS["cyclic"]


def test_a_scheduler_and_its_calls_may_be_garbage_together() -> None:
    async def main() -> weakref.ref[Any]:
        scheduler: Any = TaskScheduler(1)
        scheduler.submit(nap())
        scheduler.submit(nap())
        scheduler.myself = scheduler
        await asyncio.sleep(0.001)
        return weakref.ref(scheduler)

    gone = asyncio.run(main())
    gc.collect()
    assert gone() is None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
