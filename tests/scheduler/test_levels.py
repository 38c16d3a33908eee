"""The buckets' levels after refusals, reports and retries: nothing paid twice, nothing unpaid."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from kit.flows import run

from xtremeflow import RetryException, TaskScheduler, auto_backoff
from xtremeflow._core import Scheduler, current_call, report_token_usage


def limit(scheduler: Scheduler, index: int = 0) -> Any:
    return scheduler._snapshot()["limits"][index]


def refused_once(after: float, then: Callable[[], Any]) -> Callable[[], Any]:
    """An attempt that is refused after so many seconds, and repeated with `then()`."""
    attempts = 0

    @auto_backoff(base_retry_after=5)
    async def attempt() -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            await asyncio.sleep(after)
            raise RetryException("429")
        await then()

    return attempt


async def nothing() -> None:
    pass


@pytest.mark.parametrize("apart", [0, 0.001])
def test_a_burst_of_first_calls_counts_when_the_first_answer_comes(apart: float) -> None:
    async def main() -> None:
        started = 0

        async def call(is_first: bool) -> None:
            nonlocal started
            started += 1
            if is_first:
                await asyncio.sleep(0.5)
                scheduler.observe(200, headers)
            await done.wait()

        done = asyncio.Event()
        headers = {
            "x-ratelimit-limit-tokens": "10000",
            "x-ratelimit-remaining-tokens": "9000",
            "x-ratelimit-reset-tokens": "6s",
        }
        scheduler = TaskScheduler(adapt=True)
        tasks = []
        for i in range(60):
            tasks.append(scheduler.submit(call(i == 0), 1000))
            await asyncio.sleep(apart)
        await asyncio.sleep(0.6)
        assert started <= 10
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    run(main)


@pytest.mark.parametrize("attempts", [1, 2])
def test_attempts_of_one_call_that_are_refused_one_by_one_fly_again_together(attempts: int) -> None:
    async def main() -> None:
        scheduler = Scheduler(limits=[("tokens", 1000.0, 1.0, 10000.0)])
        done = asyncio.Event()

        async def call() -> None:
            together = [refused_once(0.01 * (i + 1), done.wait)() for i in range(attempts)]
            await asyncio.gather(*together)

        task = await scheduler.start_task(call(), 1000)
        await asyncio.sleep(30)
        # What it holds is in flight again: an answer to another call does not count it.
        scheduler._begin(0, ("tokens", 1000.0, 1.0, 10000.0), 5000.0, sent_at=0.0)
        assert limit(scheduler)["level"] == 4000
        done.set()
        await task

    run(main)


@pytest.mark.parametrize("attempts", [1, 2])
@pytest.mark.parametrize("outside", [False, True])
def test_calls_that_followed_a_refused_one_take_its_quota_meanwhile(
    attempts: int, outside: bool
) -> None:
    async def main() -> None:
        scheduler = Scheduler(limits=[("tokens", 100.0, 1.0, 10000.0)])
        done = asyncio.Event()

        async def call() -> None:
            together = [refused_once(0.1 * (i + 1), nothing)() for i in range(attempts)]
            await asyncio.gather(*together)

        async def follower() -> None:
            await done.wait()

        first = await scheduler.start_task(call(), 1000)
        rest = [await scheduler.start_task(follower(), 1000) for _ in range(3)]
        await asyncio.sleep(1)
        if outside:
            scheduler.notify_rate_limit_exceeded(6)
        assert limit(scheduler)["level"] == 1000 - 3 * 1000
        done.set()
        await asyncio.gather(first, *rest)

    run(main)


@pytest.mark.parametrize("waits", [False, True])
def test_a_report_while_the_call_waits_to_be_repeated_refunds_nothing(waits: bool) -> None:
    async def main() -> None:
        async def answered() -> None:
            report_token_usage(150)

        async def stream() -> None:
            report_token_usage(100)
            if waits:
                await asyncio.sleep(2)
                assert task.get_coro().state == "waiting"
            with pytest.raises(ValueError, match="actual"):
                report_token_usage(-1)
            report_token_usage(50)

        async def call() -> None:
            await asyncio.gather(stream(), refused_once(1, answered)())

        scheduler = Scheduler(limits=[("tokens", 1e-3, 1.0, 100000.0)])
        task = await scheduler.start_task(call(), 1000)
        await task
        first = 100 if waits else 50
        snapshot = scheduler._snapshot()
        assert limit(scheduler)["used"] == first + 150
        assert limit(scheduler)["refunded"] == 1000 - first + 850
        assert snapshot["tokens_used"] == first + 150

    run(main)


def test_a_repeat_that_fails_to_be_asked_for_changes_nothing() -> None:
    async def main() -> None:
        async def call() -> None:
            report_token_usage(100)
            with pytest.raises(RuntimeError, match="no running event loop"):
                await asyncio.to_thread(lambda: current_call().retry())
            report_token_usage(100)

        scheduler = Scheduler(limits=[("tokens", 1e-3, 1.0, 100000.0)])
        await (await scheduler.start_task(call(), 1000))
        assert limit(scheduler)["used"] == 100

    asyncio.run(main())


@pytest.mark.parametrize(
    ("estimate", "images"),
    [({"tokens": 10, "images": 0}, 57), (10, 57), (0, 2), (None, 2)],
)
def test_a_limit_that_an_estimate_leaves_out_costs_nothing(estimate: Any, images: int) -> None:
    async def main() -> None:
        async def text() -> None:
            scheduler.notify_rate_limit_exceeded(2)

        scheduler = Scheduler(limits=[("tokens", 1000.0, 1.0, 10000.0), ("images", 1.0, 1.0, 60.0)])
        await (await scheduler.start_task(nothing(), {"images": 5}))
        arguments = () if estimate is None else (estimate,)
        await (await scheduler.start_task(text(), *arguments))
        await asyncio.sleep(2)
        assert limit(scheduler, 1)["level"] == images

    run(main)


def test_a_refund_after_a_cooldown_counts_though_nothing_has_happened_since() -> None:
    async def main() -> None:
        async def long() -> None:
            await done.wait()
            report_token_usage(0)

        async def refused() -> None:
            scheduler.notify_rate_limit_exceeded(0.02)

        scheduler = Scheduler(limits=[("tokens", 100.0, 1.0, 10000.0)])
        done = asyncio.Event()
        task = await scheduler.start_task(long(), 5000)
        await (await scheduler.start_task(refused(), 1000))
        await asyncio.sleep(0.05)
        done.set()
        await task
        assert limit(scheduler)["level"] > 6000

    asyncio.run(main())


def test_a_call_that_a_busy_loop_kept_from_starting_pays_after_the_cooldown() -> None:
    async def main() -> None:
        async def refused() -> None:
            tasks.append(scheduler.submit(late(), 800))  # admitted, its task has yet to run
            scheduler.notify_rate_limit_exceeded(0.01)
            loop._jumping.now += 0.05

        async def late() -> None:
            started.append(loop.time())

        loop: Any = asyncio.get_running_loop()
        scheduler = Scheduler(limits=[("tokens", 1000.0, 1.0, 1000.0)])
        started: list[float] = []
        tasks: list[asyncio.Task[None]] = []
        await (await scheduler.start_task(refused(), 100))
        await tasks[0]
        assert started == [pytest.approx(0.71)]

    run(main)
