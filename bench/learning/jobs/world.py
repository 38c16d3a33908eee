"""A simulated provider, with what it tells of its limits, and a job for it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from statistics import mean

from bench.learning.calls import Answer, Refused
from xtremeflow.providers.provider import UNITS, period
from xtremeflow.serve.profiles import Account, Profile, RefusedCall
from xtremeflow.serve.profiles.base import Rejection
from xtremeflow.simulation.enforcers import NANOSECONDS, Concurrency
from xtremeflow.simulation.traces import load_trace
from xtremeflow.testing import (
    CallRequest,
    Enforcer,
    LatencyModel,
    RateLimitError,
    RequestTooLargeError,
    SimulatedProvider,
)
from xtremeflow.values.forms import json_objects

EPOCH = 1.8e9  # seconds since the epoch at which the virtual clock starts
LATENCY = LatencyModel(
    round_trip=0.04, uplink_jitter=0.03, first_token=0.4, per_output_token=0.01, jitter=0.25
)
LARGEST = 4_000  # tokens of a request: longer ones of the trace are left out


def only_waits(body: object) -> object:
    """Of a refusal's body what says how long to wait: Google's RetryInfo."""
    waits = [part for part in json_objects(body) if "retryDelay" in part]
    return {"error": {"details": waits}} if waits else None


@dataclass
class Served:
    """A call that was let pass: when, in seconds from the beginning, and what it was charged."""

    time: float
    costs: Mapping[str, int]


class Changing(Enforcer):
    """A limit that can be replaced by another while it is in use."""

    def __init__(self, now_is: Enforcer) -> None:
        super().__init__(now_is.unit, now_is.largest)
        self.now_is = now_is

    def become(self, other: Enforcer, now: int) -> None:
        """What is left stays, as far as there is room."""
        other.take(max(0, other.largest - self.now_is.remaining(now)), now)
        self.now_is, self.largest = other, other.largest

    def wait(self, cost: int, now: int) -> int | None:
        return self.now_is.wait(cost, now)

    def take(self, cost: int, now: int) -> None:
        self.now_is.take(cost, now)

    def settle(self, cost: int, actual: int, taken: int, now: int) -> None:
        self.now_is.settle(cost, actual, taken, now)

    def remaining(self, now: int) -> int:
        return self.now_is.remaining(now)

    def reset(self, now: int) -> int | None:
        return self.now_is.reset(now)

    def release(self, cost: int) -> None:
        self.now_is.release(cost)


@dataclass
class World:
    """A provider with its limits, and a job for it. To be made on a running loop.

    tells  what the answers tell of the limits: "all" that the provider tells, how long refused
           calls have to wait ("waits"), or "nothing"
    down   from when until when it is, in seconds from the beginning: calls that arrive fail
    """

    profile: Profile
    requests: Sequence[CallRequest]
    seed: int
    tells: str = "all"
    down: tuple[float, float] = (0.0, 0.0)
    provider: SimulatedProvider = field(init=False)
    served: list[Served] = field(default_factory=list["Served"])
    failed: list[float] = field(default_factory=list[float])

    def __post_init__(self) -> None:
        self.amounts = self.profile.amounts(SMALL.get(self.profile.name, {}))
        enforcers: dict[str, Enforcer] = {
            name: Changing(self.profile.enforcer(name, n, 60.0)) for name, n in self.amounts.items()
        }
        self.provider = SimulatedProvider(
            enforcers.values(),
            latency=LATENCY,
            charge=self.profile.charge,
            seed=self.seed,
        )
        self.began = asyncio.get_running_loop().time()
        self.account = Account(
            enforcers,
            self.amounts,
            self.provider.now,
            lambda: EPOCH + self.provider.now() - self.began,
        )

    async def call(self, index: int) -> Answer:
        request = self.requests[index]
        provider = self.provider
        latency = provider.latency_of(request, index)
        provider.arrive()
        await asyncio.sleep(latency.uplink)
        if self.down[0] <= (now := provider.now() - self.began) < self.down[1]:
            self.failed.append(now)
            await asyncio.sleep(latency.downlink)
            raise Refused(503, {}, None)
        try:
            reservation = provider.admit(request)
        except (RateLimitError, RequestTooLargeError) as error:
            rejection = self.profile.refusal(RefusedCall.of(error, self.account, "m"))
            headers, body = self._told(rejection)
            await asyncio.sleep(latency.downlink)
            raise Refused(rejection.status, headers, body) from None
        served = Served(provider.now() - self.began, reservation.costs)
        self.served.append(served)
        with reservation:
            await asyncio.sleep(latency.first_token + latency.generation)
            settled = self.profile.settle(request, request.completion_tokens)
            if settled is not None:
                reservation.settle(settled)
                served.costs = settled
            headers = self.profile.headers(self.account) if self.tells == "all" else {}
            await asyncio.sleep(latency.downlink)
        provider.stats.succeeded += 1
        usage = settled or reservation.costs
        return Answer(headers, usage)

    def _told(self, rejection: Rejection) -> tuple[Mapping[str, str], object]:
        if self.tells == "all":
            headers = {**self.profile.identify("req", 0), **self.profile.headers(self.account)}
            return {**headers, **rejection.headers}, rejection.body
        if self.tells == "nothing":
            return {}, None
        waits = {k: v for k, v in rejection.headers.items() if k.startswith("retry-after")}
        return waits, only_waits(rejection.body)

    def multiply(self, name: str, factor: float) -> None:
        """The provider changes a limit."""
        self.amounts[name] = round(self.amounts[name] * factor)
        limit = self.account.limits[name]
        assert isinstance(limit, Changing)
        other = self.profile.enforcer(name, self.amounts[name], 60.0)
        limit.become(other, round(self.provider.now() * NANOSECONDS))

    def used(self, name: str, since: float, until: float) -> float:
        """The share of a limit that was used by the calls that came in that time, in seconds from
        the beginning."""
        unit, amount = UNITS[name], self.amounts[name]
        used = sum(s.costs[unit] for s in self.served if since <= s.time < until)
        return used * period(name, 60.0) / (amount * (until - since))

    def in_use(self, since: float, until: float) -> float:
        """The same, of the limit that it was the most of."""
        return max(self.used(name, since, until) for name in self.amounts if name != "concurrency")

    def refused(self, since: float) -> list[float]:
        """When calls were refused."""
        times = (arrival.time - self.began for arrival in self.provider.arrivals if arrival.refused)
        return [time for time in times if time >= since]

    def ideal(self) -> float:
        """Seconds to the last admission of an all-knowing client who sends in this order."""
        enforcers = [self.profile.enforcer(name, n, 60.0) for name, n in self.amounts.items()]
        limits = [e for e in enforcers if not isinstance(e, Concurrency)]
        now = 0
        for request in self.requests:
            costs = self.profile.settle(request, request.completion_tokens)
            costs = costs or self.profile.charge(request)
            for limit in limits:
                now += max(0, limit.wait(costs[limit.unit], now) or 0)
            for limit in limits:
                limit.take(costs[limit.unit], now)
        return now / NANOSECONDS

    def ideal_wall(self) -> float:
        """Seconds to that client's last answer, which is as long as the last twenty on average."""
        tail = mean(r.answer_tokens for r in self.requests[-20:])
        return self.ideal() + LATENCY.first_token + LATENCY.per_output_token * tail


