"""Event loops of all kinds, one after the other and several at once, with one scheduler."""

from __future__ import annotations

import asyncio
import gc
import http.server
import os
import subprocess
import sys
import textwrap
import threading
import time
import warnings
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from xtremeflow import RequestRateScheduler, TaskScheduler, TokenRateScheduler
from xtremeflow.testing import VirtualClockLoop, run

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="timerfd and /proc are Linux's")


async def nap(seconds: float = 0, value: Any = None) -> Any:
    await asyncio.sleep(seconds)
    return value


async def waits_for_ever() -> None:
    await asyncio.get_running_loop().create_future()


class NoReaderLoop(asyncio.SelectorEventLoop):
    """As Windows' proactor loop: descriptors cannot be watched."""

    def add_reader(self, *args: Any) -> Any:
        raise NotImplementedError


def uvloop_loop() -> asyncio.AbstractEventLoop:
    return pytest.importorskip("uvloop").new_event_loop()


LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [
    asyncio.SelectorEventLoop,
    NoReaderLoop,
    VirtualClockLoop,
    uvloop_loop,
]


def run_in(make: Callable[[], asyncio.AbstractEventLoop], main: Any) -> Any:
    loop = make()
    try:
        return loop.run_until_complete(main)
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def open_timers() -> set[str]:
    """The timerfds that the process has open."""
    found: set[str] = set()
    for fd in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the listing's own
            if "timerfd" in os.readlink(f"/proc/self/fd/{fd}"):
                found.add(fd)
    return found


def timers() -> int:
    return len(open_timers())


async def a_bit_of_everything(scheduler: TokenRateScheduler) -> None:
    times: list[float] = []
    loop = asyncio.get_running_loop()

    async def call() -> None:
        times.append(loop.time())

    for _ in range(5):
        await scheduler.start_task(call(), 10)
    tasks = [scheduler.submit(call(), 10) for _ in range(5)]
    doomed = scheduler.submit(call(), 10, timeout=0.001)
    await asyncio.gather(*tasks)
    await scheduler.wait_pending()
    assert isinstance(doomed.exception(), asyncio.TimeoutError)
    assert times == sorted(times)
    # 10 calls at 100 per second, of which the first may be late by what the schedule catches up.
    assert 0.05 < times[-1] - times[0] < 5


@pytest.mark.parametrize("make", LOOPS)
def test_each_kind_of_loop(make: Any) -> None:
    scheduler = TokenRateScheduler(max_tps=1000)
    for _ in range(2):
        run_in(make, a_bit_of_everything(scheduler))


@on_linux
@pytest.mark.parametrize(("make", "uses"), list(zip(LOOPS, [1, 0, 0, 1], strict=True)))
def test_a_timerfd_where_there_can_be_one(make: Any, uses: int) -> None:
    gc.collect()
    before = open_timers()  # others' may be closed meanwhile
    scheduler = TokenRateScheduler(max_tps=1000)

    async def main(scheduler: TokenRateScheduler) -> None:
        await a_bit_of_everything(scheduler)
        assert len(open_timers() - before) == uses

    for _ in range(3):
        run_in(make, main(scheduler))
    assert len(open_timers() - before) <= uses  # that of a closed loop goes when there is a new one
    del scheduler
    gc.collect()
    assert open_timers() <= before


@on_linux
@pytest.mark.parametrize("make", LOOPS)
def test_a_scheduler_dropped_while_its_loop_lives(make: Any) -> None:
    async def main() -> None:
        before = timers()
        for _ in range(3):
            scheduler = TokenRateScheduler(max_tps=1000)
            await a_bit_of_everything(scheduler)
            gone = weakref.ref(scheduler)
            del scheduler
            for _ in range(100):  # what the loop still has in hand, on a busy machine
                if gone() is None:
                    break
                await asyncio.sleep(0.01)
            assert gone() is None  # without the help of the garbage collector
            assert timers() == before
        await asyncio.sleep(0.02)

    gc.collect()
    gc.disable()
    try:
        run_in(make, main())
    finally:
        gc.enable()


@on_linux
def test_a_timer_that_fails_once_is_set_by_the_next_call() -> None:
    class Loop(NoReaderLoop):
        fails = False

        def call_at(self, when: float, callback: Any, *args: Any, **kwargs: Any) -> Any:
            if self.fails and getattr(callback, "__name__", "") == "wake":
                self.fails = False
                raise MemoryError("once")
            return super().call_at(when, callback, *args, **kwargs)

    async def main() -> None:
        scheduler = RequestRateScheduler(max_rps=100, burst_ratio=0.01)
        await (await scheduler.start_task(nap()))
        loop.fails = True
        tasks = [scheduler.submit(nap())]
        assert not loop.fails
        tasks.append(scheduler.submit(nap()))
        assert len((await asyncio.wait(tasks, timeout=20))[0]) == 2

    faults: list[Any] = []
    hook, sys.unraisablehook = sys.unraisablehook, faults.append
    try:
        loop = Loop()
        loop.run_until_complete(main())
        loop.close()
    finally:
        sys.unraisablehook = hook
    assert [fault.exc_type for fault in faults] == [MemoryError]


