"""The schedulers' documented methods and attributes, and what they say to wrong arguments."""

from __future__ import annotations

import asyncio
import gc
import inspect
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Callable
from types import MappingProxyType
from typing import Any

import pytest

from xtremeflow import (
    Limit,
    RequestRateScheduler,
    TaskScheduler,
    TokenRateScheduler,
    report_token_usage,
)
from xtremeflow.scheduler.rate_limit import get_context
from xtremeflow.testing import run


async def result(value: Any = None) -> Any:
    return value


async def sleep(seconds: float, value: Any = None) -> Any:
    await asyncio.sleep(seconds)
    return value


def closed(coro: Any) -> bool:
    return inspect.getcoroutinestate(coro) == inspect.CORO_CLOSED


# --- start_task ---------------------------------------------------------------------------------


def test_start_task_returns_the_task_once_admitted() -> None:
    async def main() -> None:
        scheduler = TaskScheduler(1)
        now = asyncio.get_running_loop().time
        began = now()
        first = await scheduler.start_task(sleep(2, "first"))
        assert isinstance(first, asyncio.Task)
        assert now() == began
        assert not first.done()
        second = await scheduler.start_task(sleep(2, "second"), name="my name")
        assert now() == began + 2
        assert second.get_name() == "my name"
        assert await asyncio.gather(first, second) == ["first", "second"]
        assert now() == began + 4

    run(main())


def test_a_task_waits_within_itself_when_submitted() -> None:
    async def main() -> None:
        scheduler = TaskScheduler(1)
        first = scheduler.submit(sleep(2, "first"))
        second = scheduler.submit(coro=sleep(2, "second"), name="second")
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

        blocker = await scheduler.start_task(sleep(1))
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
            sleep(5, "long"), timeout=1
        )  # admitted at once, then as long as it likes
        began = now()
        late = sleep(1)
        with pytest.raises(asyncio.TimeoutError, match="not admitted"):
            await (await start(late, timeout=1.5))
        assert now() == began + 1.5
        assert closed(late)
        never = sleep(1)
        with pytest.raises(asyncio.TimeoutError):
            await (await start(never, timeout=0))
        assert closed(never)
        assert scheduler.stats().timed_out == 2
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
    ({"estimated_tokens": Index()}, KeyError, "of my own"),
    ({"estimated_tokens": {"tokens": -1}}, ValueError, r"estimated_tokens\['tokens'\] .*not -1"),
    ({"estimated_tokens": {"tokens": "x"}}, TypeError, r"estimated_tokens\['tokens'\] .*not 'x'"),
    ({"estimated_tokens": {"token": 1}}, ValueError, r"names 'token', but the limits are .*tokens"),
    ({"priority": 32768}, ValueError, r"priority must be .*-32768 to 32767, not 32768"),
    ({"priority": 10**19}, ValueError, r"priority must be .*-32768 to 32767, not 10+$"),
    ({"priority": -(10**30)}, ValueError, r"priority must be .*-32768 to 32767, not -10+$"),
    ({"priority": 1.5}, TypeError, r"priority must be a whole number .*not 1.5"),
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
        for value in (5, None, result, sleep):
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


# --- map ----------------------------------------------------------------------------------------


def test_map_yields_the_results_in_order_and_within_the_limits() -> None:
    async def main() -> None:
        scheduler = RequestRateScheduler(max_rps=10, max_concurrency=3)
        now = asyncio.get_running_loop().time
        began = now()
        running = most = 0

        async def square(n: int) -> int:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.25 if n % 2 else 0.15)
            running -= 1
            return n * n

        async def items() -> AsyncIterator[int]:
            for n in range(20):
                yield n

        assert [r async for r in scheduler.map(square, items())] == [n * n for n in range(20)]
        assert most == 3
        assert now() - began == pytest.approx(19 / 10 + 0.25, abs=0.2)
        assert scheduler.stats().finished == 20

    run(main())


