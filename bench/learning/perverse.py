"""Providers that are not what they say, and the ways to send calls to them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean

from bench.learning.pool import each
from bench.learning.ways import WAYS
from bench.learning.world import FIRST, Setting, World, ideal, share
from bench.report import table
from xtremeflow.testing import Quirks, run

TEXT = """\
Providers that are not what they say, for {minutes:g} minutes of a virtual clock: calls without an
end, of 50 to 8,000 tokens; 600 requests a minute and as many tokens as these come to. Nothing is
configured but where the way's name says so. A cell: what was served from the second minute on,
over what an all-knowing client gets / the share of the attempts refused by then (but for those at
random) / calls lost, in all the runs / served in the first minute, over what that client gets in
it. The mean of the seeds; "refused" is the worst.
"""
PROVIDERS: Mapping[str, Setting] = {
    "a minute's bucket": Setting("openai", Quirks()),
    "by the second, headers of the minute": Setting("openai", Quirks(quantum=1.0)),
    "by ten seconds": Setting("openai", Quirks(quantum=10.0)),
    "refused requests do not count": Setting("openai", Quirks(refused_count=False)),
    "steep growth refused": Setting("openai", Quirks(growth=1.5, growth_over=5.0, growth_free=10)),
    "static headers": Setting("openai", Quirks(headers="static")),
    "resets as Unix times": Setting("openai", Quirks(headers="unix")),
    "1 % refused at random": Setting("openai", Quirks(noise=0.01)),
    "the first call refused at random": Setting("openai", Quirks(noise_first=1)),
    "all refused for 3 s, retry-after 0": Setting("openai", Quirks(blocked=3.0, waits="zero")),
    "refusals are errors in a 200": Setting("openai", Quirks(refused_in_200=True)),
    "no headers, retry-after 0": Setting("openai", Quirks(headers="none", waits="zero")),
    "no headers, retry-after a Unix time": Setting("openai", Quirks(headers="none", waits="unix")),
    "no headers, waits in the text only": Setting("openai", Quirks(headers="none", waits="text")),
    "silent: a minute's bucket": Setting("openai", Quirks(headers="none", waits="none")),
    "silent: by the second": Setting("openai", Quirks(quantum=1.0, headers="none", waits="none")),
    "silent: a sliding minute": Setting("mistral", Quirks(headers="none", waits="none")),
    "silent: steep growth refused": Setting(
        "openai",
        Quirks(growth=1.5, growth_over=5.0, growth_free=10, headers="none", waits="none"),
    ),
    "60 a minute, by the second": Setting("openai", Quirks(quantum=1.0), rpm=60),
    "60 a minute, by the second, told in refusals only": Setting(
        "openai", Quirks(quantum=1.0, headers="none"), rpm=60
    ),
    "silent: 60 a minute, by the second": Setting(
        "openai", Quirks(quantum=1.0, headers="none", waits="none"), rpm=60
    ),
    "silent: 1 % refused at random": Setting(
        "openai", Quirks(noise=0.01, headers="none", waits="none")
    ),
}


@dataclass(frozen=True)
class Result:
    in_use: float
    refused: float
    lost: int
    first: float


def measure(provider: str, way: str, minutes: float, seed: int) -> Result:
    """One run of a way at a provider; both by name."""
    setting = replace(PROVIDERS[provider], seed=seed)
    end = 60.0 * minutes

    async def job() -> World:
        world = World(setting)
        await WAYS[way](world, 0, end)
        return world

    logging.getLogger("xtremeflow").setLevel(logging.ERROR)
    world = run(job())
    best = ideal(setting, end)

    def of_ideal(since: float, until: float) -> float:
        found: dict[str, float] = {}
        for time, costs in best:
            if since <= time < until:
                for unit, cost in costs.items():
                    found[unit] = found.get(unit, 0.0) + cost
        return share(setting, world.served(since, until), found)

    return Result(
        of_ideal(FIRST, end),
        world.refused(FIRST, end),
        sum(world.lost.values()),
        of_ideal(0, FIRST),
    )


def cell(results: Sequence[Result]) -> str:
    return " / ".join(
        [
            f"{mean(r.in_use for r in results):.2f}",
            f"{max(r.refused for r in results):.1%}",
            f"{sum(r.lost for r in results):,}",
            f"{mean(r.first for r in results):.2f}",
        ]
    )


def tables(
    providers: Sequence[str], ways: Sequence[str], minutes: float, seeds: int, processes: int
) -> str:
    tasks = [
        (provider, way, minutes, seed)
        for provider in providers
        for way in ways
        for seed in range(seeds)
    ]
    found = each(measure, tasks, processes)
    rows = [
        [provider]
        + [cell([found[provider, way, minutes, seed] for seed in range(seeds)]) for way in ways]
        for provider in providers
    ]
    cells = table(["in use / refused / lost / first minute", *ways], rows)
    return f"{TEXT.format(minutes=minutes)}\n{cells}\n"
