"""When calls are dispatched, to the nanosecond, on a virtual clock; and what a 429 does to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from xtremeflow import (
    Limit,
    RequestRateScheduler,
    RetryException,
    TaskScheduler,
    TokenRateScheduler,
    auto_backoff,
    report_token_usage,
)
from xtremeflow.testing import run

NS = 2e-9  # the core counts whole nanoseconds, the loop's clock is a float


class Log:
    """Calls that note the instants of their dispatch, in seconds since the log was made."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self.names: list[Any] = []
        self.times: list[float] = []

    def now(self) -> float:
        return self._loop.time() - self._began

    async def call(self, name: Any = None, seconds: float = 0, actual: int | None = None) -> None:
        self.names.append(name)
        self.times.append(self.now())
        if seconds:
            await asyncio.sleep(seconds)
        if actual is not None:
            await report_token_usage(actual)


def paced(main: Callable[[Log], Coroutine[Any, Any, None]]) -> None:
    async def with_log() -> None:
        await main(Log())

    run(with_log(), start=1000.0)


def at(*times: float) -> Any:
    return pytest.approx(times, abs=NS, rel=0)


# --- the schedule -------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["start_task", "submit"])
def test_without_bursts_calls_are_evenly_spaced(method: str) -> None:
    async def main(log: Log) -> None:
        scheduler = RequestRateScheduler(max_rps=4)
        for _ in range(5):
            if method == "submit":
                scheduler.submit(log.call())
            else:
                await scheduler.start_task(log.call())
        await scheduler.wait_pending()
        assert log.times == at(0, 0.25, 0.5, 0.75, 1.0)

    paced(main)


def test_a_call_waits_for_the_price_of_those_before_it() -> None:
    async def main(log: Log) -> None:
        scheduler = TokenRateScheduler(max_tps=100)
        for tokens in (50, 200, 10, 0, 0, 30):
            scheduler.submit(log.call(), tokens)
        await scheduler.wait_pending()
        assert log.times == at(0, 0.5, 2.5, 2.6, 2.6, 2.6)

    paced(main)


def test_every_limit_has_to_allow_a_call() -> None:
    async def main(log: Log) -> None:
        scheduler = TokenRateScheduler(max_tps=100, max_rps=2)
        for tokens in (10, 10, 200, 10, 10):
            scheduler.submit(log.call(), tokens)
        await scheduler.wait_pending()
        assert log.times == at(0, 0.5, 1, 3, 3.5)

    paced(main)


@pytest.mark.parametrize("rate", [3, 7, 1000, 1 / 3, 999_983])
def test_the_schedule_does_not_drift(rate: float) -> None:
    async def main(log: Log) -> None:
        scheduler = RequestRateScheduler(max_rps=rate)
        for _ in range(300):
            scheduler.submit(log.call())
        await scheduler.wait_pending()
        ideal = [i / rate for i in range(300)]
        assert all(-NS <= t - i <= 2e-9 * (1 + i) for t, i in zip(log.times, ideal, strict=True))

    paced(main)


def test_burst_ratio_is_seconds_of_the_rate_that_may_be_used_at_once() -> None:
    async def main(log: Log) -> None:
        scheduler = RequestRateScheduler(max_rps=10, burst_ratio=0.5)
        for _ in range(8):
            scheduler.submit(log.call())
        await scheduler.wait_pending()
        assert log.times == at(0, 0, 0, 0, 0, 0.1, 0.2, 0.3)
        await asyncio.sleep(100)  # full again, and not fuller
        log.times.clear()
        began = log.now()
        for _ in range(7):
            scheduler.submit(log.call())
        await scheduler.wait_pending()
        assert [t - began for t in log.times] == at(0, 0, 0, 0, 0, 0.1, 0.2)

    paced(main)


def test_limits_have_capacities_of_their_own() -> None:
    async def main(log: Log) -> None:
        scheduler = TokenRateScheduler(
            limits=[Limit("tokens", 60, per=60, capacity=60), Limit("requests", 2, per=1)]
        )
        for _ in range(5):
            scheduler.submit(log.call(), 20)
        await scheduler.wait_pending()
        assert log.times == at(0, 0.5, 1, 20, 40)

    paced(main)


