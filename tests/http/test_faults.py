"""Faults of servers and networks lose nothing."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import socket
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest
from kit.http import Request, serving

from xtremeflow import TokenRateScheduler, http
from xtremeflow.answers import attempt
from xtremeflow.http import Client


def run(main: Any, timeout: float = 60) -> Any:
    return asyncio.run(asyncio.wait_for(main, timeout))


def raw(answer: bytes, *, reset: bool = False) -> Any:
    """A handler that sends these bytes and ends the connection."""

    async def handler(request: Request) -> None:
        await request.send(answer)
        if reset:
            sock = request.writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise ConnectionError

    return handler


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("answer", "error", "phase"),
    [
        (b"", http.ConnectionLost, "wait"),
        (b"HTTP/1.1 2", http.TransportError, "wait"),
        (OK + b"content-le", http.TransportError, None),
        (OK + b"content-length: 100\r\n\r\nshort", http.ConnectionLost, "read"),
        (OK + b"transfer-encoding: chunked\r\n\r\n5\r\nab", http.ConnectionLost, "read"),
        (OK + b"transfer-encoding: chunked\r\n\r\nnonsense", http.TransportError, "read"),
        (OK + b"content-length: -5\r\n\r\n", http.TransportError, None),
        (b"\x16\x03\x01\x00\xff garbage \r\n\r\n", http.TransportError, "wait"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", http.TransportError, "wait"),
        (OK + b"content-encoding: gzip\r\ncontent-length: 4\r\n\r\nnope", http.ProtocolError,
         "read"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("reset", [False, True])
def test_a_broken_answer_is_an_error_and_not_sent_again(
    answer: bytes, error: type[http.TransportError], phase: str | None, reset: bool
) -> None:
    async def main() -> None:
        async with serving(raw(answer, reset=reset)) as server, Client() as client:
            with pytest.raises(http.TransportError if reset else error) as caught:
                await client.post(server.url, content=b"x")
            assert not caught.value.retry_safe  # the server had the request
            if phase is not None and not reset:
                assert caught.value.phase == phase
            assert caught.value.url == server.url
            assert caught.value.elapsed >= 0
            assert len(server.requests) == 1
            assert client.stats()["active"] == 0

    run(main())


def test_a_body_until_the_connection_ends_is_whole() -> None:
    async def main() -> None:
        async with serving(raw(OK + b"\r\neverything")) as server, Client() as client:
            assert (await client.get(server.url)).body == b"everything"

    run(main())


def test_interim_answers_are_passed_over() -> None:
    async def handler(request: Request) -> None:
        await request.send(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n")
        await request.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await request.answer(b"final")

    async def main() -> None:
        async with serving(handler) as server, Client() as client:
            response = await client.get(server.url)
            assert response.body == b"final"
            assert "link" not in response.headers

    run(main())


@pytest.mark.parametrize("field", [b"HTTP/9999999999999999999: 777", b"HTTP/1.1 100: x"])
def test_a_status_line_is_the_first_line_of_a_head(field: bytes) -> None:
    head = b"HTTP/1.1 201 Created\r\nx-a: 1\r\n%s\r\nx-b: 2\r\ncontent-length: 2\r\n\r\nok"

    async def main() -> None:
        async with serving(raw(head % field)) as server, Client() as client:
            response = await client.get(server.url)
            assert (response.status, response.body) == (201, b"ok")
            assert response.http_version == "HTTP/1.1"
            assert (response.headers["x-a"], response.headers["x-b"]) == ("1", "2")

    run(main())


@pytest.mark.parametrize("line", [b"HTTP/1.1 %s OK" % (b"9" * 30), b"HTTP/%s 200 OK" % (b"9" * 30)])
def test_the_digits_of_a_status_line_are_bounded(line: bytes) -> None:
    async def main() -> None:
        answer = line + b"\r\ncontent-length: 2\r\n\r\nok"
        async with serving(raw(answer)) as server, Client() as client:
            with pytest.raises(http.TransportError):
                await client.get(server.url)

    run(main())


def test_refused_and_unresolved_are_safe_to_repeat() -> None:
    async def main() -> None:
        async with Client() as client:
            with pytest.raises(http.ConnectError, match="refused") as refused:
                await client.post("http://127.0.0.1:1/", content=b"x")
            assert refused.value.retry_safe
            assert refused.value.phase == "connect"
            with pytest.raises(http.ResolveError) as unresolved:
                await client.post("http://no-such-host.invalid/", content=b"x")
            assert unresolved.value.retry_safe
            assert unresolved.value.phase == "resolve"

    run(main())


def test_a_connection_that_is_not_made_in_time_is_a_connect_timeout() -> None:
    # A listener whose queue is full does not answer.
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
            fillers.append(filler)

        async def main() -> None:
            async with Client(connect_timeout=0.2) as client:
                with pytest.raises(http.ConnectTimeout) as caught:
                    await client.post(f"http://127.0.0.1:{port}/", content=b"x")
                assert caught.value.retry_safe
                assert caught.value.phase == "connect"

        run(main())
        for filler in fillers:
            filler.close()


def test_a_server_that_stalls_and_one_that_trickles() -> None:
    async def handler(request: Request) -> None:
        await request.start_stream()
        for _ in range(30):
            await request.chunk(b".")
            await asyncio.sleep(0.01)
        if request.path == "/stall":
            await asyncio.sleep(60)
        await request.end_stream()

    async def main() -> None:
        async with serving(handler) as server, Client(idle_timeout=0.5) as client:
            assert (await client.get(server.url)).body == b"." * 30
            with pytest.raises(http.IdleTimeout) as caught:
                await client.get(server.url + "/stall")
            assert caught.value.phase == "read"

    run(main())


def test_an_idle_connection_that_the_server_closed_is_not_used() -> None:
    async def handler(request: Request) -> None:
        await request.answer()
        raise ConnectionError  # closes after every answer, without saying so

    async def main() -> None:
        async with serving(handler) as server, Client() as client:
            for _ in range(10):
                assert (await client.post(server.url, content=b"x")).status == 200
                await asyncio.sleep(0.005)
            assert len(server.requests) == 10

    run(main())


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_reused_connection_that_breaks_after_the_request(method: str) -> None:
    """The server has read the request and closes without an answer: only what is idempotent, or
    said to be, is sent again."""

    async def handler(request: Request) -> None:
        if request.path == "/break" and request.connection == 0:
            raise ConnectionError
        await request.answer()

    async def main() -> None:
        for idempotent in (None, True):
            async with serving(handler) as server, Client() as client:
                await client.request(method, server.url + "/")
                call = client.request(method, server.url + "/break", content=b"x",
                                      idempotent=idempotent)  # fmt: skip
                if method == "POST" and not idempotent:
                    with pytest.raises(http.ConnectionLost) as caught:
                        await call
                    assert not caught.value.retry_safe
                    assert [r.path for r in server.requests] == ["/", "/break"]
                else:
                    assert (await call).status == 200
                    assert [r.path for r in server.requests] == ["/", "/break", "/break"]
                    assert client.stats()["repeated"] == 1

    run(main())


@contextlib.asynccontextmanager
async def by_hand() -> AsyncIterator[tuple[socket.socket, str]]:
    """A listening socket, whose answers the test gives itself, and its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener, f"http://127.0.0.1:{listener.getsockname()[1]}/"


