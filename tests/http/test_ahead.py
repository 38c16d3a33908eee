"""An error within a 200 is one at every door, whatever its type, also as the first event of a
stream. Of other answers the client waits for the begin only."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from kit.http import Request, serving

from xtremeflow import TaskScheduler
from xtremeflow.answers.answer import Answer
from xtremeflow.answers.table import judged
from xtremeflow.answers.verdict import Meaning
from xtremeflow.http import Client, transport

ERROR = json.dumps({"error": {"message": "slow down", "code": 429}}).encode()
NAMED = b'event: error\r\ndata: {"message": "slow down", "code": 429}\r\n\r\n'
ERRORS = [
    (b"application/json", ERROR),
    (b"text/plain", ERROR),
    (b"", ERROR),
    (b"application/x-ndjson", ERROR + b"\n"),
    (b"application/x-ndjson", ERROR + b'\n{"more": 1}\n'),
    (b"text/event-stream", b"data: " + ERROR + b"\n\n"),
    (b"text/event-stream", b": waiting\n\n: waiting\n\ndata: " + ERROR + b"\n\ndata: [DONE]\n\n"),
    (b"text/event-stream", b"\xef\xbb\xbfid: 1\rdata: " + ERROR + b"\r\r"),
    (b"text/event-stream", NAMED),
    (b"", b'event: error\ndata: {"type": "error",\ndata: "error": {"code": "429"}}\n\n'),
]


def run(main: Any) -> Any:
    return asyncio.run(asyncio.wait_for(main, 60))


async def through(door: str, url: str, scheduler: TaskScheduler) -> tuple[int, bytes]:
    if door == "transport":
        httpx2 = pytest.importorskip("httpx2")
        way = transport(scheduler=scheduler)
        async with httpx2.AsyncClient(transport=way) as client:
            answer = await client.post(url)
            return answer.status_code, answer.content
    async with Client(scheduler=scheduler) as client:
        if door == "call":
            whole = await client.post(url)
            return whole.status, whole.body
        async with client.stream("POST", url) as stream:
            return stream.status, await stream.aread()


@pytest.mark.parametrize("door", ["call", "stream", "transport"])
@pytest.mark.parametrize(("kind", "error"), ERRORS)
@pytest.mark.parametrize("pieces", [1, 3])
def test_an_error_in_a_200_is_tried_again(
    door: str, kind: bytes, error: bytes, pieces: int
) -> None:
    asked = 0

    async def handler(request: Request) -> None:
        nonlocal asked
        asked += 1
        if asked > 1:
            await request.answer(b"passed")
            return
        await request.send(
            b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\nretry-after-ms: 2\r\n"
            b"transfer-encoding: chunked\r\n\r\n" % kind
        )
        size = -(-len(error) // pieces)
        for begin in range(0, len(error), size):
            await request.chunk(error[begin : begin + size])
            await asyncio.sleep(0.005)
        await request.end_stream()

    async def main() -> None:
        scheduler = TaskScheduler(1)
        async with serving(handler) as server:
            assert await through(door, server.url, scheduler) == (200, b"passed")
        assert asked == 2
        assert (scheduler.active_tasks, scheduler.waiting) == (0, 0)

    run(main())


@pytest.mark.parametrize(("kind", "error"), ERRORS)
def test_it_means_a_refusal(kind: bytes, error: bytes) -> None:
    for body in (error, error.decode("utf-8-sig")):
        assert judged(Answer(200, {"content-type": kind.decode()}, body)).is_passing


BEGINS = [
    b'data: {"choices": [{"delta": {"content": "event: error"}}]}\n\n',
    b'event: message_start\ndata: {"type": "message_start", "error": null}\n\n',
    b'{"response": "a"}\n',
    b'[{"candidates": [{"content": "}"}]}',
    b"RIFF\x00\x01",
    b"<html>",
    b"event horizon",
]


@pytest.mark.parametrize("door", ["stream", "transport"])
@pytest.mark.parametrize("begin", BEGINS)
def test_of_a_stream_only_its_begin_is_awaited(door: str, begin: bytes) -> None:
    async def main() -> None:
        has_begun = asyncio.Event()

        async def handler(request: Request) -> None:
            await request.start_stream("application/octet-stream")
            await request.chunk(begin)
            await has_begun.wait()
            await request.chunk(b"rest")
            await request.end_stream()

        async with serving(handler) as server:
            if door == "stream":
                async with (
                    Client(scheduler=TaskScheduler(1)) as client,
                    client.stream("POST", server.url) as stream,
                ):
                    has_begun.set()
                    assert await stream.aread() == begin + b"rest"
            else:
                httpx2 = pytest.importorskip("httpx2")
                way = transport(scheduler=TaskScheduler(1))
                async with (
                    httpx2.AsyncClient(transport=way) as client,
                    client.stream("POST", server.url) as stream,
                ):
                    has_begun.set()
                    assert await stream.aread() == begin + b"rest"

    run(main())


@pytest.mark.parametrize("begin", BEGINS)
def test_content_is_no_error(begin: bytes) -> None:
    assert judged(Answer(200, {}, begin)).meaning is Meaning.PASSED
