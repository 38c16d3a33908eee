"""The charges and refunds of providers, learned on a virtual clock, and the gain by that.

    ./dev bench learning charges                 both tables, some minutes of computing
    ./dev bench learning charges openai groq     only these profiles

Jobs as in `bench.learning.jobs`, whose requests have a max_tokens of a thousand or more, as people
give it. Some prompts are partly in the provider's cache. The first table has after how many
answers, and seconds, it was known whether the provider settles, and at the worst; whether anything
else was believed meanwhile; and the rule believed at the end. The second has jobs with estimates of
prompt + max_tokens that are always or never replaced by the usage, and with those of
`scheduler.estimate()` settled by what was learned."""

from __future__ import annotations

import argparse
import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from random import Random
from statistics import mean

from bench.learning.calls import Refused
from bench.learning.jobs.tables import WITH_HEADERS
from bench.learning.jobs.world import World, requests_for
from bench.report import announce, table
from xtremeflow import Limit, TokenRateScheduler, auto_backoff, report_token_usage
from xtremeflow.learning.costs.charges import BelievedRule
from xtremeflow.providers import PROVIDERS
from xtremeflow.providers.provider import UNITS
from xtremeflow.serve.profiles import PROFILES
from xtremeflow.testing import CallRequest, run
from xtremeflow.values.usage import Usage

MOST = 1_000  # max_tokens, where the answer is not longer
CACHED = 0.5  # of the calls have a part of their prompt in the cache
RIGHT = {name: provider.rule for name, provider in PROVIDERS.items()}


@dataclass
class ChargedJob:
    """A job at a provider, and what was believed of its charges after each answer."""

    world: World
    scheduler: TokenRateScheduler
    began: float = field(default_factory=lambda: asyncio.get_running_loop().time())
    beliefs: list[tuple[float, BelievedRule]] = field(
        default_factory=list[tuple[float, BelievedRule]]
    )

    async def run(self, settle: Callable[[ChargedJob, int, Usage], None], learned: bool) -> None:
        world, scheduler = self.world, self.scheduler

        def cost(index: int) -> Mapping[str, float] | float:
            request = world.requests[index]
            most = request.max_tokens or 0
            if learned:
                return scheduler.estimate("x" * 4 * request.prompt_tokens, model="m", most=most)
            tokens, read = request.prompt_tokens + most, request.prompt_tokens
            return {"tokens": tokens, "input_tokens": read, "output_tokens": most}

        @auto_backoff(max_retries=20)
        async def call(index: int) -> None:
            try:
                answer = await world.call(index)
            except Refused as refused:
                headers = refused.response.headers
                scheduler.observe(refused.status_code, headers, refused.body)
                raise
            request = world.requests[index]
            usage = Usage(request.prompt_tokens, request.completion_tokens, request.cached_tokens)
            scheduler.observe(200, answer.headers, model="m")
            settle(self, index, usage)
            if belief := scheduler.stats().charges.get("m"):
                self.beliefs.append((asyncio.get_running_loop().time() - self.began, belief))

        numbers = range(len(world.requests))
        results = scheduler.map(
            call, numbers, estimated_tokens=cost, ordered=False, return_exceptions=True, window=500
        )
        async with aclosing(results):
            async for _ in results:
                pass


def by_rule(job: ChargedJob, index: int, usage: Usage) -> None:
    job.scheduler.settle(usage, model="m")


def always(job: ChargedJob, index: int, usage: Usage) -> None:
    read, written = usage.input, usage.output
    amounts = {"tokens": read + written, "input_tokens": read, "output_tokens": written}
    report_token_usage(amounts).close()


def never(job: ChargedJob, index: int, usage: Usage) -> None:
    pass


Way = tuple[Callable[[ChargedJob, int, Usage], None], bool]
WAYS: Mapping[str, Way] = {
    "always given back": (always, False),
    "never given back": (never, False),
    "learned": (by_rule, True),
}


