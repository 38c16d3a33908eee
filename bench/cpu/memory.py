"""Memory of a call that waits, and time per call, from 10,000 to 1,000,000 waiters.

All slots are taken; then `waiters` tasks are made of which each asks for one and waits:

- asyncio.Semaphore: the task does `async with semaphore: await work()`.
- xtremeflow, xtremeflow 0.4.4: it does `await (await scheduler.start_task(work(), 100))` on a
  TokenRateScheduler with all limits, of which only that on concurrency is ever reached. So the
  coroutine to be run exists already.
- xtremeflow, submit: `scheduler.submit(work(), 100)`, where the one task is both.

"RSS" is what the process's resident memory grew by, divided by `waiters`: that is what the system
gives, with the slack of the allocators. "allocated" is the same in a process in which all memory
comes from malloc (PYTHONMALLOC=malloc), asked of malloc itself (mallinfo2): every byte that is in
use, of Python objects and C structures alike, with malloc's header of 8 bytes per block, and no
slack. Neither counts the list that holds the tasks.

"time" is the process's CPU per call for all of its life: to make the task, queue, be admitted (the
slots are given free), run (`work` awaits `asyncio.sleep(0)`) and finish, with the garbage
collector on; "without gc" is the same with it off. It is the latter that has to be flat: the
collector visits all objects of a growing heap again and again, whosever they are.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.measure import Numbers, middle, rounds
from bench.peers import OLD, OURS, SEMAPHORE, available, load
from bench.report import Figure, Section

SLOTS = 50
STATM = Path("/proc/self/statm")
SUBMIT = f"{OURS}, submit"
MALLOC = {"PYTHONMALLOC": "malloc"}
WAYS = (SEMAPHORE, OURS, SUBMIT, OLD)


async def work() -> None:
    await asyncio.sleep(0)


def prepare(way: str) -> tuple[Callable[[Any], asyncio.Task[Any]], Callable[[], Any]]:
    """Two functions: one makes the task of a call, the other the coroutine that it is to run."""
    if way == SEMAPHORE:
        semaphore = asyncio.Semaphore(SLOTS)

        async def acquire(target: Callable[[], Any]) -> None:
            async with semaphore:
                await target()

        return lambda target: asyncio.create_task(acquire(target)), work
    scheduler = load(way).TokenRateScheduler(10**9, 10**7, SLOTS, 60)
    if way == SUBMIT:
        return lambda target: scheduler.submit(target(), 100), work

    async def start(target: Callable[[], Any]) -> None:
        await (await scheduler.start_task(target(), 100))

    return lambda target: asyncio.create_task(start(target)), work


def measure(way: str, waiters: int, collect: bool = True) -> Numbers:
    return asyncio.run(_measure(way, waiters, collect))


async def _measure(way: str, waiters: int, collect: bool) -> Numbers:
    call, target = prepare(way)
    gate = asyncio.Event()
    blockers = [call(gate.wait) for _ in range(SLOTS)]
    warm = [call(target) for _ in range(100)]
    await asyncio.sleep(0.01)
    tasks: list[Any] = [None] * waiters
    gc.collect()
    if not collect:
        gc.disable()

    allocated, resident = malloc_in_use(), rss()
    began = time.process_time()
    for i in range(waiters):
        tasks[i] = call(target)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    asked = time.process_time() - began
    numbers = {
        "rss": (rss() - resident) / waiters,
        "allocated": (malloc_in_use() - allocated) / waiters,
    }

    began = time.process_time()
    gate.set()
    await asyncio.wait(tasks[-SLOTS:])
    for task in tasks:
        await task
    finished = time.process_time() - began
    await asyncio.gather(*blockers, *warm)
    numbers["cpu"] = (asked + finished) / waiters
    return numbers


def rss() -> int:
    """Resident bytes of this process; 0 where there is no /proc."""
    if not STATM.exists():
        return 0
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class _Mallinfo2(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        )
    ]


def malloc_in_use() -> int:
    """Bytes that malloc has given out; 0 where it cannot tell (not glibc 2.33 or later)."""
    try:
        mallinfo2 = ctypes.CDLL(None).mallinfo2
    except AttributeError:
        return 0
    mallinfo2.restype = _Mallinfo2
    info = mallinfo2()
    return int(info.uordblks + info.hblkhd)


def section(quick: bool) -> Section:
    sizes = {1_000: 1} if quick else {10_000: 3, 100_000: 3, 1_000_000: 1}
    results: dict[tuple[str, int], Numbers] = {}
    for waiters, repeat in sizes.items():
        usual = rounds("cpu.memory", WAYS, repeat, waiters=waiters)
        malloc = rounds("cpu.memory", WAYS, 1, MALLOC, waiters=waiters, collect=False)
        uncollected = rounds("cpu.memory", WAYS, repeat, waiters=waiters, collect=False)
        for way in usual:
            results[way, waiters] = {
                "rss": middle(usual[way], "rss"),
                "allocated": middle(malloc[way], "allocated"),
                "cpu": middle(usual[way], "cpu"),
                "cpu_no_gc": middle(uncollected[way], "cpu"),
            }
    rows = [
        [
            way,
            f"{waiters:,}",
            f"{numbers['rss']:,.0f} B",
            f"{numbers['allocated']:,.0f} B",
            f"{1e6 * numbers['cpu']:.2f} us",
            f"{1e6 * numbers['cpu_no_gc']:.2f} us",
        ]
        for (way, waiters), numbers in sorted(
            results.items(), key=lambda item: WAYS.index(item[0][0])
        )
    ]
    return Section(
        "A call that waits",
        __doc__ or "",
        ["way", "waiters", "RSS", "allocated", "time", "without gc"],
        rows,
        _figures(results, list(sizes)),
    )


def _figures(results: dict[tuple[str, int], Numbers], sizes: list[int]) -> list[Figure]:
    def all_of(way: str, key: str, unit: str, factor: float) -> str:
        return " / ".join(f"{factor * results[way, n][key]:,.{unit}}" for n in sizes)

    others = [way for way in (SEMAPHORE, OLD) if available(way)]
    ours = [results[OURS, n] for n in sizes]
    sizes_text = " / ".join(f"{n:,}" for n in sizes)
    return [
        Figure(
            f"bytes of a waiting call with its task (RSS; {sizes_text} waiters)",
            all_of(OURS, "rss", "0f", 1) + " B",
            "<= 1,250 B, flat",
            max(numbers["rss"] for numbers in ours) <= 1250,
            {way: all_of(way, "rss", "0f", 1) + " B" for way in others},
        ),
        Figure(
            f"CPU per call, start to end, without gc ({sizes_text} waiters)",
            all_of(OURS, "cpu_no_gc", "1f", 1e6) + " us",
            "flat (within 1.25x)",
            ours[-1]["cpu_no_gc"] <= 1.25 * ours[0]["cpu_no_gc"],
            {way: all_of(way, "cpu_no_gc", "1f", 1e6) + " us" for way in others},
        ),
    ]
