"""Runs a job in one way and measures what its provider saw."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from bench.job.simulated import SimulatedJob
from xtremeflow.simulation.ideal import earliest_admissions
from xtremeflow.simulation.traces import TraceRequest
from xtremeflow.testing import (
    Arrival,
    CallResponse,
    ProviderStats,
    clock_of,
)

Call = Callable[[TraceRequest], Awaitable[CallResponse]]
"""One attempt of a request at the provider; raises RateLimitError when it is refused."""

JobWay = Callable[[SimulatedJob, Call], Awaitable[None]]
"""A way to do a job: makes every request's call until it is answered or given up."""


@dataclass(frozen=True)
class JobResult:
    """What came of a job. Times are in seconds, those of `arrivals` from the job's start."""

    job: SimulatedJob
    ideal_wall: float
    wall: float
    quota_used: float  # of the tokens that the limit allowed by the last admission, the share taken
    lateness: Sequence[float]  # of each admitted call, in their order
    stats: ProviderStats
    arrivals: Sequence[Arrival]

    @property
    def efficiency(self) -> float:
        """The ideal wall time as a share of the actual one."""
        return self.ideal_wall / self.wall

    @property
    def wasted(self) -> float:
        """The share of the attempts that were refused."""
        return self.stats.refused / self.stats.attempts if self.stats.attempts else 0.0

    @property
    def failed(self) -> int:
        """Requests that never got an answer."""
        return len(self.job.requests) - self.stats.succeeded

    def lateness_at(self, percent: float) -> float:
        """The percentile of dispatch lateness; NaN if no call was admitted.

        A call's lateness is its arrival at the provider minus the earliest moment at which the
        limits would have allowed it: the a_i of xtremeflow.simulation.ideal, of the calls as they
        came, counted from the first. Quota once left idle thus makes all later calls late.
        """
        if not self.lateness:
            return math.nan
        ordered = sorted(self.lateness)
        return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


async def run_job(job: SimulatedJob, runner: JobWay) -> JobResult:
    """Does `job` by `runner`, on the running loop's clock, and measures it."""
    provider = job.provider()
    clock = clock_of(asyncio.get_running_loop())

    async def call(request: TraceRequest) -> CallResponse:
        return await provider.call(
            prompt_tokens=request.prompt_tokens,
            output_tokens=request.output_tokens,
            key=request.index,
        )

    began = clock()
    await runner(job, call)
    wall = clock() - began
    arrivals = [arrival._replace(time=arrival.time - began) for arrival in provider.arrivals]
    admitted = [arrival for arrival in arrivals if not arrival.refused]
    earliest = earliest_admissions((arrival.costs for arrival in admitted), job.limits)
    return JobResult(
        job=job,
        ideal_wall=job.ideal_wall(),
        wall=wall,
        quota_used=_quota_used(job, admitted),
        lateness=[a.time - admitted[0].time - e for a, e in zip(admitted, earliest, strict=True)],
        stats=provider.stats,
        arrivals=arrivals,
    )


def _quota_used(job: SimulatedJob, admitted: Sequence[Arrival]) -> float:
    if not admitted:
        return 0.0
    limit = job.limit("tokens")
    allowed = limit.amount * (1 + (admitted[-1].time - admitted[0].time) / limit.per)
    return sum(arrival.costs["tokens"] for arrival in admitted) / allowed