def test_map_as_completed_with_exceptions_and_costs() -> None:
    async def main() -> None:
        scheduler = TokenRateScheduler(max_tps=1000, burst_ratio=1)

        async def call(n: int) -> int:
            await asyncio.sleep(5 - n)
            if n == 3:
                raise KeyError(n)
            return n

        costs: Callable[[int], int] = lambda n: 10 * n  # noqa: E731
        out = [
            r
            async for r in scheduler.map(
                call, range(5), ordered=False, return_exceptions=True, estimated_tokens=costs
            )
        ]
        assert out[0] == 4
        assert isinstance(out[1], KeyError)
        assert out[2:] == [2, 1, 0]
        assert scheduler.stats().tokens_used == 10 * (1 + 2 + 3 + 4)

    run(main())


# --- report_token_usage -------------------------------------------------------------------------


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


# --- notify_rate_limit_exceeded -----------------------------------------------------------------


def test_a_notification_holds_all_calls_back() -> None:
    async def main() -> None:
        scheduler = TaskScheduler()
        now = asyncio.get_running_loop().time
        began = now()
        scheduler.notify_rate_limit_exceeded(retry_after=2)
        scheduler.notify_rate_limit_exceeded(1)  # never shortens
        assert scheduler.stats().cooldown_left == 2
        await (await scheduler.start_task(result()))
        assert now() == began + 2
        stats = scheduler.stats()
        assert (stats.rate_limited, stats.cooldowns, stats.cooldown_seconds) == (2, 1, 2)
        assert stats.held_by_cooldown == 1
        scheduler.notify_rate_limit_exceeded(0)
        assert scheduler.stats().cooldowns == 1

    run(main())


@pytest.mark.parametrize(
    ("args", "error", "message"),
    [
        ((-1,), ValueError, "retry_after must be from 0 to 86400 seconds, not -1"),
        ((86401,), ValueError, "retry_after must be from 0 to 86400 seconds, not 86401"),
        ((float("nan"),), ValueError, "retry_after must be .*not nan"),
        (("2",), TypeError, "retry_after must be a number of seconds, not '2'"),
        ((), TypeError, "exactly one argument, retry_after"),
    ],
)
def test_refused_notifications(args: Any, error: type[Exception], message: str) -> None:
    scheduler = TaskScheduler()
    with pytest.raises(error, match=message):
        scheduler.notify_rate_limit_exceeded(*args)
    assert scheduler.stats().cooldowns == 0


# --- wait_pending -------------------------------------------------------------------------------


def test_wait_pending_waits_for_calls_started_meanwhile() -> None:
    async def main() -> None:
        scheduler = TaskScheduler(1)
        now = asyncio.get_running_loop().time
        began = now()
        await scheduler.wait_pending()  # nothing runs
        assert now() == began

        async def starts_another(depth: int) -> None:
            await asyncio.sleep(1)
            if depth:
                scheduler.submit(starts_another(depth - 1))

        scheduler.submit(starts_another(3))
        await asyncio.gather(scheduler.wait_pending(), scheduler.wait_pending())
        assert now() == began + 4
        assert scheduler.total_completed == 4
        await scheduler.wait_pending()

    run(main())


def test_wait_pending_leaves_failures_in_the_tasks() -> None:
    async def fail() -> None:
        raise KeyError

    async def main() -> None:
        scheduler = TaskScheduler()
        failing = scheduler.submit(fail())
        cancelled = scheduler.submit(sleep(9))
        cancelled.cancel()
        await scheduler.wait_pending()
        assert isinstance(failing.exception(), KeyError)
        assert cancelled.cancelled()

    run(main())


def test_a_call_that_waits_for_the_others_does_not_wait_for_itself() -> None:
    async def main() -> None:
        scheduler = TaskScheduler()
        now = asyncio.get_running_loop().time
        began = now()
        ended: dict[str, float] = {}

        async def waits(name: str) -> None:
            await asyncio.gather(scheduler.wait_pending(), scheduler.wait_pending())
            ended[name] = now() - began
            await asyncio.sleep(1)

        other = scheduler.submit(sleep(2))
        scheduler.submit(waits("a"))
        scheduler.submit(waits("b"))
        await scheduler.wait_pending()
        assert other.done()
        assert ended == {"a": 2, "b": 2}
        assert now() == began + 3  # those outside wait for those inside, too

    run(main())


