"""Jobs at providers whose limits nobody has told the client, on a virtual clock.

    python -m bench.learning                   the table, some minutes of computing
    python -m bench.learning openai azure      only these profiles
    python -m bench.learning --plot FILE       how a limit on tokens is found and used

A job is a queue that is never empty, of requests of a real trace, for so many minutes at the
profile's limits. Delays to the provider vary, and so do the lengths of answers. "ideal / wall" is
the time that an all-knowing client would need, divided by the time it took; "refused" is the share
of the attempts that the provider refused; "lost" counts the calls never answered. Each figure is
the mean over the seeds, "refused" the worst.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from random import Random
from statistics import mean
from types import SimpleNamespace

from bench.report import table
from xtremeflow import Limit, TokenRateScheduler, auto_backoff, report_token_usage
from xtremeflow.demo.trace import load_trace
from xtremeflow.learning.headers import Observation
from xtremeflow.learning.told import kept
from xtremeflow.refusals import is_refusal, retry_delay
from xtremeflow.serve.profiles import PROFILES, Account, Profile, Refusal
from xtremeflow.serve.profiles.base import UNITS, period
from xtremeflow.testing import (
    CallRequest,
    Enforcer,
    LatencyModel,
    RateLimitError,
    RequestTooLargeError,
    SimulatedProvider,
    run,
)
from xtremeflow.testing.limits import NANOSECONDS, Concurrency

EPOCH = 1.8e9  # seconds since the epoch at which the virtual clock starts
LATENCY = LatencyModel(
    round_trip=0.04, uplink_jitter=0.03, first_token=0.4, per_output_token=0.01, jitter=0.25
)
LARGEST = 4_000  # tokens of a request: longer ones of the trace are left out
WITH_HEADERS = ("openai", "azure", "anthropic", "mistral", "groq")


class Refused(Exception):
    """An error response, as the SDKs raise it."""

    def __init__(self, status: int, headers: Mapping[str, str], body: object) -> None:
        super().__init__(f"HTTP {status}")
        self.status_code = status
        self.body = body
        self.response = SimpleNamespace(status_code=status, headers=headers)


def only_waits(body):
    """Of a refusal's body what says how long to wait: Google's RetryInfo."""
    details = [d for d in body.get("error", {}).get("details", []) if "RetryInfo" in d["@type"]] if isinstance(body, dict) and isinstance(body.get("error"), dict) else []
    return {"error": {"code": 429, "details": details}} if details else None


@dataclass(frozen=True)
class Answer:
    headers: Mapping[str, str]
    usage: Mapping[str, int]


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
    """A provider with its limits, and a job for it. To be made on a running loop."""

    profile: Profile
    requests: Sequence[CallRequest]
    seed: int
    tells: str = "all"
    provider: SimulatedProvider = field(init=False)

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
        try:
            reservation = provider.admit(request)
        except (RateLimitError, RequestTooLargeError) as error:
            rejection = self.profile.refusal(Refusal.of(error, self.account, "m"))
            headers = {**self.profile.headers(self.account), **rejection.headers}
            body = rejection.body
            if self.tells != "all":
                headers = {k: v for k, v in headers.items() if k.startswith("retry-after") and self.tells == "waits"}
                body = only_waits(body) if self.tells == "waits" else None
            await asyncio.sleep(latency.downlink)
            raise Refused(rejection.status, headers, body) from None
        with reservation:
            await asyncio.sleep(latency.first_token + latency.generation)
            settled = self.profile.settle(request, request.completion_tokens)
            if settled is not None:
                reservation.settle(settled)
            headers = self.profile.headers(self.account) if self.tells == "all" else {}
            await asyncio.sleep(latency.downlink)
        provider.stats.completed += 1
        usage = settled or reservation.costs
        return Answer(headers, usage)

    def multiply(self, name: str, factor: float) -> None:
        """The provider changes a limit."""
        self.amounts[name] = round(self.amounts[name] * factor)
        limit = self.account.limits[name]
        assert isinstance(limit, Changing)
        other = self.profile.enforcer(name, self.amounts[name], 60.0)
        limit.become(other, round(self.provider.now() * NANOSECONDS))

    def charged(self, since: float, until: float) -> float:
        """The tokens of the calls that came in that time, in seconds from the beginning."""
        return sum(
            arrival.costs["tokens"]
            for arrival in self.provider.arrivals
            if not arrival.refused and since <= arrival.time - self.began < until
        )

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


# The ways to do the job.

Way = Callable[[World], Awaitable[None]]


def estimate(world: World, request: CallRequest) -> dict[str, int]:
    """What a user can know beforehand: the prompt, and max_tokens of output."""
    costs = dict(world.profile.charge(request))
    if world.profile.name == "mistral":
        costs = {"tokens": request.prompt_tokens + request.answer_tokens}
    if world.profile.name == "anthropic":
        costs["output_tokens"] = request.max_tokens or 0
    costs.pop("requests", None)
    return costs


async def scheduled(world: World, scheduler: TokenRateScheduler, observe: bool) -> None:
    names = set(scheduler.limit_names)

    @auto_backoff(max_retries=20)
    async def call(index: int) -> None:
        try:
            answer = await world.call(index)
        except Refused as refused:
            if observe:
                status, headers = refused.status_code, refused.response.headers
                scheduler.observe(status, headers, refused.body)
            raise
        if observe:
            scheduler.observe(200, answer.headers)
        await report_token_usage({k: v for k, v in answer.usage.items() if k in names})

    for index, request in enumerate(world.requests):
        costs = {k: v for k, v in estimate(world, request).items() if k in names}
        scheduler.submit(call(index), costs)
    tasks = scheduler.pending_tasks
    await asyncio.gather(*tasks, return_exceptions=True)


async def adapting(world: World) -> None:
    await scheduled(world, TokenRateScheduler(adapt=True), observe=True)


def wrong(factor: float) -> Way:
    async def way(world: World) -> None:
        limits = [
            Limit(UNITS[name], n * factor, 60.0, n * factor)
            for name, n in world.amounts.items()
            if name.endswith("pm")
        ]
        await scheduled(world, TokenRateScheduler(limits=limits, adapt=True), observe=True)

    return way


async def right(world: World) -> None:
    """Every limit configured as it is, with the best bucket for it; no headers."""
    windows = {"azure": {"rpm": 10.0, "tpm": 60.0}, "mistral": {"rpm": 60.0, "tpm": 60.0}}
    known = windows.get(world.profile.name, {})
    limits = [
        kept(
            Observation(
                UNITS[name],
                period(name, 60.0),
                n,
                window=known.get(name),
                slides=world.profile.name == "mistral",
                burst=1.0 if (world.profile.name, name) == ("anthropic", "rpm") else None,
            )
        )
        for name, n in world.amounts.items()
    ]
    await scheduled(world, TokenRateScheduler(limits=limits), observe=False)


async def paced(world: World) -> None:
    """The limits per second, without any burst: as version 0.4.4 documents it."""
    limits = [
        Limit(UNITS[name], n / 60.0) for name, n in world.amounts.items() if name.endswith("pm")
    ]
    await scheduled(world, TokenRateScheduler(limits=limits), observe=False)


async def sdk(world: World) -> None:
    """64 at a time; retries as the SDKs do them, but without an end."""
    await pooled(world, lambda: 64, lambda ok: None)


async def aimd(world: World) -> None:
    """The number of calls at a time grows by one a round, and is halved by a refusal."""
    size = 8.0
    halved = 0.0
    clock = asyncio.get_running_loop().time

    def learn(ok: bool) -> None:
        nonlocal size, halved
        if ok:
            size += 1 / size
        elif clock() - halved > 1.0:
            size, halved = max(1.0, size / 2), clock()

    await pooled(world, lambda: int(size), learn)


async def pooled(world: World, size: Callable[[], int], learn: Callable[[bool], None]) -> None:
    random = Random(world.seed)
    running = 0
    changed = asyncio.Event()

    async def one(index: int) -> None:
        nonlocal running
        for retries in count():
            try:
                await world.call(index)
                learn(True)
                break
            except Refused as refused:
                learn(False)
                if not is_refusal(refused):
                    break
                told = retry_delay(refused, EPOCH)
                guess = min(0.5 * 2.0**retries, 8.0) * random.uniform(0.75, 1.0)
                await asyncio.sleep(guess if told is None else told)
        running -= 1
        changed.set()

    tasks: list[asyncio.Task[None]] = []
    for index in range(len(world.requests)):
        while running >= size():
            changed.clear()
            await changed.wait()
        running += 1
        tasks.append(asyncio.create_task(one(index)))
    await asyncio.gather(*tasks)


WAYS: Mapping[str, Way] = {
    "adapt, nothing configured": adapting,
    "adapt, 30 % too high": wrong(1.3),
    "adapt, 30 % too low": wrong(0.7),
    "fixed limits, set right": right,
    "paced, as 0.4.4 documents": paced,
    "AIMD on concurrency": aimd,
    "64 at a time, SDK retries": sdk,
}


@dataclass(frozen=True)
class Result:
    efficiency: float
    refused: float
    lost: int


def measure(profile: str, way: str, minutes: float, seed: int) -> Result:
    async def job() -> Result:
        world = World(PROFILES[profile], requests_for(PROFILES[profile], minutes, seed), seed)
        clock = asyncio.get_running_loop().time
        began = clock()
        await WAYS[way](world)
        stats = world.provider.stats
        tail = mean(r.answer_tokens for r in world.requests[-20:])
        ideal = world.ideal() + LATENCY.first_token + LATENCY.per_output_token * tail
        return Result(
            ideal / (clock() - began),
            stats.refused / stats.attempts,
            len(world.requests) - stats.completed,
        )

    return run(job())


# Edges that move: OpenAI's limit on tokens, from the fifth minute on.

CHANGE = 300.0  # s


def moving(factor: float, seed: int) -> World:
    async def job() -> World:
        profile = PROFILES["openai"]
        world = World(profile, requests_for(profile, 10 * max(1.0, factor), seed), seed)
        running = asyncio.ensure_future(adapting(world))
        await asyncio.sleep(CHANGE)
        world.multiply("tpm", factor)
        await asyncio.wait([running], timeout=CHANGE)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return world

    return run(job())


def after_a_cut(seed: int) -> tuple[float, float]:
    """Seconds until the last refusal, and the share of the new limit in use from then on."""
    world = moving(0.5, seed)
    last = max(world.refused(CHANGE), default=CHANGE) - CHANGE
    used = world.charged(CHANGE + 60, 2 * CHANGE) / (world.amounts["tpm"] * (CHANGE - 60) / 60)
    return last, used


def after_a_rise(seed: int) -> float:
    """Seconds until 95 % of the doubled limit are in use, over ten seconds."""
    world = moving(2.0, seed)
    rate = world.amounts["tpm"] / 60
    for second in range(int(CHANGE) - 10):
        if world.charged(CHANGE + second, CHANGE + second + 10) >= 0.95 * rate * 10:
            return second
    return float("inf")


def two_users(seed: int) -> tuple[float, float]:
    """The shares of the limit that two have who both adapt, on one key, the second from the fifth
    minute on; over the last four minutes."""

    async def job() -> tuple[float, float]:
        profile = PROFILES["openai"]
        world = World(profile, requests_for(profile, 10, seed), seed)
        other = World(profile, requests_for(profile, 10, seed + 1000), seed)
        other.provider, other.account = world.provider, world.account
        served: list[int] = []

        def counted(user: World) -> Callable[[int], Awaitable[Answer]]:
            call = user.call

            async def counting(index: int) -> Answer:
                answer = await call(index)
                if world.provider.now() - world.began >= CHANGE + 60 and user is world:
                    served.append(answer.usage["tokens"])
                return answer

            return counting

        world.call = counted(world)  # type: ignore[method-assign]
        first = asyncio.ensure_future(adapting(world))
        await asyncio.sleep(CHANGE)
        second = asyncio.ensure_future(adapting(other))
        await asyncio.sleep(CHANGE)
        quota = world.amounts["tpm"] * (CHANGE - 60) / 60
        both = world.charged(CHANGE + 60, 2 * CHANGE) / quota
        first.cancel()
        second.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        return sum(served) / quota, both

    return run(job())


def edges(seeds: int) -> list[list[str]]:
    cuts = [after_a_cut(seed) for seed in range(seeds)]
    rises = [after_a_rise(seed) for seed in range(seeds)]
    shares = [two_users(seed) for seed in range(seeds)]
    return [
        ["limit halved: seconds until the last refusal", f"{max(last for last, _ in cuts):.1f}"],
        ["limit halved: of the new limit in use", f"{mean(used for _, used in cuts):.3f}"],
        ["limit doubled: seconds until 95 % of it are in use", f"{max(rises):.0f}"],
        ["second user: share of the first", f"{mean(mine for mine, _ in shares):.3f}"],
        ["second user: both together", f"{mean(both for _, both in shares):.3f}"],
    ]


def rows(profile: str, minutes: float, seeds: int) -> list[list[str]]:
    found = []
    for way in WAYS:
        results = [measure(profile, way, minutes, seed) for seed in range(seeds)]
        found.append(
            [
                f"{profile}: {way}",
                f"{mean(r.efficiency for r in results):.3f}",
                f"{max(r.refused for r in results):.2%}",
                str(sum(r.lost for r in results)),
            ]
        )
        print(*found[-1], sep="  ", file=sys.stderr, flush=True)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.learning",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("profiles", nargs="*", metavar="PROFILE", help=", ".join(WITH_HEADERS))
    parser.add_argument("--minutes", type=float, default=10.0, help="of a job at the limit")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args(argv)
    for profile in options.profiles:
        if profile not in WITH_HEADERS:
            parser.error(f"there is no profile {profile!r} here, only {', '.join(WITH_HEADERS)}")
    all_rows: list[list[str]] = []
    for profile in options.profiles or WITH_HEADERS:
        all_rows += rows(profile, options.minutes, options.seeds)
    print(table(["way", "ideal / wall", "refused", "lost"], all_rows))
    if not options.profiles:
        print()
        print(table(["adapt, nothing configured, OpenAI's headers", ""], edges(options.seeds)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
