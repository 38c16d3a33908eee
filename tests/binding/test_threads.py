"""One scheduler and several threads. Without the GIL they run at the same time; with it they take
turns at any bytecode, and the same has to hold."""

import asyncio
import random
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from xtremeflow import Limit, TaskScheduler, TokenRateScheduler, report_token_usage

THREADS = 4
CALLS = 300  # of each thread


class Crowd:
    """Counts who is inside at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self.most = 0
        self.entered: list[float] = []

    def enter(self) -> None:
        with self._lock:
            self._inside += 1
            self.most = max(self.most, self._inside)
            self.entered.append(time.monotonic())

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1


def in_threads(run: Callable[[int], None], n: int = THREADS) -> None:
    """run(0) to run(n - 1), each in a thread; raises what one of them raised."""
    errors: list[BaseException] = []

    def guarded(i: int) -> None:
        try:
            run(i)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    if errors:
        raise errors[0]


def assert_settled(scheduler: TaskScheduler, calls: int, tokens: int) -> None:
    stats = scheduler.stats()
    assert stats.submitted == stats.admitted == calls
    assert stats.succeeded + stats.failed + stats.cancelled == calls
    assert (stats.waiting, stats.in_flight, scheduler.active_tasks) == (0, 0, 0)
    assert stats.tokens_used == tokens
    assert scheduler.pending_tasks == set()


def test_a_loop_in_each_of_several_threads_loses_nothing_and_keeps_the_slots() -> None:
    scheduler = TokenRateScheduler(max_tps=1e9, max_concurrency=7)
    crowd = Crowd()

    async def call(number: int) -> int:
        crowd.enter()
        await asyncio.sleep(0)
        await report_token_usage(number)
        crowd.leave()
        return number

    async def work() -> None:
        tasks = []
        for number in range(CALLS):
            if number % 2:
                tasks.append(scheduler.submit(call(number), 100))
            else:
                tasks.append(await scheduler.start_task(call(number), 100))
        assert await asyncio.gather(*tasks) == list(range(CALLS))

    in_threads(lambda i: asyncio.run(work()))
    assert_settled(scheduler, THREADS * CALLS, THREADS * sum(range(CALLS)))
    assert 0 < crowd.most <= 7


def test_several_threads_share_a_rate() -> None:
    rate, capacity, n = 2_000.0, 20, 100
    scheduler = TaskScheduler(limits=[Limit("requests", rate, capacity=capacity)])
    crowd = Crowd()

    async def call() -> None:
        crowd.enter()

    async def work() -> None:
        await asyncio.gather(*[scheduler.submit(call()) for _ in range(n)])

    begun = time.monotonic()
    in_threads(lambda i: asyncio.run(work()))
    assert len(crowd.entered) == THREADS * n
    slack = 0.01 * rate  # what lateness may be caught up by
    for i, at in enumerate(sorted(crowd.entered)):
        assert i + 1 <= capacity + rate * (at - begun) + slack


def test_a_loop_that_threads_feed_loses_nothing() -> None:
    scheduler = TokenRateScheduler(max_tps=1e9, max_concurrency=3)
    done = [0] * THREADS

    async def call(thread: int) -> None:
        await asyncio.sleep(0)
        done[thread] += 1

    async def work() -> None:
        loop = asyncio.get_running_loop()

        def feed(i: int) -> None:
            waits = []
            for number in range(CALLS):
                if number % 2:
                    loop.call_soon_threadsafe(lambda: scheduler.submit(call(i), 10))
                else:
                    start = scheduler.start_task(call(i), 10)  # made here, awaited there
                    waits.append(asyncio.run_coroutine_threadsafe(wait(start), loop))
            for wait_ in waits:
                wait_.result(120)

        await asyncio.to_thread(in_threads, feed)
        await scheduler.wait_pending()

    async def wait(start: object) -> None:
        await (await start)  # type: ignore[misc]

    asyncio.run(work())
    assert done == [CALLS] * THREADS
    assert_settled(scheduler, THREADS * CALLS, THREADS * CALLS * 10)


def test_threads_that_change_cancel_and_ask_at_once_lose_nothing() -> None:
    scheduler = TokenRateScheduler(max_tps=1e9, max_concurrency=4)
    working = THREADS
    counted = threading.Lock()
    changed = threading.Event()
    seen = 0

    async def call(fate: float) -> None:
        await asyncio.sleep(0)
        if fate < 0.2:
            raise OSError("on purpose")
        await asyncio.sleep(0)

    async def work(chance: random.Random) -> None:
        nonlocal working
        tasks = []
        for _ in range(CALLS):
            tasks.append(scheduler.submit(call(chance.random()), 3))
            if chance.random() < 0.3:
                chance.choice(tasks).cancel()
            if chance.random() < 0.1:
                await asyncio.sleep(0)
            if len(tasks) == CALLS // 2:
                assert changed.wait(60)  # a busy machine may start the thread of changes late
        await asyncio.gather(*tasks, return_exceptions=True)
        with counted:
            working -= 1

    def run(i: int) -> None:
        nonlocal seen
        if i < THREADS:
            asyncio.run(work(random.Random(i)))
            return
        while working:
            scheduler.max_concurrency = 1 + seen % 9
            scheduler.set_limit(Limit("tokens", 1e9 + seen))
            scheduler.notify_rate_limit_exceeded(0)
            stats = scheduler.stats()
            assert 0 <= stats.waiting <= THREADS * CALLS
            assert len(scheduler.pending_tasks) <= THREADS * CALLS
            seen += 1
            changed.set()

    in_threads(run, THREADS + 1)
    stats = scheduler.stats()
    assert stats.succeeded + stats.failed + stats.cancelled == stats.submitted == THREADS * CALLS
    assert stats.failed > 0
    assert stats.cancelled > 0
    assert (stats.waiting, stats.in_flight, scheduler.pending_tasks) == (0, 0, set())


def test_schedulers_that_threads_let_go_of_are_collected_while_their_loops_run_on() -> None:
    async def call() -> None:
        await asyncio.sleep(0)

    async def work() -> None:
        for _ in range(50):
            scheduler = TaskScheduler(limits=[Limit("requests", 1e4, capacity=1)])
            await asyncio.gather(*[scheduler.submit(call()) for _ in range(3)])
            del scheduler  # its timer may be about to fire

    in_threads(lambda i: asyncio.run(work()))


def test_answers_that_threads_observe_teach_one_at_a_time() -> None:
    scheduler = TaskScheduler(adapt=True)
    learning = Crowd()
    headers = {
        "x-ratelimit-limit-requests": "1000000",
        "x-ratelimit-remaining-requests": "900000",
        "x-ratelimit-reset-requests": "6s",
    }
    usage = {"prompt_tokens": 7, "completion_tokens": 3}

    def alone(learn: Callable[..., Any]) -> Callable[..., Any]:
        def learns(*args: Any) -> Any:
            learning.enter()
            time.sleep(1e-4)  # others run meanwhile
            try:
                return learn(*args)
            finally:
                learning.leave()

        return learns

    for what, names in (
        (scheduler._following(), ["answered", "configure"]),
        (scheduler._costs, ["told", "settled", "estimate", "caught_up"]),
    ):
        for name in names:
            setattr(what, name, alone(getattr(what, name)))

    async def call() -> None:
        await asyncio.sleep(0)
        scheduler.observe(200, headers, {}, usage=usage)

    async def work() -> None:
        estimate = scheduler.estimate(100, model="m")
        tasks = [scheduler.submit(call(), estimate) for _ in range(50)]
        await asyncio.gather(*tasks)
        assert scheduler.learned
        assert scheduler.stats().succeeded > 0

    in_threads(lambda i: asyncio.run(work()))
    assert learning.most == 1
    assert len(learning.entered) > 50 * THREADS  # each is settled; most answers tell nothing new
    stats = scheduler.stats()
    assert (stats.succeeded, stats.waiting, stats.in_flight) == (50 * THREADS, 0, 0)
    assert 1e6 / 60 in [pytest.approx(limit.rate) for limit in stats.limits]


@pytest.mark.skipif(
    not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this CPython has the GIL anyway"
)
@pytest.mark.parametrize("module", ["xtremeflow", "xtremeflow.http"])
def test_importing_does_not_turn_the_gil_back_on(module: str) -> None:
    program = f"import sys, {module}; print(sys._is_gil_enabled())"
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout == "False\n"
