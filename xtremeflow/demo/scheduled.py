"""The job done with XtremeFlow."""

from __future__ import annotations

import asyncio
import contextlib
import math
from dataclasses import replace
from statistics import mean, pstdev

from xtremeflow import Limit, TokenRateScheduler, auto_backoff, report_token_usage
from xtremeflow.demo.job import Job
from xtremeflow.demo.result import Call
from xtremeflow.demo.trace import TraceRequest
from xtremeflow.testing import RateLimitError


async def run_scheduled(job: Job, call: Call) -> None:
    """Starts every call through a TokenRateScheduler with the provider's limits."""
    scheduler = TokenRateScheduler(limits=client_limits(job))
    answer = round(mean(request.output_tokens for request in job.requests))

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


def client_limits(job: Job) -> list[Limit]:
    """The provider's limits, the tokens' capacity less what estimates may be short of at once.

    A call's answer is estimated at the mean length, which is known from a trial run, and settled
    when it is there. Until then the estimates of n calls in flight are wrong by a sum of standard
    deviation s * sqrt(n). Three of these are held back, once, from the initial burst.
    """
    tokens = job.limit("tokens")
    cost = mean(request.total_tokens for request in job.requests)
    in_flight = (tokens.amount + tokens.amount / tokens.per * mean(job.durations())) / cost
    reserve = 3 * pstdev(request.output_tokens for request in job.requests) * math.sqrt(in_flight)
    largest = max(request.total_tokens for request in job.requests)
    capacity = max(tokens.amount - reserve, largest)
    return [replace(limit, capacity=capacity) if limit is tokens else limit for limit in job.limits]
