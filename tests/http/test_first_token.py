"""A stream's first event is the first token of its call."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from kit.http import Request, serving

from xtremeflow import TokenRateScheduler, kv_batch
from xtremeflow.http import Client

EVENT = b'data: {"choices": [{"delta": {"content": "a"}}]}\n\n'


class Provider:
    """Notes what was sent; streams begin at once, and go on when all calls have come."""

    def __init__(self, calls: int) -> None:
        self.calls = calls
        self.order: list[str] = []
        self.all_have_come = asyncio.Event()

    async def __call__(self, request: Request) -> None:
        body = json.loads(request.body)
        self.order.append(f"{body['name']} sent")
        if len([note for note in self.order if note.endswith("sent")]) == self.calls:
            self.all_have_come.set()
        await request.start_stream()
        await request.chunk(EVENT)
        self.order.append(f"{body['name']} begun")
        await self.all_have_come.wait()
        await request.end_stream()


async def read(client: Client, url: str, name: str) -> None:
    async with client.stream("POST", url, json={"name": name}) as stream:
        async for _ in stream.events():
            pass


@pytest.mark.parametrize("within", [False, True])
def test_calls_of_a_prefix_follow_the_first_event_of_the_one_that_goes_ahead(within: bool) -> None:
    async def main() -> None:
        provider = Provider(4)
        scheduler = TokenRateScheduler(max_tpm=1_000_000, burst_ratio=60)
        options: dict[str, Any] = {"scheduler": scheduler} if within else {}
        async with serving(provider) as server, Client(**options) as client:
            tasks = [
                scheduler.submit(read(client, server.url, str(n)), 10, prefix="a") for n in range(4)
            ]
            await asyncio.gather(*tasks)
        assert provider.order[:2] == ["0 sent", "0 begun"]
        assert len(provider.order) == 8

    asyncio.run(asyncio.wait_for(main(), 30))


@pytest.mark.parametrize("within", [False, True])
def test_a_batch_follows_the_first_event_of_its_first_call(within: bool) -> None:
    async def main() -> None:
        provider = Provider(3)
        scheduler = TokenRateScheduler(max_tpm=1_000_000, burst_ratio=60)
        options: dict[str, Any] = {"scheduler": scheduler} if within else {}
        async with serving(provider) as server, Client(**options) as client:
            await kv_batch(read(client, server.url, str(n)) for n in range(3))
        assert provider.order[:2] == ["0 sent", "0 begun"]
        assert len(provider.order) == 6

    asyncio.run(asyncio.wait_for(main(), 30))
