"""The two ways of doing a simulated job that need no other library."""

from __future__ import annotations

import asyncio
import contextlib
import math
from itertools import count
from random import Random
from statistics import mean, pstdev

from bench.job.result import Call
from bench.job.simulated import SimulatedJob
from xtremeflow import TokenRateScheduler, auto_backoff, report_token_usage
from xtremeflow.demo.usual import usual_delay
from xtremeflow.simulation.traces import TraceRequest
from xtremeflow.testing import RateLimitError


async def run_scheduled(job: SimulatedJob, call: Call) -> None:
    """Starts every call through a TokenRateScheduler with the provider's limits."""
    scheduler = TokenRateScheduler(limits=job.limits)
    answer = expected_answer(job)

    @auto_backoff(retry_for=RateLimitError, max_retries=10)
    async def attempt(request: TraceRequest) -> None:
        response = await call(request)
        await report_token_usage(response.usage.total_tokens)

    async def send(request: TraceRequest) -> None:
        with contextlib.suppress(RateLimitError):  # given up; the result counts it as failed
            await attempt(request)

    tasks = [
        await scheduler.start_task(send(request), estimated_tokens=request.prompt_tokens + answer)
        for request in job.requests
    ]
    await asyncio.gather(*tasks)


def expected_answer(job: SimulatedJob) -> int:
    """The estimate of every answer's length: its mean plus one standard deviation.

    Both are known from a trial run. Together, the estimates of n calls in flight miss by about
    s * sqrt(n), and n * s is held back, until each call's report returns what it did not use.
    """
    answers = [request.output_tokens for request in job.requests]
    return round(mean(answers) + pstdev(answers))


async def run_usual(
    job: SimulatedJob, call: Call, *, concurrency: int | None = None, max_retries: int | None = None
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
                    await asyncio.sleep(
                        usual_delay(error.response.headers, retries, random, job.speed)
                    )
                else:
                    return

    await asyncio.gather(*(one(request) for request in job.requests))


def usual_concurrency(job: SimulatedJob) -> int:
    """Twice the limits' calls per second times a call's mean duration."""
    tokens = job.limit("tokens")
    cost = mean(request.total_tokens for request in job.requests)
    return math.ceil(2 * tokens.amount / tokens.per / cost * mean(job.durations()))
