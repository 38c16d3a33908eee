"""Streamed answers: bytes, lines, events; backpressure; cancellation."""

# ruff: noqa: PT012, SIM117
from __future__ import annotations

import asyncio
from typing import Any

import pytest
from kit.http import Request, echo, serving

from xtremeflow import http
from xtremeflow.http import Client, TooLarge


def run(main: Any) -> Any:
    return asyncio.run(asyncio.wait_for(main, 30))


def sending(*pieces: bytes, pause: float = 0.0) -> Any:
    async def handler(request: Request) -> None:
        await request.start_stream()
        for piece in pieces:
            await request.chunk(piece)
            await asyncio.sleep(pause)
        await request.end_stream()

    return handler


def test_calls_and_streams_are_not_iterable() -> None:
    async def main() -> None:
        async with serving(sending(b"data: 1\n\n")) as server, Client() as client:
            call = client.get(server.url)
            with pytest.raises(TypeError, match="must be an iterable"):
                asyncio.gather(*call)  # type: ignore[misc]
            call.close()
            async with client.stream("GET", server.url) as stream:
                for items in (stream.events(), stream.aiter_bytes()):
                    with pytest.raises(TypeError, match="not iterable"):
                        iter(items)  # type: ignore[call-overload]

    run(main())


def test_the_steps_of_a_call_can_be_taken_one_by_one() -> None:
    class Wrapped:
        def __init__(self, awaitable: Any) -> None:
            self.awaitable = awaitable

        def __await__(self) -> Any:
            return (yield from self.awaitable.__await__())

    async def main() -> None:
        async with serving(sending(b"data: 1\n\n")) as server, Client() as client:
            assert (await Wrapped(client.get(server.url))).body == b"data: 1\n\n"
            async with client.stream("GET", server.url) as stream:
                events = stream.events()
                assert (await Wrapped(events.__anext__())).data == "1"
            cancelled = asyncio.ensure_future(Wrapped(client.get(server.url)))
            await asyncio.sleep(0)
            cancelled.cancel()
            await asyncio.wait([cancelled])
            assert cancelled.cancelled()

    run(main())


def test_events_are_the_same_wherever_the_pieces_are_cut() -> None:
    text = (
        "\ufeff: comment\r\ndata: one\r\n\r\nevent: delta\ndata: {\"a\":\ndata:  \"é\"}\nid: 7\n\n"
        "data\n\nretry: 50\r\rdata: last\r\rdata: cut off"
    ).encode()  # fmt: skip

    async def main() -> None:
        for size in (1, 2, 3, 7, len(text)):
            pieces = [text[i : i + size] for i in range(0, len(text), size)]
            async with serving(sending(*pieces)) as server, Client() as client:
                async with client.stream("POST", server.url) as stream:
                    assert stream.status == 200
                    assert stream.headers["content-type"] == "text/event-stream"
                    events = [e async for e in stream.events()]
                assert [(e.event, e.data, e.id, e.retry) for e in events] == [
                    ("message", "one", "", None),
                    ("delta", '{"a":\n "é"}', "7", None),
                    ("message", "", "7", None),
                    ("message", "last", "7", 50),
                ]
                assert events[1].json() == {"a": "é"}

    run(main())


def test_paced_events_come_as_they_are_sent() -> None:
    async def main() -> None:
        pieces = [b"data: %d\n\n" % i for i in range(20)]
        async with serving(sending(*pieces, pause=0.005)) as server, Client() as client:
            async with client.stream("GET", server.url) as stream:
                events = stream.events()
                first = await anext(events)
                assert not stream._transfer.done
                assert [first.data] + [e.data async for e in events] == [str(i) for i in range(20)]
            assert client.stats()["active"] == 0
            await client.get(server.url)
            assert server.connections == 1  # the stream was read to its end: its connection lives

    run(main())


def test_an_event_above_the_limit_is_refused() -> None:
    async def main() -> None:
        async with serving(sending(b"data: " + b"x" * 5000)) as server:
            async with Client(max_event=1000) as client, client.stream("GET", server.url) as stream:
                with pytest.raises(TooLarge, match="larger than max_event"):
                    async for _ in stream.events():
                        pass

    run(main())


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_lines_are_the_same_wherever_the_pieces_are_cut(size: int) -> None:
    text = "a\r\nb\rc\n\né\r\nlast".encode()
    pieces = [text[i : i + size] for i in range(0, len(text), size)]

    async def main() -> None:
        async with serving(sending(*pieces)) as server, Client() as client:
            async with client.stream("GET", server.url) as stream:
                assert [x async for x in stream.aiter_lines()] == ["a", "b", "c", "", "é", "last"]

    run(main())


