"""The ways in which a client may send calls without an end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from itertools import count
from random import Random

from bench.learning.calls import Refused, estimate
from bench.learning.world import World
from xtremeflow import Limit, TokenRateScheduler, auto_backoff, report_token_usage
from xtremeflow.providers import PROVIDERS
from xtremeflow.providers.provider import UNITS
from xtremeflow.refusals import is_outage, is_refusal, retry_delay
from xtremeflow.testing import CallRequest

Way = Callable[[World, int, float], Awaitable[None]]
"""Sends calls of the client of that number until that time, in seconds from the beginning."""

FEEDERS = 4  # calls that wait in a scheduler's queue at any time
AT_A_TIME = 40  # twice what the limits can keep busy
SDK_RETRIES = 2
RUN_RETRIES = 30  # as many as `xtremeflow run` makes


async def scheduled(
    world: World, client: int, until: float, scheduler: TokenRateScheduler, *, observe: bool
) -> None:
    """Keeps the scheduler's queue from ever being empty."""
    loop = asyncio.get_running_loop()
    requests = world.setting.requests(client)
    tasks: set[asyncio.Task[None]] = set()

    @auto_backoff(lambda error: is_refusal(error) or is_outage(error), max_retries=RUN_RETRIES)
    async def call(request: CallRequest) -> None:
        sent = loop.time()
        try:
            answer = await world.call(client, request)
        except Refused as refused:
            if observe:
                headers, body = refused.response.headers, refused.body
                scheduler.observe(refused.status_code, headers, body, sent_at=sent)
            raise
        if observe:
            scheduler.observe(200, answer.headers, sent_at=sent)
        names = scheduler.limit_names
        await report_token_usage({k: v for k, v in answer.usage.items() if k in names})

    def done(task: asyncio.Task[None]) -> None:
        tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            world.lost[client] += 1

    async def feed() -> None:
        while world.now() < until:
            request = next(requests)
            names = scheduler.limit_names
            costs = {k: v for k, v in estimate(world.setting.kind, request).items() if k in names}
            task = await scheduler.start_task(call(request), costs)
            tasks.add(task)
            task.add_done_callback(done)

    feeders = [asyncio.ensure_future(feed()) for _ in range(FEEDERS)]
    await asyncio.sleep(until - world.now())
    await cancelled([*feeders, *tasks])


async def cancelled(tasks: list[asyncio.Future[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def adapting(world: World, client: int, until: float) -> None:
    await scheduled(world, client, until, TokenRateScheduler(adapt=True), observe=True)


async def right(world: World, client: int, until: float) -> None:
    """Every limit configured as it is enforced, less a second for the network; no headers."""
    scheduler = TokenRateScheduler(limits=right_limits(world))
    await scheduled(world, client, until, scheduler, observe=False)


def right_limits(world: World) -> list[Limit]:
    """A window of a minute wants its amount in the rate and the burst together."""
    profile, quantum = world.setting.profile, world.setting.quirks.quantum
    limits: list[Limit] = []
    for name, amount in world.setting.amounts().items():
        quota = PROVIDERS[profile].quotas[name]
        seconds = min(60.0 if quantum is None else quantum, quota.seconds or 60.0)
        part = amount * seconds / 60.0
        if quota.counted in ("window", "sliding"):
            limits.append(Limit(UNITS[name], 0.97 * part, seconds, 0.03 * part))
        else:
            capacity = max(1.0, part - amount * 0.05 / 60.0)
            limits.append(Limit(UNITS[name], amount, 60.0, capacity))
    return limits


async def sdk(world: World, client: int, until: float) -> None:
    """40 at a time, each retried twice as the official SDKs do: after the told wait, if it is not
    above two minutes, else 0.5 s doubled up to 8 s, jittered."""
    await pooled(world, client, until, lambda: AT_A_TIME, lambda ok: None, SDK_RETRIES)


async def aimd(world: World, client: int, until: float) -> None:
    """Additive increase, multiplicative decrease of the calls at a time: one more a round, half as
    many after a refusal, at most once a second. Calls are retried without an end."""
    size, halved = 8.0, float("-inf")

    def learn(ok: bool) -> None:
        nonlocal size, halved
        if ok:
            size = min(size + 1 / size, 1024.0)
        elif world.now() - halved > 1.0:
            size, halved = max(1.0, size / 2), world.now()

    await pooled(world, client, until, lambda: int(size), learn, None)


async def pooled(
    world: World,
    client: int,
    until: float,
    size: Callable[[], int],
    learn: Callable[[bool], None],
    retries: int | None,
) -> None:
    """`size` says how many calls at a time, `learn` is told of each attempt whether it passed."""
    random = Random(f"{world.setting.seed}/{client}/pool")
    requests = world.setting.requests(client)
    tasks: set[asyncio.Task[None]] = set()
    changed = asyncio.Event()

    async def one(request: CallRequest) -> None:
        for attempt in count():
            try:
                await world.call(client, request)
                learn(True)
                return
            except Refused as refused:
                learn(False)
                changed.set()
                if attempt == retries:
                    world.lost[client] += 1
                    return
                told = retry_delay(refused, 0.0)
                guess = min(0.5 * 2.0**attempt, 8.0) * random.uniform(0.75, 1.0)
                await asyncio.sleep(told if told is not None and 0 < told <= 120 else guess)

    def done(task: asyncio.Task[None]) -> None:
        tasks.discard(task)
        changed.set()

    async def feed() -> None:
        for request in requests:
            while len(tasks) >= size():
                changed.clear()
                await changed.wait()
            task = asyncio.create_task(one(request))
            tasks.add(task)
            task.add_done_callback(done)

    feeder = asyncio.ensure_future(feed())
    await asyncio.sleep(until - world.now())
    await cancelled([feeder, *tasks])


async def aws(world: World, client: int, until: float) -> None:
    from bench.learning.aws import adaptive_mode  # which needs botocore

    await adaptive_mode(world, client, until)


WAYS: Mapping[str, Way] = {
    "xtremeflow, nothing configured": adapting,
    "fixed limits, set right": right,
    "AWS adaptive mode": aws,
    "AIMD on concurrency": aimd,
    "40 at a time, SDK retries": sdk,
}