# Smaller than the profiles' own, so that many virtual minutes are few real seconds.
SMALL: Mapping[str, Mapping[str, int | None]] = {
    "openai": {"rpm": 500, "tpm": 200_000},
    "azure": {"rpm": 600, "tpm": 120_000},
    "anthropic": {"rpm": 600, "itpm": 200_000, "otpm": 40_000},
    "mistral": {"rpm": 360, "tpm": 200_000},
    "groq": {"rpm": 1_000, "rpd": 500_000, "tpm": 200_000},
    "gemini": {"rpm": 300, "itpm": 150_000, "rpd": None},
}


def requests_for(profile: Profile, minutes: float, seed: int) -> list[CallRequest]:
    """As many as the limits let pass in that time."""
    trace = [r for r in load_trace() if 0 < r.total_tokens <= LARGEST]
    random = Random(seed)
    amounts = profile.amounts(SMALL.get(profile.name, {}))
    left = {
        name: n * minutes * 60 / period(name, 60.0)
        for name, n in amounts.items()
        if name != "concurrency"
    }
    requests: list[CallRequest] = []
    while all(amount > 0 for amount in left.values()):
        r = random.choice(trace)
        request = CallRequest(r.prompt_tokens, r.output_tokens, r.output_tokens + 50)
        requests.append(request)
        costs = profile.settle(request, request.completion_tokens) or profile.charge(request)
        for name in left:
            left[name] -= costs[UNITS[name]]
    return requests
