"""The cost of the dashboard to a job: CPU of its process while no page is open, and while
a page is open.

A scheduler dispatches `rate` calls a second for `seconds`, each of which sleeps for 50 ms. The way
"page open" has a client that reads all samples, in a process of its own. "of a core" is the CPU of
the job's process (time.process_time) as a share of the time; "more" is what it takes more than
without a dashboard, of the same round.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from statistics import median

from bench.measure import Numbers, middle, rounds
from bench.peers import OURS
from bench.report import Figure, Section
from xtremeflow import Limit, TaskScheduler

SERVED, OPEN = f"{OURS}, dashboard", f"{OURS}, page open"
WAYS = [OURS, SERVED, OPEN]

READER = """
import sys, urllib.request
with urllib.request.urlopen(sys.argv[1] + "events") as events:
    for line in events:
        pass
"""


def measure(way: str, rate: int, seconds: float) -> Numbers:
    return asyncio.run(_measure(way, rate, seconds))


async def _measure(way: str, rate: int, seconds: float) -> Numbers:
    limits = [Limit("requests", rate), Limit("tokens", 1e9, capacity=1e9)]
    scheduler = TaskScheduler(1_000, limits=limits)

    async def work() -> Numbers:
        for _ in range(rate // 10):
            await scheduler.start_task(asyncio.sleep(0.05), 100)
        cpu, began = time.process_time(), time.monotonic()
        while time.monotonic() - began < seconds:
            await scheduler.start_task(asyncio.sleep(0.05), 100)
        return {"cpu": (time.process_time() - cpu) / (time.monotonic() - began)}

    if way == OURS:
        return await work()
    async with scheduler.serve_dashboard() as page:
        if way == SERVED:
            return await work()
        reader = subprocess.Popen([sys.executable, "-c", READER, page.url])  # noqa: ASYNC220
        try:
            return await work()
        finally:
            reader.kill()
            reader.wait()


def section(quick: bool) -> Section:
    size = {"rate": 100, "seconds": 0.3} if quick else {"rate": 200, "seconds": 15.0}
    results = rounds("cpu.page", WAYS, 1 if quick else 3, **size)

    def more(way: str) -> float:
        pairs = zip(results[way], results[OURS], strict=True)
        return median(with_it["cpu"] - without["cpu"] for with_it, without in pairs)

    rows = [
        [way, f"{middle(numbers, 'cpu'):.2%}", "-" if way == OURS else f"{more(way):+.2%}"]
        for way, numbers in results.items()
    ]
    return Section(
        "Dashboard",
        __doc__ or "",
        ["way", "of a core", "more"],
        rows,
        [
            Figure(
                "dashboard: CPU of the job while a page is open, of a core",
                f"{more(OPEN):+.2%}",
                "<= 1 %",
                more(OPEN) <= 0.01,
                {},
            )
        ],
    )