def test_a_wait_that_was_given_up_inside_a_call_counts_no_more() -> None:
    async def main() -> None:
        scheduler = TaskScheduler()
        gave_up = asyncio.Event()

        async def gives_up() -> None:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(scheduler.wait_pending(), 1)
            gave_up.set()

        other = scheduler.submit(sleep(5))
        scheduler.submit(gives_up())
        await gave_up.wait()
        await scheduler.wait_pending()
        assert other.done()

    run(main())


def test_a_child_may_wait_on_when_its_call_has_ended() -> None:
    async def main() -> None:
        scheduler = TaskScheduler()
        children: list[asyncio.Task[None]] = []

        async def leaves_a_child() -> None:
            children.append(asyncio.create_task(scheduler.wait_pending()))
            await asyncio.sleep(1)

        other = scheduler.submit(sleep(5))
        scheduler.submit(leaves_a_child())
        await scheduler.wait_pending()
        assert other.done()
        await children[0]

    run(main())


# --- stats --------------------------------------------------------------------------------------


def test_stats_count_each_way_to_end() -> None:
    async def fail() -> None:
        raise KeyError

    async def main() -> None:
        scheduler = TaskScheduler(1)
        assert scheduler.stats().elapsed == 0
        tasks = [
            scheduler.submit(sleep(2)),
            scheduler.submit(sleep(1)),
            scheduler.submit(fail()),
            scheduler.submit(sleep(1)),
            scheduler.submit(sleep(1), timeout=1),
        ]
        await asyncio.sleep(0.5)
        stats = scheduler.stats()
        tasks[3].cancel()
        assert (stats.submitted, stats.admitted, stats.waiting, stats.in_flight) == (5, 1, 4, 1)
        await scheduler.wait_pending()
        await asyncio.gather(*tasks, return_exceptions=True)
        stats = scheduler.stats()
        ended = (stats.finished, stats.failed, stats.cancelled, stats.timed_out)
        assert ended == (2, 1, 1, 1)
        assert (stats.admitted, stats.waiting, stats.in_flight) == (3, 0, 0)
        assert stats.elapsed == 3
        assert scheduler.total_completed == 4

    run(main())


def test_the_shares_of_time_say_what_left_quota_idle_and_add_up() -> None:
    async def main() -> None:
        scheduler = TokenRateScheduler(max_tps=10, max_rps=1, max_concurrency=1)
        scheduler.submit(sleep(4), 10)  # holds the slot from 0 to 4
        scheduler.submit(result(), 60)  # then goes at once, which is paid for until 10
        scheduler.submit(result(), 0)
        await scheduler.wait_pending()
        await asyncio.sleep(10)  # nothing waits from 10 to 20
        scheduler.notify_rate_limit_exceeded(5)
        await (await scheduler.start_task(result(), 0))  # at 25
        stats = scheduler.stats()
        assert stats.elapsed == 25
        requests, tokens = (
            next(limit for limit in stats.limits if limit.name == name)
            for name in ("requests", "tokens")
        )
        assert stats.held_by_concurrency == pytest.approx(4 / 25)
        assert tokens.held_back == pytest.approx(6 / 25)
        assert requests.held_back == 0
        assert stats.idle == pytest.approx(10 / 25)
        assert stats.held_by_cooldown == pytest.approx(5 / 25)
        shares = stats.idle + stats.held_by_concurrency + stats.held_by_cooldown
        assert shares + sum(limit.held_back for limit in stats.limits) == pytest.approx(1)
        assert tokens.used == 70
        assert tokens.utilisation == pytest.approx(70 / 250)
        assert requests.utilisation == pytest.approx(4 / 25)

    run(main())


def test_a_full_queue_uses_all_of_the_quota() -> None:
    async def main() -> None:
        scheduler = TokenRateScheduler(max_tps=1000, burst_ratio=0.1)
        for _ in range(200):
            scheduler.submit(result(), 50)
        await scheduler.wait_pending()
        (tokens,) = scheduler.stats().limits
        assert tokens.used == 10_000
        assert tokens.utilisation == pytest.approx(1, abs=0.006)
        assert tokens.held_back == pytest.approx(1)

    run(main())


# --- what may be changed while running ----------------------------------------------------------


def test_max_concurrency_may_be_changed_while_calls_run() -> None:
    async def main() -> None:
        scheduler = TaskScheduler(1)
        tasks = [scheduler.submit(sleep(10)) for _ in range(6)]
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
def test_refused_max_concurrency(value: Any, error: type[Exception]) -> None:
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


