"""The client's scheduler hears the limits that each answer tells, once an attempt."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from kit.http import Request, serving

from xtremeflow import TokenRateScheduler
from xtremeflow.answers.answer import Answer
from xtremeflow.answers.verdict import Verdict
from xtremeflow.http import Client, transport
from xtremeflow.values.charges import BY_USAGE

TOLD = {
    "X-RateLimit-Limit-Tokens": "60000",
    "x-ratelimit-remaining-tokens": "59000",
    "x-ratelimit-reset-tokens": "1s",
    "Date": "Wed, 25 Nov 2026 02:00:00 GMT",
}
FIELDS = list(TOLD.items())


def run(main: Any) -> None:
    asyncio.run(asyncio.wait_for(main, 30))


class Watched(TokenRateScheduler):
    """Notes what it is shown."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seen: list[tuple[int, Any, Any]] = []
        self.times: list[tuple[float, float]] = []

    def _answered(self, answer: Answer, model: str | None = None) -> Verdict:
        assert answer.sent_at is not None
        assert answer.received_at is not None
        self.seen.append((answer.status, list(answer.headers.items()), answer._body))
        self.times.append((answer.sent_at, answer.received_at))
        return super()._answered(answer, model)


async def telling(request: Request) -> None:
    await request.answer(b'{"usage": {"total_tokens": 7}}', headers=TOLD)


def refusing_once() -> Any:
    asked = 0

    async def handler(request: Request) -> None:
        nonlocal asked
        asked += 1
        if asked == 1:
            await request.answer(b'{"why": 1}', 429, {**TOLD, "retry-after-ms": "1"})
        else:
            await telling(request)

    return handler


async def ask(way: str, scheduler: TokenRateScheduler, url: str, json: Any = None) -> int:
    """One call in one of the ways in which a scheduler is used; returns the status."""
    if way.startswith("httpx"):
        library = pytest.importorskip(way.partition(" ")[0])
        async with library.AsyncClient(transport=transport(scheduler=scheduler)) as client:
            if "stream" not in way:
                return int((await client.post(url, json=json)).status_code)
            async with client.stream("POST", url, json=json) as response:
                await response.aread()
                return int(response.status_code)
    async with Client(scheduler=scheduler) as client:
        if way == "call":
            return (await client.post(url, json=json)).status
        async with client.stream("POST", url, json=json) as stream:
            await stream.aread()
            return stream.status


WAYS = ["call", "stream", "httpx2", "httpx2 stream", "httpx", "httpx stream"]


@pytest.mark.parametrize("way", WAYS)
def test_each_answer_is_shown_once_and_refusals_with_their_bodies(way: str) -> None:
    async def main() -> None:
        s = Watched(adapt=True)
        async with serving(refusing_once()) as server:
            assert await ask(way, s, server.url, {"max_tokens": 100}) == 200
        refusal, answer = s.seen
        assert refusal[0] == 429
        assert refusal[2] == b'{"why": 1}'
        assert ("retry-after-ms", "1") in refusal[1]
        assert answer[0] == 200
        assert {(name.lower(), value) for name, value in FIELDS} <= set(answer[1])
        (tokens,) = s.stats().limits
        assert (tokens.name, tokens.rate, tokens.capacity) == ("tokens", 1_000, 60_000)

    run(main())


@pytest.mark.parametrize("way", WAYS)
def test_answers_without_limits_are_shown_only_to_learners(way: str) -> None:
    async def handler(request: Request) -> None:
        await request.answer(b"{}", headers={"x-request-id": "1", "date": "now"})

    async def main() -> None:
        fixed, adapting, free = Watched(max_tpm=1e6), Watched(adapt=True), Watched()
        async with serving(handler) as server:
            for scheduler in (fixed, adapting, free):
                await ask(way, scheduler, server.url)
            assert (fixed.seen, free.seen) == ([], [])
            assert [status for status, *_ in adapting.seen] == [200]
        async with serving(telling) as server:
            await ask(way, free, server.url)  # it has no limits, and makes none
            assert free.seen == []
            for _ in range(3):
                await ask(way, fixed, server.url)
            (limit,) = fixed.stats().limits
            assert limit.rate == 1_000  # followed below what is configured

    run(main())


@pytest.mark.parametrize("way", ["stream", "httpx2 stream"])
def test_limits_of_a_stream_are_followed_when_its_head_is_there(way: str) -> None:
    gate = asyncio.Event()

    async def handler(request: Request) -> None:
        head = "".join(f"{name}: {value}\r\n" for name, value in TOLD.items())
        await request.send(b"HTTP/1.1 200 OK\r\n%stransfer-encoding: chunked\r\n\r\n"
                           % head.encode())  # fmt: skip
        await gate.wait()
        await request.chunk(b"x")
        await request.end_stream()

    async def main() -> None:
        s = Watched(adapt=True)
        async with serving(handler) as server:
            call = asyncio.create_task(ask(way, s, server.url))
            while not s.stats().limits:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            assert not call.done()
            assert s.seen == []  # what it means is not known yet
            gate.set()
            assert await call == 200
            assert len(s.seen) == 1

    run(main())