def test_a_call_larger_than_the_capacity_runs_and_is_paid_for_afterwards() -> None:
    async def main(log: Log) -> None:
        scheduler = TokenRateScheduler(max_tps=10, burst_ratio=1)
        for tokens in (5, 100, 5, 10):
            scheduler.submit(log.call(), tokens)
        await scheduler.wait_pending()
        # 5 are left at 0; 100 need a full bucket, at 0.5, and leave a debt of 90.
        assert log.times == at(0, 0.5, 0.5 + 9.5, 0.5 + 9.5 + 1)

    paced(main)


def test_small_calls_never_overtake_a_large_one() -> None:
    async def main(log: Log) -> None:
        scheduler = TokenRateScheduler(max_tps=10, burst_ratio=10)
        scheduler.submit(log.call("first"), 90)
        scheduler.submit(log.call("large"), 100)
        for i in range(3):
            scheduler.submit(log.call(i), 1)
        await scheduler.wait_pending()
        assert log.names == ["first", "large", 0, 1, 2]
        assert log.times == at(0, 9, 9.1, 9.2, 9.3)

    paced(main)


def test_a_producer_that_waits_for_each_admission_keeps_the_pace() -> None:
    async def main(log: Log) -> None:
        scheduler = RequestRateScheduler(max_rps=1000)
        loop = asyncio.get_running_loop()
        for _ in range(100):
            await scheduler.start_task(log.call())
            # The loop is late by 0.2 ms each time: that is caught up.
            loop._set_time(loop.time() + 2e-4)  # type: ignore[attr-defined]
        await scheduler.wait_pending()
        for i, t in enumerate(log.times):
            assert i / 1000 - NS <= t <= i / 1000 + 5e-4

    paced(main)


# --- settlement ---------------------------------------------------------------------------------


def test_a_refund_wakes_whom_it_frees_in_order_and_at_once() -> None:
    async def main(log: Log) -> None:
        scheduler = TokenRateScheduler(max_tps=1, burst_ratio=100)
        scheduler.submit(log.call("first", seconds=2, actual=10), 100)
        for name, tokens in (("a", 30), ("b", 20), ("c", 60), ("d", 1)):
            scheduler.submit(log.call(name), tokens)
        await asyncio.sleep(3)
        scheduler.submit(log.call("newcomer"), 1)
        await scheduler.wait_pending()
        # At 2 s the level is 2 + 90: a and b go, 42 are left for c, who has to wait 18 s more.
        assert log.names == ["first", "a", "b", "c", "d", "newcomer"]
        assert log.times == at(0, 2, 2, 20, 21, 22)

    paced(main)


def test_usage_above_the_estimate_is_charged() -> None:
    async def main(log: Log) -> None:
        scheduler = TokenRateScheduler(max_tps=10)
        scheduler.submit(log.call(actual=100), 10)
        scheduler.submit(log.call())
        await scheduler.wait_pending()
        assert log.times == at(0, 10)

    paced(main)


def test_a_call_that_ends_without_a_report_keeps_its_estimate() -> None:
    async def fails(log: Log) -> None:
        await log.call()
        raise KeyError

    async def main(log: Log) -> None:
        scheduler = TokenRateScheduler(max_tps=10)
        failing = scheduler.submit(fails(log), 20)
        cancelled = scheduler.submit(log.call(seconds=100), 30)
        scheduler.submit(log.call(), 1)
        await asyncio.sleep(2.5)
        cancelled.cancel()
        await scheduler.wait_pending()
        assert isinstance(failing.exception(), KeyError)
        assert log.times == at(0, 2, 5)

    paced(main)


def test_a_call_that_was_never_dispatched_costs_nothing() -> None:
    async def main(log: Log) -> None:
        scheduler = TokenRateScheduler(max_tps=10)
        scheduler.submit(log.call(), 20)
        waiting = scheduler.submit(log.call("never"), 1000)
        scheduler.submit(log.call(), 10)
        granted = scheduler.submit(log.call("never"), 1000)
        last = scheduler.submit(log.call(), 10)
        await asyncio.sleep(1)
        waiting.cancel()
        # Admitted at 3, and cancelled in that very instant, before its first step.
        asyncio.get_running_loop().call_at(asyncio.get_running_loop().time() + 2, granted.cancel)
        await last
        assert "never" not in log.names
        assert log.times == at(0, 2, 3)

    paced(main)


