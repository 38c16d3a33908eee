"""The adaptive retry mode of the AWS SDKs: botocore's own classes, on a virtual clock.

`ClientRateLimiter` is CUBIC on a token bucket of requests; it is asked before each attempt and told
of each answer, as botocore's event system does. Retries are those of its standard mode: three
attempts, exponential with full jitter up to 20 s, out of a quota that successes refill. Only the
blocking parts are played here, since they would block the loop.
"""

from __future__ import annotations

import asyncio
import importlib
import math
from random import Random
from typing import Any

from bench.learning.calls import Refused
from bench.learning.ways import AT_A_TIME, cancelled
from bench.learning.world import World

ATTEMPTS = 3  # botocore.retries.standard.DEFAULT_MAX_ATTEMPTS
LONGEST = 20.0  # s; ExponentialBackoff's
RETRY_COST, NO_RETRY = 5, 1  # RetryQuotaChecker's, for throttling


class _Clock:
    def __init__(self, world: World) -> None:
        self._world = world

    def current_time(self) -> float:
        return self._world.now()


class _Detector:
    """Knows a throttling error; the answers here are told as they are."""

    def is_throttling_error(self, *, throttled: bool) -> bool:
        return throttled


class Limiter:
    """botocore's ClientRateLimiter, whose `acquire` sleeps in the loop instead of blocking it."""

    def __init__(self, world: World) -> None:
        adaptive: Any = importlib.import_module("botocore.retries.adaptive")
        bucket: Any = importlib.import_module("botocore.retries.bucket")
        throttling: Any = importlib.import_module("botocore.retries.throttling")
        quota: Any = importlib.import_module("botocore.retries.quota")
        self._full: Any = importlib.import_module("botocore.exceptions").CapacityNotAvailableError
        clock = _Clock(world)
        self._bucket = bucket.TokenBucket(max_rate=1, clock=clock)
        self._limiter = adaptive.ClientRateLimiter(
            rate_adjustor=throttling.CubicCalculator(
                starting_max_rate=0, start_time=clock.current_time()
            ),
            rate_clocker=adaptive.RateClocker(clock),
            token_bucket=self._bucket,
            throttling_detector=_Detector(),
            clock=clock,
        )
        self.quota = quota.RetryQuota()
        self._turn = asyncio.Lock()

    async def before_sending(self) -> None:
        async with self._turn:
            while self._limiter._enabled:
                try:
                    self._bucket.acquire(block=False)
                    return
                except self._full:
                    missing = 1 - self._bucket.available_capacity
                    # The rate may have changed by then: looked at again, as its condition is.
                    await asyncio.sleep(min(max(missing / self._bucket.max_rate, 1e-6), 0.1))

    def answered(self, *, throttled: bool) -> None:
        self._limiter.on_receiving_response(throttled=throttled)


async def adaptive_mode(world: World, client: int, until: float) -> None:
    """As many calls at a time as the SDKs of the other way."""
    limiter = Limiter(world)
    random = Random(f"{world.setting.seed}/{client}/aws")
    requests = world.setting.requests(client)

    async def one() -> None:
        request = next(requests)
        for attempt in range(ATTEMPTS):
            await limiter.before_sending()
            try:
                await world.call(client, request)
            except Refused:
                limiter.answered(throttled=True)
                if attempt + 1 == ATTEMPTS or not limiter.quota.acquire(RETRY_COST):
                    break
                await asyncio.sleep(random.random() * min(math.pow(2, attempt), LONGEST))
            else:
                limiter.answered(throttled=False)
                limiter.quota.release(RETRY_COST if attempt else NO_RETRY)
                return
        world.lost[client] += 1

    async def worker() -> None:
        while True:
            await one()

    workers = [asyncio.ensure_future(worker()) for _ in range(AT_A_TIME)]
    await asyncio.sleep(until - world.now())
    await cancelled([*workers])
