"""Priority, a bound on the wait for the admission and an estimate, call by call, at every door."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import pytest
from kit.http import Request, Server, serving

from xtremeflow import TokenRateScheduler, http
from xtremeflow.http import Client, admission, transport

Door = Callable[..., Awaitable[int]]


def run(main: Any) -> Any:
    return asyncio.run(asyncio.wait_for(main, 60))


async def until(condition: Callable[[], Any]) -> None:
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def doors(scheduler: TokenRateScheduler) -> AsyncIterator[dict[str, Door]]:
    """The ways to send a call by this scheduler, by name."""
    httpx2 = pytest.importorskip("httpx2")
    client = Client(scheduler=scheduler)
    sdk = httpx2.AsyncClient(transport=transport(scheduler=scheduler))

    async def posts(url: str, **terms: Any) -> int:
        return (await client.post(url, json={"n": 1}, **terms)).status

    async def puts(url: str, **terms: Any) -> int:
        return (await client.put(url, **terms)).status

    async def requests(url: str, **terms: Any) -> int:
        return (await client.request("get", url, **terms)).status

    async def streams(url: str, **terms: Any) -> int:
        async with client.stream("POST", url, **terms) as answer:
            await answer.aread()
            return answer.status

    async def an_sdk(url: str, **terms: Any) -> int:
        if "admission_timeout" in terms:
            terms["timeout"] = terms.pop("admission_timeout")
        with admission(**terms):
            return int((await sdk.post(url)).status_code)

    async with client, sdk:
        yield {f.__name__: f for f in (posts, puts, requests, streams, an_sdk)}


@contextlib.asynccontextmanager
async def one_at_a_time(
    name: str,
) -> AsyncIterator[tuple[TokenRateScheduler, Server, Door, asyncio.Event]]:
    """A scheduler with one slot, a server whose answers wait for the event, and the way there."""
    release = asyncio.Event()

    async def handler(request: Request) -> None:
        await release.wait()
        await request.answer()

    scheduler = TokenRateScheduler(max_concurrency=1)
    async with doors(scheduler) as by_name, serving(handler) as server:
        yield scheduler, server, by_name[name], release


NAMES = ["posts", "puts", "requests", "streams", "an_sdk"]


@pytest.mark.parametrize("name", NAMES)
def test_a_higher_priority_goes_first(name: str) -> None:
    async def main() -> None:
        async with one_at_a_time(name) as (scheduler, server, door, release):
            calls = [asyncio.ensure_future(door(server.url + "/first"))]
            await until(lambda: server.requests)
            for priority in (-1, 0, 7):
                calls.append(
                    asyncio.ensure_future(door(f"{server.url}/{priority}", priority=priority))
                )
            await until(lambda: scheduler.waiting == 3)
            release.set()
            assert await asyncio.gather(*calls) == [200] * 4
            assert [r.path for r in server.requests] == ["/first", "/7", "/0", "/-1"]

    run(main())


@pytest.mark.parametrize("name", NAMES)
def test_a_call_that_is_not_admitted_in_time_was_not_sent(name: str) -> None:
    async def main() -> None:
        async with one_at_a_time(name) as (scheduler, server, door, release):
            first = asyncio.ensure_future(door(server.url + "/first", admission_timeout=30.0))
            await until(lambda: server.requests)
            if name == "an_sdk":
                import httpx2

                with pytest.raises(httpx2.PoolTimeout, match="not admitted within"):
                    await door(server.url + "/second", admission_timeout=0.01)
            else:
                with pytest.raises(http.AdmissionTimeout, match=r"queue, .* not admitted") as e:
                    await door(server.url + "/second", admission_timeout=0.01)
                assert isinstance(e.value, (http.HTTPError, TimeoutError))
                assert (e.value.url, e.value.phase) == (server.url + "/second", "queue")
                assert e.value.retry_safe
                assert e.value.elapsed >= 0.01
            release.set()
            assert await first == 200
            assert len(server.requests) == 1
            assert (scheduler.active_tasks, scheduler.waiting) == (0, 0)

    run(main())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("estimate", [700, {"tokens": 700}])
def test_an_estimate_is_what_the_call_takes(name: str, estimate: Any) -> None:
    async def handler(request: Request) -> None:
        await request.answer()

    async def main() -> None:
        scheduler = TokenRateScheduler(max_tpm=60_000, burst_ratio=60)
        async with doors(scheduler) as by_name, serving(handler) as server:
            await by_name[name](server.url, estimate=estimate)
            (tokens,) = [limit for limit in scheduler.stats().limits if limit.name == "tokens"]
            assert 60_000 - 700 <= tokens.level <= 60_000 - 650  # it refills by a thousand a second

    run(main())


def test_without_a_scheduler_there_is_nothing_to_be_admitted_by() -> None:
    async def handler(request: Request) -> None:
        await request.answer()

    async def main() -> None:
        async with serving(handler) as server, Client() as client:
            answer = await client.post(server.url, priority=3, admission_timeout=0.0, estimate=5)
            assert answer.status == 200

    run(main())


def test_an_inner_block_says_only_what_it_says() -> None:
    from xtremeflow.http._terms import USUAL, CallTerms, terms_around

    outer = admission(priority=2, timeout=1.5)
    assert terms_around() == USUAL
    with outer:
        with admission(estimate=9), outer:
            assert terms_around() == CallTerms(2, 1.5, 9)
        assert terms_around() == CallTerms(2, 1.5, None)
    assert terms_around() == USUAL


@pytest.mark.parametrize(
    ("wrong", "error", "match"),
    [
        ({"priority": "high"}, TypeError, "priority must be an integer, got 'high'"),
        (
            {"timeout": -1},
            ValueError,
            "admission must be a number, 0 or more, got -1",
        ),
        ({"priority": 10**6}, ValueError, "priority must be 32,767 or less, got 1000000"),
        ({"priority": -(10**6)}, ValueError, "priority must be -32768 or more"),
    ],
)
def test_terms_are_checked_at_once(wrong: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        admission(**wrong)
    if "timeout" in wrong:
        wrong = {"admission_timeout": wrong["timeout"]}
    for send in (Client().get, partial(Client(scheduler=TokenRateScheduler()).stream, "GET")):
        with pytest.raises(error, match=match):
            send("http://127.0.0.1:1", **wrong)
