"""A call cancelled at any step loses nothing: not its slot, its quota, its coroutine, its turn."""

from __future__ import annotations

import asyncio
import gc
import inspect
import warnings
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest

from xtremeflow import (
    RetryException,
    TaskScheduler,
    TokenRateScheduler,
    auto_backoff,
    report_token_usage,
)
from xtremeflow.testing import run

TOKENS = 10


class Victim:
    """A call that may be cancelled, and what has become of it."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self.dispatches = 0
        self._work = work
        self.coro = self._run()

    async def _run(self) -> Any:
        self.dispatches += 1
        return await self._work()

    @property
    def is_closed(self) -> bool:
        return inspect.getcoroutinestate(self.coro) == inspect.CORO_CLOSED


async def short() -> str:
    for _ in range(3):
        await asyncio.sleep(0)
    return "done"


async def start(scheduler: TaskScheduler, coro: Any) -> Any:
    return await (await scheduler.start_task(coro, TOKENS))


async def start_in_a_task_of_its_own(scheduler: TaskScheduler, coro: Any) -> Any:
    return await (await asyncio.create_task(scheduler.start_task(coro, TOKENS)))


async def start_cancelling(scheduler: TaskScheduler, coro: Any) -> Any:
    """Passes its cancellation on to the task, as a careful program does."""
    task = await scheduler.start_task(coro, TOKENS)
    try:
        return await task
    finally:
        task.cancel()


def submit(scheduler: TaskScheduler, coro: Any) -> Any:
    return scheduler.submit(coro, TOKENS)


TERMS = (0, None, TOKENS, None, 0, None)


async def exchange(scheduler: TaskScheduler, coro: Any) -> Any:
    return await scheduler._exchange(coro, lambda _: TERMS, lambda *_: None, None)


async def exchange_that_goes_on(scheduler: TaskScheduler, coro: Any) -> Any:
    """What is cancelled is what `answered` has given, mostly."""

    async def nothing() -> None:
        pass

    async def go_on() -> tuple[Any, bool]:
        return await coro, True

    exchange = scheduler._exchange(nothing(), lambda _: TERMS, lambda *_: go_on(), None)
    try:
        return await exchange
    finally:
        coro.close()


WAYS = [start, start_cancelling, start_in_a_task_of_its_own, submit, exchange]


def at_every_step(scenario: Callable[[int], Coroutine[Any, Any, bool]]) -> int:
    """Runs scenario(k) for k = 1, 2, ... until it returns True: there is no k-th step."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for k in range(1, 200):
            if run(scenario(k)):
                gc.collect()
                return k
    raise AssertionError("the scenario does not end")


async def cancel_at(task: asyncio.Future[Any], k: int) -> bool:
    """Cancels the task at its k-th step; whether it has ended before."""
    for _ in range(k):
        await asyncio.sleep(0)
    over = task.done()
    task.cancel()
    with suppress(asyncio.CancelledError):
        assert await task == "done"
    return over


@pytest.mark.parametrize("way", WAYS)
def test_a_call_cancelled_at_any_step_leaves_nothing_behind(way: Any) -> None:
    async def scenario(k: int) -> bool:
        scheduler = TokenRateScheduler(max_tps=1, burst_ratio=100, max_concurrency=1)
        victim = Victim(short)
        over = await cancel_at(asyncio.ensure_future(way(scheduler, victim.coro)), k)
        assert await scheduler.submit(short(), TOKENS) == "done"
        await scheduler.wait_pending()
        assert victim.is_closed
        assert scheduler.active_tasks == scheduler.waiting == 0
        # Paid for if it was dispatched, and only then.
        assert scheduler.stats().limits[0].used == TOKENS * (victim.dispatches + 1)
        assert scheduler.stats().limits[0].level == 100 - TOKENS * (victim.dispatches + 1)
        return over

    assert at_every_step(scenario) > 3


@pytest.mark.parametrize("way", WAYS)
def test_while_a_slot_changes_hands(way: Any) -> None:
    """The victim waits for a slot, is given it, is dispatched, runs; another waits behind it."""

    async def scenario(k: int) -> bool:
        scheduler = TokenRateScheduler(max_tps=1, burst_ratio=100, max_concurrency=1)
        blocker = scheduler.submit(short(), TOKENS)
        await asyncio.sleep(0)
        victim = Victim(short)
        doomed = asyncio.ensure_future(way(scheduler, victim.coro))
        await asyncio.sleep(0)
        behind = asyncio.create_task(start(scheduler, short()))
        over = await cancel_at(doomed, k)
        assert await asyncio.gather(blocker, behind) == ["done", "done"]
        await scheduler.wait_pending()
        assert victim.is_closed
        assert scheduler.active_tasks == scheduler.waiting == 0
        stats = scheduler.stats()
        assert stats.limits[0].used == TOKENS * (victim.dispatches + 2)
        assert stats.admitted == victim.dispatches + 2
        return over

    assert at_every_step(scenario) >= 6