def test_an_sdk_s_answer_that_is_whole_at_once_holds_its_slot_no_longer() -> None:
    httpx2 = pytest.importorskip("httpx2")

    async def main() -> None:
        s = Watched(max_tpm=60_000, burst_ratio=60, max_concurrency=1)
        way = transport(scheduler=s, estimate=lambda url, body: 100, settle=True)
        async with serving(telling) as server, httpx2.AsyncClient(transport=way) as client:
            for number in range(1, 6):
                request = client.build_request("POST", server.url, json={"max_tokens": 100})
                response = await client.send(request, stream=True)
                assert s.active_tasks == (1 if number == 1 else 0)  # it was new
                await response.aread()
                assert response.json() == {"usage": {"total_tokens": 7}}
                assert s.stats().limits[0].used == 7 * number
                assert s.stats().succeeded == number
            assert len(s.seen) == 1

    run(main())


STREAMS = ["stream", "httpx2", "httpx2 stream"]


async def send_events(request: Request, events: bytes, left: int = 59_000) -> None:
    told = {**TOLD, "x-ratelimit-remaining-tokens": str(left)}
    fields = {**told, "content-type": "text/event-stream", "transfer-encoding": "chunked"}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    await request.send(b"HTTP/1.1 200 OK\r\n%s\r\n" % head.encode())
    await request.chunk(events)
    await request.end_stream()


@pytest.mark.parametrize("way", STREAMS)
def test_the_head_of_a_stream_that_tells_nothing_new_is_not_the_learner_s(way: str) -> None:
    async def handler(request: Request) -> None:
        await send_events(request, b'data: {"usage": {"total_tokens": 7}}\n\n', left=30_000)

    async def main() -> None:
        s = Watched(max_tpm=60_000, burst_ratio=60)
        s.charge_by(BY_USAGE)  # or an answer is looked at as soon as the rule is found
        async with serving(handler) as server:
            for _ in range(10):
                assert await ask(way, s, server.url, {"max_tokens": 100}) == 200
            assert len(s.seen) == 1  # which was new
            assert s.stats().limits[0].level < 45_000  # it follows what they tell

    run(main())


@pytest.mark.parametrize("way", STREAMS)
@pytest.mark.parametrize(
    "error",
    [
        b'event: error\ndata: {"message": "Rate limit reached", "code": "rate_limit_exceeded"}\n\n',
        b'data: {"error": {"message": "Rate limit reached", "code": "rate_limit_exceeded"}}\n\n',
    ],
)
def test_an_error_in_a_stream_counts_where_its_head_tells_nothing_new(
    way: str, error: bytes
) -> None:
    asked = 0

    async def handler(request: Request) -> None:
        nonlocal asked
        asked += 1
        await send_events(request, error if asked == 5 else b'data: {"choices": []}\n\n')

    async def main() -> None:
        s = Watched(max_tpm=60_000, burst_ratio=60)
        async with serving(handler) as server:
            for _ in range(5):
                assert await ask(way, s, server.url) == 200
            assert asked == 6
            assert s.stats().cooldowns == 1
            assert [body for _, _, body in s.seen].count(error) == 1

    run(main())


def test_an_attempt_is_sent_and_received_at_its_own_times() -> None:
    async def handler(request: Request) -> None:
        await asyncio.sleep(0.05)
        head = "".join(f"{name}: {value}\r\n" for name, value in TOLD.items())
        await request.send(b"HTTP/1.1 200 OK\r\n%scontent-length: 2\r\n\r\n" % head.encode())
        await asyncio.sleep(0.1)
        await request.send(b"{}")

    async def main() -> None:
        s = Watched(adapt=True)
        now = asyncio.get_running_loop().time
        async with serving(handler) as server, Client(scheduler=s) as client:

            async def two() -> None:
                await client.post(server.url)
                began = now()
                await client.post(server.url)
                sent_at, received_at = s.times[1]
                assert began <= sent_at <= began + 0.04
                assert sent_at + 0.045 <= received_at <= now() - 0.09  # its head, not its end

            await (await s.start_task(two(), 10))
        assert len(s.seen) == 2

    run(main())


def test_other_errors_are_shown_too() -> None:
    async def handler(request: Request) -> None:
        await request.answer(json.dumps({"error": 1}).encode(), 400, TOLD)

    async def main() -> None:
        s = Watched(max_tpm=1e6)
        async with serving(handler) as server, Client(scheduler=s) as client:
            assert (await client.post(server.url)).status == 400
        assert [(status, body) for status, _, body in s.seen] == [(400, b'{"error": 1}')]

    run(main())
