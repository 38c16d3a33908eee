"""The start of a call: start_task and submit, and their errors for wrong arguments."""

from __future__ import annotations

import asyncio
import gc
import inspect
import warnings
from collections import Counter
from types import MappingProxyType
from typing import Any

import pytest
from kit.calls import result

from xtremeflow import (
    Limit,
    TaskScheduler,
    TokenRateScheduler,
)
from xtremeflow.scheduler.rate_limit import get_context
from xtremeflow.testing import run


def closed(coro: Any) -> bool:
    return inspect.getcoroutinestate(coro) == inspect.CORO_CLOSED


def test_start_task_returns_the_task_once_admitted() -> None:
    async def main() -> None:
        scheduler = TaskScheduler(1)
        now = asyncio.get_running_loop().time
        began = now()
        first = await scheduler.start_task(asyncio.sleep(2, "first"))
        assert isinstance(first, asyncio.Task)
        assert now() == began
        assert not first.done()
        second = await scheduler.start_task(asyncio.sleep(2, "second"), name="my name")
        assert now() == began + 2
        assert second.get_name() == "my name"
        assert await asyncio.gather(first, second) == ["first", "second"]
        assert now() == began + 4

    run(main())


def test_a_task_waits_within_itself_when_submitted() -> None:
    async def main() -> None:
        scheduler = TaskScheduler(1)
        first = scheduler.submit(asyncio.sleep(2, "first"))
        second = scheduler.submit(coro=asyncio.sleep(2, "second"), name="second")
        assert isinstance(second, asyncio.Task)
        assert second.get_name() == "second"
        await asyncio.sleep(1)
        assert (scheduler.active_tasks, scheduler.waiting) == (1, 1)
        assert scheduler.pending_tasks == {first, second}
        assert await second == "second"
        assert first.result() == "first"
        assert (scheduler.active_tasks, scheduler.waiting, scheduler.pending_tasks) == (0, 0, set())
        assert scheduler.total_completed == 2

    run(main())


def test_higher_priorities_go_first_and_equal_ones_in_order() -> None:
    async def main() -> None:
        scheduler = TaskScheduler(1)
        order: list[str] = []

        async def call(name: str) -> None:
            order.append(name)

        blocker = await scheduler.start_task(asyncio.sleep(1))
        calls = [
            scheduler.submit(call(name), priority=priority)
            for name, priority in [
                ("low", -32768),
                ("a", 0),
                ("b", 0),
                ("high", 32767),
                ("c", 0),
                ("d", 1),
            ]
        ]
        await asyncio.gather(blocker, *calls)
        assert order == ["high", "d", "a", "b", "c", "low"]

    run(main())


@pytest.mark.parametrize("method", ["start_task", "submit"])
def test_a_timeout_bounds_the_admission_only(method: str) -> None:
    async def main() -> None:
        scheduler = TaskScheduler(1)
        now = asyncio.get_running_loop().time

        async def start(coro: Any, **kwargs: Any) -> Any:
            if method == "submit":
                return scheduler.submit(coro, **kwargs)
            return await scheduler.start_task(coro, **kwargs)

        long = await start(
            asyncio.sleep(5, "long"), timeout=1
        )  # admitted at once, then as long as it likes
        began = now()
        late = asyncio.sleep(1)
        with pytest.raises(asyncio.TimeoutError, match="not admitted"):
            await (await start(late, timeout=1.5))
        assert now() == began + 1.5
        assert closed(late)
        never = asyncio.sleep(1)
        with pytest.raises(asyncio.TimeoutError):
            await (await start(never, timeout=0))
        assert closed(never)
        assert scheduler.stats().expired == 2
        assert scheduler.waiting == 0
        assert await long == "long"
        assert await (await start(result("next"), timeout=0)) == "next"

    run(main())


def test_a_timed_out_head_makes_room_for_the_next() -> None:
    async def main() -> None:
        scheduler = TokenRateScheduler(max_tps=1, burst_ratio=10)
        now = asyncio.get_running_loop().time
        began = now()
        await scheduler.start_task(result(), 10)
        large = scheduler.submit(result(), 10, timeout=2)
        small = scheduler.submit(result("small"), 1)
        with pytest.raises(asyncio.TimeoutError):
            await large
        assert await small == "small"
        assert now() == began + 2

    run(main())


def test_estimates_may_be_mappings() -> None:
    async def main() -> None:
        scheduler = TaskScheduler(
            limits=[
                Limit("requests", 10, capacity=10),
                Limit("input", 100, capacity=100),
                Limit("output", 10, capacity=10),
            ]
        )
        for cost in (
            {"input": 7, "output": 2},
            MappingProxyType({"output": 3}),
            Counter(input=1),
            {"requests": 4, "input": 1.5},
        ):
            task = await scheduler.start_task(result(get_context()), cost)
            await task
        used = {limit.name: limit.used for limit in scheduler.stats().limits}
        assert used == {"requests": 1 + 1 + 1 + 4, "input": 7 + 1 + 2, "output": 2 + 3}

    run(main())


def test_estimates_may_be_any_number() -> None:
    np = pytest.importorskip("numpy")

    async def main() -> None:
        scheduler = TokenRateScheduler(max_tps=1000, burst_ratio=1)
        for cost in (5, 5.0, 4.5, True, np.int64(5), np.float32(4.5)):
            await scheduler.start_task(result(), cost)
        assert scheduler.stats().limits[0].used == 26

    run(main())


