"""The cost of metrics: a scrape, and a collector that is registered and not scraped.

- xtremeflow: `tasks` calls of a scheduler with two limits, in chunks as in "overhead".
- xtremeflow, collector: the same with `xtremeflow.metrics.Collector` in a registry, never scraped.
- xtremeflow, scraped: the same, and then `scrapes` scrapes: prometheus_client's generate_latest
  writes all measures as text. "scrape" is the CPU of one.

"x alone" is the median of the ratios of the CPU of a call to that of the first way.
"""

from __future__ import annotations

import asyncio
import time

from prometheus_client import CollectorRegistry, generate_latest

from bench.measure import Numbers, middle, ratio, rounds
from bench.peers import OURS
from bench.report import Figure, Section
from xtremeflow import Limit, TaskScheduler
from xtremeflow.metrics import Collector

COLLECTED, SCRAPED = f"{OURS}, collector", f"{OURS}, scraped"
WAYS = [OURS, COLLECTED, SCRAPED]


async def _work() -> None:
    await asyncio.sleep(0)


def measure(way: str, tasks: int, chunk: int, scrapes: int) -> Numbers:
    limits = [Limit("requests", 1e9, capacity=1e9), Limit("tokens", 1e12, capacity=1e12)]
    scheduler = TaskScheduler(10**6, limits=limits)
    registry = CollectorRegistry()
    if way != OURS:
        registry.register(Collector(scheduler))

    async def calls(n: int) -> None:
        start = scheduler.start_task
        await asyncio.gather(*[await start(_work(), 100) for _ in range(n)])

    async def main() -> float:
        await calls(chunk)
        began = time.process_time()
        for _ in range(tasks // chunk):
            await calls(chunk)
        return (time.process_time() - began) / (tasks // chunk * chunk)

    numbers = {"cpu": asyncio.run(main())}
    if way == SCRAPED:
        generate_latest(registry)
        began = time.process_time()
        for _ in range(scrapes):
            generate_latest(registry)
        numbers["scrape"] = (time.process_time() - began) / scrapes
    return numbers


def section(quick: bool) -> Section:
    size = {"tasks": 1_000, "chunk": 100, "scrapes": 10}
    if not quick:
        size = {"tasks": 50_000, "chunk": 1_000, "scrapes": 500}
    results = rounds("cpu.scrape", WAYS, 1 if quick else 5, **size)
    scrape = 1e3 * middle(results[SCRAPED], "scrape")
    unscraped = ratio(results[COLLECTED], results[OURS], "cpu")
    rows = [
        [
            way,
            f"{1e6 * middle(numbers, 'cpu'):.2f} us",
            f"{ratio(numbers, results[OURS], 'cpu'):.2f}x",
            f"{scrape:.2f} ms" if way == SCRAPED else "-",
        ]
        for way, numbers in results.items()
    ]
    return Section(
        "Metrics",
        __doc__ or "",
        ["way", "CPU of a call", "x alone", "scrape"],
        rows,
        [
            Figure("metrics: CPU of a scrape", f"{scrape:.2f} ms", "<= 1 ms", scrape <= 1, {}),
            Figure(
                "metrics: CPU of a call with a collector that is not scraped / without",
                f"{unscraped:.2f}x",
                "<= 1.05x",
                unscraped <= 1.05,
                {},
            ),
        ],
    )