def test_a_scheduler_dropped_by_another_thread() -> None:
    async def main() -> None:
        before = timers()
        box = [TokenRateScheduler(max_tps=1000)]
        await a_bit_of_everything(box[0])
        assert timers() == before + 1
        await asyncio.to_thread(box.clear)
        await asyncio.sleep(0.01)  # closed in the loop's own thread
        assert timers() == before

    asyncio.run(main())


def test_many_runs_with_one_scheduler() -> None:
    scheduler = RequestRateScheduler(max_rps=1e6, max_concurrency=3)

    async def main() -> list[Any]:
        return await asyncio.gather(*(scheduler.submit(nap(0, i)) for i in range(10)))

    for _ in range(20):
        assert asyncio.run(main()) == list(range(10))
    assert scheduler.stats().succeeded == 200


@pytest.mark.parametrize("make", LOOPS)
def test_a_loop_closed_with_calls_pending_gives_their_slots_back(make: Any) -> None:
    scheduler = RequestRateScheduler(max_rps=4, max_concurrency=2)

    async def leaves_calls_behind() -> None:
        scheduler.submit(waits_for_ever())
        scheduler.submit(waits_for_ever())
        scheduler.submit(nap())
        await asyncio.sleep(0.01)
        assert (scheduler.active_tasks, scheduler.waiting) == (1, 2)

    async def goes_on() -> Any:
        return await scheduler.submit(nap(0, "on"))

    loop = make()
    handled: list[Any] = []
    loop.set_exception_handler(lambda _, context: handled.append(context["message"]))
    loop.run_until_complete(leaves_calls_behind())
    loop.close()
    assert run_in(make, goes_on()) == "on"
    assert scheduler.active_tasks == scheduler.waiting == 0
    del loop
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # asyncio's own, of coroutines that never ran
        gc.collect()
    assert set(handled) <= {"Task was destroyed but it is pending!"}


@pytest.mark.parametrize("make", [asyncio.SelectorEventLoop, NoReaderLoop, uvloop_loop])
def test_a_closed_loop_does_not_hold_up_another_that_lives_on(make: Any) -> None:
    scheduler = RequestRateScheduler(max_rps=1000, max_concurrency=1)

    async def leaves_calls_behind() -> None:
        scheduler.submit(waits_for_ever())
        scheduler.submit(nap())
        await asyncio.sleep(0.01)

    def other_thread() -> None:
        loop = make()
        loop.set_exception_handler(lambda *_: None)
        loop.run_until_complete(leaves_calls_behind())
        loop.close()

    async def main() -> None:
        await scheduler.submit(nap())
        await asyncio.to_thread(other_thread)
        assert scheduler.active_tasks == 1
        assert await asyncio.wait_for(scheduler.submit(nap(0, "mine")), 20) == "mine"
        assert scheduler.active_tasks == scheduler.waiting == 0

    run_in(make, main())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()


@pytest.mark.parametrize("make", [asyncio.SelectorEventLoop, NoReaderLoop, uvloop_loop])
def test_a_loop_closed_in_another_thread_does_not_hold_up_waiting_calls(make: Any) -> None:
    scheduler = TaskScheduler(1)
    holding, waiting = threading.Event(), threading.Event()

    async def leave_one() -> None:
        leftover.append(await scheduler.start_task(waits_for_ever()))
        holding.set()
        await asyncio.to_thread(waiting.wait, 20)

    def thread() -> None:
        loop = asyncio.SelectorEventLoop()
        loop.run_until_complete(leave_one())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

    async def main() -> int:
        holding.wait(20)
        task = scheduler.submit(nap(0, 7))
        await asyncio.sleep(0.01)
        assert not task.done()
        waiting.set()
        return await asyncio.wait_for(task, 20)

    leftover: list[Any] = []
    other = threading.Thread(target=thread)
    other.start()
    assert run_in(make, main()) == 7
    other.join()
    leftover[0]._log_destroy_pending = False
    leftover[0].get_coro().close()


