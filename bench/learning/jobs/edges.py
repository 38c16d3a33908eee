"""Edges that move: OpenAI's limit on tokens, from the fifth minute on."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from statistics import mean

from bench.learning.jobs.ways import adapting
from bench.learning.jobs.world import World, requests_for
from xtremeflow.serve.profiles import PROFILES
from xtremeflow.testing import run

CHANGE = 300.0  # s
SETTLED = 60.0  # s after it, from when on the use of the new limit counts
OUTAGE = (300.0, 330.0)  # s
APART = 10.0  # s between two refusals that do not belong together


def moving(
    factor: float, seed: int, tells: str = "all", down: tuple[float, float] = (0.0, 0.0)
) -> World:
    """Ten minutes, in the middle of which the limit is multiplied; and an outage, in seconds from
    the beginning."""

    async def job() -> World:
        profile = PROFILES["openai"]
        requests = requests_for(profile, 10 * max(1.0, factor), seed)
        world = World(profile, requests, seed, tells, down)
        running = asyncio.ensure_future(adapting(world))
        await asyncio.sleep(CHANGE)
        world.multiply("tpm", factor)
        await asyncio.wait([running], timeout=CHANGE)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return world

    return run(job())


def after_an_outage(seed: int, tells: str = "all") -> tuple[int, float, float]:
    """Attempts that failed meanwhile; seconds from its end to the first answer; and the share of
    the limit in use in the minute that follows."""
    world = moving(1.0, seed, tells, OUTAGE)
    up = next(served.time for served in world.served if served.time >= OUTAGE[1])
    return len(world.failed), up - OUTAGE[1], world.used("tpm", up, up + 60.0)


def after_a_cut(seed: int, tells: str = "all") -> tuple[float, float]:
    """Seconds from the first refusal after it to the last that follows on that, and the share of
    the new limit in use from then on."""
    world = moving(0.5, seed, tells)
    refused = world.refused(CHANGE)
    last = next((a for a, b in pairwise(refused) if b - a > APART), max(refused, default=0.0))
    used = world.used("tpm", CHANGE + SETTLED, 2 * CHANGE)
    return last - min(refused, default=0.0), used


def after_a_rise(seed: int, tells: str = "all") -> float:
    """Seconds until 95 % of the doubled limit are in use, over ten seconds."""
    world = moving(2.0, seed, tells)
    for second in range(int(CHANGE) - 10):
        if world.used("tpm", CHANGE + second, CHANGE + second + 10) >= 0.95:
            return second
    return float("inf")


def two_users(seed: int, tells: str = "all") -> tuple[float, float]:
    """The shares of the limit that two have who both adapt, on one key, the second from the fifth
    minute on; over the last four minutes."""
    first, second = sharing(seed, tells)
    shares = [user.used("tpm", CHANGE + SETTLED, 2 * CHANGE) for user in (first, second)]
    return shares[0], sum(shares)


def sharing(seed: int, tells: str = "all") -> tuple[World, World]:
    async def job() -> tuple[World, World]:
        profile = PROFILES["openai"]
        first = World(profile, requests_for(profile, 10, seed), seed, tells)
        second = World(profile, requests_for(profile, 10, seed + 1000), seed, tells)
        second.provider, second.account = first.provider, first.account
        users = [asyncio.ensure_future(adapting(first))]
        await asyncio.sleep(CHANGE)
        users.append(asyncio.ensure_future(adapting(second)))
        await asyncio.sleep(CHANGE)
        for user in users:
            user.cancel()
        await asyncio.gather(*users, return_exceptions=True)
        return first, second

    return run(job())


def edges(seeds: int, tells: str) -> list[list[str]]:
    cuts = [after_a_cut(seed, tells) for seed in range(seeds)]
    rises = [after_a_rise(seed, tells) for seed in range(seeds)]
    shares = [two_users(seed, tells) for seed in range(seeds)]
    outages = [after_an_outage(seed, tells) for seed in range(seeds)]
    least = min(min(first, both - first) for first, both in shares)
    return [
        ["limit halved: seconds of refusals, the worst", f"{max(last for last, _ in cuts):.1f}"],
        ["limit halved: of the new limit in use", f"{mean(used for _, used in cuts):.3f}"],
        ["limit doubled: seconds until 95 % are in use, the worst", f"{max(rises):.0f}"],
        ["second user: part of the one with less, the worst", f"{least:.3f}"],
        ["second user: both together", f"{mean(both for _, both in shares):.3f}"],
        ["down for 30 s: attempts meanwhile, at most", str(max(n for n, _, _ in outages))],
        ["down for 30 s: s until one passes, at most", f"{max(s for _, s, _ in outages):.1f}"],
        ["down for 30 s: in use in the minute after", f"{mean(u for _, _, u in outages):.3f}"],
    ]
