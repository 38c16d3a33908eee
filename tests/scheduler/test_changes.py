"""Slots and limits may be changed while calls run."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from kit.calls import result

from xtremeflow import (
    Limit,
    RequestRateScheduler,
    TaskScheduler,
    TokenRateScheduler,
)
from xtremeflow.testing import run


def test_max_concurrency_may_be_changed_while_calls_run() -> None:
    async def main() -> None:
        scheduler = TaskScheduler(1)
        tasks = [scheduler.submit(asyncio.sleep(10)) for _ in range(6)]
        await asyncio.sleep(1)
        scheduler.max_concurrency = 3
        assert scheduler.active_tasks == 3  # at once
        assert scheduler.semaphore.locked()
        scheduler.max_concurrency = 1
        await asyncio.sleep(10.5)  # the first has ended at 10, two at 11, then one began
        assert scheduler.active_tasks == 1
        scheduler.max_concurrency = None
        assert scheduler.max_concurrency is None
        assert scheduler.active_tasks == 3
        assert not scheduler.semaphore.locked()
        await asyncio.gather(*tasks)

    run(main())


@pytest.mark.parametrize(
    ("value", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), ("2", TypeError)]
)
def test_a_bad_max_concurrency_is_refused(value: Any, error: type[Exception]) -> None:
    for make in (
        lambda: TaskScheduler(value),
        lambda: TokenRateScheduler(10, 10, value),
        lambda: setattr(TaskScheduler(4), "max_concurrency", value),
    ):
        with pytest.raises(error, match=f"max_concurrency must be .*{value!r}"):
            make()
    with pytest.raises(AttributeError, match="max_concurrency"):
        del TaskScheduler(4).max_concurrency


def test_set_limit_takes_effect_at_once() -> None:
    async def main() -> None:
        scheduler = TokenRateScheduler(max_tps=1)
        now = asyncio.get_running_loop().time
        began = now()
        scheduler.submit(result(), 100)
        waiting = scheduler.submit(result(), 100)
        await asyncio.sleep(10)
        assert not waiting.done()
        scheduler.set_limit(Limit("tokens", 90))  # the debt of 90 tokens is paid in a second
        await waiting
        assert now() - began == pytest.approx(11, abs=1e-6)
        assert scheduler.limits == (Limit("tokens", 90),)
        assert scheduler.stats().limits[0].rate == pytest.approx(90)

    run(main())


def test_set_limit_knows_limits_of_one_name_by_their_period() -> None:
    day = Limit("requests", 1000, per=86_400, capacity=1000)
    scheduler = RequestRateScheduler(max_rpm=60, limits=[day])
    scheduler.set_limit(Limit("requests", 2000, per=86_400, capacity=2000))
    assert [limit.amount for limit in scheduler.limits] == [60, 2000]
    with pytest.raises(ValueError, match=r"limit must be like one of .*tokens"):
        scheduler.set_limit(Limit("tokens", 1))
    with pytest.raises(ValueError, match="limit must be like one of"):
        scheduler.set_limit(Limit("requests", 1, per=3600))
    with pytest.raises(TypeError, match="Limit object, got 5"):
        scheduler.set_limit(5)  # type: ignore[arg-type]
