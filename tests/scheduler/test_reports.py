"""A call's reports of its usage, and the settlements by them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from xtremeflow import (
    Limit,
    TaskScheduler,
    TokenRateScheduler,
    report_token_usage,
)
from xtremeflow.scheduler.rate_limit import get_context
from xtremeflow.testing import run


def test_a_report_settles_once_awaited_or_not_and_again_against_the_last() -> None:
    async def main() -> None:
        scheduler = TokenRateScheduler(max_tps=1, burst_ratio=1000)
        levels: list[float] = []

        def level() -> float:
            return scheduler.stats().limits[0].level

        async def call() -> None:
            levels.append(level())
            report_token_usage(100)  # settles at call time
            levels.append(level())
            assert await report_token_usage(actual=150) is None
            levels.append(level())
            done = report_token_usage(150)
            assert await done is None
            assert await done is None
            levels.append(level())

        await (await scheduler.start_task(call(), 500))
        assert levels == [500, 900, 850, 850]
        stats = scheduler.stats()
        assert (stats.tokens_used, stats.tokens_refunded) == (150, 400)
        limit = stats.limits[0]
        assert (limit.used, limit.refunded, limit.charged) == (150, 400, 50)

    run(main())


def test_a_report_may_be_a_mapping() -> None:
    async def main() -> None:
        limits = [Limit(name, 1, capacity=100) for name in ("requests", "input", "output")]
        scheduler = TaskScheduler(limits=limits)

        async def call() -> None:
            await report_token_usage({"output": 5})
            await report_token_usage({"input": 20, "output": 2})
            with pytest.raises(ValueError, match=r"actual names 'inputs', but the limits are"):
                report_token_usage({"inputs": 1})
            with pytest.raises(ValueError, match=r"actual\['input'\] must be .* not -2"):
                report_token_usage({"input": -2})

        await scheduler.submit(call(), {"input": 10, "output": 10})
        used = {limit.name: limit.used for limit in scheduler.stats().limits}
        assert used == {"requests": 1, "input": 20, "output": 2}

    run(main())


def test_child_tasks_and_threads_belong_to_the_call() -> None:
    async def main() -> None:
        scheduler = TokenRateScheduler(max_tps=1, burst_ratio=1000)

        async def child() -> None:
            await report_token_usage(30)

        async def with_child() -> None:
            await asyncio.create_task(child())

        async def with_thread() -> None:
            await asyncio.to_thread(report_token_usage, 20)

        async def with_later_child() -> asyncio.Task[None]:
            return asyncio.create_task(later())

        async def later() -> None:
            await asyncio.sleep(1)
            assert get_context() is None  # the call has ended, its usage still counts
            await report_token_usage(10)

        await asyncio.gather(
            scheduler.submit(with_child(), 100),
            scheduler.submit(with_thread(), 100),
        )
        await (await scheduler.submit(with_later_child(), 100))
        assert scheduler.stats().tokens_used == 60

    run(main())


def test_a_report_outside_a_call_is_an_error() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="outside a scheduled call"):
            await report_token_usage(5)

    with pytest.raises(RuntimeError, match="outside a scheduled call"):
        report_token_usage(actual=5)
    run(main())


@pytest.mark.parametrize(
    ("args", "kwargs", "error", "message"),
    [
        ((), {}, TypeError, "report_token_usage.* exactly one argument, actual"),
        ((1, 2), {}, TypeError, "exactly one argument"),
        ((), {"actuall": 1}, TypeError, "exactly one argument, actual"),
        ((-1,), {}, ValueError, "actual must be a finite number >= 0 .*not -1"),
        (("5",), {}, TypeError, "actual must be a number or a mapping .*not '5'"),
    ],
)
def test_refused_reports_change_nothing(
    args: Any, kwargs: Any, error: type[Exception], message: str
) -> None:
    async def call() -> None:
        with pytest.raises(error, match=message):
            report_token_usage(*args, **kwargs)

    async def main() -> None:
        scheduler = TokenRateScheduler(max_tps=1, burst_ratio=1000)
        await scheduler.submit(call(), 7)
        assert scheduler.stats().tokens_used == 7

    run(main())


def test_the_call_tells_about_itself() -> None:
    async def main() -> None:
        scheduler = TokenRateScheduler(max_tps=1, burst_ratio=1000)

        async def call() -> None:
            me = get_context()
            assert me is not None
            assert me.scheduler is scheduler
            assert me.extra == {"estimated_tokens": 7}
            assert (me.priority, me.state) == (3, "in flight")
            assert "in flight priority=3 estimated_tokens=7" in repr(me)

        await scheduler.submit(call(), 7, priority=3)
        assert get_context() is None

    run(main())
