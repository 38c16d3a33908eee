"""The ways to do a job at a provider."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from itertools import count
from random import Random

from bench.learning_world import EPOCH, Refused, World
from xtremeflow import Limit, TokenRateScheduler, auto_backoff, report_token_usage
from xtremeflow.learning.headers import Observation
from xtremeflow.learning.told import kept
from xtremeflow.refusals import is_outage, is_refusal, retry_delay
from xtremeflow.serve.profiles.base import UNITS, period
from xtremeflow.testing import CallRequest

Way = Callable[[World], Awaitable[None]]


def estimate(world: World, request: CallRequest) -> dict[str, int]:
    """What a user can know beforehand: the prompt, and max_tokens of output."""
    costs = dict(world.profile.charge(request))
    if world.profile.name == "mistral":
        costs = {"tokens": request.prompt_tokens + request.answer_tokens}
    if world.profile.name == "anthropic":
        costs["output_tokens"] = request.max_tokens or 0
    costs.pop("requests", None)
    return costs


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
        costs = {k: v for k, v in estimate(world, request).items() if k in names}
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


async def right(world: World) -> None:
    """Every limit configured as it is, with the best bucket for it; no headers."""
    windows = {"azure": {"rpm": 10.0, "tpm": 60.0}, "mistral": {"rpm": 60.0, "tpm": 60.0}}
    known = windows.get(world.profile.name, {})
    limits = [
        kept(
            Observation(
                UNITS[name],
                period(name, 60.0),
                n,
                window=known.get(name),
                slides=world.profile.name == "mistral",
                burst=1.0 if (world.profile.name, name) == ("anthropic", "rpm") else None,
            )
        )
        for name, n in world.amounts.items()
    ]
    await scheduled(world, TokenRateScheduler(limits=limits), observe=False)


async def paced(world: World) -> None:
    """The limits per second, without any burst: as version 0.4.4 documents it."""
    limits = [
        Limit(UNITS[name], n / 60.0) for name, n in world.amounts.items() if name.endswith("pm")
    ]
    await scheduled(world, TokenRateScheduler(limits=limits), observe=False)


async def sdk(world: World) -> None:
    """64 at a time; retries as the SDKs do them, but without an end."""
    await pooled(world, lambda: 64, lambda ok: None)


async def aimd(world: World) -> None:
    """The number of calls at a time grows by one a round, and is halved by a refusal."""
    size = 8.0
    halved = 0.0
    clock = asyncio.get_running_loop().time

    def learn(ok: bool) -> None:
        nonlocal size, halved
        if ok:
            size += 1 / size
        elif clock() - halved > 1.0:
            size, halved = max(1.0, size / 2), clock()

    await pooled(world, lambda: int(size), learn)


async def pooled(world: World, size: Callable[[], int], learn: Callable[[bool], None]) -> None:
    random = Random(world.seed)
    running = 0
    changed = asyncio.Event()

    async def one(index: int) -> None:
        nonlocal running
        for retries in count():
            try:
                await world.call(index)
                learn(True)
                break
            except Refused as refused:
                learn(False)
                if not is_refusal(refused):
                    break
                told = retry_delay(refused, EPOCH)
                guess = min(0.5 * 2.0**retries, 8.0) * random.uniform(0.75, 1.0)
                await asyncio.sleep(guess if told is None else told)
        running -= 1
        changed.set()

    tasks: list[asyncio.Task[None]] = []
    for index in range(len(world.requests)):
        while running >= size():
            changed.clear()
            await changed.wait()
        running += 1
        tasks.append(asyncio.create_task(one(index)))
    await asyncio.gather(*tasks)


WAYS: Mapping[str, Way] = {
    "adapt, nothing configured": adapting,
    "adapt, 30 % too high": wrong(1.3),
    "adapt, 30 % too low": wrong(0.7),
    "fixed limits, set right": right,
    "paced, as 0.4.4 documents": paced,
    "AIMD on concurrency": aimd,
    "64 at a time, SDK retries": sdk,
}
