"""Engines that end, or are entered again, in the middle of what they do."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import socket
import sys
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest
from kit.cases import Cases

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
        client._connections.close()
        gc.collect()
    for connection in connections:
        connection.close()


def call_watchers() -> None:
    for key in list(asyncio.get_running_loop()._selector.get_map().values()):  # type: ignore[attr-defined]
        reader, _ = key.data
        if reader is not None and type(reader._callback).__name__ == "Watch":
            reader._callback()


async def get(client: Client, url: str) -> None:
    await client.get(url)


async def read(client: Client, url: str) -> None:
    async with client.stream("GET", url) as stream:
        async for _ in stream.aiter_bytes():
            pass


async def send(client: Client, url: str) -> None:
    async def source() -> AsyncIterator[bytes]:
        yield b"x" * 10
        await asyncio.Event().wait()

    await client.post(url, content=source())


async def read_slowly(client: Client, url: str) -> None:
    async with client.stream("GET", url) as stream:
        async for _ in stream.aiter_bytes():
            await asyncio.Event().wait()


def close_a_loop_in_the_middle(
    call: Callable[[Client, str], Coroutine[None, None, None]], client: Client
) -> list[weakref.ref[Any]]:
    async def main() -> list[weakref.ref[Any]]:
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(call(client, url)) for _ in range(2)]
        connections.extend([await answer(listener, CHUNK) for _ in tasks])
        await asyncio.sleep(0.01)
        assert not any(task.done() for task in tasks)
        return [weakref.ref(loop), *map(weakref.ref, tasks)]

    connections: list[socket.socket] = []
    with listening() as (listener, url):
        loop = asyncio.new_event_loop()
        held = loop.run_until_complete(main())
        loop.close()
    for connection in connections:
        connection.close()
    return held


@case
def a_loop_that_is_closed_in_the_middle_leaves_nothing_behind() -> None:
    logging.disable()  # the tasks are lost, says asyncio,
    sys.unraisablehook = lambda _: None  # as does the upload, which cannot be cancelled any more
    kept = Client()
    for call in (get, read, read_slowly, send):
        for client in (kept, None):
            close_a_loop_in_the_middle(call, client or Client())  # what is made but once
            gc.collect()
            before = len(os.listdir("/dev/fd")), len(gc.get_objects())
            held = close_a_loop_in_the_middle(call, client or Client())
            gc.collect()
            assert [reference() for reference in held] == [None] * 3, (call, client, held)
            held.clear()
            descriptors, objects = before
            assert len(os.listdir("/dev/fd")) == descriptors
            assert len(gc.get_objects()) <= objects + 5
            assert not kept._connections.session.engines()
    asyncio.run(kept.aclose())


@case
def a_task_runs_its_loop_anew_and_closes_the_client() -> None:
    async def main() -> None:
        client = Client()
        with listening() as (listener, url):
            server = asyncio.create_task(answer(listener, WHOLE))
            assert (await client.get(url)).status == 200
            call_watchers()  # as a loop does that runs within a task
            await client.aclose()
            (await server).close()

    asyncio.run(main())


@pytest.mark.parametrize("name", case.names)
def test_the_case_ends_well_in_a_process_of_its_own(name: str) -> None:
    case.check(name)


if __name__ == "__main__":
    case.main()