def test_a_slow_reader_pauses_the_sender() -> None:
    sent = 0

    async def handler(request: Request) -> None:
        nonlocal sent
        await request.start_stream("application/octet-stream")
        for _ in range(400):
            await request.chunk(b"x" * 100_000)
            sent += 100_000
        await request.end_stream()

    async def main() -> None:
        async with serving(handler) as server, Client() as client:
            async with client.stream("GET", server.url) as stream:
                await asyncio.sleep(0.3)
                stalled = sent
                assert stalled < 20_000_000  # what the sockets hold, far less than all
                await asyncio.sleep(0.1)
                assert sent == stalled
                total = 0
                async for chunk in stream.aiter_bytes():
                    assert len(chunk) < 1_000_000
                    total += len(chunk)
                assert total == 40_000_000

    run(main())


def test_a_paused_reader_does_not_run_into_the_idle_timeout() -> None:
    async def main() -> None:
        async with serving(sending(*[b"x" * 100_000] * 100)) as server:
            async with Client(idle_timeout=0.1) as client, client.stream("GET", server.url) as s:
                await asyncio.sleep(0.4)
                assert len(await s.aread()) == 10_000_000

    run(main())


def test_cancelling_a_read_leaves_the_stream_usable() -> None:
    async def main() -> None:
        pieces = [b"data: %d\n\n" % i for i in range(3)]
        async with serving(sending(*pieces, pause=0.1)) as server, Client() as client:
            async with client.stream("GET", server.url) as stream:
                events = stream.events()
                assert (await anext(events)).data == "0"
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(anext(events), 0.01)
                assert [e.data async for e in events] == ["1", "2"]

    run(main())


def test_leaving_early_frees_the_connection() -> None:
    async def handler(request: Request) -> None:
        await request.start_stream()
        while True:
            await request.chunk(b"data: 1\n\n")
            await asyncio.sleep(0.001)

    async def main() -> None:
        async with serving(handler) as server, Client() as client:
            for _ in range(5):
                async with client.stream("GET", server.url) as stream:
                    async for _event in stream.events():
                        break
                assert client.stats() | {"active": 0, "sockets": 0} == client.stats()
            with pytest.raises(KeyError):
                async with client.stream("GET", server.url) as stream:
                    raise KeyError
            assert client.stats()["active"] == 0

    run(main())


def test_two_readers_at_a_time_are_refused() -> None:
    async def handler(request: Request) -> None:
        await request.start_stream()
        await asyncio.sleep(60)

    async def main() -> None:
        async with serving(handler) as server, Client() as client:
            async with client.stream("GET", server.url) as stream:
                reader = asyncio.create_task(stream.aread())
                await asyncio.sleep(0.01)
                with pytest.raises(RuntimeError, match="already waiting"):
                    await stream.aread()
                reader.cancel()
                await asyncio.wait([reader])

    run(main())


def test_an_error_in_the_middle_is_raised_after_what_came() -> None:
    async def handler(request: Request) -> None:
        await request.start_stream()
        await request.chunk(b"data: 1\n\ndata: 2\n\ndata: cu")
        request.reset()
        raise ConnectionError

    async def main() -> None:
        async with serving(handler) as server, Client() as client:
            async with client.stream("POST", server.url) as stream:
                got = []
                with pytest.raises(http.ConnectionLost) as caught:
                    async for event in stream.events():
                        got.append(event.data)
                assert got == ["1", "2"]
                assert caught.value.phase == "read"
                assert caught.value.status == 200
                assert not caught.value.retry_safe

    run(main())


def test_many_streams_at_a_time() -> None:
    async def main() -> None:
        pieces = [b"data: %d\n\n" % i for i in range(5)]
        async with serving(sending(*pieces, pause=0.02)) as server, Client() as client:

            async def one() -> list[str]:
                async with client.stream("GET", server.url) as stream:
                    return [e.data async for e in stream.events()]

            assert await asyncio.gather(*(one() for _ in range(300))) == [list("01234")] * 300

    run(main())


def test_the_answer_to_a_stream_may_be_an_error() -> None:
    async def main() -> None:
        async with Client() as client:
            with pytest.raises(http.ConnectError):
                async with client.stream("GET", "http://127.0.0.1:1/"):
                    pass
        async with serving(echo) as server, Client(idle_timeout=5) as client:
            async with client.stream("GET", server.url + "/") as stream:
                assert await stream.aread() == b"GET / "
                assert await stream.aread() == b""

    run(main())
