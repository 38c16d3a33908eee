"""CPU of a task that has to queue for a slot.

`tasks` tasks are made at once and contend for `slots` slots; each holds one while it awaits once
(`asyncio.sleep(0)`). asyncio.gather waits for them. CPU is the process's own (time.process_time)
with the garbage collector on, from making the first task to the end of the last. "x Semaphore" is
the median of the ratios to asyncio.Semaphore of the same round.

- asyncio.Semaphore: each task does `async with semaphore: await work()`.
- xtremeflow, submit: `scheduler.submit(work())` on a TaskScheduler: one task per call, which waits
  in the native queue.
- xtremeflow, submit, all limits: the same on a TokenRateScheduler whose limits are never reached.
- ..., start_task in tasks: each of the `tasks` tasks does
  `await (await scheduler.start_task(work()))`: two tasks per call, the one that asks and the one
  that runs. Here the caller waits, as in 0.4.4, and not the call.
- ..., start_task in a loop: one loop awaits start_task for call after call, as the documentation
  of 0.4.4 has it: no more than one call waits at a time.
- aiolimiter has no slots and token-throttle no limit on concurrency: they are not in this row.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from bench.measure import Numbers, middle, ratio, rounds
from bench.peers import OLD, OURS, SEMAPHORE, load
from bench.report import Figure, Section

Batch = Callable[[int], Awaitable[object]]


async def work() -> None:
    await asyncio.sleep(0)


def semaphore(slots: int) -> Batch:
    semaphore = asyncio.Semaphore(slots)

    async def call() -> None:
        async with semaphore:
            await work()

    return lambda n: asyncio.gather(*[asyncio.create_task(call()) for _ in range(n)])


def submitted(slots: int) -> Batch:
    submit = load(OURS).TaskScheduler(slots).submit
    return lambda n: asyncio.gather(*[submit(work()) for _ in range(n)])


def submitted_to_all_limits(slots: int) -> Batch:
    submit = load(OURS).TokenRateScheduler(10**9, 10**7, slots, 60).submit
    return lambda n: asyncio.gather(*[submit(work(), 100) for _ in range(n)])


def started_in_tasks(library: str, slots: int) -> Batch:
    scheduler = load(library).TaskScheduler(slots)

    async def ask() -> None:
        await (await scheduler.start_task(work()))

    return lambda n: asyncio.gather(*[asyncio.create_task(ask()) for _ in range(n)])


def started_in_a_loop(library: str, slots: int) -> Batch:
    scheduler = load(library).TaskScheduler(slots)

    async def batch(n: int) -> None:
        await asyncio.gather(*[await scheduler.start_task(work()) for _ in range(n)])

    return batch


IN_TASKS, IN_A_LOOP = "start_task in tasks", "start_task in a loop"
SUBMIT = f"{OURS}, submit"
WAYS: dict[str, Callable[[int], Batch]] = {
    SEMAPHORE: semaphore,
    SUBMIT: submitted,
    f"{OURS}, submit, all limits": submitted_to_all_limits,
    f"{OURS}, {IN_TASKS}": lambda slots: started_in_tasks(OURS, slots),
    f"{OURS}, {IN_A_LOOP}": lambda slots: started_in_a_loop(OURS, slots),
    f"{OLD}, {IN_TASKS}": lambda slots: started_in_tasks(OLD, slots),
    f"{OLD}, {IN_A_LOOP}": lambda slots: started_in_a_loop(OLD, slots),
}


def measure(way: str, tasks: int, slots: int, batches: int) -> Numbers:
    return asyncio.run(_measure(way, tasks, slots, batches))


async def _measure(way: str, tasks: int, slots: int, batches: int) -> Numbers:
    run = WAYS[way](slots)
    await run(slots)
    began = time.process_time()
    for _ in range(batches):
        await run(tasks)
    return {"cpu": (time.process_time() - began) / (tasks * batches)}


def section(quick: bool) -> Section:
    tasks, batches, repeat = (1_000, 1, 1) if quick else (10_000, 5, 7)
    results = rounds("cpu.queued", list(WAYS), repeat, tasks=tasks, slots=50, batches=batches)
    ratios = {way: ratio(numbers, results[SEMAPHORE], "cpu") for way, numbers in results.items()}
    rows = [
        [way, f"{1e6 * middle(numbers, 'cpu'):.2f} us", f"{ratios[way]:.2f}"]
        for way, numbers in results.items()
    ]
    old = f"{OLD}, {IN_TASKS}"
    figure = Figure(
        "CPU of a task that queues / asyncio.Semaphore",
        f"{ratios[SUBMIT]:.2f}x",
        "<= 0.85x",
        ratios[SUBMIT] <= 0.85,
        {OLD: f"{ratios[old]:.2f}x"} if old in ratios else {},
    )
    return Section(
        "A task that queues",
        __doc__ or "",
        ["way", "CPU per task", "x Semaphore"],
        rows,
        [figure],
    )
