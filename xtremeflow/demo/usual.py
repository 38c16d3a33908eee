"""The same job done the usual way: a semaphore, and the retries of the official SDKs."""

from __future__ import annotations

import asyncio
import math
from itertools import count
from random import Random
from statistics import mean

from xtremeflow.demo.job import Job
from xtremeflow.demo.result import Call
from xtremeflow.demo.trace import TraceRequest
from xtremeflow.testing import RateLimitError

FIRST_DELAY = 0.5  # seconds of the provider's time; doubled with each retry, up to
LONGEST_DELAY = 8.0
LONGEST_RETRY_AFTER = 120.0  # a longer one is not followed


async def run_usual(
    job: Job, call: Call, *, concurrency: int | None = None, max_retries: int | None = None
) -> None:
    """Starts all calls at once behind an asyncio.Semaphore; each retries on its own.

    `concurrency` is by default twice what the limits can keep busy, so that it is not what holds
    the job back. Retries have no end unless `max_retries` is given (the SDKs' own default is 2,
    and loses calls).
    """
    semaphore = asyncio.Semaphore(concurrency or usual_concurrency(job))
    random = Random(job.seed)

    async def one(request: TraceRequest) -> None:
        async with semaphore:
            for retries in count():
                try:
                    await call(request)
                except RateLimitError as error:
                    if retries == max_retries:
                        return  # given up; the result counts it as failed
                    await asyncio.sleep(retry_delay(error, retries, random, job.speed))
                else:
                    return

    await asyncio.gather(*(one(request) for request in job.requests))


def usual_concurrency(job: Job) -> int:
    """Twice the limits' calls per second times a call's mean duration."""
    tokens = job.limit("tokens")
    cost = mean(request.total_tokens for request in job.requests)
    return math.ceil(2 * tokens.amount / tokens.per / cost * mean(job.durations()))


def retry_delay(error: RateLimitError, retries: int, random: Random, speed: float) -> float:
    """Seconds to wait, as the SDKs do: what the headers say, else exponential with jitter."""
    announced = error.response.headers.get("retry-after-ms")
    if announced is not None and 0 < float(announced) / 1000 <= LONGEST_RETRY_AFTER:
        return float(announced) / 1000
    delay = min(FIRST_DELAY * 2.0**retries, LONGEST_DELAY)
    return delay * random.uniform(0.75, 1.0) / speed
