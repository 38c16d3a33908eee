"""Refused is not failed: how long calls go on, in the client, its streams and the transport."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from kit.http import Request, Server, serving

from xtremeflow import TaskScheduler, TokenRateScheduler
from xtremeflow.http import Client, ConnectionLost, transport

WAYS = ["call", "stream", "httpx2", "httpx2 stream"]


def run(main: Any) -> None:
    asyncio.run(asyncio.wait_for(main, 60))


async def ask(way: str, scheduler: TaskScheduler, url: str, **options: Any) -> tuple[int, bytes]:
    """One call in one of the ways in which a scheduler is used: its status and body."""
    if way.startswith("httpx"):
        library = pytest.importorskip(way.partition(" ")[0])
        door = transport(scheduler=scheduler, **options)
        async with library.AsyncClient(transport=door) as client:
            if "stream" not in way:
                response = await client.post(url)
                return response.status_code, response.content
            async with client.stream("POST", url) as response:
                return response.status_code, await response.aread()
    async with Client(scheduler=scheduler, **options) as client:
        if way == "call":
            response = await client.post(url, idempotent=True)
            return response.status, response.body
        async with client.stream("POST", url, idempotent=True) as stream:
            return stream.status, await stream.aread()


def answering(*answers: tuple[int, bytes, dict[str, str]]) -> Any:
    """These in turn, then 200s."""
    left = list(answers)

    async def handler(request: Request) -> None:
        if not left:
            await request.answer(b'{"usage": {"total_tokens": 7}}')
            return
        status, body, headers = left.pop(0)
        if status == 0:
            request.writer.transport.abort()
        else:
            await request.answer(body, status, headers)

    return handler


SOON = {"retry-after-ms": "1"}


@pytest.mark.parametrize("way", WAYS)
def test_a_refused_call_goes_on_longer_than_any_failed_one(way: str) -> None:
    async def main() -> None:
        scheduler = TokenRateScheduler(max_rpm=1e6)
        refusals = [(429, b"{}", SOON)] * 5 + [(429, b"{}", {"retry-after": "0"})]
        async with serving(answering(*refusals)) as server:
            assert (await ask(way, scheduler, server.url))[0] == 200
            assert len(server.requests) == 7
        assert (scheduler.active_tasks, scheduler.waiting) == (0, 0)

    run(main())


@pytest.mark.parametrize("way", WAYS)
def test_nothing_that_passes_ends_it_with_the_providers_words(way: str) -> None:
    async def main() -> None:
        scheduler = TokenRateScheduler(max_rpm=1e6)
        refusals = [(429, b'{"error": "slowly"}', {"retry-after-ms": "20"})] * 1000
        async with serving(answering(*refusals)) as server:
            status, body = await ask(way, scheduler, server.url, max_retry_after=0.2)
            assert (status, body) == (429, b'{"error": "slowly"}')
            assert 2 < len(server.requests) < 100
        assert (scheduler.active_tasks, scheduler.waiting) == (0, 0)

    run(main())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (429, b'{"error": {"code": "insufficient_quota"}}', {}),
        (429, b'{"error": "used all available credits"}', SOON),
        (429, b"{}", {"retry-after": "1000"}),
        (413, b"{}", {}),
        (400, b"{}", SOON),
    ],
)
def test_an_answer_that_no_wait_cures_is_the_callers_at_once(
    way: str, status: int, body: bytes, headers: dict[str, str]
) -> None:
    async def main() -> None:
        scheduler = TokenRateScheduler(max_rpm=1e6)
        async with serving(answering((status, body, headers))) as server:
            assert await ask(way, scheduler, server.url) == (status, body)
            assert len(server.requests) == 1

    run(main())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("failure", [(500, b"no", {}), (502, b"", {}), (0, b"", {})])
def test_failures_are_tried_again_twice_and_hold_no_slot_meanwhile(
    way: str, failure: tuple[int, bytes, dict[str, str]]
) -> None:
    async def main() -> None:
        scheduler = TaskScheduler(1)
        async with serving(answering(failure, failure)) as server:
            task = asyncio.create_task(ask(way, scheduler, server.url))
            await asyncio.sleep(0.2)  # it rests
            other = asyncio.create_task(ask(way, scheduler, server.url, retries=0))
            done, _ = await asyncio.wait({task, other}, return_when=asyncio.FIRST_COMPLETED)
            assert done == {other}  # it had the slot
            assert (await task)[0] == 200
        assert (scheduler.active_tasks, scheduler.waiting) == (0, 0)

    run(main())


@pytest.mark.parametrize("way", ["call", "httpx2"])
def test_the_last_failure_is_the_callers(way: str) -> None:
    async def main() -> None:
        scheduler = TokenRateScheduler(max_rpm=1e6)
        async with serving(answering(*[(500, b"no", {})] * 9)) as server:
            assert await ask(way, scheduler, server.url) == (500, b"no")
            assert len(server.requests) == 3
            assert await ask(way, scheduler, server.url, retries=0) == (500, b"no")
            assert len(server.requests) == 4

    run(main())


def test_a_request_that_may_not_be_executed_twice_is_not_sent_again() -> None:
    async def main() -> None:
        scheduler = TokenRateScheduler(max_rpm=1e6)
        async with (
            serving(answering((0, b"", {}))) as server,
            Client(scheduler=scheduler) as client,
        ):
            with pytest.raises(ConnectionError if False else Exception, match="failed"):
                await client.post(server.url)
            assert len(server.requests) == 1
        assert scheduler.active_tasks == 0

    run(main())


JSON = {"content-type": "application/json"}
IN_A_200 = b'{"error": {"code": 429, "message": "try again in 2ms"}}'


@pytest.mark.parametrize("way", WAYS)
def test_an_error_in_a_200_is_what_it_says(way: str) -> None:
    async def main() -> None:
        scheduler = TokenRateScheduler(max_rpm=1e6)
        async with serving(answering((200, IN_A_200, JSON))) as server:
            assert "usage" in json.loads((await ask(way, scheduler, server.url))[1])
            assert len(server.requests) == 2
            assert scheduler.stats().refused == 1
        assert (scheduler.active_tasks, scheduler.waiting) == (0, 0)

    run(main())


@pytest.mark.parametrize("way", WAYS)
def test_an_error_in_a_200_may_come_piece_by_piece(way: str) -> None:
    async def handler(request: Request) -> None:
        if len(server.requests) > 1:
            await request.answer(b"{}", 200, JSON)
            return
        await request.start_stream("application/json; charset=utf-8")
        for piece in (b"\n \n", IN_A_200[:9], IN_A_200[9:]):  # blanks keep the connection alive
            await request.chunk(piece)
            await asyncio.sleep(0.02)
        await request.end_stream()

    async def main() -> None:
        nonlocal server
        scheduler = TokenRateScheduler(max_rpm=1e6)
        async with serving(handler) as server:
            assert await ask(way, scheduler, server.url) == (200, b"{}")
            assert len(server.requests) == 2

    server: Any = None
    run(main())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "body",
    [
        b'{"error": null, "usage": {"prompt_tokens": 4, "completion_tokens": 3}}',
        b'{"filler": "%s"}' % (b"x" * 70_000),
        b"",
    ],
)
def test_other_answers_in_json_reach_the_caller_as_they_are(way: str, body: bytes) -> None:
    async def main() -> None:
        scheduler = TokenRateScheduler(max_rpm=1e6)
        async with serving(answering((200, body, JSON))) as server:
            assert await ask(way, scheduler, server.url) == (200, body)
            assert len(server.requests) == 1

    run(main())


@pytest.mark.parametrize("way", WAYS)
def test_a_body_that_was_looked_at_ahead_is_settled_too(way: str) -> None:
    async def main() -> None:
        scheduler = TokenRateScheduler(max_tpm=600, burst_ratio=60)
        body = b'{"id": 1, "usage": {"prompt_tokens": 4, "completion_tokens": 3}}'
        async with serving(answering((200, body, JSON))) as server:
            answer = await ask(way, scheduler, server.url, estimate=lambda url, body: 500)
            assert answer == (200, body)
        await asyncio.sleep(0)
        [tokens] = [limit for limit in scheduler.stats().limits if limit.name == "tokens"]
        assert tokens.used == 7

    run(main())


@pytest.mark.parametrize("kind", ["text/event-stream", "application/json"])
@pytest.mark.parametrize("door", ["client", "transport"])
def test_a_body_that_comes_piece_by_piece_is_not_waited_for(kind: str, door: str) -> None:
    first = b"data: 1\n\n" if kind == "text/event-stream" else b'[{"part": 1}'

    async def handler(request: Request) -> None:
        await request.start_stream(kind)
        await request.chunk(first)
        await asyncio.wait_for(is_read.wait(), 10)
        await request.end_stream()

    async def main() -> None:
        scheduler = TokenRateScheduler(max_rpm=1e6)
        async with serving(handler) as server:
            if door == "client":
                async with (
                    Client(scheduler=scheduler) as client,
                    client.stream("POST", server.url) as stream,
                ):
                    is_read.set()
                    assert await stream.aread() == first
                return
            library = pytest.importorskip("httpx2")
            async with (
                library.AsyncClient(transport=transport(scheduler=scheduler)) as client,
                client.stream("POST", server.url) as response,
            ):
                is_read.set()
                assert await response.aread() == first

    is_read = asyncio.Event()
    run(main())


def test_events_that_are_called_json_are_all_there() -> None:
    async def main() -> None:
        scheduler = TokenRateScheduler(max_rpm=1e6)
        async with (
            serving(answering((200, b"data: 1\n\ndata: 2\n\n", JSON))) as server,
            Client(scheduler=scheduler) as client,
            client.stream("POST", server.url) as stream,
        ):
            assert [event.data async for event in stream.events()] == ["1", "2"]

    run(main())


@pytest.mark.parametrize("name", ["httpx2", "httpx"])
def test_a_redirected_request_keeps_its_body_and_its_attempts(name: str) -> None:
    """The client above makes a new request of it, whose body it has not read."""
    library = pytest.importorskip(name)

    async def handler(request: Request) -> None:
        if request.path in ("/kept", "/got"):
            status = 307 if request.path == "/kept" else 302
            await request.answer(b"", status, {"location": f"{request.path}/again"})
        elif request.path.endswith("/again"):
            await request.answer(b"", 307, {"location": "/here"})
        elif len(server.requests) == 3:
            await request.answer(b"{}", 429, SOON)
        else:
            await request.answer()

    async def main() -> None:
        nonlocal server
        door = transport(scheduler=TokenRateScheduler(max_rpm=1e6))
        async with (
            serving(handler) as server,
            library.AsyncClient(transport=door, follow_redirects=True) as client,
        ):
            for path, method, body in (("/kept", "POST", b"{}"), ("/got", "GET", b"")):
                server.requests.clear()
                response = await client.post(server.url + path, content=b"{}")
                assert response.status_code == 200
                last = server.requests[-1]
                assert (last.method, last.body) == (method, body)
                assert last.header("transfer-encoding") is None
                assert len(server.requests) == 4

    server: Any = None
    run(main())


# Streams that are left.


async def streaming(request: Request) -> None:
    await request.start_stream("text/event-stream")
    for i in range(100_000):
        await request.chunk(
            b'data: {"choices": [{"index": 0, "delta": {"content": "%d"}}]}\n\n' % i
        )
        await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def streams_of_an_sdk(
    slots: int,
) -> AsyncIterator[tuple[TokenRateScheduler, Server, Callable[[], Awaitable[Any]]]]:
    """A scheduler, the server that it sends to, and a function that asks it for a stream."""
    openai = pytest.importorskip("openai")
    httpx2 = pytest.importorskip("httpx2")
    scheduler = TokenRateScheduler(max_rpm=1e6, max_concurrency=slots)
    async with (
        serving(streaming) as server,
        httpx2.AsyncClient(transport=transport(scheduler=scheduler)) as http,
    ):
        client = openai.AsyncOpenAI(
            api_key="none", base_url=server.url, max_retries=0, http_client=http
        )
        asked = [{"role": "user", "content": "hi"}]
        yield (
            scheduler,
            server,
            lambda: client.chat.completions.create(model="m", messages=asked, stream=True),
        )


@pytest.mark.parametrize("end", ["break", "exception", "cancelled"])
def test_a_stream_of_an_sdk_that_is_left_gives_its_slot_back(end: str) -> None:
    async def main() -> None:
        async with streams_of_an_sdk(slots=5) as (scheduler, server, start):

            async def read() -> None:
                async for chunk in await start():
                    assert chunk.choices
                    if end == "break":
                        break
                    if end == "exception":
                        raise KeyError
                    task = asyncio.current_task()
                    assert task is not None
                    asyncio.get_running_loop().call_soon(task.cancel)

            async def guarded() -> None:
                with contextlib.suppress(KeyError, asyncio.CancelledError):
                    await read()

            gc.disable()  # by itself it does not run
            try:
                await asyncio.gather(*(guarded() for _ in range(12)))
                assert len(server.requests) == 12
            finally:
                gc.enable()
        gc.collect()
        await asyncio.sleep(0.05)
        assert (scheduler.active_tasks, scheduler.waiting) == (0, 0)

    run(main())


@pytest.mark.parametrize("by", ["tasks that have ended", "the task that asks for another"])
def test_a_stream_of_an_sdk_that_is_left_and_kept_gives_its_slot_back(by: str) -> None:
    kept: list[Any] = []  # so that no collector finds it

    async def main() -> None:
        async with streams_of_an_sdk(slots=1) as (scheduler, server, start):

            async def read() -> None:
                stream = await start()
                kept.append(stream)
                async for _ in stream:
                    break

            if by == "tasks that have ended":
                await asyncio.gather(*(read() for _ in range(3)))
            else:
                for _ in range(3):
                    await read()
            assert len(server.requests) == 3
            if by == "tasks that have ended":
                await scheduler.wait_pending()  # also where no call waits for the slot
            for stream in kept:
                await stream.close()
        await asyncio.sleep(0.05)
        assert (scheduler.active_tasks, scheduler.waiting) == (0, 0)

    run(main())


def test_each_collection_frees_the_streams_that_are_dropped_unread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that frees none would put off the next for long."""
    httpx2 = pytest.importorskip("httpx2")
    freed: list[int] = []

    async def main() -> None:
        scheduler = TokenRateScheduler(max_rpm=1e6, max_concurrency=3)
        collect = gc.collect

        def collects_slowly() -> None:
            before = len(dropped)
            time.sleep(0.12)  # longer than it is between two looks
            collect()
            freed.append(before - len(dropped))

        monkeypatch.setattr(gc, "collect", collects_slowly)
        dropped: weakref.WeakSet[Any] = weakref.WeakSet()
        async with (
            serving(streaming) as server,
            httpx2.AsyncClient(transport=transport(scheduler=scheduler)) as client,
        ):
            gc.disable()  # by itself it does not run
            try:
                for _ in range(6):
                    response = await client.send(
                        client.build_request("POST", server.url), stream=True
                    )
                    response.cycle = response  # as in the SDKs' streams
                    dropped.add(response)  # when the next one takes its name
            finally:
                gc.enable()
            del response
            collect()

    run(main())
    assert freed
    assert min(freed) > 0


