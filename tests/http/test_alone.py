"""A client without a scheduler sends again what failed or was refused, as the SDKs do."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from kit.http import Request, serving

from xtremeflow import TaskScheduler, http
from xtremeflow.answers import attempt
from xtremeflow.http import Client, transport

NOWHERE = "http://127.0.0.1:1"

ERROR = b'{"error": {"code": 429, "message": "slow down"}}'


def run(main: Any) -> Any:
    return asyncio.run(asyncio.wait_for(main, 60))


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt, "_FIRST_PAUSE", 0.001)


async def ask(door: str, client: Client, url: str, method: str = "GET") -> tuple[int, bytes]:
    if door == "call":
        answer = await client.request(method, url)
        return answer.status, answer.body
    async with client.stream(method, url) as stream:
        return stream.status, await stream.aread()


def answering(*told: Any) -> Any:
    """A handler that gives these answers, one after another; None: a broken connection."""
    left = list(told)

    async def handler(request: Request) -> None:
        answer = left.pop(0)
        if answer is None:
            request.reset()
            raise ConnectionError
        status, headers, body = answer
        await request.answer(body, status, headers)

    return handler


DOORS = ["call", "stream"]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    "first",
    [
        (500, {}, b""), (503, {}, b""), (529, {}, b""), (408, {}, b""), (429, {}, b""), None,
        (429, {"retry-after-ms": "2"}, b""), (200, {}, ERROR),
        (400, {"x-should-retry": "true"}, b""),
    ],
)  # fmt: skip
def test_a_call_whose_failure_passes_is_sent_again(door: str, first: Any) -> None:
    async def main() -> None:
        async with serving(answering(first, first, (200, {}, b"ok"))) as server:
            async with Client() as client:
                assert await ask(door, client, server.url) == (200, b"ok")
            assert len(server.requests) == 3

    run(main())


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("options", "first", "attempts"),
    [
        ({}, (500, {}, b"a"), 3),
        ({}, (429, {}, b"a"), 3),
        ({"retries": 0}, (500, {}, b"a"), 1),
        ({"retries": 0, "max_retries": 1}, (429, {}, b"a"), 2),
        ({"retries": 1, "max_retries": 0}, (500, {}, b"a"), 2),
        ({"retries": 1, "max_retries": 0}, (429, {}, b"a"), 1),
        ({}, (404, {}, b"a"), 1),
        ({}, (500, {"x-should-retry": "false"}, b"a"), 1),
        ({}, (402, {}, b"a"), 1),
        ({}, (429, {"retry-after": "121"}, b"a"), 1),
        ({"max_retry_after": 1.0}, (503, {"retry-after": "2"}, b"a"), 1),
        ({"timeout": 5.0}, (503, {"retry-after": "6"}, b"a"), 1),
    ],
)
def test_calls_without_a_scheduler_are_sent_so_often_and_no_more(
    door: str, options: Any, first: Any, attempts: int
) -> None:
    async def main() -> None:
        async with serving(answering(*[first] * 5)) as server:
            async with Client(**options) as client:
                assert await ask(door, client, server.url) == (first[0], b"a")
            assert len(server.requests) == attempts

    run(main())


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(("method", "attempts"), [("GET", 3), ("POST", 1)])
def test_a_request_that_may_have_been_executed_is_not_repeated(
    door: str, method: str, attempts: int
) -> None:
    async def main() -> None:
        async with serving(answering(*[None] * 5)) as server:
            async with Client() as client:
                with pytest.raises(http.ConnectionLost):
                    await ask(door, client, server.url, method)
            assert len(server.requests) == attempts

    run(main())


@pytest.mark.parametrize("door", DOORS)
def test_where_nobody_listens_it_is_tried_three_times(door: str, caplog: Any) -> None:
    async def main() -> None:
        async with Client() as client:
            with pytest.raises(http.ConnectError):
                await ask(door, client, NOWHERE, "POST")

    run(main())
    assert [record.getMessage() for record in caplog.records] == [
        f"Retrying POST {NOWHERE}: down (ConnectError)"
    ] * 2


@pytest.mark.parametrize("door", DOORS)
def test_a_call_takes_no_longer_than_its_timeout(door: str) -> None:
    async def handler(request: Request) -> None:
        await asyncio.sleep(60)

    async def main() -> None:
        async with serving(handler) as server, Client(timeout=0.2) as client:
            with pytest.raises(http.TotalTimeout):
                await ask(door, client, server.url)
            assert len(server.requests) == 1

    run(main())


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(("first", "attempts"), [((429, {}, b"a"), 1), ((500, {}, b"a"), 3)])
def test_within_a_call_of_a_scheduler_refusals_are_its_own(
    door: str, first: Any, attempts: int
) -> None:
    async def main() -> None:
        scheduler = TaskScheduler(1)
        async with serving(answering(*[first] * 5)) as server, Client() as client:
            task = await scheduler.start_task(ask(door, client, server.url))
            assert await task == (first[0], b"a")
            assert len(server.requests) == attempts

    run(main())


def test_the_transport_leaves_it_to_the_sdk() -> None:
    httpx2 = pytest.importorskip("httpx2")

    async def main() -> None:
        async with serving(answering(*[(500, {}, b"a")] * 5)) as server:
            async with httpx2.AsyncClient(transport=transport()) as client:
                assert (await client.get(server.url)).status_code == 500
            assert len(server.requests) == 1

    run(main())


def test_a_body_that_comes_from_a_source_is_sent_once() -> None:
    async def source() -> Any:
        yield b"a"

    async def main() -> None:
        async with serving(answering(*[(500, {}, b"a")] * 5)) as server, Client() as client:
            assert (await client.post(server.url, content=source())).status == 500
            assert len(server.requests) == 1

    run(main())
