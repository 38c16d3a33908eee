"""The habits of asyncio's users: a scheduler as a block, its results without a loop, debug mode."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections.abc import Coroutine
from contextlib import aclosing
from typing import Any

import pytest

from xtremeflow import TaskScheduler, kv_batch
from xtremeflow.testing import run

# ---- async with ----


def test_a_block_ends_when_its_calls_have() -> None:
    async def main() -> list[int]:
        done: list[int] = []

        async def call(i: int) -> None:
            await asyncio.sleep(1)
            done.append(i)

        async with TaskScheduler(2) as scheduler:
            for i in range(5):
                scheduler.submit(call(i))
        assert (scheduler.waiting, scheduler.active_tasks) == (0, 0)
        return done

    assert run(main()) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError])
def test_a_block_that_fails_cancels_them(error: type[BaseException]) -> None:
    async def main() -> None:
        ended: list[str] = []

        async def call() -> None:
            try:
                await asyncio.sleep(1000)
            finally:
                await asyncio.sleep(0)
                ended.append("in flight")

        scheduler = TaskScheduler(2)
        tasks: list[asyncio.Task[None]] = []

        async def block() -> None:
            async with scheduler:
                tasks.extend(scheduler.submit(call()) for _ in range(5))
                await asyncio.sleep(1)
                raise error

        began = asyncio.get_running_loop().time()
        with pytest.raises(error):
            await block()
        assert ended == ["in flight"] * 2
        assert all(task.cancelled() for task in tasks)
        assert (scheduler.waiting, scheduler.active_tasks) == (0, 0)
        assert asyncio.get_running_loop().time() - began < 100

    run(main())


# ---- map_sync ----


async def double(i: int) -> int:
    await asyncio.sleep(0)
    if i == 13:
        raise ValueError("13")
    return 2 * i


def none_is_left() -> bool:
    return not any(t.name.startswith("xtremeflow.map_sync") for t in threading.enumerate())


def test_results_without_a_loop() -> None:
    scheduler = TaskScheduler(4)
    for _ in range(2):  # each time in a loop of its own
        assert list(scheduler.map_sync(double, range(10))) == [2 * i for i in range(10)]
        assert none_is_left()


def test_results_where_a_loop_runs_already() -> None:  # a notebook
    async def cell() -> list[int]:
        return sorted(TaskScheduler(2).map_sync(double, range(5), ordered=False))

    assert asyncio.run(cell()) == [0, 2, 4, 6, 8]
    assert none_is_left()


def test_an_exception_comes_in_its_place() -> None:
    results = TaskScheduler(4).map_sync(double, range(10, 20))
    assert [next(results) for _ in range(3)] == [20, 22, 24]
    with pytest.raises(ValueError, match="13"):
        next(results)
    assert none_is_left()
    kept: list[Any] = list(TaskScheduler(4).map_sync(double, range(12, 15), return_exceptions=True))
    assert kept[0::2] == [24, 28]
    assert isinstance(kept[1], ValueError)


def test_who_leaves_early_leaves_nothing_behind() -> None:
    begun: list[int] = []
    ended: list[int] = []

    async def call(i: int) -> int:
        begun.append(i)
        try:
            await asyncio.sleep(0 if i == 0 else 1000)
        finally:
            ended.append(i)
        return i

    results = TaskScheduler(3).map_sync(call, range(1000))
    assert next(results) == 0
    results.close()
    assert none_is_left()
    assert sorted(begun) == sorted(ended)
    assert len(begun) < 10


def test_a_source_without_an_end_is_read_no_faster_than_its_results() -> None:
    read = 0

    def endless() -> Any:
        nonlocal read
        while True:
            read += 1
            yield read

    results = TaskScheduler(2).map_sync(double, endless(), window=3, return_exceptions=True)
    for _ in range(20):
        next(results)
    assert read < 30
    results.close()


def test_arguments_are_checked_at_once_and_the_context_goes_along() -> None:
    with pytest.raises(TypeError, match="fn must be"):
        TaskScheduler(1).map_sync(5, [])  # type: ignore[arg-type]
    who = contextvars.ContextVar("who", default="nobody")
    who.set("me")

    async def ask(_: int) -> str:
        return who.get()

    assert list(TaskScheduler(1).map_sync(ask, [1])) == ["me"]
    assert list(TaskScheduler(1).map_sync(ask, [])) == []


# ---- debug mode ----


async def by_start_task(of: TaskScheduler, coro: Coroutine[Any, Any, str]) -> str:
    return await (await of.start_task(coro))


async def by_submit(of: TaskScheduler, coro: Coroutine[Any, Any, str]) -> str:
    return await of.submit(coro)


async def by_map(of: TaskScheduler, coro: Coroutine[Any, Any, str]) -> str:
    async with aclosing(of.map(lambda _: coro, [1])) as results:
        (result,) = [result async for result in results]
        return result


async def by_kv_batch(of: TaskScheduler, coro: Coroutine[Any, Any, str]) -> str:
    return (await kv_batch([coro], scheduler=of))[0]


@pytest.mark.parametrize("way", [by_start_task, by_submit, by_map, by_kv_batch])
@pytest.mark.parametrize("debug", [True, False])
def test_debug_mode_tells_of_a_call_that_waits_for_its_callers_slot(
    way: Any, debug: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONASYNCIODEBUG", raising=False)

    async def main() -> None:
        scheduler, other = TaskScheduler(1), TaskScheduler(1)

        async def inner() -> str:
            return "inner"

        async def outer(of: TaskScheduler, patience: float = 30.0) -> str:
            return await asyncio.wait_for(way(of, inner()), patience)

        with pytest.raises(asyncio.TimeoutError):
            await (await scheduler.start_task(outer(scheduler, 0.01)))
        assert await (await scheduler.start_task(outer(other))) == "inner"
        scheduler.max_concurrency = 2
        assert await (await scheduler.start_task(outer(scheduler))) == "inner"

    with caplog.at_level(logging.WARNING, "xtremeflow"):
        asyncio.run(main(), debug=debug)
    told = [record.getMessage() for record in caplog.records if record.name == "xtremeflow"]
    assert [("inner" in text, "holds one" in text) for text in told] == [(True, True)] * debug
