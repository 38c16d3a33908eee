"""Programs written for xtremeflow 0.4.4 run unchanged, without what that version got wrong."""

from __future__ import annotations

import asyncio
import gc
import inspect
import sys
import types
import warnings
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest

from xtremeflow.kvbatch import kv_batch
from xtremeflow.pipeline import async_pipeline
from xtremeflow.scheduler.base import TaskScheduler
from xtremeflow.scheduler.rate_limit import (
    RateLimitScheduler,
    RetryException,
    auto_backoff,
    get_context,
)
from xtremeflow.scheduler.request import RequestRateScheduler
from xtremeflow.scheduler.token import TokenRateScheduler, report_token_usage
from xtremeflow.testing import run

# The quick start as its users have it, with the import of a provider's SDK.
QUICK_START = """
import asyncio
from openai import RateLimitError
from xtremeflow.scheduler.rate_limit import auto_backoff
from xtremeflow.scheduler.token import TokenRateScheduler, report_token_usage

scheduler = TokenRateScheduler(
    max_concurrency=10,
    max_tps=900
)

@auto_backoff(retry_for=RateLimitError, base_retry_after=2.0)
async def call_llm_api(prompt: str):
    print(f"Executing task: {prompt}")
    await asyncio.sleep(1)
    await report_token_usage(actual=450)
    return "success"

async def main():
    tasks = []
    for i in range(10):
        t = await scheduler.start_task(
            call_llm_api(f"Task {i}"),
            estimated_tokens=500
        )
        tasks.append(t)

    results = await asyncio.gather(*tasks)
    print(f"XtremeFlow: Successfully processed {len(results)} tasks at peak throughput.")

if __name__ == "__main__":
    asyncio.run(main())
"""


class Clock:
    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()

    def now(self) -> float:
        return self._loop.time() - self._began


async def nap(seconds: float = 0, value: Any = None) -> Any:
    await asyncio.sleep(seconds)
    return value


def closed(coro: Any) -> bool:
    return inspect.getcoroutinestate(coro) == inspect.CORO_CLOSED


# --- what remains -------------------------------------------------------------------------------


def test_the_quick_start_runs_unchanged(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    openai = types.ModuleType("openai")
    openai.RateLimitError = type("RateLimitError", (Exception,), {})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "openai", openai)
    monkeypatch.setattr(asyncio, "run", run)  # the same, on a clock that does not keep us waiting
    exec(compile(QUICK_START, "quick_start.py", "exec"), {"__name__": "__main__"})
    out = capsys.readouterr().out.splitlines()
    assert out[:10] == [f"Executing task: Task {i}" for i in range(10)]
    assert out[10] == "XtremeFlow: Successfully processed 10 tasks at peak throughput."


def test_positions_and_attributes_are_as_they_were() -> None:
    async def main() -> None:
        scheduler = TokenRateScheduler(900, 5, 2, 0.5)
        assert isinstance(scheduler, RequestRateScheduler)
        assert isinstance(scheduler, RateLimitScheduler)
        assert isinstance(scheduler, TaskScheduler)
        assert RequestRateScheduler(5, 2, 0.5).max_concurrency == 2
        assert TaskScheduler(2).max_concurrency == 2
        assert not scheduler.semaphore.locked()
        tasks = [await scheduler.start_task(nap(1)) for _ in range(2)]
        assert scheduler.active_tasks == 2
        assert scheduler.pending_tasks == set(tasks)
        assert scheduler.semaphore.locked()
        assert scheduler.semaphore._value == 0
        await scheduler.wait_pending()
        assert (scheduler.active_tasks, scheduler.total_completed) == (0, 2)
        assert scheduler.pending_tasks == set()

    run(main())
    with pytest.raises(ValueError, match="max_concurrency must be positive, got 0"):
        TaskScheduler(0)