def test_between_the_grant_of_quota_and_the_dispatch() -> None:
    async def main() -> None:
        scheduler = TokenRateScheduler(max_tps=10, burst_ratio=1)
        began = asyncio.get_running_loop().time()

        async def gives_back() -> None:
            await report_token_usage(0)
            assert scheduler.stats().waiting == 1  # the victim has it
            granted.cancel()

        scheduler.submit(gives_back(), 10)
        victim = Victim(short)
        granted = scheduler.submit(victim.coro, 10)
        behind = scheduler.submit(short(), 10)
        assert await behind == "done"
        assert asyncio.get_running_loop().time() == began
        assert (victim.dispatches, victim.is_closed) == (0, True)

    run(main())


def test_before_the_first_step() -> None:
    async def main() -> None:
        scheduler = TokenRateScheduler(max_tps=1, burst_ratio=100, max_concurrency=1)
        victims = [Victim(short) for _ in range(3)]
        first = await scheduler.start_task(victims[0].coro, TOKENS)
        first.cancel()  # admitted
        second = scheduler.submit(victims[1].coro, TOKENS)
        second.cancel()  # waiting
        third = asyncio.create_task(scheduler.start_task(victims[2].coro, TOKENS))
        third.cancel()  # not even asked
        await asyncio.wait([first, second, third])
        assert all(task.cancelled() for task in (first, second))
        assert [v.dispatches for v in victims] == [0, 0, 0]
        assert [v.is_closed for v in victims[:2]] == [True, True]
        victims[2].coro.close()  # its start_task() is awaited by nobody any more, nor dropped
        assert scheduler.active_tasks == scheduler.waiting == 0
        assert scheduler.stats().limits[0].level == 100

    run(main())


@pytest.mark.parametrize(("slots", "priority"), [(1, 0), (None, 0), (1, 1)])
def test_a_call_cancelled_around_its_retry_leaves_nothing_behind(
    slots: int | None, priority: int
) -> None:
    """Cancelled in each step around a retry, which at the higher priority has to wait for the
    other call; so also between its grant and its first step.
    """

    async def scenario(k: int) -> bool:
        scheduler = TokenRateScheduler(max_tps=1, burst_ratio=100, max_concurrency=slots)
        attempts = 0

        @auto_backoff()
        async def refused_once() -> str:
            nonlocal attempts
            attempts += 1
            await short()
            if attempts == 1:
                raise RetryException("full", retry_after=0)
            return "done"

        victim = Victim(refused_once)
        doomed = scheduler.submit(victim.coro, TOKENS)
        await asyncio.sleep(0)
        behind = scheduler.submit(short(), TOKENS, priority=priority)
        over = await cancel_at(doomed, k)
        assert await behind == "done"
        await scheduler.wait_pending()
        assert victim.is_closed
        assert scheduler.active_tasks == scheduler.waiting == 0
        assert scheduler.pending_tasks == set()
        # The attempts that began are paid for, and only they.
        assert scheduler.stats().limits[0].used == TOKENS * (attempts + 1)
        return over

    assert at_every_step(scenario) >= 6


def test_while_it_backs_off_the_queue_goes_on_without_it() -> None:
    async def main() -> None:
        scheduler = TaskScheduler(1)
        loop = asyncio.get_running_loop()

        @auto_backoff()
        async def refused() -> None:
            raise RetryException("full", retry_after=5)

        began = loop.time()
        doomed = scheduler.submit(refused())
        behind = scheduler.submit(short())
        await asyncio.sleep(1)
        assert scheduler.waiting == 2
        doomed.cancel()
        await asyncio.sleep(0)
        assert scheduler.waiting == 1
        assert await behind == "done"
        assert loop.time() == began + 5

    run(main())


def test_a_child_may_be_retried_while_its_parent_is_cancelled() -> None:
    async def main() -> None:
        scheduler = TaskScheduler(1)

        @auto_backoff()
        async def refused() -> None:
            raise RetryException("full", retry_after=5)

        async def parent() -> None:
            await asyncio.gather(refused(), refused())

        doomed = scheduler.submit(parent())
        await asyncio.sleep(1)
        assert (scheduler.waiting, scheduler.active_tasks) == (1, 0)
        doomed.cancel()
        await asyncio.wait([doomed])
        assert scheduler.waiting == scheduler.active_tasks == 0
        assert await scheduler.submit(short()) == "done"

    run(main())


