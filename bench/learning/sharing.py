"""Jobs on one key: none of them knows of the others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean

from bench.learning import perverse
from bench.learning.pool import each
from bench.learning.ways import WAYS
from bench.learning.world import FIRST, RPM, Setting, World
from bench.report import table
from xtremeflow.providers.provider import UNITS
from xtremeflow.testing import Quirks, run

TEXT = """\
Jobs on one key, which do not know of each other, on a virtual clock. The calls and limits are as in
`perverse`; each job begins some seconds after the one before. A cell: what the job got that got the
least, over its fair part / what all of them got together, over the limit / the share of attempts
refused / calls lost. All but the lost are of the time from a minute after the last has begun to the
end, {minutes:g} minutes after. The mean of the seeds; "the least" and "refused" are the worst.
"""
JOBS = (2, 4)
APART = (0.0, 3.0, 6.0, 20.0, 300.0)  # s
PROVIDERS: Mapping[str, Setting] = {
    **{name: Setting(name) for name in ("openai", "azure", "anthropic", "mistral", "groq")},
    "openai, silent": Setting("openai", Quirks(headers="none", waits="none")),
    **{name: one for name, one in perverse.PROVIDERS.items() if one.rpm < RPM},
}
SHARING = tuple(way for way in WAYS if not way.startswith("fixed"))


@dataclass(frozen=True)
class Result:
    least: float
    together: float
    refused: float
    lost: int


def measure(provider: str, way: str, jobs: int, apart: float, minutes: float, seed: int) -> Result:
    """`minutes` after the last has begun."""
    setting = replace(PROVIDERS[provider], seed=seed)
    begins = [apart * number for number in range(jobs)]
    end = begins[-1] + 60.0 * minutes
    since = begins[-1] + FIRST

    async def main() -> World:
        world = World(setting)

        async def job(number: int) -> None:
            await asyncio.sleep(begins[number])
            await WAYS[way](world, number, end)

        await asyncio.gather(*map(job, range(jobs)))
        return world

    logging.getLogger("xtremeflow").setLevel(logging.ERROR)
    world = run(main())

    def got(client: int | None) -> float:
        served = world.served(since, end, client)
        allowed = {
            UNITS[name]: amount * (end - since) / 60.0 for name, amount in setting.amounts().items()
        }
        return max(served.get(unit, 0.0) / amount for unit, amount in allowed.items())

    each_got = [got(client) for client in range(jobs)]
    return Result(
        min(each_got) * jobs / max(1e-9, sum(each_got)),
        got(None),
        world.refused(since, end),
        sum(world.lost.values()),
    )


def cell(results: Sequence[Result]) -> str:
    return " / ".join(
        [
            f"{min(r.least for r in results):.2f}",
            f"{mean(r.together for r in results):.2f}",
            f"{max(r.refused for r in results):.1%}",
            f"{sum(r.lost for r in results):,}",
        ]
    )


def tables(
    providers: Sequence[str],
    ways: Sequence[str],
    jobs: Sequence[int],
    minutes: float,
    seeds: int,
    processes: int,
) -> str:
    kinds = [(provider, n, apart) for provider in providers for n in jobs for apart in APART]
    tasks = [
        (provider, way, n, apart, minutes, seed)
        for provider, n, apart in kinds
        for way in ways
        for seed in range(seeds)
    ]
    found = each(measure, tasks, processes)
    rows = [
        [f"{provider}: {n} jobs, {apart:g} s apart"]
        + [
            cell([found[provider, way, n, apart, minutes, seed] for seed in range(seeds)])
            for way in ways
        ]
        for provider, n, apart in kinds
    ]
    cells = table(["the least / together / refused / lost", *ways], rows)
    return f"{TEXT.format(minutes=minutes)}\n{cells}\n"
