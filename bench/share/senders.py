"""The processes that send calls by this package, see together.py."""

from __future__ import annotations

import asyncio
import random
import time

from bench.share.together import Send
from xtremeflow import RequestRateScheduler, TokenRateScheduler

COSTS = 50, 150  # tokens of a call of uneven cost, at least and at most


async def sent() -> float:
    return time.monotonic()


async def calls(share: str | None, rate: float, count: int) -> Send:
    """Sends so many calls; when each was dispatched."""
    scheduler = RequestRateScheduler(max_rps=rate, share=share)

    async def send() -> list[float]:
        return await asyncio.gather(*(scheduler.submit(sent()) for _ in range(count)))

    return send


async def uneven_calls(share: str, rate: float, count: int) -> Send:
    """Sends calls of uneven cost; when each was dispatched, and its cost."""
    chance = random.Random(count)
    costs = [chance.randint(*COSTS) for _ in range(count)]
    scheduler = TokenRateScheduler(max_tps=rate, share=share)

    async def send() -> list[tuple[float, int]]:
        times = await asyncio.gather(*(scheduler.submit(sent(), cost) for cost in costs))
        return list(zip(times, costs, strict=True))

    return send


async def stream(share: str | None, count: int) -> Send:
    """Sends the calls as fast as it can; its first and its last instant."""
    scheduler = free_scheduler(share)

    async def send() -> tuple[float, float]:
        first = time.monotonic()
        await send_all(scheduler, count)
        return first, time.monotonic()

    return send


def free_scheduler(share: str | None) -> TokenRateScheduler:
    return TokenRateScheduler(1e9, 1e9, 10_000, burst_ratio=1, share=share)


async def send_all(scheduler: TokenRateScheduler, count: int) -> None:
    for _ in range(count // 100):
        await asyncio.gather(*(scheduler.submit(sent(), 10) for _ in range(100)))