def test_whole_numbers_may_be_of_any_type() -> None:
    np = pytest.importorskip("numpy")

    async def main() -> None:
        scheduler = TaskScheduler(1)
        order: list[int] = []

        async def note(number: int) -> None:
            order.append(number)

        for priority in (0, np.int64(2), np.int8(1)):
            scheduler.submit(note(priority), priority=priority, prefix=priority,
                             prefix_tokens=np.int64(5))  # fmt: skip
        await scheduler.wait_pending()
        assert order == [0, 2, 1]  # the first found a free slot

    run(main())


class Index:
    def __index__(self) -> int:
        raise KeyError("of my own")


REFUSED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"estimated_tokens": -1}, ValueError, r"estimated_tokens must be .*>= 0.*not -1"),
    ({"estimated_tokens": -0.5}, ValueError, r"estimated_tokens must be .*>= 0.*not -0.5"),
    (
        {"estimated_tokens": {"tokens": 0.002}},
        ValueError,
        r"estimated_tokens\['tokens'\] must be in whole units .*not 0.002",
    ),
    ({"estimated_tokens": float("nan")}, ValueError, r"estimated_tokens must be a finite .*nan"),
    ({"estimated_tokens": float("inf")}, ValueError, r"estimated_tokens must be a finite .*inf"),
    ({"estimated_tokens": 2**70}, ValueError, r"estimated_tokens must be .*2\*\*63, not 1180"),
    ({"estimated_tokens": 2**62}, ValueError, r"estimated_tokens: 4611.* at most \d+ can"),
    ({"estimated_tokens": "many"}, TypeError, r"estimated_tokens must be a number or .*'many'"),
    ({"estimated_tokens": None}, TypeError, r"estimated_tokens must be a number or .*None"),
    ({"estimated_tokens": 1j}, TypeError, r"estimated_tokens must be a number or .*1j"),
    ({"estimated_tokens": Index()}, KeyError, "of my own"),
    ({"estimated_tokens": {"tokens": -1}}, ValueError, r"estimated_tokens\['tokens'\] .*not -1"),
    ({"estimated_tokens": {"tokens": "x"}}, TypeError, r"estimated_tokens\['tokens'\] .*not 'x'"),
    ({"estimated_tokens": {"tokens": 1j}}, TypeError, r"estimated_tokens\['tokens'\] .*not 1j"),
    ({"estimated_tokens": {"token": 1}}, ValueError, r"names 'token', but the limits are .*tokens"),
    ({"priority": 32768}, ValueError, r"priority must be .*-32768 to 32767, not 32768"),
    ({"priority": 10**19}, ValueError, r"priority must be .*-32768 to 32767, not 10+$"),
    ({"priority": -(10**30)}, ValueError, r"priority must be .*-32768 to 32767, not -10+$"),
    ({"priority": 1.5}, TypeError, r"priority must be a whole number .*not 1.5"),
    ({"priority": Index()}, KeyError, "of my own"),
    ({"prefix": 1, "prefix_tokens": -1}, ValueError, r"prefix_tokens must be .*>= 0, not -1"),
    ({"prefix": 1, "prefix_tokens": 1.5}, TypeError, r"prefix_tokens must be .*>= 0, not 1.5"),
    ({"timeout": -1}, ValueError, r"timeout must be >= 0 seconds or None, not -1"),
    ({"timeout": float("nan")}, ValueError, r"timeout must be >= 0 .*not nan"),
    ({"timeout": "soon"}, TypeError, r"timeout must be a number of seconds or None, not 'soon'"),
    ({"estimate": 5}, TypeError, r"unexpected keyword argument 'estimate'; allowed are .*timeout"),
]


@pytest.mark.parametrize("method", ["start_task", "submit"])
@pytest.mark.parametrize(("arguments", "error", "message"), REFUSED)
def test_refused_arguments_close_the_coroutine(
    method: str, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    async def main() -> None:
        scheduler = TokenRateScheduler(max_tps=10)
        coro = result()
        with pytest.raises(error, match=message):
            getattr(scheduler, method)(coro, **arguments)
        assert closed(coro)
        assert scheduler.stats().submitted == 0

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(main())
        gc.collect()


@pytest.mark.parametrize("method", ["start_task", "submit"])
def test_wrong_numbers_of_arguments(method: str) -> None:
    async def main() -> None:
        call = getattr(TaskScheduler(), method)
        with pytest.raises(TypeError, match=r"missing 1 required argument: 'coro'"):
            call()
        coro = result()
        with pytest.raises(TypeError, match=r"1 or 2 positional arguments .*3 given"):
            call(coro, 1, 2)
        assert closed(coro)
        coro = result()
        with pytest.raises(TypeError, match="estimated_tokens twice"):
            call(coro, 1, estimated_tokens=1)
        assert closed(coro)
        for value in (5, None, result, asyncio.sleep):
            with pytest.raises(TypeError, match="coro must be a coroutine, not "):
                call(value)

    run(main())


def test_without_a_running_loop() -> None:
    scheduler = TaskScheduler()
    for coro in (result(), result()):
        with pytest.raises(RuntimeError, match="no running event loop"):
            scheduler.submit(coro)
        assert closed(coro)
    coro = result()
    start = scheduler.start_task(coro)
    with pytest.raises(RuntimeError, match="no running event loop"):
        start.send(None)
    assert closed(coro)


def test_a_number_is_ambiguous_where_no_limit_is_called_tokens() -> None:
    async def main() -> None:
        scheduler = TaskScheduler(limits=[Limit("input", 10), Limit("output", 10)])
        coro = result()
        with pytest.raises(ValueError, match=r"does not say of which limit.*'input', 'output'"):
            scheduler.submit(coro, 5)
        await scheduler.submit(result(), 0)
        await scheduler.submit(result())

    run(main())
