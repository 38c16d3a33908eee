"""The ways to do a job at a provider."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from bench.learning.calls import Refused, estimate
from bench.learning.jobs.unscheduled import aimd, sdk
from bench.learning.jobs.world import World
from xtremeflow import Limit, TokenRateScheduler, auto_backoff, report_token_usage
from xtremeflow.answers.headers import Observation
from xtremeflow.learning.told.limits import kept
from xtremeflow.providers import PROVIDERS
from xtremeflow.providers.provider import UNITS, period
from xtremeflow.refusals import is_outage, is_refusal

Way = Callable[[World], Awaitable[None]]


async def scheduled(world: World, scheduler: TokenRateScheduler, observe: bool) -> None:
    """All requests, submitted at once."""
    names = set(scheduler.limit_names)

    @auto_backoff(lambda error: is_refusal(error) or is_outage(error), max_retries=20)
    async def call(index: int) -> None:
        try:
            answer = await world.call(index)
        except Refused as refused:
            if observe:
                status, headers = refused.status_code, refused.response.headers
                scheduler.observe(status, headers, refused.body)
            raise
        if observe:
            scheduler.observe(200, answer.headers)
        await report_token_usage({k: v for k, v in answer.usage.items() if k in names})

    for index, request in enumerate(world.requests):
        costs = {k: v for k, v in estimate(world.profile, request).items() if k in names}
        scheduler.submit(call(index), costs)
    tasks = scheduler.pending_tasks
    await asyncio.gather(*tasks, return_exceptions=True)


async def adapting(world: World) -> None:
    await scheduled(world, TokenRateScheduler(adapt=True), observe=True)


def wrong(factor: float) -> Way:
    async def way(world: World) -> None:
        limits = [
            Limit(UNITS[name], n * factor, 60.0, n * factor)
            for name, n in world.amounts.items()
            if name.endswith("pm")
        ]
        await scheduled(world, TokenRateScheduler(limits=limits, adapt=True), observe=True)

    return way


def best(profile: str, name: str, amount: int) -> Limit:
    """The bucket for a limit of which nothing is known but the limit."""
    if profile == "mistral":  # within any minute no more than the amount
        return Limit(UNITS[name], 0.97 * amount, 60.0, 0.03 * amount)
    quota = PROVIDERS[profile].quotas[name]
    window = (quota.seconds or 60.0) if profile == "azure" else None
    burst = quota.seconds if profile == "anthropic" else None
    return kept(Observation(UNITS[name], period(name, 60.0), amount, window=window, burst=burst))


async def right(world: World) -> None:
    """Every limit configured as it is, with the best bucket for it; no headers."""
    limits = [best(world.profile.name, name, n) for name, n in world.amounts.items()]
    await scheduled(world, TokenRateScheduler(limits=limits), observe=False)


async def paced(world: World) -> None:
    """The limits per second, without any burst: as version 0.4.4 documents it."""
    limits = [
        Limit(UNITS[name], n / 60.0) for name, n in world.amounts.items() if name.endswith("pm")
    ]
    await scheduled(world, TokenRateScheduler(limits=limits), observe=False)


WAYS: Mapping[str, Way] = {
    "adapt, nothing configured": adapting,
    "adapt, 30 % too high": wrong(1.3),
    "adapt, 30 % too low": wrong(0.7),
    "fixed limits, set right": right,
    "paced, as 0.4.4 documents": paced,
    "AIMD on concurrency": aimd,
    "64 at a time, SDK retries": sdk,
}
