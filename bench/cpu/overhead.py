"""CPU of a task that need not wait.

Each way runs the same coroutine, which awaits once (`asyncio.sleep(0)`), as `tasks` tasks, `chunk`
of them at a time gathered by asyncio.gather; a first chunk is not counted. CPU is the process's
own (time.process_time), user and system, with the garbage collector on. "x asyncio" is the median
of the ratios to the bare tasks of the same round.

- asyncio: `asyncio.create_task(coro())`, nothing more.
- xtremeflow: `await scheduler.start_task(coro(), estimated_tokens=100)` on a TokenRateScheduler
  with max_tps, max_rps and max_concurrency, all so high that no call waits; the coroutine also
  awaits `report_token_usage(90)`. Also without the report, and by `submit`.
- xtremeflow 0.4.4: the same program. Its start_task returns before the rate admission, which its
  task then does; as the limits are never reached, both have done the same work in the end.
- aiolimiter: tasks of a coroutine that enters a semaphore and two AsyncLimiters (one for requests,
  one acquiring 100 tokens) and then awaits. There is no report: it cannot give anything back.
- token-throttle: tasks of a coroutine that enters a semaphore and `limiter.reserve` (in memory)
  with a quota of requests and of tokens, awaits, and then sets the actual usage. It has no limit
  on concurrency, so the semaphore is added.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from bench.measure import Numbers, middle, ratio, rounds
from bench.peers import AIOLIMITER, OLD, OURS, TOKEN_THROTTLE, load, token_throttle
from bench.report import Figure, Section

ESTIMATE, ACTUAL = 100, 90  # tokens
TPS, RPS, SLOTS, BURST = 10**9, 10**7, 10**6, 60

Chunk = Callable[[int], Awaitable[object]]


async def work() -> None:
    await asyncio.sleep(0)


def bare() -> Chunk:
    return lambda n: asyncio.gather(*[asyncio.create_task(work()) for _ in range(n)])


def scheduled(library: str) -> Chunk:
    module = load(library)
    scheduler = module.TokenRateScheduler(TPS, RPS, SLOTS, BURST)
    report = module.report_token_usage

    async def call() -> None:
        await asyncio.sleep(0)
        await report(ACTUAL)

    async def chunk(n: int) -> None:
        start = scheduler.start_task
        await asyncio.gather(*[await start(call(), estimated_tokens=ESTIMATE) for _ in range(n)])

    return chunk


def unreported() -> Chunk:
    scheduler = load(OURS).TokenRateScheduler(TPS, RPS, SLOTS, BURST)

    async def chunk(n: int) -> None:
        start = scheduler.start_task
        await asyncio.gather(*[await start(work(), estimated_tokens=ESTIMATE) for _ in range(n)])

    return chunk


def submitted() -> Chunk:
    module = load(OURS)
    scheduler = module.TokenRateScheduler(TPS, RPS, SLOTS, BURST)
    report = module.report_token_usage

    async def call() -> None:
        await asyncio.sleep(0)
        await report(ACTUAL)

    submit = scheduler.submit
    return lambda n: asyncio.gather(*[submit(call(), ESTIMATE) for _ in range(n)])


def limited() -> Chunk:
    from aiolimiter import AsyncLimiter

    semaphore = asyncio.Semaphore(SLOTS)
    requests = AsyncLimiter(RPS * BURST, BURST)
    tokens = AsyncLimiter(TPS * BURST, BURST)

    async def call() -> None:
        async with semaphore, requests:
            await tokens.acquire(ESTIMATE)
            await asyncio.sleep(0)

    return lambda n: asyncio.gather(*[asyncio.create_task(call()) for _ in range(n)])


def reserved() -> Chunk:
    semaphore = asyncio.Semaphore(SLOTS)
    limiter = token_throttle({"requests": RPS * BURST, "tokens": TPS * BURST}, BURST)

    async def call() -> None:
        async with semaphore:
            usage = {"requests": 1, "tokens": ESTIMATE}
            async with limiter.reserve(usage, model="m") as handle:
                await asyncio.sleep(0)
                handle.set_actual_usage({"requests": 1, "tokens": ACTUAL})

    return lambda n: asyncio.gather(*[asyncio.create_task(call()) for _ in range(n)])


BARE = "asyncio"
WAYS: dict[str, Callable[[], Chunk]] = {
    BARE: bare,
    OURS: lambda: scheduled(OURS),
    f"{OURS}, no report": unreported,
    f"{OURS}, submit": submitted,
    OLD: lambda: scheduled(OLD),
    AIOLIMITER: limited,
    TOKEN_THROTTLE: reserved,
}


def measure(way: str, tasks: int, chunk: int) -> Numbers:
    return asyncio.run(_measure(way, tasks, chunk))


async def _measure(way: str, tasks: int, chunk: int) -> Numbers:
    if way == TOKEN_THROTTLE:
        tasks = max(chunk, tasks // 200)  # it would take minutes
    run = WAYS[way]()
    await run(chunk)
    began = time.process_time()
    for _ in range(tasks // chunk):
        await run(chunk)
    return {"cpu": (time.process_time() - began) / (tasks // chunk * chunk)}


def section(quick: bool) -> Section:
    tasks, chunk, repeat = (2_000, 100, 1) if quick else (100_000, 100, 7)
    results = rounds("cpu.overhead", list(WAYS), repeat, tasks=tasks, chunk=chunk)
    ratios = {way: ratio(numbers, results[BARE], "cpu") for way, numbers in results.items()}
    rows = [
        [way, f"{1e6 * middle(numbers, 'cpu'):.2f} us", f"{ratios[way]:.2f}"]
        for way, numbers in results.items()
    ]
    figure = Figure(
        "CPU of a scheduled task, all limits + report / bare asyncio task",
        f"{ratios[OURS]:.2f}x",
        "<= 1.15x",
        ratios[OURS] <= 1.15,
        {way: f"{ratios[way]:.2f}x" for way in (OLD, AIOLIMITER, TOKEN_THROTTLE) if way in ratios},
    )
    return Section(
        "A task that need not wait",
        __doc__ or "",
        ["way", "CPU per task", "x asyncio"],
        rows,
        [figure],
    )
