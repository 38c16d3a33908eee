"""Jobs at providers that limit the calls in flight, or queue them, without saying so.

    ./dev bench learning slots                 the tables, some minutes of computing
    ./dev bench learning slots deepseek        only this provider's jobs

A job is a queue that is never empty, of requests of a real trace, for ten minutes on a virtual
clock. The provider has 48 places. DeepSeek refuses what exceeds them: 429, without a word. vLLM
works on 48 calls and lets others wait; where its queue is bounded, at 48 as well, it refuses what
exceeds that: 503. Delays vary, and answers are as long as in the trace. "work" is the share of the
time in which the places were busy, on the whole and from the fifth minute on: 1 is what an
all-knowing client reaches. "refused" is the share of the attempts that the provider refused;
"latency" the mean of an answered call from the fifth minute on, over what it takes without a queue;
"lost" counts the calls that ended with an error. Means over the seeds, of "refused" the worst.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from statistics import mean
from typing import Any

from bench.learning.calls import Refused
from bench.learning.jobs.unscheduled import aimd, sdk
from bench.learning.slots.world import END, KINDS, World
from bench.report import announce, table
from xtremeflow import RetryException, TokenRateScheduler, auto_backoff
from xtremeflow.testing import run

CHANGE = 300.0  # s: from then on a job is in its stride, or something happens

# The ways to do the job.

Way = Callable[[World], Awaitable[None]]
Event = Callable[[World], None]


def is_failure(error: Exception) -> bool:
    return isinstance(error, (Refused, RetryException))


async def scheduled(world: World, scheduler: TokenRateScheduler, doubled: bool = False) -> None:
    @auto_backoff(is_failure, max_retries=20)
    async def call(index: int) -> None:
        try:
            await world.call(index)
        except Refused as refused:
            scheduler.observe(refused.status_code, {}, refused.body)
            if doubled:
                raise RetryException from None
            raise
        scheduler.observe(200, {})

    def ended(task: asyncio.Task[None]) -> None:
        world.lost += not task.cancelled() and task.exception() is not None

    for index in range(len(world.requests)):
        scheduler.submit(call(index)).add_done_callback(ended)
    await asyncio.gather(*scheduler.pending_tasks, return_exceptions=True)


async def adapting(world: World) -> None:
    world.scheduler = TokenRateScheduler(adapt=True)
    await scheduled(world, world.scheduler)


async def right(world: World, doubled: bool = False) -> None:
    """As version 0.4.4 does it, with max_concurrency as only the provider knows it."""
    await scheduled(world, TokenRateScheduler(max_concurrency=world.places), doubled)


async def unlimited(world: World) -> None:
    """No limit is known, so 256 at a time; and waits that double, as those of version 0.4.4."""
    await scheduled(world, TokenRateScheduler(max_concurrency=256), doubled=True)


WAYS: Mapping[str, Way] = {
    "adapt, nothing configured": adapting,
    "max_concurrency set right": right,
    "max_concurrency 256, waits that double": unlimited,
    "AIMD on concurrency": aimd,
    "64 at a time, SDK retries": sdk,
}


def play(
    kind: str,
    way: Way,
    seed: int,
    events: Mapping[float, Event] | None = None,
    end: float = END,
) -> World:
    """A job in which things happen."""

    async def job() -> World:
        world = World(KINDS[kind], seed)
        task = asyncio.ensure_future(way(world))
        happenings = dict(events or {})
        for second in range(int(end)):
            await asyncio.sleep(second - world.now())
            world.watch()
            if second in happenings:
                happenings[second](world)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return world

    return run(job())


def rows(kind: str, seeds: int) -> list[list[str]]:
    found = []
    for way, do in WAYS.items():
        worlds = [play(kind, do, seed) for seed in range(seeds)]
        found.append(
            [
                f"{kind}: {way}",
                f"{mean(w.work(0.0) for w in worlds):.3f}",
                f"{mean(w.work(CHANGE) for w in worlds):.3f}",
                f"{max(len(w.refused) / len(w.sent) for w in worlds):.2%}",
                f"{mean(w.slowness(CHANGE) for w in worlds):.2f}",
                str(sum(w.lost for w in worlds)),
            ]
        )
        announce(found[-1])
    return found


# Edges that move, from the fifth minute on.


def in_use_after(world: World, share: float = 0.95) -> int:
    """Seconds after the change until that share of the places is in use, over five seconds."""
    for second in range(int(CHANGE), len(world.held) - 5):
        if mean(world.held[second : second + 5]) >= share * world.places:
            return second - int(CHANGE)
    return sys.maxsize


def quiet_after(world: World) -> float:
    """Seconds after the change until no more than 1 % of the attempts of ten seconds is refused."""
    late = [at for at in world.refused if at >= CHANGE]
    for at in [CHANGE, *late]:
        attempts = sum(at < sent <= at + 10 for sent in world.sent)
        if sum(at < refused <= at + 10 for refused in late) <= max(1.0, 0.01 * attempts):
            return at - CHANGE
    return float("inf")


def edges(seeds: int) -> list[list[str]]:
    def several(kind: str, event: Event, end: float) -> list[World]:
        return [play(kind, adapting, seed, {CHANGE: event}, end) for seed in range(seeds)]

    halved = several("deepseek", lambda world: world.shrink(0.5), CHANGE + 180)
    doubled = several("deepseek", lambda world: world.shrink(2.0), CHANGE + 120)
    slow = {kind: several(kind, partial(_slow_down, 3.0), END) for kind in ("deepseek", "vllm")}
    return [
        ["limit halved: seconds until the refusals stop", f"{max(map(quiet_after, halved)):.1f}"],
        [
            "limit halved: of the new limit in use, second and third minute",
            f"{mean(w.work(CHANGE + 60, CHANGE + 180) for w in halved):.3f}",
        ],
        [
            "limit doubled: seconds until 95 % of it are in use",
            f"{max(map(in_use_after, doubled))}",
        ],
        *(
            [
                f"{kind} 3 times slower: places busy, first and further minutes",
                f"{mean(_held(w, 0, 60) for w in worlds):.3f}, "
                f"{mean(_held(w, 60, 300) for w in worlds):.3f}",
            ]
            for kind, worlds in slow.items()
        ),
    ]


def _slow_down(factor: float, world: World) -> None:
    world.latency.slower = factor


def _held(world: World, since: int, until: int) -> float:
    """The share of the places that is busy, in seconds after the change."""
    held = world.held[int(CHANGE) + since : int(CHANGE) + until]
    return mean(min(1.0, n / world.places) for n in held)


def outages(seeds: int) -> list[list[str]]:
    def break_down(how: str, world: World) -> None:
        world.down = how

    def repair(world: World) -> None:
        world.down = None

    ways: Mapping[str, Way] = {
        "adapt, nothing configured": adapting,
        "max_concurrency set right": right,
        "max_concurrency set right, waits that double": partial(right, doubled=True),
        "64 at a time, SDK retries": sdk,
    }
    found = []
    for how, length in (("fails", 30), ("fails", 50), ("hangs", 30)):
        end = CHANGE + length
        for way, do in ways.items():
            events: dict[float, Event] = {CHANGE: partial(break_down, how), end: repair}
            worlds = [play("deepseek", do, seed, events, end + 60) for seed in range(seeds)]
            found.append(
                [
                    f"{how} for {length} s: {way}",
                    f"{mean(sum(CHANGE <= at < end for at in w.sent) for w in worlds):.0f}",
                    f"{max(in_use_after(w, 0.9) for w in worlds) - length}",
                    str(sum(w.lost for w in worlds)),
                ]
            )
            announce(found[-1])
    return found


HEADER = ["way", "work", "from 5 min", "refused", "latency", "lost"]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="./dev bench learning slots",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("kinds", nargs="*", metavar="PROVIDER", help="; ".join(KINDS))
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args(argv)
    for kind in options.kinds:
        if kind not in KINDS:
            parser.error(f"there is no provider {kind!r} here, only {'; '.join(KINDS)}")
    logging.getLogger("xtremeflow").setLevel(logging.ERROR)
    all_rows: list[list[Any]] = []
    for kind in options.kinds or KINDS:
        all_rows += rows(kind, options.seeds)
    print(table(HEADER, all_rows))
    if not options.kinds:
        print()
        print(table(["adapt, nothing configured", ""], edges(options.seeds)))
        print()
        header = ["outage", "attempts meanwhile", "seconds until 90 % in use again", "lost"]
        print(table(header, outages(options.seeds)))
    return 0
