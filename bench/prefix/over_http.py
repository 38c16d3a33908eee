"""The jobs of OpenAI and Anthropic in real time over HTTP, by the client and by the SDKs.

    ./dev bench prefix --http    some four minutes, in which little is computed

Each way has a provider of its own, and all of them are played at the same time. Nobody names a
prefix: with prefix="auto" the client, or the transport under the SDK, finds them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

from bench.prefix.world import PATHS, Kind, World
from bench.report import announce, table
from xtremeflow import TaskScheduler
from xtremeflow.answers.usage import usage_of
from xtremeflow.http import Client, Prefixes, transport
from xtremeflow.providers import PROVIDERS
from xtremeflow.serve.server import SimulatedServer
from xtremeflow.values.usage import Usage

Ask = Callable[[dict[str, Any]], Awaitable[Any]]


class Caller:
    """Makes the calls of a job by one way."""

    def __init__(self, url: str, kind: Kind, scheduler: TaskScheduler, *, prefix: bool) -> None:
        self.path = PATHS[kind.profile]
        self.profile = kind.profile
        self.url = url
        self.scheduler = scheduler
        self.prefix = Prefixes(provider=kind.profile) if prefix else None

    async def by_client(self, bodies: Sequence[dict[str, Any]]) -> list[Any]:
        options: dict[str, Any] = {"scheduler": self.scheduler, "prefix": self.prefix}
        async with Client(self.url, **options) as client:
            answers = await asyncio.gather(*(client.post(self.path, json=b) for b in bodies))
            return [answer.json() for answer in answers]

    async def by_sdk(self, bodies: Sequence[dict[str, Any]]) -> list[Any]:
        httpx2, sdk = import_module("httpx2"), import_module(self.profile)
        way = transport(scheduler=self.scheduler, prefix=self.prefix)
        async with httpx2.AsyncClient(transport=way) as http:
            options = {"api_key": "k", "max_retries": 0, "http_client": http}
            if self.profile == "openai":
                openai = sdk.AsyncOpenAI(base_url=f"{self.url}/v1", **options)
                create: Any = openai.chat.completions.create
            else:
                create = sdk.AsyncAnthropic(base_url=self.url, **options).messages.create
            return list(await asyncio.gather(*(create(**body) for body in bodies)))


WAYS: Mapping[str, tuple[str, bool]] = {
    "client": ("by_client", False),
    'client, prefix="auto"': ("by_client", True),
    'SDK, prefix="auto"': ("by_sdk", True),
}


async def play(kind: Kind, way: str, scheduler: TaskScheduler) -> list[str]:
    method, prefix = WAYS[way]
    world = World(kind)
    scheduler.charge_by(PROVIDERS[kind.profile].rule)
    bodies = [_whole(json.loads(world.body(*each))) for each in world.calls]
    clock = asyncio.get_running_loop().time
    async with SimulatedServer(world.settings) as server:
        caller = Caller(server.url, kind, scheduler, prefix=prefix)
        began = clock()
        answers = await getattr(caller, method)(bodies)
        seconds = clock() - began
    found = [usage_of(answer) for answer in answers]
    world.usages = [usage for usage in found if isinstance(usage, Usage)]
    refused = scheduler.stats().refused / len(bodies)
    row = [way, f"{seconds:.0f} s", f"{world.hits:.3f}", f"{world.price:.3f}", f"{refused:.3f}"]
    announce([kind.name, *row])
    return row


def _whole(body: dict[str, Any]) -> dict[str, Any]:
    """The same request for an answer that is no stream."""
    return {name: value for name, value in body.items() if not name.startswith("stream")}


async def played(
    kinds: Sequence[Kind], scheduler_for: Callable[[Kind], TaskScheduler]
) -> list[list[list[str]]]:
    plays = [
        asyncio.gather(*(play(kind, way, scheduler_for(kind)) for way in WAYS)) for kind in kinds
    ]
    return await asyncio.gather(*plays)


def report(kinds: Sequence[Kind], scheduler_for: Callable[[Kind], TaskScheduler]) -> str:
    """Plays the jobs all ways, and returns their tables."""
    header = ["way", "job", "hits", "price", "refused"]
    found = asyncio.run(played(kinds, scheduler_for))
    parts = [
        f"## {kind.name}, over HTTP\n\n{table(header, rows)}\n"
        for kind, rows in zip(kinds, found, strict=True)
    ]
    return "\n".join(parts)