async def answered(listener: socket.socket) -> socket.socket:
    """Accepts a connection and answers the first request on it. Returns the connection."""
    loop = asyncio.get_running_loop()
    connection, _ = await loop.sock_accept(listener)
    assert await loop.sock_recv(connection, 10000)
    await loop.sock_sendall(connection, OK + b"content-length: 2\r\n\r\nok")
    return connection


def test_the_race_of_a_request_with_the_close_of_an_idle_connection() -> None:
    """The server closes just before the request is sent: it cannot have been read, so it is sent
    again, on a new connection."""

    async def main() -> None:
        async with by_hand() as (listener, url), Client() as client:
            call = asyncio.create_task(client.post(url, content=b"1"))
            first = await answered(listener)
            assert (await call).body == b"ok"
            call = asyncio.create_task(client.post(url, content=b"2"))
            first.close()  # before the task has run, and so before it sends
            second = await answered(listener)
            assert (await call).body == b"ok"
            second.close()

    run(main())


def test_a_reset_of_an_unread_request_on_a_reused_connection() -> None:
    """The kernel took the request, the program did not: it acknowledged, so it may have been
    read, and a POST is not repeated."""

    async def main() -> None:
        async with by_hand() as (listener, url), Client() as client:
            call = asyncio.create_task(client.post(url, content=b"1"))
            first = await answered(listener)
            assert (await call).body == b"ok"
            call = asyncio.create_task(client.post(url, content=b"2"))
            await asyncio.sleep(0.1)
            first.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            first.close()
            with pytest.raises(http.ConnectionLost) as caught:
                await call
            assert not caught.value.retry_safe

    run(main())


