"""Jobs whose prompts share prefixes, at simulated providers with caches.

    ./dev bench prefix           the table, some minutes of computing
    ./dev bench prefix --quick   only see that it works
    ./dev bench prefix --http    in real time over HTTP, some four minutes
    ./dev bench prefix --trace mooncake_conversation.jsonl
    ./dev bench prefix --plot docs   the picture of the documentation, into this folder

The clock is virtual, and the providers are those of `xtremeflow serve`, so every run is the same.
The calls of a job are shuffled. Six ways to do it:

- asyncio.gather: all calls at once; refused ones are sent again after 1 s, 2 s, up to 32 s.
- arrival order: a scheduler with the provider's limits, and no word of prefixes.
- kv_batch, answer: one kv_batch for each group, all at once; the rest of a group waits for the
  first answer's end, as in 0.4.4.
- warm-up: a call of each prefix alone, with an answer of one token, and the rest of its group once
  the provider's cache has that. At DeepSeek nothing else lets a second call read it.
- prefix=: the scheduler knows the key of each call's prefix.
- prefix="auto": the prefixes are found in the bodies, and OpenAI gets keys, as the client does it.

"time" is of the whole job, over that in arrival order; "hits" are the tokens read from the cache,
over those that all calls but the first of each group could read; "price" is that of the prompts,
over that without a cache; "refused" counts refused attempts, per call. "of the ideal" is the time
in which only the limit on input holds calls back, and only what is not read from the cache counts
towards it, over that of the job. Other jobs have none.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.prefix import over_http, plot, trace
from bench.prefix.world import FIRST_TOKEN, PATHS, Kind, World
from bench.report import announce, table
from xtremeflow import Limit, TokenRateScheduler, branch, kv_batch
from xtremeflow.http._leading import as_grouped
from xtremeflow.prefixes.groups import Groups, Prefixes
from xtremeflow.testing import run

KINDS = [
    Kind(
        "1 group, 20 answers of 150 s", "anthropic", "claude-sonnet-4-5", 1, 20, 4096, 200, 2_500,
        per_output_token=0.06, limits={"rpm": None, "itpm": None, "otpm": None},
        tokens={"requests": 100_000},
    ),
    Kind(
        "40 x 50, OpenAI, 500 RPM", "openai", "gpt-4o", 40, 50, 4096, 200, 200,
        limits={"rpm": 500, "tpm": None, "rpd": None}, tokens={"requests": 500},
    ),
    Kind(
        "40 x 50, Anthropic, 400k ITPM", "anthropic", "claude-sonnet-4-5", 40, 50, 4096, 200, 200,
        limits={"rpm": None, "itpm": 400_000, "otpm": None}, tokens={"input_tokens": 400_000},
    ),
    Kind("100 x 3, DeepSeek", "deepseek", "deepseek-chat", 100, 3, 4096, 200, 200, slots=50),
    Kind(
        "300 x 3, vLLM, room for 30 %", "vllm", "m", 300, 3, 6144, 200, 100, system=2048,
        slots=16, cache_room=int(0.3 * 300 * 6144) + 2048,
    ),
    Kind(
        "150 x 20, Anthropic, 20 at a time", "anthropic", "claude-sonnet-4-5", 150, 20, 4096, 200,
        200, limits={"rpm": None, "itpm": None, "otpm": None}, slots=20,
    ),
]  # fmt: skip
DRAWN = [*KINDS[:3], KINDS[4]]  # both ways do the same at the others
OVER_HTTP = KINDS[1:3]


def scheduler_for(kind: Kind) -> TokenRateScheduler:
    limits = [Limit(name, amount, 60.0, amount * 59 / 60) for name, amount in kind.tokens.items()]
    return TokenRateScheduler(max_concurrency=kind.slots, limits=limits)


def estimate(kind: Kind) -> dict[str, float]:
    """Returns the likely cost of a call."""
    if "input_tokens" not in kind.tokens:
        return {}
    return {"input_tokens": kind.system + kind.shared + kind.own + 20}


async def gathered(world: World) -> None:
    await asyncio.gather(*(world.call(*each) for each in world.calls))


async def in_order(world: World) -> None:
    scheduler = scheduler_for(world.kind)
    cost = estimate(world.kind)
    tasks = [scheduler.submit(world.call(*each, scheduler=scheduler), cost) for each in world.calls]
    await asyncio.gather(*tasks)


async def in_batches(world: World) -> None:
    scheduler = scheduler_for(world.kind)
    batches = [
        kv_batch(
            [world.call(*each, scheduler=scheduler) for each in calls],
            scheduler=scheduler,
            estimated_tokens=estimate(world.kind),
            warm="answer",
        )
        for calls in world.by_group.values()
    ]
    await asyncio.gather(*batches)


async def after_warm_ups(world: World) -> None:
    scheduler, cost = scheduler_for(world.kind), estimate(world.kind)

    async def batch(group: int, calls: Sequence[tuple[int, int]]) -> None:
        await scheduler.submit(world.warm_up(group, scheduler), cost)
        tasks = [scheduler.submit(world.call(*each, scheduler=scheduler), cost) for each in calls]
        await asyncio.gather(*tasks)

    await asyncio.gather(*(batch(*each) for each in world.by_group.items()))


async def by_prefix(world: World) -> None:
    kind = world.kind
    scheduler = scheduler_for(kind)
    tasks = [
        scheduler.submit(
            world.call(group, call, scheduler=scheduler),
            estimate(kind),
            prefix=branch("system", group) if kind.system else group,
            prefix_tokens=kind.system + kind.shared,
        )
        for group, call in world.calls
    ]
    await asyncio.gather(*tasks)


async def by_bodies(world: World) -> None:
    kind = world.kind
    scheduler = scheduler_for(kind)
    clock = asyncio.get_running_loop().time
    groups = Groups(Prefixes(provider=kind.profile), json.loads, clock, scheduler)
    url = f"http://provider{PATHS[kind.profile]}"
    bodies = [world.body(*each) for each in world.calls]
    found = [groups.see(url, body) for body in bodies]
    tasks = []
    for each, body, seen in zip(world.calls, bodies, found, strict=True):
        grouped = None if seen is None else groups.grouped(seen, None)
        if grouped is None:
            call = world.call(*each, scheduler=scheduler)
            tasks.append(scheduler.submit(call, estimate(kind)))
            continue
        call = world.call(*each, scheduler=scheduler, body=as_grouped(grouped, body))
        key, tokens = grouped.key, grouped.tokens
        cost = estimate(kind)
        tasks.append(scheduler.submit(call, cost, prefix=key, prefix_tokens=tokens))
    await asyncio.gather(*tasks)


Way = Callable[[World], Awaitable[None]]
WAYS: Mapping[str, Way] = {
    "arrival order": in_order,
    "asyncio.gather": gathered,
    "kv_batch, answer": in_batches,
    "warm-up": after_warm_ups,
    "prefix=": by_prefix,
    'prefix="auto"': by_bodies,
}


@dataclass(frozen=True)
class Result:
    time: float
    hits: float
    price: float
    refused: float
    ideal: float | None

    @property
    def of_the_ideal(self) -> float | None:
        return None if self.ideal is None else self.ideal / self.time


def ideal(world: World) -> float | None:
    """Returns the seconds until a bucket that starts full has paid for what is not read, and the
    last call is answered."""
    kind = world.kind
    amount = kind.tokens.get("input_tokens")
    if amount is None:
        return None
    whole = kind.groups * (kind.system + kind.shared)
    own = sum(usage.input for usage in world.usages) - whole * kind.calls
    return (own + whole) / (amount / 60) - 59 + FIRST_TOKEN + kind.per_output_token * kind.output


def play(kind: Kind, way: Way) -> Result:
    async def main() -> Result:
        world = World(kind)
        clock = asyncio.get_running_loop().time
        began = clock()
        await way(world)
        time = clock() - began
        refused = world.refused / len(world.calls)
        return Result(time, world.hits, world.price, refused, ideal(world))

    return run(main())


def rows(kind: Kind) -> list[list[str]]:
    found, usual = [], 0.0
    for name, way in WAYS.items():
        result = play(kind, way)
        usual = usual or result.time
        row = [
            name,
            f"{result.time:.0f} s",
            f"{result.time / usual:.3f}",
            f"{result.hits:.3f}",
            f"{result.price:.3f}",
            f"{result.refused:.3f}",
            "" if result.of_the_ideal is None else f"{result.of_the_ideal:.3f}",
        ]
        announce([kind.name, *row])
        found.append(row)
    return found


HEADER = ["way", "job", "time", "hits", "price", "refused", "of the ideal"]


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="./dev bench prefix",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="only see that it works")
    parser.add_argument("--http", action="store_true", help="in real time, over HTTP")
    parser.add_argument("--trace", type=Path, metavar="FILE", help="play Mooncake's trace")
    parser.add_argument("--plot", type=Path, metavar="FOLDER", help="draw the picture there")
    options = parser.parse_args(argv)
    if options.plot is not None:
        kinds = [kind.quick for kind in DRAWN] if options.quick else DRAWN
        ways = {"no word of prefixes": "arrival order", 'prefix="auto"': 'prefix="auto"'}
        plot.draw(options.plot, kinds, {name: WAYS[way] for name, way in ways.items()})
        return 0
    if options.trace is not None:
        print(trace.report(options.trace))
        return 0
    if options.http:
        kinds = [kind.quick for kind in OVER_HTTP] if options.quick else OVER_HTTP
        print(over_http.report(kinds, scheduler_for))
        return 0
    for kind in KINDS:
        of = rows(kind.quick if options.quick else kind)
        print(f"## {kind.name}\n\n{table(HEADER, of)}\n")
    return 0
