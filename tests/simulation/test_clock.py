"""The virtual clock: order, exact jumps, deadlocks, threads, and a clock that never goes back."""

import asyncio
import math
import os
import signal
import socket
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xtremeflow.testing import DeadlockError, VirtualClockLoop, clock_of, run

delays = st.floats(min_value=0, max_value=1e5, allow_nan=False)


def now() -> float:
    return asyncio.get_running_loop().time()


def test_an_hour_passes_at_once():
    async def main():
        began = now()
        await asyncio.sleep(3600)
        return now() - began

    real = time.monotonic()
    assert run(main()) == 3600
    assert time.monotonic() - real < 5


@given(st.lists(delays, max_size=30), st.floats(min_value=0, max_value=1e7))
def test_timers_fire_in_order_at_exactly_their_time(due, start):
    async def main():
        loop = asyncio.get_running_loop()
        fired = []
        wanted = [loop.time() + delay for delay in due]
        for index, when in enumerate(wanted):
            loop.call_at(when, lambda i=index: fired.append((loop.time(), i)))
        await asyncio.sleep(2e5)
        return wanted, fired

    wanted, fired = run(main(), start=start)
    assert [moment for moment, _ in fired] == sorted(wanted)
    assert all(wanted[index] == moment for moment, index in fired)


@given(delays, st.floats(min_value=1, max_value=1e7))
def test_the_next_float_is_a_later_instant(delay, start):
    async def main():
        loop = asyncio.get_running_loop()
        when = loop.time() + delay
        fired = []
        loop.call_at(math.nextafter(when, math.inf), lambda: fired.append(loop.time()))
        loop.call_at(when, lambda: fired.append(loop.time()))
        await asyncio.sleep(delay + 1)
        assert fired == [when, math.nextafter(when, math.inf)]

    run(main(), start=start)


def test_time_stands_still_while_code_runs():
    async def main():
        began = now()
        time.sleep(0.01)  # noqa: ASYNC251 - what is tested
        await asyncio.sleep(0)
        return now() - began

    assert run(main()) == 0


def test_a_cancelled_timer_does_not_attract_the_clock():
    async def main():
        loop = asyncio.get_running_loop()
        began = now()
        loop.call_later(1, lambda: None).cancel()
        await asyncio.sleep(2)
        assert now() - began == 2

    run(main())


def test_timeouts_are_virtual_too():
    async def main():
        began = now()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.sleep(1000), 100)
        return now() - began

    assert run(main()) == 100


def test_a_deadlock_is_an_error_that_names_the_waiting():
    async def stuck():
        await asyncio.Event().wait()

    async def main():
        await asyncio.gather(asyncio.create_task(stuck(), name="the-stuck-one"))

    with pytest.raises(DeadlockError, match=r"(?s)2 task\(s\) still wait.*the-stuck-one.*stuck"):
        run(main())


def test_the_clock_never_goes_back_from_loop_to_loop():
    async def main(seconds):
        began = now()
        await asyncio.sleep(seconds)
        return began, now()

    before = time.monotonic()
    first_began, first_ended = run(main(1e5))
    second_began, _ = run(main(1))
    assert before <= first_began
    assert first_ended <= second_began


def test_a_start_may_be_chosen():
    async def main():
        return now()

    assert run(main(), start=0.0) == 0.0
    with pytest.raises(ValueError, match="start must be a finite"):
        VirtualClockLoop(start=math.nan)


def test_a_thread_is_waited_for():
    """The clock runs at real speed while a thread works, here until a timer of the loop."""

    async def main():
        rung = threading.Event()
        began, real = now(), time.monotonic()
        asyncio.get_running_loop().call_later(0.02, rung.set)
        rang = await asyncio.to_thread(rung.wait, 30)
        return rang, now() - began, time.monotonic() - real

    rang, passed, real = run(main())
    assert rang
    assert 0.019 < passed < 5
    assert real > 0.015  # not a jump of the clock


def test_the_clock_runs_at_real_speed_beside_a_thread():
    async def main():
        loop = asyncio.get_running_loop()

        def work():  # needs a timer of the loop to end
            return asyncio.run_coroutine_threadsafe(asyncio.sleep(0.02, "slept"), loop).result(5)

        return await asyncio.to_thread(work)

    assert run(main()) == "slept"


def test_a_busy_loop_beside_a_thread_does_not_jump():
    async def main():
        began = now()
        timer = asyncio.create_task(asyncio.sleep(1000))
        thread = asyncio.ensure_future(asyncio.to_thread(time.sleep, 0.01))
        while not thread.done():  # noqa: ASYNC110 - what is tested
            await asyncio.sleep(0)
        timer.cancel()
        return now() - began

    assert run(main()) < 5


def test_sockets_work():
    async def main():
        async def echo(reader, writer):
            writer.write(await reader.read(100))
            writer.close()

        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"hello")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
        return answer

    assert run(main()) == b"hello"


def test_run_cancels_what_is_left_and_returns():
    seen = []

    async def left_over():
        try:
            await asyncio.sleep(10)
        finally:
            seen.append("cancelled")

    async def main():
        task = asyncio.create_task(left_over())
        await asyncio.sleep(0)
        assert not task.done()
        return "result"

    assert run(main()) == "result"
    assert seen == ["cancelled"]


def test_run_refuses_a_running_loop():
    async def main():
        inner = asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="while an event loop is running"):
            run(inner)

    asyncio.run(main())


def test_the_virtual_loop_has_a_debug_mode():
    async def main():
        await asyncio.sleep(1)
        return asyncio.get_running_loop().get_debug()

    assert run(main(), debug=True) is True


def test_clock_of_a_loop():
    async def main():
        loop = asyncio.get_running_loop()
        return clock_of(loop)() == loop.time()

    assert run(main())
    uvloop = pytest.importorskip("uvloop")
    loop = uvloop.new_event_loop()
    try:
        assert clock_of(loop) is time.monotonic
    finally:
        loop.close()


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="there is no such signal")
def test_signals_are_heard_while_nothing_else_is_watched():
    """Of a loop that watches nothing, mostly no descriptors are polled."""

    async def main():
        loop = asyncio.get_running_loop()
        heard = []
        loop.add_signal_handler(signal.SIGUSR1, heard.append, True)
        try:
            os.kill(os.getpid(), signal.SIGUSR1)
            for second in range(200):
                if heard:
                    return second
                await asyncio.sleep(1)
        finally:
            loop.remove_signal_handler(signal.SIGUSR1)

    assert run(main()) is not None


def test_input_is_heard_at_once_while_calls_are_ready():
    async def main():
        loop = asyncio.get_running_loop()
        heard = []
        ours, theirs = socket.socketpair()
        with ours, theirs:
            loop.add_reader(ours, lambda: heard.append(ours.recv(1)))
            theirs.send(b"x")
            await asyncio.sleep(1)
            loop.remove_reader(ours)
        return heard

    assert run(main()) == [b"x"]
