"""Engines that end, or are entered again, in the middle of what they do."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
from collections.abc import Iterator

import pytest
from casekit import Cases

from xtremeflow.http import Client

case = Cases(__file__)
CHUNK = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"
WHOLE = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"


@contextlib.contextmanager
def listening() -> Iterator[tuple[socket.socket, str]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener, f"http://127.0.0.1:{listener.getsockname()[1]}/"


async def answer(listener: socket.socket, data: bytes) -> socket.socket:
    loop = asyncio.get_running_loop()
    connection, _ = await loop.sock_accept(listener)
    await loop.sock_recv(connection, 4096)
    await loop.sock_sendall(connection, data)
    return connection


@case
def a_task_with_two_streams_goes_with_its_loop() -> None:
    async def nested() -> None:
        async with client.stream("GET", url) as first, client.stream("GET", url) as second:
            streams.append(second)
            async for _ in first.aiter_bytes():
                reading.set()

    async def main() -> None:
        asyncio.get_running_loop().create_task(nested())
        connections.extend([await answer(listener, CHUNK), await answer(listener, CHUNK)])
        await reading.wait()
        streams.clear()

    logging.disable()  # the task is lost, says asyncio
    client = Client()
    streams: list[object] = []  # of which one is not in use
    reading = asyncio.Event()
    connections: list[socket.socket] = []
    with listening() as (listener, url):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(main())
        loop.close()
        client._close()
        gc.collect()
    for connection in connections:
        connection.close()


@case
def a_task_runs_its_loop_anew_and_closes_the_client() -> None:
    async def main() -> None:
        client = Client()
        with listening() as (listener, url):
            server = asyncio.create_task(answer(listener, WHOLE))
            assert (await client.get(url)).status == 200
            client._session.engines()[0]()  # as a loop does that runs within a task
            await client.aclose()
            (await server).close()

    asyncio.run(main())


@pytest.mark.parametrize("name", case.names)
def test_case(name: str) -> None:
    case.check(name)


if __name__ == "__main__":
    case.main()
