"""start_task() returns a coroutine and its tasks run coroutines, to asyncio and to people."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import inspect
import io
import sys
import traceback
import warnings
from collections.abc import Coroutine, Generator
from statistics import median
from typing import Any

import pytest
from kit.calls import result

from xtremeflow import TaskScheduler, report_token_usage
from xtremeflow._core import Call
from xtremeflow.scheduler.rate_limit import get_context


async def nap(value: Any = None) -> Any:
    await asyncio.sleep(0)
    return value


async def forever() -> None:
    await asyncio.Event().wait()


async def fail(error: BaseException) -> None:
    await asyncio.sleep(0)
    raise error


def closed(coro: Any) -> bool:
    return inspect.getcoroutinestate(coro) == inspect.CORO_CLOSED


class Awaitable:
    """Not a coroutine, but awaitable."""

    def __await__(self) -> Generator[Any, Any, str]:
        yield from asyncio.sleep(0).__await__()
        return "awaited"


class Wrapped:
    """Takes the steps of another awaitable one by one."""

    def __init__(self, awaitable: Any) -> None:
        self.awaitable = awaitable

    def __await__(self) -> Generator[Any, Any, Any]:
        return (yield from self.awaitable.__await__())


# --- values -------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [(), (1, 2), None, StopIteration(5), ValueError("returned")])
@pytest.mark.parametrize("call", [result, nap])
def test_results_come_through_as_they_are(value: Any, call: Any) -> None:
    async def main() -> None:
        scheduler = TaskScheduler()
        if isinstance(value, StopIteration):
            value_of = [value]  # a future refuses it bare
            assert await scheduler.submit(call(value_of)) is value_of
        else:
            assert await (await scheduler.start_task(call(value))) is value
            assert await scheduler.submit(call(value)) is value

    asyncio.run(main())


def test_stop_iteration_raised_inside_is_a_runtime_error() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="coroutine raised StopIteration"):
            await TaskScheduler().submit(fail(StopIteration(3)))

    asyncio.run(main())


def test_any_awaitable_may_be_submitted() -> None:
    async def main() -> None:
        scheduler = TaskScheduler()
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_result, "future")
        assert await scheduler.submit(Awaitable()) == "awaited"
        assert await (await scheduler.start_task(future)) == "future"
        assert await scheduler.submit(asyncio.create_task(nap("task"))) == "task"
        assert await scheduler.submit(scheduler.submit(nap("twice"))) == "twice"
        assert scheduler.stats().succeeded == 5

    asyncio.run(main())


def test_an_awaitable_for_one_await_is_not_iterable() -> None:
    async def main() -> None:
        scheduler = TaskScheduler()
        calls: list[Any] = []

        async def look() -> None:
            calls.extend((get_context(), report_token_usage(1)))
            assert await Wrapped(calls[1]) is None

        await scheduler.submit(look())
        start = scheduler.start_task(nap())
        for awaitable in (start, *calls):
            with pytest.raises(TypeError, match="not iterable"):
                iter(awaitable)
        with pytest.raises(TypeError, match="must be an iterable"):
            asyncio.gather(*start)  # type: ignore[misc]  # a star too many
        start.close()

    asyncio.run(main())


def test_the_steps_of_what_is_awaited_can_be_taken_one_by_one() -> None:
    async def main() -> None:
        scheduler = TaskScheduler(max_concurrency=1)
        first = await scheduler.start_task(forever())
        waiting = asyncio.ensure_future(Wrapped(scheduler.start_task(nap((1, 2)))))
        cancelled = asyncio.ensure_future(Wrapped(scheduler.start_task(nap())))
        await asyncio.sleep(0)
        cancelled.cancel()
        first.cancel()
        assert await (await waiting) == (1, 2)
        await asyncio.wait([cancelled])
        assert cancelled.cancelled()
        steps = scheduler.start_task(nap()).__await__()
        assert iter(steps) is steps
        steps.close()
        with pytest.raises(TypeError, match="takes no arguments"):
            scheduler.start_task(nap()).__await__(1)  # type: ignore[call-arg]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        asyncio.run(main())


def test_an_await_method_that_returns_no_iterator() -> None:
    class Wrong:
        def __await__(self) -> Any:
            return [1]

    async def main() -> None:
        scheduler = TaskScheduler(1)
        with pytest.raises(TypeError, match="non-iterator of type 'list'"):
            await scheduler.submit(Wrong())
        assert scheduler.active_tasks == 0

    asyncio.run(main())


def test_exceptions_are_those_of_the_call() -> None:
    async def main() -> None:
        scheduler = TaskScheduler(1)
        error = KeyError("mine")
        with pytest.raises(KeyError) as caught:
            await scheduler.submit(fail(error))
        assert caught.value is error
        with pytest.raises(asyncio.CancelledError):
            await scheduler.submit(fail(asyncio.CancelledError()))
        stats = scheduler.stats()
        assert (stats.failed, stats.cancelled, stats.in_flight) == (1, 1, 0)

    asyncio.run(main())


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_exits_end_the_loop_and_free_the_slot(error: type[BaseException]) -> None:
    async def main() -> None:
        await scheduler.submit(fail(error()))

    scheduler = TaskScheduler(1)
    with pytest.raises(error):
        asyncio.run(main())
    assert scheduler.active_tasks == 0
    assert asyncio.run(one(scheduler)) == 1


async def one(scheduler: TaskScheduler) -> Any:
    return await scheduler.submit(result(1))


# --- the coroutine protocol by hand -------------------------------------------------------------


def test_start_task_and_its_task_have_real_coroutines() -> None:
    async def main() -> None:
        scheduler = TaskScheduler()
        start = scheduler.start_task(nap())
        task = await start
        for coro in (start, task.get_coro()):
            assert asyncio.iscoroutine(coro)
            assert inspect.isawaitable(coro)
            assert isinstance(coro, Coroutine)
        await task
        for coro in (start, task.get_coro()):
            with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
                coro.send(None)
            with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
                coro.throw(KeyError)
            assert coro.close() is None

    asyncio.run(main())


def test_start_may_be_wrapped_in_a_task_and_in_wait_for() -> None:
    async def main() -> None:
        scheduler = TaskScheduler(1)
        outer = asyncio.create_task(scheduler.start_task(nap("inner")), name="outer")
        assert await (await outer) == "inner"
        assert await (await asyncio.wait_for(scheduler.start_task(nap("b")), 5)) == "b"
        blocker = await scheduler.start_task(forever())
        waiting = nap()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(scheduler.start_task(waiting), 0.01)
        assert closed(waiting)
        blocker.cancel()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("args", "error"),
    [
        ((KeyError,), KeyError),
        ((KeyError("a"),), KeyError),
        ((KeyError, KeyError("a")), KeyError),
        ((KeyError, "a", None), KeyError),
        ((5,), TypeError),
        ((KeyError("a"), "b"), TypeError),
    ],
)
@pytest.mark.filterwarnings("ignore:the .type, exc, tb. signature:DeprecationWarning")
def test_an_error_thrown_into_start_task_is_raised_and_closes_the_call(
    args: Any, error: type[Exception]
) -> None:
    async def main() -> None:
        scheduler = TaskScheduler(1)
        coro = nap()
        start = scheduler.start_task(coro)
        with pytest.raises(error):
            start.throw(*args)
        assert closed(coro)

        blocker = await scheduler.start_task(forever())
        coro = nap()
        waiting = scheduler.submit(coro)
        await asyncio.sleep(0)
        assert scheduler.waiting == 1
        with pytest.raises(error):
            waiting.get_coro().throw(*args)
        assert closed(coro)
        assert scheduler.waiting == 0
        waiting.cancel()

        with pytest.raises(error):
            blocker.get_coro().throw(*args)
        assert scheduler.active_tasks == 0
        blocker.cancel()

    asyncio.run(main())


def test_throw_that_is_caught_goes_on_and_may_return() -> None:
    async def catches() -> str:
        try:
            await asyncio.sleep(0)
        except KeyError:
            await asyncio.sleep(0)
        return "returned"

    async def main() -> None:
        scheduler = TaskScheduler()
        start = scheduler.start_task(catches())
        with pytest.raises(StopIteration) as stop:
            start.send(None)
        task = stop.value.value
        coro = task.get_coro()
        assert coro.send(None) is None
        assert coro.throw(KeyError) is None
        with pytest.raises(StopIteration, match="returned"):
            coro.send(None)
        assert scheduler.stats().succeeded == 1
        task.cancel()

    asyncio.run(main())


def test_closing_start_task_closes_the_call() -> None:
    async def main() -> None:
        scheduler = TaskScheduler(1)
        coro = nap()
        scheduler.start_task(coro).close()
        assert closed(coro)

        running = forever()
        blocker = await scheduler.start_task(running)
        await asyncio.sleep(0)
        coro = nap()
        waiting = scheduler.submit(coro)
        await asyncio.sleep(0)
        waiting.get_coro().close()
        assert closed(coro)
        assert (scheduler.active_tasks, scheduler.waiting) == (1, 0)
        blocker.get_coro().close()
        assert closed(running)
        assert scheduler.active_tasks == 0
        for task in (waiting, blocker):
            task.cancel()
            with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
                await task  # as with any coroutine that is closed behind its task's back

    asyncio.run(main())


def test_an_error_while_closing_is_raised() -> None:
    async def main() -> None:
        async def call() -> None:
            try:
                await forever()
            finally:
                raise AttributeError("mine")

        scheduler = TaskScheduler()
        task = await scheduler.start_task(call())
        await asyncio.sleep(0)
        with pytest.raises(AttributeError, match="mine"):
            task.get_coro().close()
        task.cancel()
        with pytest.raises(RuntimeError, match="already awaited"):
            await task

        other = await scheduler.start_task(Awaitable())  # its iterator can be closed
        await asyncio.sleep(0)
        assert other.get_coro().close() is None
        other.cancel()
        await asyncio.wait([other])
        assert scheduler.active_tasks == 0

    asyncio.run(main())


def test_a_call_cannot_step_close_or_throw_into_itself() -> None:
    async def reaches_for_itself() -> str:
        task = asyncio.current_task()
        assert task is not None
        coro: Any = task.get_coro()
        for use in (lambda: coro.send(None), lambda: coro.throw(KeyError), coro.close):
            with pytest.raises(ValueError, match="already executing"):
                use()
        assert coro.cr_running
        await asyncio.sleep(0)
        return "went on"

    async def main() -> None:
        scheduler = TaskScheduler(1)
        assert await scheduler.submit(reaches_for_itself()) == "went on"
        assert scheduler.stats().succeeded == 1

    asyncio.run(main())


# --- never awaited ------------------------------------------------------------------------------


def test_a_start_that_was_never_awaited_warns_and_closes_the_coroutine() -> None:
    coro = nap()
    with pytest.warns(RuntimeWarning, match=r"'TaskScheduler.start_task' was never awaited"):
        TaskScheduler().start_task(coro)
    assert closed(coro)


def test_no_warning_for_the_rest() -> None:
    async def main() -> None:
        scheduler = TaskScheduler(1)
        await scheduler.start_task(forever())
        waiting = scheduler.start_task(nap())
        waiting.send(None)
        del waiting
        assert scheduler.waiting == 0
        scheduler.submit(nap())  # never gets to run: asyncio.run cancels it
        report_token_usage_of_nobody()

    def report_token_usage_of_nobody() -> None:
        with pytest.raises(RuntimeError):
            report_token_usage(1)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(main())
        gc.collect()


# --- introspection ------------------------------------------------------------------------------


def test_tasks_look_like_those_of_their_calls() -> None:
    async def main() -> None:
        scheduler = TaskScheduler(1)
        first = await scheduler.start_task(forever(), name="first")
        second = scheduler.submit(forever())
        third = asyncio.create_task(scheduler.start_task(nap()), name="third")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {first, second, third, asyncio.current_task()}
        assert first.get_name() == "first"
        assert second.get_name().startswith("Task-")
        assert "forever()" in repr(first)
        assert f"{__file__}:" in repr(first)
        assert "forever" in repr(second)
        assert "start_task" in repr(third)
        coro: Any = first.get_coro()
        assert (coro.__name__, coro.__qualname__) == ("forever", "forever")
        assert coro.cr_code is forever.__code__
        assert coro.cr_frame.f_code is forever.__code__
        assert coro.cr_await.__qualname__ == "Event.wait"
        assert not coro.cr_running
        assert "forever" in repr(coro)
        waiting: Any = second.get_coro()
        assert (waiting.state, waiting.cr_await) == ("waiting", None)
        assert third.get_coro().cr_await.state == "waiting"  # type: ignore[union-attr]
        [frame] = first.get_stack()
        assert frame.f_code is forever.__code__
        out = io.StringIO()
        first.print_stack(file=out)
        assert "in forever" in out.getvalue()
        third.print_stack(file=out)
        start: Any = third.get_coro()
        assert (start.__name__, start.__qualname__) == ("start_task", "TaskScheduler.start_task")
        assert (start.cr_frame, start.cr_code, start.cr_running) == (None, None, False)
        for task in (first, second, third):
            task.cancel()

    asyncio.run(main())


def test_other_awaitables_have_names_too() -> None:
    async def main() -> None:
        task = TaskScheduler().submit(Awaitable())
        assert "Awaitable" in repr(task)
        coro: Any = task.get_coro()
        assert (coro.__name__, coro.cr_code, coro.cr_frame) == ("Awaitable", None, None)
        await task

    asyncio.run(main())


def test_tracebacks_show_the_frames_of_the_call_and_no_others() -> None:
    async def innermost() -> None:
        await asyncio.sleep(0)
        raise KeyError("deep down")

    async def outer() -> None:
        await innermost()

    async def main() -> None:
        task = await TaskScheduler().start_task(outer())
        await asyncio.wait([task])
        error = task.exception()
        assert error is not None
        frames = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
        assert frames == ["outer", "innermost"]

    asyncio.run(main())


def test_calls_work_in_debug_mode_and_tell_where_they_were_created(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        scheduler = TaskScheduler(1)
        tasks = [await scheduler.start_task(nap(i)) for i in range(3)]
        tasks += [scheduler.submit(nap(i)) for i in range(3)]
        assert "created at" in repr(tasks[0])
        assert await asyncio.gather(*tasks) == [0, 1, 2, 0, 1, 2]
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.gather(scheduler.submit(forever()), scheduler.submit(nap(), timeout=0.01))
        scheduler.notify_rate_limit_exceeded(0.01)

    asyncio.run(main(), debug=True)
    assert not [r for r in caplog.records if "took" not in r.getMessage()]


# --- kinds of tasks -----------------------------------------------------------------------------


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
def test_a_call_with_a_free_slot_is_done_at_once_with_eager_tasks() -> None:
    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        scheduler = TaskScheduler(1)
        done = await scheduler.start_task(result("at once"))
        assert done.done()
        assert done.result() == "at once"
        assert scheduler.submit(result("too")).result() == "too"
        assert isinstance(scheduler.submit(fail_at_once()).exception(), KeyError)
        assert scheduler.pending_tasks == set()
        tasks = [scheduler.submit(nap(i)) for i in range(4)]
        assert (scheduler.active_tasks, scheduler.waiting) == (1, 3)
        assert await asyncio.gather(*tasks) == [0, 1, 2, 3]
        nested = scheduler.submit(asks_for_its_call())
        assert nested.result() is scheduler
        assert get_context() is None
        stats = scheduler.stats()
        assert (stats.succeeded, stats.failed, stats.in_flight) == (7, 1, 0)

    async def fail_at_once() -> None:
        raise KeyError

    async def asks_for_its_call() -> Any:
        call = get_context()
        return call and call.scheduler

    asyncio.run(main())


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tasks take a context since Python 3.11")
@pytest.mark.parametrize("is_failing", [False, True])
def test_the_context_of_a_task_does_not_keep_its_call_when_that_has_ended(
    is_failing: bool,
) -> None:
    context = contextvars.Context()

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(
            lambda loop, coro, **_: asyncio.Task(coro, loop=loop, context=context)
        )
        scheduler = TaskScheduler(1)
        seen = []

        async def call() -> None:
            seen.append(get_context())
            await asyncio.sleep(0)
            if is_failing:
                raise KeyError

        for _ in range(2):
            await asyncio.wait([scheduler.submit(call())])
            assert seen[-1] is not None
            assert list(context) == []

    asyncio.run(main())


def test_a_task_between_its_steps_has_no_more_objects_than_a_bare_one_but_its_call() -> None:
    """The median of some rounds, as threads that other tests have begun make objects, too."""
    calls = 100

    def objects() -> int:
        gc.collect()
        return len(gc.get_objects())

    async def more(scheduler: TaskScheduler, kept: list[asyncio.Task[None]]) -> float:
        before = objects()
        kept += [asyncio.create_task(forever()) for _ in range(calls)]
        await asyncio.sleep(0)
        between = objects()
        kept += [scheduler.submit(forever()) for _ in range(calls)]
        await asyncio.sleep(0)
        return (objects() - 2 * between + before) / calls

    async def main() -> None:
        scheduler = TaskScheduler()
        kept: list[asyncio.Task[None]] = []
        await more(scheduler, kept)  # what is made once
        found = [await more(scheduler, kept) for _ in range(5)]
        assert scheduler.active_tasks == 6 * calls
        assert median(found) == pytest.approx(1, abs=0.1)
        for task in kept:
            task.cancel()

    contextvars.Context().run(asyncio.run, main())


def test_code_of_a_call_finds_it_in_each_step_and_in_what_it_starts() -> None:
    async def main() -> None:
        found = []

        async def note() -> None:
            found.append(get_context())
            await asyncio.sleep(0)
            found.append(get_context())

        async def call() -> None:
            await note()
            child = asyncio.create_task(note())
            await asyncio.to_thread(lambda: found.append(get_context()))
            await child
            try:
                await fail(KeyError())
            finally:
                await note()

        with pytest.raises(KeyError):
            await TaskScheduler().submit(call())
        assert len(found) == 7
        assert isinstance(found[0], Call)
        assert set(found) == {found[0]}
        assert get_context() is None

    asyncio.run(main())


def test_code_of_a_call_finds_it_while_its_coroutine_is_closed() -> None:
    async def main() -> None:
        found = []

        async def call() -> None:
            try:
                found.append(get_context())
                await asyncio.sleep(60)
            finally:
                found.append(get_context())

        scheduler = TaskScheduler()
        task = scheduler.submit(call())
        await asyncio.sleep(0)
        task.get_coro().close()  # type: ignore[union-attr]
        assert found == [found[0]] * 2
        assert get_context() is None
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(main())


def test_a_call_that_has_started_has_no_admission_to_wait_for() -> None:
    async def main() -> None:
        async def call() -> None:
            with pytest.raises(RuntimeError, match="a call that has started cannot be waited for"):
                get_context().add_done_callback(print)

        await TaskScheduler(1).submit(call())

    asyncio.run(main())


def test_tasks_written_in_python() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(
            lambda loop, coro, **kwargs: asyncio.tasks._PyTask(coro, loop=loop, **kwargs)
        )
        scheduler = TaskScheduler(1)
        tasks = [await scheduler.start_task(nap(i)) for i in range(3)]
        tasks += [scheduler.submit(nap(i)) for i in range(3)]
        assert isinstance(tasks[0], asyncio.tasks._PyTask)
        tasks[4].cancel()
        values = await asyncio.gather(*tasks, return_exceptions=True)
        assert values[:4] + values[5:] == [0, 1, 2, 0, 2]
        assert isinstance(values[4], asyncio.CancelledError)
        waiting = scheduler.submit(forever()), scheduler.submit(nap(), timeout=0.01)
        with pytest.raises(asyncio.TimeoutError):
            await waiting[1]
        waiting[0].cancel()

    asyncio.run(main())


def test_a_task_factory_that_raises_loses_nothing() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        scheduler = TaskScheduler(1)

        def refuse(*args: Any, **kwargs: Any) -> Any:
            raise MemoryError("no task today")

        loop.set_task_factory(refuse)
        first, second = nap(), nap()
        with pytest.raises(MemoryError, match="no task today"):
            await scheduler.start_task(first)
        with pytest.raises(MemoryError, match="no task today"):
            scheduler.submit(second)
        loop.set_task_factory(None)
        assert closed(first)
        assert closed(second)
        assert (scheduler.active_tasks, scheduler.pending_tasks) == (0, set())
        assert await scheduler.submit(nap("next")) == "next"

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(main())
        gc.collect()