def test_a_childs_next_attempt_is_paid_for_though_its_parent_ends_just_then() -> None:
    async def main() -> None:
        scheduler = TokenRateScheduler(max_tps=1, burst_ratio=100, max_concurrency=1)
        children: list[asyncio.Task[None]] = []
        may_end = asyncio.Event()
        attempts = 0

        @auto_backoff()
        async def refused_once() -> None:
            nonlocal attempts
            attempts += 1
            if attempts == 1:
                raise RetryException("full", retry_after=0)

        async def parent() -> None:
            children.append(asyncio.create_task(refused_once()))
            await may_end.wait()
            assert attempts == 1

        async def ahead() -> None:
            may_end.set()  # the parent's next step comes before that of its child

        task = scheduler.submit(parent(), TOKENS)
        scheduler.submit(ahead(), TOKENS, priority=1)
        await task
        await children[0]
        assert attempts == 2
        await scheduler.wait_pending()
        assert scheduler.stats().limits[0].used == 3 * TOKENS
        assert scheduler.active_tasks == 0

    run(main())


def test_a_call_that_ends_before_its_childs_next_attempt_has_ended_as_it_has() -> None:
    async def main() -> None:
        attempts = 0
        children: list[asyncio.Task[str]] = []

        @auto_backoff(base_retry_after=1)
        async def attempt() -> str:
            nonlocal attempts
            attempts += 1
            if attempts == 1:
                raise RetryException("429")
            return "late"

        async def call() -> str:
            children.append(asyncio.create_task(attempt()))
            await asyncio.sleep(0.1)
            return "done"

        scheduler = TaskScheduler()
        assert await (await scheduler.start_task(call())) == "done"
        assert await children[0] == "late"
        snapshot = scheduler._snapshot()
        assert [snapshot[n] for n in ("succeeded", "cancelled", "in_flight")] == [1, 0, 0]

    run(main())


@pytest.mark.parametrize("message", [None, "why"])
def test_a_waiting_calls_message_of_cancellation_comes_through(message: str | None) -> None:
    async def main() -> None:
        scheduler = TaskScheduler(1)
        blocker = await scheduler.start_task(asyncio.Event().wait())
        started = asyncio.create_task(start(scheduler, short()))
        for task in (started, scheduler.submit(short())):
            await asyncio.sleep(0)
            task.cancel(message)
            with pytest.raises(asyncio.CancelledError) as cancelled:
                await task
            error: BaseException | None = cancelled.value
            if not cancelled.value.args:  # CPython 3.10 has it in the error that is behind it
                error = cancelled.value.__context__ or error
            assert error.args == (() if message is None else (message,))
        assert not blocker.get_coro().cancel("running")
        blocker.cancel()

    run(main())


def test_a_call_that_refuses_to_be_cancelled_keeps_its_slot() -> None:
    async def main() -> None:
        scheduler = TaskScheduler(1)

        async def stubborn() -> str:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(5)
            await asyncio.sleep(5)
            return "done"

        task = scheduler.submit(stubborn())
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.sleep(1)
        assert scheduler.active_tasks == 1
        assert await task == "done"
        assert scheduler.stats().succeeded == 1

    run(main())


def test_a_thousand_waiters_cancelled_in_any_order() -> None:
    async def main() -> None:
        scheduler = TaskScheduler(1)
        blocker = scheduler.submit(asyncio.sleep(10))
        tasks = [scheduler.submit(short(), priority=i % 3) for i in range(1000)]
        await asyncio.sleep(1)
        for i in range(1000):
            if i % 10:
                tasks[i * 617 % 1000].cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert scheduler.waiting == 100
        await blocker
        await scheduler.wait_pending()
        assert [task.cancelled() for task in tasks].count(False) == 100
        assert scheduler.stats().succeeded == 101

    run(main())


def test_cancelled_by_a_task_group_or_timeout() -> None:
    async def main() -> None:
        scheduler = TaskScheduler(1)
        blocker = scheduler.submit(asyncio.sleep(10))
        victims = [Victim(short) for _ in range(3)]
        gathered = asyncio.gather(*(start(scheduler, victim.coro) for victim in victims))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(gathered, 1)
        assert [(v.dispatches, v.is_closed) for v in victims] == [(0, True)] * 3
        assert scheduler.waiting == 0
        await blocker

    run(main())


def test_while_an_exchange_goes_on() -> None:
    async def scenario(k: int) -> bool:
        scheduler = TokenRateScheduler(max_tps=1, burst_ratio=100, max_concurrency=1)
        victim = Victim(short)
        over = await cancel_at(
            asyncio.ensure_future(exchange_that_goes_on(scheduler, victim.coro)), k
        )
        assert await scheduler.submit(short(), TOKENS) == "done"
        assert victim.is_closed
        assert scheduler.active_tasks == scheduler.waiting == 0
        return over

    assert at_every_step(scenario) > 3
