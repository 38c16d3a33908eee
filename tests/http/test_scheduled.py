"""Client(scheduler=...): admission, settlement, and the reflex to refusals."""

# ruff: noqa: SIM117
from __future__ import annotations

import asyncio
import json
import math
from typing import Any

import pytest
from kit.http import Request, serving

from xtremeflow import Limit, RateLimitScheduler, TokenRateScheduler
from xtremeflow.http import Client, StatusError


def run(main: Any) -> Any:
    return asyncio.run(asyncio.wait_for(main, 30))


def scheduler(**kwargs: Any) -> TokenRateScheduler:
    return TokenRateScheduler(**{"max_tpm": 1_000_000, "burst_ratio": 60, **kwargs})


def answer(total: int) -> bytes:
    return json.dumps({"text": "x", "usage": {"prompt_tokens": 1, "total_tokens": total}}).encode()


async def used(request: Request) -> None:
    await request.answer(answer(7))


def tokens(s: Any, name: str = "tokens") -> int:
    [limit] = [x for x in s.stats().limits if x.name == name]
    return int(limit.used)


def test_calls_are_admitted_and_settled() -> None:
    running = most = 0

    async def handler(request: Request) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.005)
        running -= 1
        await used(request)

    async def main() -> None:
        s = scheduler(max_concurrency=3)
        async with serving(handler) as server, Client(scheduler=s) as client:
            body = {"max_tokens": 100, "prompt": "p" * 1000}
            answers = await asyncio.gather(*(client.post(server.url, json=body) for _ in range(30)))
            assert {a.status for a in answers} == {200}
            assert most == 3
            assert tokens(s) == 30 * 7
            assert max(a.timing.queue for a in answers) > 0.02
            assert s.active_tasks == 0

    run(main())


def test_the_estimate_is_what_admission_costs() -> None:
    seen: list[tuple[str, bytes]] = []

    def estimate(url: str, body: bytes) -> float:
        seen.append((url, body))
        return 50

    async def handler(request: Request) -> None:
        await request.answer(b"{}")

    async def main() -> None:
        s = scheduler(max_tpm=100)
        async with serving(handler) as server, Client(scheduler=s, estimate=estimate) as client:
            await client.post(server.url + "/a", json=[1])
            await client.post(server.url + "/b", content="x")
            third = asyncio.create_task(client.post(server.url, content=b"x"))
            await asyncio.sleep(0.05)
            assert len(server.requests) == 2  # the bucket held 100
            third.cancel()
            await asyncio.wait([third])
            assert seen[:2] == [(server.url + "/a", b"[1]"), (server.url + "/b", b"x")]
            assert tokens(s) == 100
            assert s.waiting == 0

    run(main())


@pytest.mark.parametrize("status", [429, 503, 529])
@pytest.mark.parametrize("stream", [False, True])
def test_refusals_are_retried_when_the_provider_says(status: int, stream: bool) -> None:
    async def handler(request: Request) -> None:
        if len(server.requests) == 1:
            await request.answer(b"{}", status, {"retry-after-ms": "50"})
        else:
            await used(request)

    async def main() -> None:
        nonlocal server
        s = scheduler()
        async with serving(handler) as server, Client(scheduler=s) as client:
            begin = asyncio.get_running_loop().time()
            if stream:
                async with client.stream("POST", server.url, json={}) as response:
                    assert json.loads(await response.aread())["text"] == "x"
            else:
                response = await client.post(server.url, json={})
            assert response.status == 200
            assert asyncio.get_running_loop().time() - begin >= 0.049
            assert len(server.requests) == 2
            assert s.stats().retries == 1
            assert s.stats().cooldowns == 1

    server: Any = None
    run(main())


@pytest.mark.parametrize("stream", [False, True])
def test_a_refusal_that_lasts_is_the_answer(stream: bool) -> None:
    async def handler(request: Request) -> None:
        await request.answer(b"no", 429, {"retry-after-ms": "1"})

    async def main() -> None:
        async with serving(handler) as server:
            async with Client(scheduler=scheduler(), max_retries=2) as client:
                if stream:
                    async with client.stream("POST", server.url) as response:
                        assert response.status == 429
                        assert response.headers["retry-after-ms"] == "1"
                        assert await response.aread() == b"no"
                    async with client.stream("POST", server.url) as response:
                        with pytest.raises(StatusError, match="429: no"):
                            await response.raise_for_status()
                else:
                    response = await client.post(server.url)
                    assert response.status == 429
                    assert response.body == b"no"
                    assert len(server.requests) == 3

    run(main())


