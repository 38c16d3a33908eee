"""A real trace as a job: Mooncake's conversations, whose prompts are told by the hashes of their
blocks (https://github.com/kvcache-ai/Mooncake, FAST25-release).

    ./dev bench prefix --trace mooncake_conversation.jsonl

The requests are a job in the order of the trace, whatever their times, of 1,024 calls at a time.
The provider has a cache without bounds. A block can be read from it once the answer to a call that
has it has begun, after one second. A token of the answer takes 20 ms. "hits" are over those of all
blocks that an earlier request of the trace has had.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.report import announce, table
from xtremeflow import TaskScheduler, report_first_token
from xtremeflow.prefixes.groups import Groups, Prefixes
from xtremeflow.testing import run
from xtremeflow.values.usage import Usage

BLOCK = 512  # tokens, four characters each
SLOTS = 1024
AHEAD = 512  # calls that are looked at together, as in `xtremeflow run`
FIRST_TOKEN, PER_TOKEN = 1.0, 0.02  # s
URL = "http://127.0.0.1:8000/v1/completions"

Row = Mapping[str, Any]


class World:
    """The provider, and the blocks that were read from its cache."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows
        self.read = 0
        self._cache: set[int] = set()

    @property
    def possible(self) -> int:
        blocks = [block for row in self.rows for block in row["hash_ids"]]
        return len(blocks) - len(set(blocks))

    async def call(self, row: Row, scheduler: TaskScheduler) -> None:
        found = 0
        for block in row["hash_ids"]:
            if block not in self._cache:
                break
            found += 1
        self.read += found
        await asyncio.sleep(FIRST_TOKEN)
        self._cache.update(row["hash_ids"])
        report_first_token()
        await asyncio.sleep(PER_TOKEN * row["output_length"])
        tokens = int(row["input_length"])
        scheduler.settle(Usage(tokens, row["output_length"], min(tokens, found * BLOCK)))


def body(row: Row) -> bytes:
    """A body whose prompt has those blocks."""
    text = "".join(f"{block:08x}" * (BLOCK // 2) for block in row["hash_ids"])
    return json.dumps({"model": "m", "prompt": text[: 4 * row["input_length"]]}).encode()


async def in_order(world: World) -> None:
    scheduler = TaskScheduler(SLOTS)
    await asyncio.gather(*(scheduler.submit(world.call(row, scheduler)) for row in world.rows))


async def by_prefix(world: World) -> None:
    scheduler = TaskScheduler(SLOTS)
    clock = asyncio.get_running_loop().time
    groups = Groups(Prefixes(provider="vllm"), json.loads, clock, scheduler)
    room = asyncio.Semaphore(SLOTS + AHEAD)
    tasks = []
    for start in range(0, len(world.rows), AHEAD):
        rows = world.rows[start : start + AHEAD]
        for row, seen in [(row, groups.see(URL, body(row))) for row in rows]:
            grouped = None if seen is None else groups.grouped(seen, row["input_length"])
            await room.acquire()
            call = world.call(row, scheduler)
            if grouped is None:
                task = scheduler.submit(call)
            else:
                task = scheduler.submit(
                    call, prefix=grouped.key, prefix_tokens=grouped.tokens, prefix_life=grouped.life
                )
            task.add_done_callback(lambda _: room.release())
            tasks.append(task)
    await asyncio.gather(*tasks)


Way = Callable[[World], Awaitable[None]]
WAYS: Mapping[str, Way] = {"arrival order": in_order, 'prefix="auto"': by_prefix}


def play(rows: Sequence[Row], way: Way) -> tuple[float, float]:
    """Returns the seconds that the job takes, and its hits."""

    async def main() -> tuple[float, float]:
        world = World(rows)
        clock = asyncio.get_running_loop().time
        began = clock()
        await way(world)
        return clock() - began, world.read / max(1, world.possible)

    return run(main())


def report(path: Path) -> str:
    """Plays the trace both ways, and returns a table."""
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    found, usual = [], 0.0
    for name, way in WAYS.items():
        seconds, hits = play(rows, way)
        usual = usual or seconds
        found.append([name, f"{seconds:.0f} s", f"{seconds / usual:.3f}", f"{hits:.3f}"])
        announce(found[-1])
    return f"## {path.name}\n\n{table(['way', 'job', 'time', 'hits'], found)}\n"
