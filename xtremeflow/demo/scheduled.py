"""The job done with XtremeFlow."""

from __future__ import annotations

import asyncio
import contextlib
from statistics import mean, pstdev

from xtremeflow import TokenRateScheduler, auto_backoff, report_token_usage
from xtremeflow.demo.job import Job
from xtremeflow.demo.result import Call
from xtremeflow.demo.trace import TraceRequest
from xtremeflow.testing import RateLimitError


async def run_scheduled(job: Job, call: Call) -> None:
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


def expected_answer(job: Job) -> int:
    """The estimate of every answer's length: its mean plus one standard deviation.

    Both are known from a trial run. Together, the estimates of n calls in flight miss by about
    s * sqrt(n), and n * s is held back, until each call's report returns what it did not use.
    """
    answers = [request.output_tokens for request in job.requests]
    return round(mean(answers) + pstdev(answers))