# --- 429 ----------------------------------------------------------------------------------------


class Provider:
    """Refuses the first calls."""

    def __init__(self, log: Log, refusals: int, retry_after: float | None) -> None:
        self._log = log
        self._refusals = refusals
        self._retry_after = retry_after

    def backoff(self, **kwargs: Any) -> Callable[..., Coroutine[Any, Any, None]]:
        @auto_backoff(**kwargs)
        async def call(name: Any = None, seconds: float = 0.0) -> None:
            await self._log.call(name)
            await asyncio.sleep(seconds)
            if self._refusals:
                self._refusals -= 1
                raise RetryException("full", retry_after=self._retry_after)

        return call


def test_dispatching_resumes_at_the_end_of_the_cooldown_at_the_legal_rate() -> None:
    async def main(log: Log) -> None:
        scheduler = RequestRateScheduler(max_rps=10, burst_ratio=10)
        call = Provider(log, refusals=1, retry_after=2).backoff()
        scheduler.submit(call("retried", 0.5))
        await asyncio.sleep(0.5)
        for i in range(5):
            scheduler.submit(call(i))
        await scheduler.wait_pending()
        # The retry goes first, though the bucket is said to be empty; then no herd, and 5 ms of
        # margin for the way.
        assert log.names == ["retried", "retried", 0, 1, 2, 3, 4]
        assert log.times == at(0, 2.5, 2.605, 2.705, 2.805, 2.905, 3.005)

    paced(main)


def test_a_retry_pays_again() -> None:
    async def main(log: Log) -> None:
        scheduler = TokenRateScheduler(max_tps=10)
        call = Provider(log, refusals=1, retry_after=1).backoff()
        scheduler.submit(call("retried"), 50)
        scheduler.submit(log.call("next"), 5)
        await scheduler.wait_pending()
        assert log.names == ["retried", "retried", "next"]
        assert log.times[1] >= 1
        assert log.times[2] - log.times[1] == pytest.approx(5, abs=NS)
        (tokens,) = scheduler.stats().limits
        assert tokens.used == 105
        assert scheduler.stats().tokens_used == 105

    paced(main)


def test_refusals_of_one_episode_extend_it_and_step_the_exponent_once() -> None:
    async def main(log: Log) -> None:
        scheduler = TaskScheduler()
        call = Provider(log, refusals=20, retry_after=None).backoff(base_retry_after=1.0)
        for i in range(10):  # all of them refused, one after the other, and once more
            scheduler.submit(call(i, seconds=0.5 + i / 100))
        await scheduler.wait_pending()
        # First episode from 0.5, its end moved to 0.59 + 1; the second is twice as long.
        assert log.times[10:20] == at(*[1.59] * 10)
        assert log.times[20:] == at(*[1.59 + 0.5 + 0.09 + 2] * 10)
        stats = scheduler.stats()
        assert (stats.cooldowns, stats.refused, stats.retries) == (2, 20, 20)
        assert stats.cooldown_seconds == pytest.approx(1.09 + 2.09)

    paced(main)


def test_a_success_after_the_episode_resets_the_exponent() -> None:
    async def main(log: Log) -> None:
        scheduler = TaskScheduler()
        for _ in range(3):
            call = Provider(log, refusals=1, retry_after=None).backoff(base_retry_after=1.0)
            await scheduler.submit(call())
        assert log.times == at(0, 1, 1, 2, 2, 3)

    paced(main)


def test_a_success_of_a_call_from_before_the_episode_resets_nothing() -> None:
    async def main(log: Log) -> None:
        scheduler = TaskScheduler()
        call = Provider(log, refusals=2, retry_after=None).backoff(base_retry_after=1.0)
        scheduler.submit(log.call("old", seconds=0.5))
        await scheduler.submit(call())
        assert log.times == at(0, 0, 1, 3)

    paced(main)


def test_the_longest_wait_counts() -> None:
    async def main(log: Log) -> None:
        scheduler = TaskScheduler()
        call = Provider(log, refusals=1, retry_after=1).backoff()
        scheduler.submit(call())
        await asyncio.sleep(0.5)
        scheduler.notify_rate_limit_exceeded(3)
        await scheduler.wait_pending()
        assert log.times == at(0, 3.5)

    paced(main)