def test_requests_go_through_the_proxy_that_is_given_or_set() -> None:
    async def handler(request: Request) -> None:
        await request.answer(f"{request.method} {request.path}".encode())

    async def main() -> None:
        async with serving(handler) as proxy:
            async with Client(proxy=proxy.url) as client:
                response = await client.get("http://nowhere.invalid/x")
                assert response.body == b"GET http://nowhere.invalid/x"
            for name, value in [("http_proxy", proxy.url), ("all_proxy", proxy.url)]:
                os.environ[name] = value
                try:
                    async with Client() as client:
                        response = await client.get("http://nowhere.invalid/y")
                        assert response.body == b"GET http://nowhere.invalid/y"
                    async with Client(trust_env=False) as client:
                        with pytest.raises(http.ResolveError):
                            await client.get("http://nowhere.invalid/y")
                finally:
                    del os.environ[name]

    run(main())


@pytest.mark.parametrize("status", [407, 403, 502])
@pytest.mark.parametrize("scheduled", [False, True])
def test_a_proxy_that_refuses_is_not_asked_again(
    status: int, scheduled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt, "_FIRST_PAUSE", 0.001)

    async def handler(request: Request) -> None:
        await request.answer(b"no", status, {"proxy-authenticate": 'Basic realm="x"'})

    async def main() -> None:
        scheduler = TokenRateScheduler(max_rpm=1e6) if scheduled else None
        async with (
            serving(handler) as proxy,
            Client(proxy=proxy.url, scheduler=scheduler, retries=2) as client,
        ):
            with pytest.raises(http.ConnectError, match=str(status)) as caught:
                await client.post("https://nowhere.invalid/x")
            assert isinstance(caught.value, http.ProxyRefused) is (status != 502)
            assert len(proxy.requests) == (3 if status == 502 else 1)
            assert {request.method for request in proxy.requests} == {"CONNECT"}

    run(main())


CALLS = int(os.environ.get("XTREMEFLOW_FAULTS", "3000"))


def open_files() -> list[str]:
    links = []
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            links.append(os.readlink(f"/proc/self/fd/{fd}"))
    return sorted(links)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors in /proc")
def test_random_faults_and_cancellations_lose_nothing() -> None:
    """Every call ends once: with its own answer, with an error, or cancelled. (CALLS of them;
    XTREMEFLOW_FAULTS=100000 for a long run.)"""
    rng = random.Random(5)
    faults = ["none"] * 8 + [
        "reset", "close", "cut head", "cut body", "cut chunk", "garbage", "stall", "trickle",
        "429", "close after",
    ]  # fmt: skip

    async def handler(request: Request) -> None:
        fault, number = request.path[1:].split("/")
        fault = fault.replace("%20", " ")
        body = b"answer to " + number.encode()
        if fault == "reset":
            request.reset()
            raise ConnectionError
        if fault == "close":
            raise ConnectionError
        if fault == "cut head":
            await request.send(b"HTTP/1.1 200 OK\r\nconte")
            raise ConnectionError
        if fault == "cut body":
            await request.send(OK + b"content-length: 50\r\n\r\nabc")
            raise ConnectionError
        if fault == "cut chunk":
            await request.start_stream()
            await request.send(b"ff\r\nabc")
            request.reset()
            raise ConnectionError
        if fault == "garbage":
            await request.send(bytes(rng.randrange(256) for _ in range(50)) + b"\r\n\r\n")
            raise ConnectionError
        if fault == "stall":
            await asyncio.sleep(1)
            raise ConnectionError
        if fault == "trickle":
            await request.start_stream()
            for i in range(0, len(body), 3):
                await request.chunk(body[i : i + 3])
                await asyncio.sleep(0.001)
            await request.end_stream()
            return
        await request.answer(body, 429 if fault == "429" else 200)
        if fault == "close after":
            raise ConnectionError

    async def main() -> None:
        outcomes = {"answer": 0, "error": 0, "cancelled": 0}

        async def one(client: Client, url: str, number: int) -> None:
            fault = rng.choice(faults)
            kind = rng.randrange(4)
            target = f"{url}/{fault.replace(' ', '%20')}/{number}"
            limits: dict[str, float] = {"timeout": rng.choice([0.02, 0.1, 5.0])}
            expected = b"answer to %d" % number

            async def call() -> bytes:
                if kind == 0:
                    async with client.stream("POST", target, content=b"x" * 100, **limits) as s:
                        return await s.aread()
                return (await client.post(target, content=b"x" * 100, **limits)).body

            task = asyncio.create_task(call())
            if rng.random() < 0.1:
                await asyncio.sleep(rng.random() * 0.003)
                task.cancel()
            try:
                body = await task
            except http.TransportError:
                outcomes["error"] += 1
            except asyncio.CancelledError:
                outcomes["cancelled"] += 1
            else:
                assert body == expected, (fault, body)
                outcomes["answer"] += 1

        async with serving(handler) as server:
            async with Client() as client:
                numbers = iter(range(CALLS))

                async def worker() -> None:
                    for number in numbers:
                        await one(client, server.url, number)

                await asyncio.gather(*(worker() for _ in range(64)))
                stats = client.stats()
                assert stats["active"] == 0
                assert stats["started"] == stats["finished"]
            assert sum(outcomes.values()) == CALLS
            assert min(outcomes.values()) > CALLS // 50

    gc.collect()
    before = open_files()
    run(main(), 30 + CALLS / 100)
    gc.collect()
    assert open_files() == before


