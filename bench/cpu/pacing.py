"""The lateness of calls at a steady rate, and its CPU.

`rate * seconds` calls go to a limit on requests per second that allows no burst; each notes the
time (time.perf_counter) at its first step and ends. The ideal schedule is t0 + i / rate, t0 the
moment before the first call was handed over; a call's lateness is its time minus that, and all
calls count. "early" counts those with a negative one. CPU is the process's own
(time.process_time) from t0 to the last dispatch, garbage collector on, as a share of the wall
time: of one core.

- xtremeflow, xtremeflow 0.4.4: the documented program, `await scheduler.start_task(call())` in a
  loop, on `RequestRateScheduler(rate, concurrency)` with a concurrency that is never reached. In
  0.4.4 start_task does not wait for the rate, each task then does in a sleep of its own; so the
  loop makes all tasks before the first can run.
- ..., full queue: all calls are handed over as fast as they can be, with a pause (`sleep(0)`) after
  every 50: by `submit`, in 0.4.4 by `start_task`. The pauses are what 0.4.4 is better with.
- aiolimiter: tasks that enter `AsyncLimiter(1, 1 / rate)`, its way of saying "evenly spaced"; also
  with those pauses.
- token-throttle: tasks that enter `limiter.reserve` on a quota of `rate` requests per second that
  has been used up beforehand, for it cannot space calls evenly otherwise; with those pauses. Not at
  10,000/s, where it would need several cores.
- asyncio.Semaphore knows no rates.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from bench.measure import Numbers, middle, rounds
from bench.peers import AIOLIMITER, OLD, OURS, TOKEN_THROTTLE, load, token_throttle
from bench.report import Figure, Section

PAUSE_EVERY = 50  # calls handed over
FULL = ", full queue"

Call = Callable[[], Any]
Start = Callable[[Call], Awaitable["asyncio.Task[Any]"]]


async def started(library: str, rate: int, calls: int) -> Start:
    scheduler = load(library).RequestRateScheduler(rate, calls)
    return lambda call: scheduler.start_task(call())


async def submitted(rate: int, calls: int) -> Start:
    scheduler = load(OURS).RequestRateScheduler(rate, calls)

    async def start(call: Call) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = scheduler.submit(call())
        return task

    return start


async def limited(rate: int, calls: int) -> Start:
    from aiolimiter import AsyncLimiter

    limiter = AsyncLimiter(1, 1 / rate)

    async def enter(call: Call) -> None:
        async with limiter:
            await call()

    async def start(call: Call) -> asyncio.Task[Any]:
        return asyncio.create_task(enter(call))

    return start


async def reserved(rate: int, calls: int) -> Start:
    limiter = token_throttle({"requests": rate}, 1)

    async def enter(call: Call) -> None:
        async with limiter.reserve({"requests": 1}, model="m") as handle:
            await call()
            handle.set_actual_usage({"requests": 1})

    async with limiter.reserve({"requests": rate}, model="m") as handle:
        handle.set_actual_usage({"requests": rate})

    async def start(call: Call) -> asyncio.Task[Any]:
        return asyncio.create_task(enter(call))

    return start


WAYS: dict[str, Callable[[int, int], Awaitable[Start]]] = {
    OURS: partial(started, OURS),
    OURS + FULL: submitted,
    OLD: partial(started, OLD),
    OLD + FULL: partial(started, OLD),
    AIOLIMITER + FULL: limited,
    TOKEN_THROTTLE + FULL: reserved,
}


def measure(way: str, rate: int, seconds: float) -> Numbers:
    return asyncio.run(_measure(way, rate, round(rate * seconds)))


async def _measure(way: str, rate: int, calls: int) -> Numbers:
    start = await WAYS[way](rate, calls)
    pauses = way.endswith(FULL)
    times: list[float] = []
    done = asyncio.Event()
    now = time.perf_counter

    async def call() -> None:
        times.append(now())
        if len(times) == calls:
            done.set()

    tasks = []
    cpu, began = time.process_time(), now()
    for i in range(calls):
        tasks.append(await start(call))
        if pauses and i % PAUSE_EVERY == 0:
            await asyncio.sleep(0)
    await done.wait()
    cpu, wall = time.process_time() - cpu, now() - began
    await asyncio.gather(*tasks)

    late = sorted(t - began - i / rate for i, t in enumerate(times))
    return {
        "p50": _percentile(late, 50),
        "p99": _percentile(late, 99),
        "max": late[-1],
        "early": sum(seconds < 0 for seconds in late),
        "cpu": cpu / wall,
    }


def _percentile(ordered: Sequence[float], percent: float) -> float:
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def section(quick: bool) -> Section:
    seconds, repeat = (0.1, 1) if quick else (2.0, 3)
    rows = []
    results = {}
    for rate in (100, 1_000, 10_000):
        ways = [way for way in WAYS if not way.startswith(TOKEN_THROTTLE) or rate < 10_000]
        results[rate] = rounds("cpu.pacing", ways, repeat, rate=rate, seconds=seconds)
        for way, numbers in results[rate].items():
            us = {key: f"{1e6 * middle(numbers, key):,.0f} us" for key in ("p50", "p99", "max")}
            early = sum(n["early"] for n in numbers)
            rows.append(
                [way, f"{rate:,}/s", *us.values(), f"{early:,.0f}", f"{middle(numbers, 'cpu'):.1%}"]
            )
    return Section(
        "Pacing",
        __doc__ or "",
        ["way", "rate", "late p50", "late p99", "latest", "early", "CPU of a core"],
        rows,
        _figures(results),
    )


def _figures(results: dict[int, dict[str, list[Numbers]]]) -> list[Figure]:
    def us(rate: int, way: str, key: str) -> float:
        return 1e6 * middle(results[rate][way], key)

    def early(rate: int) -> int:
        return int(sum(numbers["early"] for numbers in results[rate][OURS]))

    def peers(rate: int, text: Callable[[str], str]) -> dict[str, str]:
        ways = {name: name + FULL for name in (OLD, AIOLIMITER, TOKEN_THROTTLE)}  # the better one
        return {name: text(way) for name, way in ways.items() if way in results[rate]}

    def lateness(way: str) -> str:
        return f"{us(1_000, way, 'p50'):,.0f} / {us(1_000, way, 'p99'):,.0f} us"

    def cost(way: str) -> str:
        cpu = middle(results[10_000][way], "cpu")
        return f"{us(10_000, way, 'p99'):,.0f} us; {cpu:.0%}"

    return [
        Figure(
            "dispatch lateness at 1,000/s (p50 / p99)",
            f"{lateness(OURS)}, {early(1_000)} early",
            "<= 150 / 300 us, none early",
            us(1_000, OURS, "p50") <= 150 and us(1_000, OURS, "p99") <= 300 and not early(1_000),
            peers(1_000, lateness),
        ),
        Figure(
            "at 10,000/s (p99; CPU)",
            f"{cost(OURS)}, {early(10_000)} early",
            "<= 1,000 us; <= 30 %",
            us(10_000, OURS, "p99") <= 1_000
            and middle(results[10_000][OURS], "cpu") <= 0.3
            and not early(10_000),
            peers(10_000, cost),
        ),
    ]