def test_slots_are_not_held_while_waiting_or_backing_off() -> None:
    async def main(log: Log) -> None:
        scheduler = TokenRateScheduler(max_tps=10, max_concurrency=1, burst_ratio=1)
        call = Provider(log, refusals=1, retry_after=2).backoff()
        scheduler.submit(call("refused"), 5)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert (scheduler.active_tasks, scheduler.waiting) == (0, 1)
        scheduler.submit(log.call("large"), 500)
        await asyncio.sleep(1)
        assert (scheduler.active_tasks, scheduler.waiting) == (0, 2)
        await scheduler.wait_pending()
        assert log.names == ["refused", "refused", "large"]

    paced(main)


def test_a_retry_goes_before_newer_calls_of_its_priority_only() -> None:
    async def main(log: Log) -> None:
        scheduler = TaskScheduler(1)
        call = Provider(log, refusals=1, retry_after=2).backoff()
        scheduler.submit(call("retried", 1))
        await asyncio.sleep(0.5)
        scheduler.submit(log.call("newer"))
        scheduler.submit(log.call("urgent"), priority=1)
        await scheduler.wait_pending()
        assert log.names == ["retried", "urgent", "retried", "newer"]

    paced(main)


def test_an_admission_that_meets_a_cooldown_before_its_dispatch_goes_back() -> None:
    async def main(log: Log) -> None:
        scheduler = TokenRateScheduler(max_tps=10, burst_ratio=10)
        task = await scheduler.start_task(log.call("admitted"), 30)
        scheduler.notify_rate_limit_exceeded(2)
        assert scheduler.active_tasks == 1  # the task has had no step yet
        await task
        assert log.times == at(2)
        (tokens,) = scheduler.stats().limits
        assert tokens.used == 30
        assert scheduler.stats().admitted == 1

    paced(main)


def test_a_retry_that_meets_a_cooldown_before_its_dispatch_goes_back() -> None:
    async def main(log: Log) -> None:
        scheduler = TokenRateScheduler(max_tps=10, burst_ratio=100, max_concurrency=1)
        call = Provider(log, refusals=1, retry_after=0).backoff()

        async def ahead() -> None:
            # As soon as this call has ended, and let the other one in.
            asyncio.get_running_loop().call_soon(scheduler.notify_rate_limit_exceeded, 2)

        scheduler.submit(call(), 30)
        scheduler.submit(ahead(), 30, priority=1)
        await scheduler.wait_pending()
        assert log.times == at(0, 2)
        (tokens,) = scheduler.stats().limits
        assert tokens.used == 90
        assert scheduler.stats().admitted == 3

    paced(main)


def test_waiting_that_is_no_use_is_an_error_not_a_pause() -> None:
    async def main(log: Log) -> None:
        scheduler = TaskScheduler()
        call = Provider(log, refusals=1, retry_after=3600).backoff(max_retry_after=60)
        task = scheduler.submit(call())
        with pytest.raises(RetryException):
            await task
        assert scheduler.stats().cooldowns == 0

    paced(main)


def test_when_the_retries_are_used_up_the_others_cool_down_all_the_same() -> None:
    async def main(log: Log) -> None:
        scheduler = TaskScheduler()
        call = Provider(log, refusals=2, retry_after=1).backoff(max_retries=1)
        failing = scheduler.submit(call())
        with pytest.raises(RetryException):
            await failing
        await scheduler.submit(log.call())
        assert log.times == at(0, 1, 2)
        assert scheduler.stats().failed == 1

    paced(main)


def test_nothing_polls() -> None:
    """The loop wakes once for each dispatch and at no other time."""

    async def main(log: Log) -> None:
        loop = asyncio.get_running_loop()
        wakes = 0
        original = loop._select  # type: ignore[attr-defined]

        def select(selector: Any, timeout: float | None) -> Any:
            nonlocal wakes
            wakes += timeout is None or timeout > 0
            return original(selector, timeout)

        loop._selector._hook = select  # type: ignore[attr-defined]
        scheduler = RequestRateScheduler(max_rps=10)
        for _ in range(100):
            scheduler.submit(log.call())
        await scheduler.wait_pending()
        assert 99 <= wakes <= 101

    paced(main)