def test_the_context_of_a_call_tells_its_scheduler_and_estimate() -> None:
    async def main() -> None:
        scheduler = TokenRateScheduler(max_concurrency=1)

        async def call() -> None:
            context = get_context()
            assert context is not None
            assert context.scheduler is scheduler
            assert context.extra == {"estimated_tokens": 7}
            context.scheduler.notify_rate_limit_exceeded(1)

        await (await scheduler.start_task(call(), estimated_tokens=7))
        assert get_context() is None

    run(main())


def test_burst_retry_and_backoff_behave_as_documented() -> None:
    async def main() -> None:
        clock = Clock()
        scheduler = RequestRateScheduler(max_concurrency=30, max_rps=10, burst_ratio=1.0)
        tasks = [await scheduler.start_task(nap()) for _ in range(20)]
        await asyncio.gather(*tasks)
        assert clock.now() == pytest.approx(1.0)

        attempts = 0

        @auto_backoff(base_retry_after=0.1, max_retries=3, retry_for=[RetryException, KeyError])
        async def refused_twice() -> str:
            nonlocal attempts
            attempts += 1
            if attempts < 3:
                raise RetryException("Rate limit exceeded")
            return "success"

        clock = Clock()
        task = await RequestRateScheduler(max_concurrency=1).start_task(refused_twice())
        assert await task == "success"
        assert clock.now() == pytest.approx(0.1 + 0.2)

    run(main())


# --- what was wrong -----------------------------------------------------------------------------


def test_retries_pay_admission() -> None:
    async def main() -> None:
        scheduler = RequestRateScheduler(max_rps=10)
        times: list[float] = []
        clock = Clock()

        @auto_backoff(max_retries=1)
        async def call(refused: list[int]) -> None:
            times.append(clock.now())
            if refused:
                refused.pop()
                raise RetryException(retry_after=0.05)

        tasks = [scheduler.submit(call([1])) for _ in range(3)]
        await asyncio.gather(*tasks)
        assert len(times) == 6
        assert all(b - a >= 0.05 - 1e-9 for a, b in pairwise(times))
        assert scheduler.stats().limits[0].used == 6

    run(main())


def test_the_end_of_a_cooldown_does_not_release_everyone_at_once() -> None:
    async def main() -> None:
        scheduler = RequestRateScheduler(max_rps=10)
        clock = Clock()
        times: list[float] = []

        async def call() -> None:
            times.append(clock.now())

        scheduler.notify_rate_limit_exceeded(2)
        await asyncio.gather(*(scheduler.submit(call()) for _ in range(4)))
        assert times == pytest.approx([2, 2.1, 2.2, 2.3])

    run(main())


def test_a_retry_respects_a_longer_shared_cooldown() -> None:
    async def main() -> None:
        scheduler = TaskScheduler()
        clock = Clock()
        times: list[float] = []

        @auto_backoff()
        async def call() -> None:
            times.append(clock.now())
            if len(times) == 1:
                scheduler.notify_rate_limit_exceeded(5)
                raise RetryException(retry_after=1)

        await scheduler.submit(call())
        assert times == pytest.approx([0, 5])

    run(main())


class HTTPError(Exception):
    """As SDKs raise it."""

    def __init__(self, headers: dict[str, str]) -> None:
        super().__init__("429")
        self.status_code = 429
        self.response = types.SimpleNamespace(headers=headers, status_code=429)


def test_retry_after_is_read_from_the_headers_of_the_response() -> None:
    async def main() -> None:
        clock = Clock()
        attempts = 0

        @auto_backoff(retry_for=HTTPError)
        async def call() -> None:
            nonlocal attempts
            attempts += 1
            if attempts == 1:
                raise HTTPError({"retry-after": "7"})

        await TaskScheduler().submit(call())
        assert clock.now() == pytest.approx(7)

    run(main())


def test_a_cooldown_has_a_cap() -> None:
    async def main() -> None:
        @auto_backoff(retry_for=HTTPError)
        async def call() -> None:
            raise HTTPError({"retry-after": "1000000"})

        scheduler = TaskScheduler()
        with pytest.raises(HTTPError):
            await scheduler.submit(call())
        assert scheduler.stats().cooldown_left == 0
        with pytest.raises(ValueError, match="retry_after must be from 0 to 86400"):
            scheduler.notify_rate_limit_exceeded(1_000_000)

    run(main())