def test_refusals_that_no_wait_cures_are_not_retried() -> None:
    async def handler(request: Request) -> None:
        await request.answer(b'{"error": {"code": "insufficient_quota"}}', 429)

    async def main() -> None:
        async with serving(handler) as server, Client(scheduler=scheduler()) as client:
            assert (await client.post(server.url)).status == 429
            assert len(server.requests) == 1

    run(main())


def test_an_estimate_is_kept_where_the_provider_gives_nothing_back() -> None:
    async def main() -> None:
        s = scheduler()
        async with serving(used) as server, Client(scheduler=s, settle=False) as client:
            body = {"max_tokens": 100}
            await client.post(server.url, json=body)
            assert tokens(s) == 100 + math.ceil(len(json.dumps(body, separators=(",", ":"))) / 4)

    run(main())


def test_a_streamed_answer_holds_its_slot_and_is_settled() -> None:
    async def handler(request: Request) -> None:
        await request.start_stream()
        await request.chunk(b'data: {"usage": {"input_tokens": 3, "output_tokens": 1}}\n\n')
        for _ in range(500):
            await request.chunk(b'data: {"delta": "' + b"x" * 100 + b'"}\n\n')
        await request.chunk(b'data: {"usage": {"output_tokens": 8}}\n\ndata: [DONE]\n\n')
        await request.end_stream()

    async def main() -> None:
        for reader in ("events", "aiter_bytes", "aiter_lines"):
            s = scheduler(max_concurrency=1)
            async with serving(handler) as server, Client(scheduler=s) as client:
                async with client.stream("POST", server.url) as stream:
                    other = asyncio.create_task(client.post(server.url))
                    assert s.active_tasks == 1
                    async for _ in getattr(stream, reader)():
                        pass
                    assert len(server.requests) == 1
                await other
                assert tokens(s) == 2 * 11
                assert s.active_tasks == 0

    run(main())


def test_cancelling_gives_the_slot_back() -> None:
    async def handler(request: Request) -> None:
        await asyncio.sleep(60)

    async def main() -> None:
        s = scheduler(max_concurrency=2)
        async with serving(handler) as server, Client(scheduler=s) as client:
            tasks = [asyncio.create_task(client.post(server.url)) for _ in range(5)]
            tasks.append(asyncio.create_task(client.stream("GET", server.url).__aenter__()))
            await asyncio.sleep(0.05)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await s.wait_pending()
            assert s.active_tasks == s.waiting == client.stats()["active"] == 0

    run(main())


def test_within_a_call_of_the_scheduler_nothing_is_admitted_twice() -> None:
    async def main() -> None:
        s = scheduler(max_concurrency=1)
        async with serving(used) as server, Client(scheduler=s) as client:

            async def call() -> int:
                async with client.stream("POST", server.url) as stream:
                    await stream.aread()
                return (await client.post(server.url)).status

            assert await (await s.start_task(call(), 100)) == 200
            assert tokens(s) == 7

    run(main())


def test_limits_of_input_and_output() -> None:
    async def handler(request: Request) -> None:
        await request.answer(b'{"usage": {"input_tokens": 11, "output_tokens": 5}}')

    async def main() -> None:
        limits = [Limit("requests", 1000, 60, 1000), Limit("input_tokens", 1e6, 60, 1e6),
                  Limit("output_tokens", 1e5, 60, 1e5)]  # fmt: skip
        s = RateLimitScheduler(limits=limits)
        async with serving(handler) as server, Client(scheduler=s) as client:
            await client.post(server.url, json={"max_tokens": 500})
            assert tokens(s, "input_tokens") == 11
            assert tokens(s, "output_tokens") == 5
            assert tokens(s, "requests") == 1

    run(main())


def test_uploads_are_scheduled_but_not_repeated() -> None:
    async def handler(request: Request) -> None:
        await request.answer(request.body, 429)

    async def pieces() -> Any:
        yield b"abc"

    async def main() -> None:
        async with serving(handler) as server, Client(scheduler=scheduler()) as client:
            response = await client.post(server.url, content=pieces())
            assert (response.status, response.body) == (429, b"abc")
            assert len(server.requests) == 1

    run(main())


def test_bad_schedulers_are_refused() -> None:
    with pytest.raises(TypeError, match="scheduler must be"):
        Client(scheduler=5)  # type: ignore[arg-type]
