"""Every error of the client is one of its own classes, and says what failed."""

from __future__ import annotations

import asyncio
import json
import pickle
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from kit.http import Request, echo, serving

from xtremeflow import TaskScheduler, http
from xtremeflow.http import Client, transport

NOWHERE = "http://127.0.0.1:1"


def run(main: Any) -> Any:
    return asyncio.run(asyncio.wait_for(main, 60))


# ---- what cannot be sent ----


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"url": "htp://host/"}, http.InvalidURL),
        ({"url": "http://\ud800"}, http.InvalidRequest),
        ({"headers": {"X": "a\nb"}}, http.InvalidRequest),
        ({"headers": {"Proxy-Authorization": "Basic x"}}, http.InvalidRequest),
        ({"json": float("nan")}, http.InvalidRequest),
        ({"json": {"a": "\ud800"}}, http.InvalidRequest),
        ({"json": 1, "content": b""}, http.InvalidRequest),
        ({"content": "\ud800"}, http.InvalidRequest),
        ({"params": {"a": float("inf")}}, http.InvalidRequest),
        ({"timeout": -1.0}, http.InvalidRequest),
    ],
)
def test_an_unsendable_request_is_refused_at_once(
    wrong: dict[str, Any], error: type[http.InvalidRequest]
) -> None:
    arguments = {"url": NOWHERE + "/v1?key=SECRET", **wrong}
    client = Client()
    for send in (client.post, client.put, lambda **more: client.stream("PATCH", **more)):
        with pytest.raises(error) as caught:
            send(**arguments)
        assert isinstance(caught.value, http.HTTPError)
        assert isinstance(caught.value, ValueError)
        assert caught.value.method in ("POST", "PUT", "PATCH")
        assert caught.value.url == arguments["url"]
        assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
def test_the_transport_raises_those_of_its_library(library: str) -> None:
    lib = pytest.importorskip(library)

    async def main() -> None:
        for scheduler in (None, TaskScheduler(1)):
            options = transport(scheduler=scheduler)
            async with lib.AsyncClient(transport=options) as client:
                for bad in (
                    {"url": NOWHERE, "headers": {"Proxy-Authorization": "x"}},
                    {"url": "ftp://host/"},
                ):
                    with pytest.raises(lib.LocalProtocolError):
                        await client.get(**bad)
            request = lib.Request("GET", NOWHERE)
            with pytest.raises(lib.TransportError, match="client is closed"):
                await options.handle_async_request(request)

    run(main())


# ---- a closed client ----


async def posts(client: Client, url: str) -> Any:
    return await client.post(url)


async def streams(client: Client, url: str) -> Any:
    async with client.stream("GET", url) as answer:
        return answer


async def uploads(client: Client, url: str) -> Any:
    async def source() -> AsyncIterator[bytes]:
        yield b"a"

    return await client.post(url, content=source())


DOORS: list[Callable[[Client, str], Awaitable[Any]]] = [posts, streams, uploads]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("scheduled", [False, True])
def test_a_closed_client_says_so(door: Any, used: bool, scheduled: bool) -> None:
    async def main() -> None:
        scheduler = TaskScheduler(1) if scheduled else None
        async with serving(echo) as server:
            client = Client(scheduler=scheduler)
            if used:
                await client.get(server.url)
            await client.aclose()
            with pytest.raises(http.ClientClosed, match="the client is closed") as caught:
                await door(client, server.url + "/x")
            assert isinstance(caught.value, RuntimeError)
            assert (caught.value.url, caught.value.phase) == (server.url + "/x", "queue")
            assert caught.value.retry_safe
        assert scheduler is None or (scheduler.active_tasks, scheduler.waiting) == (0, 0)

    run(main())


# ---- what is no JSON ----


@pytest.mark.parametrize("body", [b"<html>busy</html>", b"", b"{", b"\xff\xfe\xfd", b"[" * 100_000])
def test_an_answer_that_is_no_json(body: bytes) -> None:
    async def handler(request: Request) -> None:
        await request.answer(body)

    async def main() -> None:
        async with serving(handler) as server, Client() as client:
            answer = await client.get(server.url + "/v1?key=SECRET")
            with pytest.raises(
                http.InvalidJSON, match=r"GET .*/v1 was answered 200: the body"
            ) as e:
                answer.json()
            assert isinstance(e.value, json.JSONDecodeError)
            assert isinstance(e.value, http.HTTPError)
            assert e.value.response is answer
            assert "SECRET" not in str(e.value)
            again = pickle.loads(pickle.dumps(e.value))
            assert (str(again), again.pos, again.response.body) == (str(e.value), e.value.pos, body)

    run(main())


def test_an_event_that_is_no_json() -> None:
    async def handler(request: Request) -> None:
        await request.start_stream()
        await request.chunk(b"data: [DONE]\n\ndata: [1]\n\n")
        await request.end_stream()

    async def main() -> None:
        async with serving(handler) as server, Client() as client:
            async with client.stream("GET", server.url) as answer:
                done, more = [event async for event in answer.events()]
            with pytest.raises(http.InvalidJSON, match="the event's data is not JSON"):
                done.json()
            assert more.json() == [1]

    run(main())


# ---- no file descriptor ----

FEW_FILES = """
    import asyncio, os, resource, sys
    from xtremeflow import http

    url = sys.argv[1]

    async def main():
        async with http.Client() as client, http.Client() as other:
            await client.get(url)  # its own descriptors, and one connection
            limit = os.dup(0)  # the lowest that is free
            os.close(limit)
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
            answers = await asyncio.gather(*(client.get(url) for _ in range(20)))
            print([answer.status for answer in answers].count(200))
            for send in (other.get(url), other.stream("GET", url).__aenter__()):
                try:
                    await send
                except http.ConnectError as error:
                    print(error.phase, error.os_errno, error)

    asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors as Linux does")
def test_where_no_descriptor_is_left_calls_wait_for_a_connection_or_say_so() -> None:
    async def main() -> None:
        async with serving(echo) as server:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", textwrap.dedent(FEW_FILES), server.url,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
            out, err = await process.communicate()
            assert process.returncode == 0, err.decode()
            first, *rest = out.decode().splitlines()
            assert first == "20", "over the one connection, one after another"
            assert len(rest) == 2
            for line in rest:
                assert line.startswith("queue 24 GET http"), line  # EMFILE
                assert "out of file descriptors" in line
                assert "max_connections" in line

    run(main())