@pytest.mark.parametrize("make", LOOPS)
def test_several_threads_share_a_scheduler(make: Any) -> None:
    if make is VirtualClockLoop:
        pytest.skip("a virtual clock does not wait for other threads")
    scheduler = RequestRateScheduler(max_rps=20_000, max_concurrency=4)
    running = most = 0
    lock = threading.Lock()
    wrong: list[Any] = []

    async def call(loop: Any) -> None:
        nonlocal running, most
        if asyncio.get_running_loop() is not loop:
            wrong.append(loop)
        with lock:
            running += 1
            most = max(most, running)
        await asyncio.sleep(0)
        with lock:
            running -= 1

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for _ in range(10):
            tasks = [scheduler.submit(call(loop)) for _ in range(10)]
            tasks += [await scheduler.start_task(call(loop)) for _ in range(10)]
            tasks[3].cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert scheduler.pending_tasks is not scheduler.pending_tasks
        await scheduler.wait_pending()

    def thread() -> None:
        try:
            run_in(make, asyncio.wait_for(main(), 60))
        except BaseException as exc:
            wrong.append(exc)

    threads = [threading.Thread(target=thread) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []
    assert most <= 4
    stats = scheduler.stats()
    assert (stats.in_flight, stats.waiting) == (0, 0)
    assert stats.succeeded + stats.cancelled == 4 * 10 * 20


def test_a_slot_freed_in_one_thread_wakes_the_other() -> None:
    scheduler = TaskScheduler(1)
    holding, release = threading.Event(), threading.Event()

    async def holder() -> None:
        async def hold() -> None:
            holding.set()
            await asyncio.to_thread(release.wait, 20)

        await scheduler.submit(hold())

    thread = threading.Thread(target=lambda: asyncio.run(holder()))
    thread.start()
    holding.wait(20)

    async def main() -> float:
        waiting = scheduler.submit(nap())
        await asyncio.sleep(0.05)
        assert not waiting.done()
        release.set()
        await asyncio.wait_for(waiting, 20)
        await asyncio.wait_for(scheduler.wait_pending(), 20)
        return time.monotonic()

    asyncio.run(main())
    thread.join()


def test_calls_that_pass_together_wake_another_loop_once() -> None:
    class CountingLoop(asyncio.SelectorEventLoop):
        wake_ups = 0

        def call_soon_threadsafe(self, *args: Any, **kwargs: Any) -> Any:
            self.wake_ups += 1
            return super().call_soon_threadsafe(*args, **kwargs)

    scheduler = TaskScheduler(1)
    loop = CountingLoop()
    release = loop.create_future()

    async def hold() -> None:
        await release

    async def queue() -> list[Any]:
        tasks = [scheduler.submit(hold()), *[scheduler.submit(nap(0, n)) for n in range(10)]]
        await asyncio.sleep(0)
        return tasks

    async def let_all_pass() -> None:
        scheduler.max_concurrency = 11

    async def end(tasks: list[Any]) -> list[Any]:
        release.set_result(None)
        return await asyncio.gather(*tasks)

    tasks = loop.run_until_complete(queue())
    asyncio.run(let_all_pass())
    assert loop.wake_ups == 1
    assert loop.run_until_complete(end(tasks)) == [None, *range(10)]
    loop.close()


def test_a_cooldown_may_be_opened_by_any_thread() -> None:
    async def main() -> None:
        scheduler = TaskScheduler()
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.to_thread(scheduler.notify_rate_limit_exceeded, 0.05)
        await scheduler.submit(nap())
        assert 0.05 <= loop.time() - began < 20

    asyncio.run(main())


def test_a_virtual_loop_after_a_real_one_and_back() -> None:
    scheduler = RequestRateScheduler(max_rps=100)

    async def main() -> None:
        for _ in range(3):
            await scheduler.start_task(nap())
        await scheduler.wait_pending()

    asyncio.run(main())
    run(main())
    assert scheduler.stats().succeeded == 6


IN_ANOTHER_INTERPRETER = {
    "the scheduler": """
        import asyncio
        from xtremeflow._core import Scheduler

        async def call():
            return 5

        async def main():
            return await (await Scheduler(max_concurrency=1).start_task(call()))

        assert asyncio.run(main()) == 5
        """,
    "the client": """
        import asyncio
        from xtremeflow import TaskScheduler
        from xtremeflow.http import Client

        async def main():
            async with Client(scheduler=TaskScheduler(1)) as client:
                return [(await client.get(URL)).body for _ in range(3)]

        assert asyncio.run(main()) == [b"hello"] * 3
        """,
}


class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("what", IN_ANOTHER_INTERPRETER)
def test_another_interpreter_may_use_it_too(what: str) -> None:
    """In a process of its own: interpreters differ in what they leave behind."""
    if what == "the client":
        pytest.importorskip("xtremeflow.http")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hello)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    inner = f"URL = 'http://127.0.0.1:{server.server_port}/'\n"
    inner += textwrap.dedent(IN_ANOTHER_INTERPRETER[what])
    program = f"inner = {inner!r}\n" + textwrap.dedent(
        """
        import os
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters
        import xtremeflow
        interpreter = interpreters.create()
        failed = interpreters.run_string(interpreter, inner)
        assert not failed, failed
        interpreters.destroy(interpreter)
        os._exit(0)  # CPython 3.12.1 crashes at its exit when asyncio alone was imported there
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    server.shutdown()
    server.server_close()
    if "does not support loading in subinterpreters" in done.stderr:
        pytest.skip("a module of the standard library refuses other interpreters")
    assert done.returncode == 0, done.stderr
