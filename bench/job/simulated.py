"""A job at a simulated provider in the same process, and what each way of doing it comes to.

For the lower bound of its time see xtremeflow.simulation.ideal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from xtremeflow import Limit
from xtremeflow.simulation.ideal import ideal_wall
from xtremeflow.simulation.traces import TraceRequest
from xtremeflow.testing import CallRequest, LatencyModel, SimulatedProvider, TokenBucket


@dataclass(frozen=True)
class SimulatedJob:
    """Requests to be sent in their order, all there from the start, and a provider's limits.

    The provider enforces the limits, of "tokens" and "requests", as continuous buckets that start
    full and hold one period's amount, and charges what a call will actually have used. A request's
    latency is the same in every run. `speed` is by how much that provider's time is faster than a
    real one's.
    """

    requests: Sequence[TraceRequest]
    limits: Sequence[Limit]
    latency: LatencyModel = field(default_factory=LatencyModel)
    seed: int = 0
    speed: float = 1.0

    def limit(self, name: str) -> Limit:
        return next(limit for limit in self.limits if limit.name == name)

    def provider(self) -> SimulatedProvider:
        """A fresh provider, its buckets full."""
        buckets = [TokenBucket(lim.name, lim.amount, lim.per) for lim in self.limits]
        return SimulatedProvider(buckets, latency=self.latency, charge="actual", seed=self.seed)

    def durations(self) -> list[float]:
        """Seconds from each request's admission to its answer."""
        return _durations(self.requests, self.latency, self.seed)

    def ideal_wall(self) -> float:
        """The lower bound in seconds, for calls admitted in the order of the requests."""
        costs = ({"requests": 1, "tokens": request.total_tokens} for request in self.requests)
        return ideal_wall(costs, self.durations(), self.limits)


def size_job(
    requests: Sequence[TraceRequest],
    *,
    seconds: float = 20.0,
    minute: float = 5.0,
    latency: LatencyModel | None = None,
    seed: int = 0,
) -> SimulatedJob:
    """The job whose token limit makes its ideal wall time `seconds`.

    Its provider's minute, which is what its buckets hold, lasts `minute` seconds, and its latencies
    (`latency`, in the seconds of a real provider) are as much shorter: a job of many minutes in
    few. Its limit on requests is a quarter looser than that on tokens.
    """
    for name, value in (("seconds", seconds), ("minute", minute)):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be finite and above 0, got {value!r}")
    speed = 60 / minute
    latency = (latency or LatencyModel()).faster(speed)
    durations = _durations(requests, latency, seed)
    if seconds <= max(durations):
        raise ValueError(
            f"seconds must be above {max(durations):.2f}, the longest call's duration, "
            f"got {seconds!r}"
        )
    # a_i + duration_i <= seconds, with the capacity C = r * minute, solved for the rate r.
    spent = accumulate(request.total_tokens for request in requests)
    rate = max(s / (seconds + minute - took) for s, took in zip(spent, durations, strict=True))
    largest = max(request.total_tokens for request in requests)
    if rate * minute < largest:
        raise ValueError(
            f"minute must be at least {largest / rate:.2f} s for the largest request "
            f"({largest} tokens) to fit, got {minute!r}"
        )
    calls_per_token = len(requests) / sum(request.total_tokens for request in requests)
    tokens = math.ceil(rate * minute)
    calls = math.ceil(1.25 * tokens * calls_per_token)
    limits = (
        Limit("tokens", tokens, per=minute, capacity=tokens),
        Limit("requests", calls, per=minute, capacity=calls),
    )
    return SimulatedJob(requests, limits, latency, seed, speed)


def _durations(requests: Sequence[TraceRequest], latency: LatencyModel, seed: int) -> list[float]:
    provider = SimulatedProvider(latency=latency, seed=seed)
    drawn = (
        provider.latency_of(CallRequest(r.prompt_tokens, r.output_tokens), key=r.index)
        for r in requests
    )
    return [latency.total - latency.uplink for latency in drawn]