def test_reporting_twice_refunds_once() -> None:
    async def main() -> None:
        scheduler = TokenRateScheduler(max_tps=1, burst_ratio=1000)

        async def call() -> None:
            await report_token_usage(actual=100)
            await report_token_usage(actual=100)

        await scheduler.submit(call(), 500)
        assert scheduler.stats().limits[0].level == 900

    run(main())


def test_refunds_wake_waiters_and_newcomers_do_not_overtake() -> None:
    async def main() -> None:
        scheduler = TokenRateScheduler(max_tps=1)
        clock = Clock()
        order: list[Any] = []

        async def call(name: str, actual: int | None = None) -> None:
            order.append((name, clock.now()))
            await asyncio.sleep(1)
            if actual is not None:
                await report_token_usage(actual)
                scheduler.submit(call("newcomer"), 0)

        scheduler.submit(call("first", actual=0), 500)
        scheduler.submit(call("waiter"), 5)
        await scheduler.wait_pending()
        assert [name for name, _ in order] == ["first", "waiter", "newcomer"]
        assert order[1][1] == pytest.approx(1)

    run(main())


def test_cancelled_waiters_do_not_keep_their_charge_or_their_slot() -> None:
    async def main() -> None:
        scheduler = TokenRateScheduler(max_tps=1, max_concurrency=1)
        clock = Clock()
        await scheduler.submit(nap(), 1)
        expensive = nap()
        waiting = scheduler.submit(expensive, 100_000)
        await asyncio.sleep(0)
        waiting.cancel()
        await scheduler.submit(nap(), 1)
        assert clock.now() == pytest.approx(1)
        assert closed(expensive)

    run(main())


def test_slots_are_free_while_calls_wait_or_back_off() -> None:
    async def main() -> None:
        scheduler = RequestRateScheduler(max_rps=1, max_concurrency=1)
        await scheduler.submit(nap())
        scheduler.submit(nap())
        await asyncio.sleep(0)
        assert scheduler.active_tasks == 0

        @auto_backoff()
        async def refused() -> None:
            raise RetryException(retry_after=60)

        doomed = scheduler.submit(refused())
        await asyncio.sleep(30)
        assert (scheduler.active_tasks, scheduler.waiting) == (0, 1)
        doomed.cancel()

    run(main())


def test_a_task_cancelled_before_its_first_step_closes_its_coroutine_and_frees_its_slot() -> None:
    async def main() -> None:
        scheduler = TaskScheduler(1)
        coro = nap()
        task = await scheduler.start_task(coro)
        task.cancel()
        await asyncio.wait([task])
        assert closed(coro)
        assert await (await scheduler.start_task(nap(0, "next"))) == "next"

    run(main())


def test_wait_pending_waits_for_tasks_started_meanwhile() -> None:
    async def main() -> None:
        scheduler = TaskScheduler(2)
        ended: list[str] = []

        async def second() -> None:
            await asyncio.sleep(5)
            ended.append("second")

        async def first() -> None:
            await asyncio.sleep(1)
            await scheduler.start_task(second())
            ended.append("first")

        await scheduler.start_task(first())
        await scheduler.wait_pending()
        assert ended == ["first", "second"]

    run(main())


def test_auto_backoff_retries_outside_a_scheduler_too() -> None:
    async def main() -> None:
        attempts = 0

        @auto_backoff(max_retries=2)
        async def call() -> int:
            nonlocal attempts
            attempts += 1
            if attempts < 3:
                raise RetryException(retry_after=0.5)
            return attempts

        clock = Clock()
        assert await call() == 3
        assert clock.now() == pytest.approx(1)

    run(main())


def test_misspelt_keywords_are_refused() -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match="max_concurency"):
            TokenRateScheduler(max_concurency=3)  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="estimated_token'"):
            await TokenRateScheduler().start_task(nap(), estimated_token=3)  # type: ignore[call-arg]

    run(main())


