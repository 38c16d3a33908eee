"""A whole job at a strict provider.

A sample of 1,000 requests of a real trace goes to a simulated provider in the same process, whose
limits on tokens and requests are buckets that start full, with one minute's amount. It
charges actual usage and answers 429 to whatever exceeds a limit. Its minute, as all its times,
is shorter than a real one's; delays that a way fixes in seconds are made shorter alike. "ideal /
wall" is the shortest time in which the limits allow the job, divided by the time it took;
"wasted" is the share of the attempts that were refused; "lost" counts the calls never answered.
In real time; all know the limits and, where they reserve tokens, the same estimates.

- xtremeflow: TokenRateScheduler, auto_backoff and report_token_usage.
- asyncio.Semaphore: twice the concurrency that the limits can keep busy, and the official SDKs'
  retries (their delays, but without end: with the default of two they lose calls).
- xtremeflow 0.4.4, as documented: the quick start of its README with this provider's tokens per
  second: 10 slots, no burst, three retries.
- xtremeflow 0.4.4, at its best: the limit on requests too, that same concurrency, a burst of the
  whole minute, ten retries.
- aiolimiter: two AsyncLimiters, which also start full, for requests and estimated tokens, before
  the semaphore and the SDKs' retries.
- token-throttle: quotas of requests and estimated tokens, the actual usage reported, before those
  same retries.
"""

from __future__ import annotations

import asyncio
import contextlib
from random import Random
from typing import Any

from bench.job.result import Call as Attempt
from bench.job.result import JobWay, run_job
from bench.job.simulated import SimulatedJob, size_job
from bench.job.ways import expected_answer, run_scheduled, run_usual, usual_concurrency
from bench.measure import Numbers, middle, rounds
from bench.peers import (
    AIOLIMITER,
    OLD,
    OURS,
    SEMAPHORE,
    TOKEN_THROTTLE,
    available,
    load,
    token_throttle,
)
from bench.report import Figure, Section
from xtremeflow.demo.usual import usual_delay
from xtremeflow.simulation.traces import TraceRequest, load_trace
from xtremeflow.testing import CallResponse, RateLimitError


async def run_old(job: SimulatedJob, call: Attempt, scheduler: Any, max_retries: int) -> None:
    old = load(OLD)
    answer = expected_answer(job)

    async def attempt(request: TraceRequest) -> None:
        response = await call(request)
        await old.report_token_usage(response.usage.total_tokens)

    retried = old.auto_backoff(
        retry_for=RateLimitError, max_retries=max_retries, base_retry_after=2.0 / job.speed
    )(attempt)

    async def send(request: TraceRequest) -> None:
        with contextlib.suppress(RateLimitError):  # lost
            await retried(request)

    tasks = [
        await scheduler.start_task(send(request), estimated_tokens=request.prompt_tokens + answer)
        for request in job.requests
    ]
    await asyncio.gather(*tasks)


async def run_old_as_documented(job: SimulatedJob, call: Attempt) -> None:
    tokens = job.limit("tokens")
    scheduler = load(OLD).TokenRateScheduler(max_concurrency=10, max_tps=tokens.amount / tokens.per)
    await run_old(job, call, scheduler, max_retries=3)


async def run_old_at_its_best(job: SimulatedJob, call: Attempt) -> None:
    tokens, requests = job.limit("tokens"), job.limit("requests")
    scheduler = load(OLD).TokenRateScheduler(
        max_tps=tokens.amount / tokens.per,
        max_rps=requests.amount / requests.per,
        max_concurrency=usual_concurrency(job),
        burst_ratio=tokens.per,
    )
    await run_old(job, call, scheduler, max_retries=10)


async def retried(
    call: Attempt, request: TraceRequest, random: Random, speed: float
) -> CallResponse:
    retries = 0
    while True:
        try:
            return await call(request)
        except RateLimitError as error:
            delay = usual_delay(error.response.headers, retries, random, speed)
            retries += 1
        await asyncio.sleep(delay)


async def run_limited(job: SimulatedJob, call: Attempt) -> None:
    from aiolimiter import AsyncLimiter

    tokens, requests = (
        AsyncLimiter(limit.amount, limit.per)
        for limit in (job.limit("tokens"), job.limit("requests"))
    )
    semaphore = asyncio.Semaphore(usual_concurrency(job))
    answer, random = expected_answer(job), Random(job.seed)

    async def one(request: TraceRequest) -> None:
        async with semaphore, requests:
            await tokens.acquire(request.prompt_tokens + answer)
            await retried(call, request, random, job.speed)

    await asyncio.gather(*map(one, job.requests))


async def run_reserved(job: SimulatedJob, call: Attempt) -> None:
    limits = {limit.name: round(limit.amount) for limit in job.limits}
    limiter = token_throttle(limits, round(job.limit("tokens").per))
    answer, random = expected_answer(job), Random(job.seed)

    async def one(request: TraceRequest) -> None:
        estimate = {"requests": 1, "tokens": request.prompt_tokens + answer}
        async with limiter.reserve(estimate, model="m") as handle:
            response = await retried(call, request, random, job.speed)
            handle.set_actual_usage({"requests": 1, "tokens": response.usage.total_tokens})

    await asyncio.gather(*map(one, job.requests))


WAYS: dict[str, JobWay] = {
    OURS: run_scheduled,
    SEMAPHORE: run_usual,
    f"{OLD}, as documented": run_old_as_documented,
    f"{OLD}, at its best": run_old_at_its_best,
    AIOLIMITER: run_limited,
    TOKEN_THROTTLE: run_reserved,
}


def measure(way: str, seconds: float, minute: int, requests: int) -> Numbers:
    job = size_job(load_trace()[:requests], seconds=seconds, minute=minute)
    result = asyncio.run(run_job(job, WAYS[way]))
    return {
        "wall": result.wall,
        "efficiency": result.efficiency,
        "wasted": result.wasted,
        "lost": result.failed,
        "p99": result.lateness_at(99),
    }


def section(quick: bool) -> Section:
    seconds, minute, requests = (1.0, 1, 100) if quick else (12.0, 3, 1000)

    def run(ways: list[str], repeat: int) -> dict[str, list[Numbers]]:
        return rounds(
            "job.libraries", ways, repeat, seconds=seconds, minute=minute, requests=requests
        )

    results = run([OURS], 1 if quick else 3) | run([way for way in WAYS if way != OURS], 1)
    rows = [
        [
            way,
            f"{middle(numbers, 'wall'):.2f} s",
            f"{middle(numbers, 'efficiency'):.3f}",
            f"{middle(numbers, 'wasted'):.1%}",
            f"{middle(numbers, 'lost'):,.0f}",
            f"{1000 * middle(numbers, 'p99'):,.1f} ms",
        ]
        for way, numbers in results.items()
    ]

    def text(way: str) -> str:
        wasted = middle(results[way], "wasted")
        return f"{middle(results[way], 'efficiency'):.3f}, {wasted:.1%} wasted"

    figure = Figure(
        "a whole job: ideal wall / wall",
        text(OURS),
        ">= 0.98, <= 0.5 % wasted",
        middle(results[OURS], "efficiency") >= 0.98 and middle(results[OURS], "wasted") <= 0.005,
        {
            library: "; ".join(text(way) for way in results if way.split(",")[0] == library)
            for library in (SEMAPHORE, OLD, AIOLIMITER, TOKEN_THROTTLE)
            if available(library)
        },
    )
    return Section(
        "A whole job",
        __doc__ or "",
        ["way", "wall", "ideal / wall", "wasted", "lost", "lateness p99"],
        rows,
        [figure],
    )