def world_of(profile: str, minutes: float, seed: int) -> World:
    random = Random(seed)

    def generous(request: CallRequest) -> CallRequest:
        cached = random.random() < CACHED
        return replace(
            request,
            max_tokens=max(MOST, request.output_tokens + 50),
            cached_tokens=round(request.prompt_tokens * random.random()) if cached else 0,
        )

    requests = [generous(r) for r in requests_for(PROFILES[profile], minutes, seed)]
    world = World(PROFILES[profile], requests, seed)
    shorter = min(1.0, minutes * 60 / world.ideal())  # where such a max_tokens costs more
    world.requests = requests[: max(1, round(len(requests) * shorter))]
    return world


def limits(world: World) -> list[Limit]:
    """The right ones, of which the answers can only say that they are lower."""
    found: list[Limit] = []
    for name, amount in world.amounts.items():
        if name.endswith("pm"):
            at_once = amount / world.profile.provider.quotas[name].parts
            found.append(Limit(UNITS[name], amount, 60.0, at_once))
    return found


@dataclass(frozen=True)
class Result:
    efficiency: float
    refused: float
    beliefs: Sequence[tuple[float, BelievedRule]]


def measure(profile: str, way: str, adapt: bool, minutes: float, seed: int) -> Result:
    async def job() -> Result:
        world = world_of(profile, minutes, seed)
        if adapt:
            scheduler = TokenRateScheduler(adapt=True)
        else:
            scheduler = TokenRateScheduler(limits=limits(world), adapt="bounded")
        done = ChargedJob(world, scheduler)
        await done.run(*WAYS[way])
        elapsed = asyncio.get_running_loop().time() - done.began
        stats = world.provider.stats
        return Result(world.ideal_wall() / elapsed, stats.refused / stats.attempts, done.beliefs)

    return run(job())


def found(profile: str, results: Sequence[Result]) -> list[str]:
    right = RIGHT[profile]
    answers, seconds, wrong = [], [], 0
    for result in results:
        known = [
            (number, at)
            for number, (at, belief) in enumerate(result.beliefs, 1)
            if belief.rule.settles == right.settles
        ]
        number, at = known[0] if known else (len(result.beliefs), float("inf"))
        answers.append(number)
        seconds.append(at)
        wrong += sum(
            belief.rule.settles not in (None, right.settles) for _, belief in result.beliefs
        )
    last = results[0].beliefs[-1][1]
    return [
        profile,
        f"{mean(answers):.0f}",
        str(max(answers)),
        f"{mean(seconds):.0f}",
        str(wrong),
        f"{last.rule} ({last.confidence:.0%})",
    ]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="./dev bench learning charges",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("profiles", nargs="*", metavar="PROFILE", help=", ".join(WITH_HEADERS))
    parser.add_argument("--minutes", type=float, default=5.0, help="of a job at the limit")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args(argv)
    for profile in options.profiles:
        if profile not in WITH_HEADERS:
            parser.error(f"there is no profile {profile!r} here, only {', '.join(WITH_HEADERS)}")
    logging.getLogger("xtremeflow").setLevel(logging.ERROR)
    learned: list[list[str]] = []
    worth: list[list[str]] = []
    for profile in options.profiles or WITH_HEADERS:
        for adapt in (True, False):
            for way in WAYS:
                results = [
                    measure(profile, way, adapt, options.minutes, seed)
                    for seed in range(options.seeds)
                ]
                if adapt and way == "learned":
                    learned.append(found(profile, results))
                worth.append(
                    [
                        f"{profile}, {'nothing' if adapt else 'right limits'} configured: {way}",
                        f"{mean(r.efficiency for r in results):.3f}",
                        f"{max(r.refused for r in results):.2%}",
                    ]
                )
                announce(worth[-1])
    header = ["profile", "answers", "at the worst", "seconds", "wrong", "believed at the end"]
    print(table(header, learned))
    print()
    print(table(["estimates", "ideal / wall", "refused"], worth))
    return 0