@pytest.mark.parametrize("end", ["closed", "dropped", "exhausted"])
def test_a_stream_that_is_entered_by_hand_gives_its_slot_back(end: str) -> None:
    async def handler(request: Request) -> None:
        if end == "exhausted":
            await request.answer(b"{}")
        else:
            await streaming(request)

    async def main() -> None:
        scheduler = TokenRateScheduler(max_rpm=1e6, max_concurrency=2)
        async with serving(handler) as server, Client(scheduler=scheduler) as client:
            kept: list[Any] = []
            gc.disable()
            try:
                for _ in range(6):
                    stream = await client.stream("GET", server.url).__aenter__()
                    pieces: AsyncIterator[bytes] = stream.aiter_bytes()
                    await anext(pieces)
                    if end == "closed":
                        await stream.aclose()
                        kept.append(stream)
                    elif end == "exhausted":
                        assert [piece async for piece in pieces] == []
                        kept.append(stream)
                    del stream, pieces
                    await asyncio.sleep(0.05)
                    assert scheduler.active_tasks == 0
            finally:
                gc.enable()
            assert json.dumps(client.stats())
            assert client.stats()["active"] == 0

    run(main())


@pytest.mark.parametrize("scheduled", [False, True])
def test_an_answer_that_breaks_off_is_asked_for_again_if_that_is_safe(scheduled: bool) -> None:
    async def main() -> None:
        breaks = 1

        async def handler(request: Request) -> None:
            nonlocal breaks
            if breaks:
                breaks -= 1
                await request.send(b"HTTP/1.1 200 OK\r\ncontent-length: 30\r\n\r\nhalf")
                raise ConnectionError
            await request.answer(b"{}")

        scheduler = TokenRateScheduler(max_rpm=1e6) if scheduled else None
        async with serving(handler) as server, Client(scheduler=scheduler) as client:
            assert (await client.get(server.url)).body == b"{}"
            breaks = 1
            with pytest.raises(ConnectionLost) as caught:
                await client.post(server.url)
            assert (caught.value.status, caught.value.headers["content-length"]) == (200, "30")
            assert len(server.requests) == 3

    run(main())