# --- construction -------------------------------------------------------------------------------


def test_every_argument_is_optional_and_positions_are_as_documented() -> None:
    assert TokenRateScheduler().limits == ()
    assert RequestRateScheduler().max_concurrency is None
    scheduler = TokenRateScheduler(1000, 10, 7, 0.5)
    assert scheduler.max_concurrency == 7
    named = {limit.name: limit for limit in scheduler.stats().limits}
    assert (named["tokens"].rate, named["tokens"].capacity) == pytest.approx((1000, 500))
    assert (named["requests"].rate, named["requests"].capacity) == pytest.approx((10, 5))
    per_minute = TokenRateScheduler(max_tpm=600, max_rpm=60, burst_ratio=60)
    named = {limit.name: limit for limit in per_minute.stats().limits}
    assert (named["tokens"].rate, named["tokens"].capacity) == pytest.approx((10, 600))
    assert (named["requests"].rate, named["requests"].capacity) == pytest.approx((1, 60))


@pytest.mark.parametrize("argument", ["max_tps", "max_rps", "max_rpm", "max_tpm"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "5"])
def test_refused_rates(argument: str, value: Any) -> None:
    error = TypeError if isinstance(value, str) else ValueError
    with pytest.raises(error, match=f"{argument} must be a number above 0, got {value!r}"):
        TokenRateScheduler(**{argument: value})


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"max_tokens": 5}, TypeError, "unexpected keyword argument 'max_tokens'"),
        ({"burst_ratio": -1}, ValueError, "burst_ratio must be a number, 0 or more, got -1"),
        ({"burst_ratio": None}, TypeError, "burst_ratio must be a number, 0 or more, got None"),
        ({"limits": [5]}, TypeError, "a limit must be a Limit object, got 5"),
        ({"limits": [Limit("x", 1e30)]}, ValueError, "cannot be kept"),
    ],
)
def test_refused_constructor_arguments(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        TokenRateScheduler(**arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("", 1), ValueError, "name must not be empty"),
        ((5, 1), TypeError, "name must be a string, not 5"),
        (("x", 0), ValueError, "Limit amount must be a number above 0, got 0"),
        (("x", 1, -1), ValueError, "Limit per must be a number above 0, got -1"),
        (("x", 1, 1, -1), ValueError, "Limit capacity must be a number, 0 or more, got -1"),
        (("x", "1"), TypeError, "Limit amount must be a number above 0, got '1'"),
    ],
)
def test_refused_limits(arguments: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Limit(*arguments)


def test_a_subclass_has_to_call_init_once() -> None:
    class Forgetful(TaskScheduler):
        def __init__(self) -> None:
            pass

    async def main() -> None:
        scheduler = Forgetful()
        coro = result()
        with pytest.raises(RuntimeError, match=r"Forgetful.__init__\(\) has not been called"):
            scheduler.submit(coro)
        assert closed(coro)
        for use in (scheduler.stats, lambda: scheduler.notify_rate_limit_exceeded(1)):
            with pytest.raises(RuntimeError, match="has not been called"):
                use()
        with pytest.raises(RuntimeError, match="once only"):
            TaskScheduler.__init__(TaskScheduler(1), 2)

    run(main())


def test_its_repr_tells_what_it_allows_and_what_it_does() -> None:
    scheduler = TokenRateScheduler(max_tpm=60_000, max_concurrency=7)
    assert repr(scheduler) == (
        "<TokenRateScheduler: tokens 1000/s, 7 at a time; 0 waiting, 0 in flight>"
    )
    assert "no limits" in repr(TaskScheduler())


def test_its_repr_tells_limits_that_were_learned() -> None:
    async def main() -> None:
        scheduler = TaskScheduler(adapt=True)
        assert "no limits" in repr(scheduler)
        told = {"x-ratelimit-limit-requests": "600", "x-ratelimit-remaining-requests": "500",
                "x-ratelimit-reset-requests": "10s"}  # fmt: skip
        scheduler.observe(200, told)
        assert "requests 10/s (learned)" in repr(scheduler)

    run(main())