@pytest.mark.parametrize("rate", [0, -1])
def test_zero_and_negative_rates_are_refused(rate: int) -> None:
    with pytest.raises(ValueError, match="max_rps must be a number above 0"):
        RequestRateScheduler(max_rps=rate, max_concurrency=1)
    with pytest.raises(ValueError, match="max_tps must be a number above 0"):
        TokenRateScheduler(max_tps=rate, max_concurrency=1)


def test_max_concurrency_is_optional_as_the_readme_had_it() -> None:
    assert TokenRateScheduler(max_tps=900, burst_ratio=0.1).max_concurrency is None


def test_a_second_event_loop_works() -> None:
    scheduler = RequestRateScheduler(max_rps=1000, max_concurrency=1)

    async def main() -> list[Any]:
        return await asyncio.gather(*(scheduler.submit(nap(0.001, i)) for i in range(3)))

    assert [asyncio.run(main()) for _ in range(3)] == [[0, 1, 2]] * 3


def test_kv_batch_over_scheduled_calls_waits_for_the_warm_up() -> None:
    async def main() -> None:
        scheduler = TaskScheduler(10)
        clock = Clock()
        started: list[float] = []

        async def call(n: int) -> int:
            started.append(clock.now())
            await asyncio.sleep(1)
            return n

        assert await kv_batch((call(n) for n in range(4)), scheduler=scheduler) == [0, 1, 2, 3]
        assert started == pytest.approx([0, 1, 1, 1])

    run(main())


def test_kv_batch_neither_hangs_nor_leaks_when_its_source_fails() -> None:
    async def source() -> AsyncIterator[Any]:
        yield nap(0.1)
        yield nap(0.1)
        raise KeyError("source")

    async def empty() -> AsyncIterator[Any]:
        return
        yield

    async def main() -> None:
        with pytest.raises(KeyError, match="source"):
            await asyncio.wait_for(kv_batch(source()), 10)
        assert await kv_batch(empty()) == []

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(main())
        gc.collect()


def test_the_pipelines_queues_are_bounded_and_none_is_an_item() -> None:
    async def main() -> None:
        put = 0

        async def producer(queue: Any) -> None:
            nonlocal put
            for _ in range(1000):
                await queue.put(None)
                put += 1

        pipeline = async_pipeline(producer, workers=2, maxsize=10)
        assert await anext(pipeline) is None
        await asyncio.sleep(1)
        assert put < 1000
        assert [item async for item in pipeline] == [None] * 999

    run(main())


@pytest.mark.parametrize("workers", [1, 3])
def test_a_producers_error_comes_after_the_results_before_it(workers: int) -> None:
    async def main() -> None:
        async def producer(queue: Any) -> None:
            for n in range(10):
                await queue.put(n)
            raise KeyError("producer")

        async def work(n: int) -> int:
            await asyncio.sleep(0.1)
            return n

        got: list[int] = []

        async def consume() -> None:
            async for n in async_pipeline(producer, work, workers=workers):
                got.append(n)

        with pytest.raises(KeyError, match="producer"):
            await consume()
        assert sorted(got) == list(range(10))

    run(main())


@pytest.mark.parametrize("workers", [1, 3])
def test_a_producers_cancelled_error_does_not_hang(workers: int) -> None:
    async def main() -> None:
        async def producer(queue: Any) -> None:
            await queue.put(1)
            raise asyncio.CancelledError

        async def consume() -> None:
            async for _ in async_pipeline(producer, workers=workers):
                pass

        task = asyncio.ensure_future(consume())
        done, _ = await asyncio.wait([task], timeout=60)
        assert task in done

    run(main())


def test_elastic_workers_add_no_tail() -> None:
    async def main() -> None:
        async def producer(queue: Any) -> None:
            for n in range(3):
                await queue.put(n)

        clock = Clock()
        assert len([n async for n in async_pipeline(producer, workers=1, max_workers=4)]) == 3
        assert clock.now() < 0.1

    run(main())
