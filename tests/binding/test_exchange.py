"""A request that is a call of its own in the task that awaits it: `Scheduler._exchange`."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest

from xtremeflow import TaskScheduler, TokenRateScheduler, report_token_usage
from xtremeflow._core import current_call
from xtremeflow.answers.attempt import admitted_again
from xtremeflow.testing import run

TOKENS = 10
ONE = (0, None, 1, None, 0, None)  # terms: a cost of 1


async def request(seconds: float = 1.0) -> str:
    await asyncio.sleep(seconds)
    return "answer"


async def broken() -> str:
    await asyncio.sleep(1)
    raise ConnectionError("broken")


def fine(*_: Any) -> None:
    return None


def exchange(
    scheduler: TaskScheduler, coro: Any, answered: Callable[..., Any] = fine, about: object = None
) -> Any:
    return scheduler._exchange(coro, lambda _: (0, None, TOKENS, None, 0, None), answered, about)


def books(scheduler: TaskScheduler) -> tuple[int, int, int, int, int]:
    counts = scheduler._snapshot()
    succeeded, failed, cancelled = (counts[how] for how in ("succeeded", "failed", "cancelled"))
    return succeeded, failed, cancelled, counts["in_flight"], counts["waiting"]


def test_it_waits_for_its_turn_and_gives_the_answer() -> None:
    async def main() -> None:
        scheduler = TokenRateScheduler(max_tps=1, burst_ratio=100, max_concurrency=1)
        loop = asyncio.get_running_loop()
        ended: list[tuple[int, float]] = []

        async def one(number: int) -> None:
            assert await exchange(scheduler, request()) == "answer"
            ended.append((number, loop.time()))

        began = loop.time()
        await asyncio.gather(*(one(n) for n in range(3)))
        assert ended == [(n, began + n + 1) for n in range(3)]
        assert books(scheduler) == (3, 0, 0, 0, 0)
        assert scheduler.stats().limits[0].used == 3 * TOKENS

    run(main())


def test_each_answer_is_shown_with_its_times() -> None:
    async def main() -> None:
        scheduler = TaskScheduler(1)
        loop = asyncio.get_running_loop()
        shown: list[Any] = []

        def answered(*what: Any) -> None:
            assert what[1].state == "in flight"
            times = (round(at - began, 9) for at in what[2:5])
            shown.append((what[0], *times, *what[5:]))

        began = loop.time()
        exchanges = [exchange(scheduler, request(), answered, n) for n in range(2)]
        await asyncio.gather(*exchanges)
        assert shown == [(0, 0, 0, 1, "answer", None), (1, 0, 1, 2, "answer", None)]

    run(main())


def test_the_first_in_priority_goes_first_and_a_call_that_waits_too_long_times_out() -> None:
    class NotAdmitted(Exception):
        pass

    async def main() -> None:
        scheduler = TaskScheduler(1)
        loop = asyncio.get_running_loop()
        ended: list[tuple[Any, float]] = []

        def answered(name: Any, call: Any, asked: float, sent: float | None, *_: Any) -> None:
            if sent is None:
                ended.append((name, loop.time() - asked))
                raise NotAdmitted

        async def one(name: str, priority: int, timeout: float | None) -> None:
            terms = (priority, timeout, TOKENS, None, 0, None)
            await scheduler._exchange(request(), lambda _: terms, answered, name)
            ended.append((name, loop.time()))

        began = loop.time()
        tasks = [one("a", 0, 9), one("b", 0, 2.5), one("c", 0, 1.5), one("d", 1, None)]
        *_, late, _ = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(late, NotAdmitted)
        times = [1, 1.5, 2, 3]
        assert [name for name, _ in ended] == ["a", "c", "d", "b"]
        assert [round(at if name == "c" else at - began, 9) for name, at in ended] == times
        assert books(scheduler)[:2] == (3, 0)

    run(main())


def test_its_task_is_one_of_those_that_are_pending() -> None:
    async def main() -> None:
        scheduler = TaskScheduler(1)
        tasks = {asyncio.ensure_future(exchange(scheduler, request())) for _ in range(2)}
        await asyncio.sleep(0)
        assert scheduler.pending_tasks == tasks
        await asyncio.gather(*tasks)
        assert scheduler.pending_tasks == set()

    run(main())


def test_code_that_goes_on_with_the_answer_belongs_to_its_call() -> None:
    async def main() -> None:
        scheduler = TokenRateScheduler(max_tps=1, burst_ratio=100)
        calls: list[Any] = []

        async def go_on() -> tuple[str, bool]:
            for _ in range(2):
                calls.append(current_call())
                await asyncio.sleep(1)
            await report_token_usage(3)
            return "later", True

        async def others() -> None:
            for _ in range(5):
                assert current_call() is None
                await asyncio.sleep(0.5)

        async def asks() -> None:
            assert await exchange(scheduler, request(), lambda *_: go_on()) == "later"
            assert current_call() is None

        await asyncio.gather(asks(), others())
        assert calls[0] is calls[1]
        assert calls[0].scheduler is scheduler
        assert scheduler.stats().limits[0].used == 3

    run(main())


def test_an_attempt_after_the_first_pays_and_queues_again() -> None:
    async def main() -> None:
        scheduler = TokenRateScheduler(max_tps=10, burst_ratio=1, max_concurrency=1)
        loop = asyncio.get_running_loop()

        async def go_on(call: Any, error: Exception) -> tuple[str, bool]:
            assert isinstance(error, ConnectionError)
            call.failed(None, 0.0, True, 1.0)
            await admitted_again(call, 3.0)
            return await request(), True

        began = loop.time()
        first = exchange(scheduler, broken(), lambda _, call, *_rest: go_on(call, _rest[-1]))
        results = await asyncio.gather(first, exchange(scheduler, request()))
        assert list(results) == ["answer", "answer"]
        assert loop.time() == began + 5  # 1 + a rest of 3, in which the other went, and 1
        assert books(scheduler) == (2, 0, 0, 0, 0)
        assert scheduler.stats().limits[0].used == 3 * TOKENS

    run(main())


def test_one_that_has_not_passed_counts_as_failed_and_gives_its_answer() -> None:
    async def main() -> None:
        scheduler = TaskScheduler()

        async def refused() -> tuple[str, bool]:
            return "429", False

        assert await exchange(scheduler, request(), lambda *_: refused()) == "429"
        assert books(scheduler) == (0, 1, 0, 0, 0)

    run(main())


def test_within_a_call_of_its_scheduler_it_is_a_part_of_that() -> None:
    async def main() -> None:
        scheduler = TokenRateScheduler(max_tps=1, burst_ratio=100, max_concurrency=1)
        seen: list[Any] = []

        def answered(*what: Any) -> None:
            seen.append(what[1])

        async def call() -> str:
            seen.append(current_call())
            answer: str = await exchange(scheduler, request(), answered)
            return answer

        made_outside = exchange(scheduler, request(), answered)
        assert await scheduler.submit(call(), 1) == "answer"
        assert await scheduler.submit(made_outside, 1) == "answer"
        assert seen[0] is seen[1]
        assert seen[2] is not seen[0]
        assert books(scheduler) == (2, 0, 0, 0, 0)
        assert scheduler.stats().limits[0].used == 2

    run(main())


def test_within_a_call_of_another_scheduler_it_is_a_call_of_its_own() -> None:
    async def main() -> None:
        inner, outer = TaskScheduler(1), TaskScheduler(1)

        async def call() -> str:
            answer: str = await exchange(inner, request())
            assert current_call().scheduler is outer  # type: ignore[union-attr]
            return answer

        assert await outer.submit(call()) == "answer"
        assert books(inner) == books(outer) == (1, 0, 0, 0, 0)

    run(main())


def raises(*_: Any) -> Any:
    raise LookupError("no")


async def raising() -> Any:
    raise LookupError("no")


async def no_pair() -> Any:
    return "one"


@pytest.mark.parametrize(
    ("terms", "coro", "answered", "error", "ended"),
    [
        (raises, request, fine, LookupError, (0, 0, 0)),
        (lambda _: 5, request, fine, TypeError, (0, 0, 0)),
        (lambda _: (0, None, 5), request, fine, TypeError, (0, 0, 0)),
        (lambda _: (0, None, 5, [], 0), request, fine, TypeError, (0, 0, 0)),
        (lambda _: (0, None, 5, "a", "b"), request, fine, TypeError, (0, 0, 0)),
        (lambda _: (2**20, None, 5, None, 0, None), request, fine, ValueError, (0, 0, 0)),
        (lambda _: (0, -1, 5, None, 0, None), request, fine, ValueError, (0, 0, 0)),
        (lambda _: (0, None, -1, None, 0, None), request, fine, ValueError, (0, 0, 0)),
        (lambda _: ONE, request, raises, LookupError, (0, 1, 0)),
        (lambda _: ONE, broken, raises, LookupError, (0, 1, 0)),
        (lambda _: ONE, broken, lambda *_: raising(), LookupError, (0, 1, 0)),
        (lambda _: ONE, request, lambda *_: no_pair(), TypeError, (0, 1, 0)),
        (lambda _: ONE, request, lambda *_: 5, TypeError, (0, 1, 0)),
    ],
)
def test_a_slot_comes_free_after_any_error(
    terms: Any, coro: Any, answered: Any, error: type[Exception], ended: tuple[int, int, int]
) -> None:
    async def main() -> None:
        scheduler = TokenRateScheduler(max_tps=100, burst_ratio=1, max_concurrency=1)
        with pytest.raises(error):
            await scheduler._exchange(coro(), terms, answered, None)
        assert books(scheduler) == (*ended, 0, 0)
        assert await exchange(scheduler, request()) == "answer"

    run(main())


def test_it_is_awaited_once() -> None:
    async def main() -> None:
        scheduler = TaskScheduler()
        once = exchange(scheduler, request())
        await once
        with pytest.raises(RuntimeError, match="already awaited"):
            await once
        once.close()
        assert books(scheduler) == (1, 0, 0, 0, 0)

    run(main())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("steps", [0, 1])
def test_closed_or_dropped_before_its_end_it_holds_nothing(steps: int) -> None:
    async def main() -> None:
        scheduler = TaskScheduler(1)
        for leave in (lambda each: each.close(), lambda each: None):
            blocked = [exchange(scheduler, request()) for _ in range(2)]
            for each in blocked:
                each.send(None)
            for each in blocked[steps:]:
                leave(each)
            del each, blocked
            gc.collect()
            await asyncio.sleep(2)
            assert scheduler.active_tasks == scheduler.waiting == 0

    run(main())


def test_a_closed_loop_leaves_no_slot_behind() -> None:
    scheduler = TaskScheduler(1)
    loop = asyncio.new_event_loop()
    task = loop.create_task(exchange(scheduler, request(60)))
    loop.run_until_complete(asyncio.sleep(0))
    assert scheduler.active_tasks == 1
    loop.close()

    async def other() -> str:
        answer: str = await asyncio.wait_for(exchange(scheduler, request(0)), 20)
        return answer

    assert asyncio.run(other()) == "answer"
    del task
    gc.collect()
