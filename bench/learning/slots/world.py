"""A provider that has so many places for calls without saying so, and an endless job for it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from statistics import mean

from bench.learning.calls import Refused
from bench.learning.jobs.world import LARGEST, LATENCY
from xtremeflow import TokenRateScheduler
from xtremeflow.simulation.traces import load_trace
from xtremeflow.testing import (
    CallRequest,
    Concurrency,
    Latency,
    LatencyModel,
    RateLimitError,
    SimulatedProvider,
)

PLACES = 48
END = 600.0
HANG = 10.0  # s until a call that hangs is given up


@dataclass(frozen=True)
class Kind:
    """A provider: how many calls beyond its places it lets wait, and how it refuses more."""

    waiting: int
    status: int


KINDS: Mapping[str, Kind] = {
    "deepseek": Kind(0, 429),
    "vllm": Kind(10**6, 503),
    "vllm, bounded": Kind(PLACES, 503),
}


@dataclass
class Slowing:
    """Latencies that may become longer in mid-run."""

    model: LatencyModel
    slower: float = 1.0

    def draw(self, prompt_tokens: int, output_tokens: int, random: Random) -> Latency:
        drawn = self.model.draw(prompt_tokens, output_tokens, random)
        return Latency(
            drawn.uplink,
            drawn.first_token * self.slower,
            drawn.generation * self.slower,
            drawn.downlink,
        )


@dataclass
class World:
    """A provider and an endless job for it. To be made on a running loop."""

    kind: Kind
    seed: int
    places: int = PLACES
    scheduler: TokenRateScheduler | None = None
    provider: SimulatedProvider = field(init=False)

    def __post_init__(self) -> None:
        trace = [r for r in load_trace() if 0 < r.total_tokens <= LARGEST]
        random = Random(self.seed)
        self.requests = [
            CallRequest(r.prompt_tokens, r.output_tokens)
            for r in random.choices(trace, k=int(END) * self.places)
        ]
        self.latency = Slowing(LATENCY)
        self.limit = Concurrency(self.places + self.kind.waiting)
        self.provider = SimulatedProvider(
            [self.limit],
            latency=self.latency,
            charge="actual",
            batch=self.places if self.kind.waiting else None,
            seed=self.seed,
        )
        self.down: str | None = None  # "fails" at once, or "hangs"
        self.began = asyncio.get_running_loop().time()
        self.sent: list[float] = []
        self.refused: list[float] = []
        self.served: list[tuple[float, float, float]] = []  # when; seconds of work, and in all
        self.held: list[int] = []  # calls at the provider, each second
        self.let_in: list[int] = []  # as is learned
        self.lost = 0

    def now(self) -> float:
        return self.provider.now() - self.began

    def watch(self) -> None:
        self.held.append(self.provider.stats.in_flight)
        learner = None if self.scheduler is None else self.scheduler._learner
        if learner is not None and learner.slots is not None:
            self.let_in.append(learner.slots.size or 0)

    async def call(self, index: int) -> None:
        request, provider = self.requests[index], self.provider
        latency = provider.latency_of(request, index)
        sent = self.now()
        self.sent.append(sent)
        await asyncio.sleep(latency.uplink)
        if self.down is not None:
            await self._break(HANG if self.down == "hangs" else 0.0)
        try:
            reservation = provider.admit(request)
        except RateLimitError:
            self.refused.append(self.now())
            await asyncio.sleep(latency.downlink)
            raise Refused(self.kind.status, {}, {"error": {"message": "too many"}}) from None
        work = latency.first_token + latency.generation
        with reservation:
            async with provider.working():
                await asyncio.sleep(work)
        if self.down is not None:
            await self._break(0.0)
        await asyncio.sleep(latency.downlink)
        self.served.append((self.now(), work, self.now() - sent))

    async def _break(self, after: float) -> None:
        await asyncio.sleep(after + LATENCY.round_trip)
        raise Refused(502, {}, {"error": {"message": "out of order"}})

    def work(self, since: float, until: float = END) -> float:
        done = sum(work for when, work, _ in self.served if since <= when < until)
        return done / (self.places * (until - since))

    def slowness(self, since: float) -> float:
        calls = [(work, took) for when, work, took in self.served if when >= since]
        return mean(took for _, took in calls) / mean(work for work, _ in calls)

    def shrink(self, factor: float) -> None:
        """Other places than before, from now on."""
        self.places = round(self.places * factor)
        self.limit.largest = self.places + self.kind.waiting