@pytest.mark.parametrize(
    ("lines", "body"),
    [
        (b"content-length: 5\r\ncontent-length: 5\r\n", b"12345"),
        (b"Content-Length: 5 , 5\r\n", b"12345"),
        (b"content-length: 3\r\ncontent-length: 5\r\n", None),
        (b"Content-Length: 5\r\nx: y\r\ncontent-length: 3\r\n", None),
        (b"content-length: 3, 5\r\n", None),
        (b"content-length: 5, \r\n", None),
        (b"content-length: 5x\r\n", None),
        (b"content-length: 99999999999999999999\r\n", None),
    ],
)
def test_lengths_that_contradict_each_other(lines: bytes, body: bytes | None) -> None:
    async def main() -> None:
        async with serving(raw(OK + lines + b"\r\n12345")) as server, Client() as client:
            if body is None:
                with pytest.raises(http.TransportError) as caught:
                    await client.get(server.url)
                assert isinstance(caught.value, http.ProtocolError)
            else:
                with contextlib.suppress(http.ProtocolError):  # newer libcurls refuse lists
                    assert (await client.get(server.url)).body == body

    run(main())


@pytest.mark.parametrize("size", [120_000, 1_000_000])
def test_a_line_larger_than_libcurl_takes_is_too_large(size: int) -> None:
    httpx2 = pytest.importorskip("httpx2")
    answer = OK + b"x: " + b"y" * size + b"\r\ncontent-length: 0\r\n\r\n"

    async def main() -> None:
        async with serving(raw(answer)) as server:
            async with Client(max_head=10_000_000) as client:
                with pytest.raises(http.TooLarge, match="max_head"):
                    await client.get(server.url)
                with pytest.raises(http.TooLarge, match="max_head"):
                    async with client.stream("GET", server.url):
                        pass
            async with httpx2.AsyncClient(transport=http.transport()) as client:
                with pytest.raises(httpx2.ReadError, match="max_head"):
                    await client.get(server.url)

    run(main())


def test_many_lines_larger_than_libcurl_takes_are_too_large() -> None:
    answer = OK + (b"x: " + b"y" * 1000 + b"\r\n") * 500 + b"content-length: 0\r\n\r\n"

    async def main() -> None:
        async with serving(raw(answer)) as server, Client(max_head=10_000_000) as client:
            with contextlib.suppress(http.TooLarge):  # newer libcurls bound the whole head too
                assert len((await client.get(server.url)).headers.get_all("x")) == 500

    run(main())


def test_switching_protocols_unasked_is_no_answer() -> None:
    answer = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nhello"

    async def main() -> None:
        async with serving(raw(answer)) as server, Client() as client:
            with pytest.raises(http.ProtocolError, match="101"):
                await client.get(server.url)

    run(main())


def test_a_stream_read_after_its_block_says_so() -> None:
    async def handler(request: Request) -> None:
        await request.start_stream()
        await request.chunk(b"data: 1\n\n")
        await asyncio.sleep(60)

    async def main() -> None:
        async with serving(handler) as server, Client() as client:
            async with client.stream("GET", server.url) as stream:
                pass
            with pytest.raises(http.StreamClosed, match="the stream was closed"):
                await stream.aread()

    run(main())
