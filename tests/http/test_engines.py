"""Engines that end, or are entered again, in the middle of what they do.

Each case runs in a process of its own, where freed memory is overwritten, so that it cannot be used
unnoticed. This file is that process's program.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from xtremeflow.http import Client

CASES: dict[str, Callable[[], None]] = {}
CHUNK = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"
WHOLE = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"


def case(function: Callable[[], None]) -> Callable[[], None]:
    CASES[function.__name__] = function
    return function


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


@pytest.mark.parametrize("name", CASES)
def test_case(name: str) -> None:
    environment = {**os.environ, "PYTHONMALLOC": "debug", "MALLOC_PERTURB_": "85"}
    done = subprocess.run(
        [sys.executable, __file__, name], env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "ended\n", "")


if __name__ == "__main__":
    CASES[sys.argv[1]]()
    print("ended")
