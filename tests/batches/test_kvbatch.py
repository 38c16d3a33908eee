from __future__ import annotations

import asyncio
import sys
from functools import partial

import pytest
from kit.flows import Calls, RecordingScheduler, TaskScheduler, cancel_at_every_step, run, steps

from xtremeflow import report_first_token
from xtremeflow._core import current_call
from xtremeflow.kvbatch import kv_batch


async def stream(*makers, error=None):
    for make in makers:
        await asyncio.sleep(0)
        yield make()
    if error is not None:
        raise error


class Stream:
    def __init__(self, *makers):
        self.makers = makers

    def __aiter__(self):
        return stream(*self.makers)


SOURCES = {
    "list": lambda *makers: [make() for make in makers],
    "iterator": lambda *makers: iter([make() for make in makers]),
    "generator": lambda *makers: (make() for make in makers),
    "callables": lambda *makers: list(makers),
    "async generator": stream,
    "async iterable": Stream,
}
every_source = pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
list_and_stream = pytest.mark.parametrize(
    "source", [SOURCES["list"], stream], ids=["list", "async"]
)


def makers(calls, count, fail=()):
    return [partial(calls, i, fail=i in fail) for i in range(count)]


@every_source
def test_the_first_ends_before_the_rest_run_together(source):
    async def main():
        calls = Calls()
        assert await kv_batch(source(*makers(calls, 5))) == [0, 1, 2, 3, 4]
        assert calls.started == [0, 1, 2, 3, 4]
        assert calls.most >= 2

    run(main)


@every_source
def test_nothing_of_the_rest_starts_before_the_first_has_ended(source):
    async def main():
        calls, gate = Calls(), asyncio.Event()
        task = kv_batch(source(partial(calls, "first", gate.wait), *makers(calls, 2)))
        await steps(20)
        assert calls.started == ["first"]
        gate.set()
        assert await task == ["first", 0, 1]
        assert calls.most == 2

    run(main)


@every_source
def test_an_empty_source_gives_an_empty_list(source):
    async def main():
        task = kv_batch(source())
        assert isinstance(task, asyncio.Task)
        assert await task == []

    run(main)


def test_an_iterable_is_read_before_kv_batch_returns():
    """A generator expression in a loop sees the loop's variables as they are at the call."""

    async def main():
        calls, batches = Calls(), []
        for job in "ab":
            batches.append(kv_batch(calls(f"{job}{i}") for i in range(2)))
        assert await asyncio.gather(*batches) == [["a0", "a1"], ["b0", "b1"]]

    run(main)


def test_an_async_source_is_read_while_the_warm_up_runs():
    async def main():
        async def call():
            await asyncio.sleep(0.12)

        async def slow():
            for _ in range(4):
                await asyncio.sleep(0.05)
                yield call()

        await kv_batch(slow())
        return asyncio.get_running_loop().time()

    # The first call ends at 0.17, the last item comes at 0.20 and takes 0.12.
    assert run(main) == pytest.approx(0.32)


def test_callables_are_called_only_when_it_is_their_turn():
    async def main():
        calls, made, gate = Calls(), [], asyncio.Event()

        def make(i):
            made.append(i)
            return calls(i, gate.wait if i == 0 else None)

        task = kv_batch(partial(make, i) for i in range(3))
        await steps(10)
        assert made == [0]
        gate.set()
        assert await task == [0, 1, 2]

    run(main)


@list_and_stream
def test_the_first_may_be_any_awaitable(source):
    class Awaitable:
        def __await__(self):
            return Calls()("awaitable").__await__()

    async def main():
        calls = Calls()
        future = asyncio.get_running_loop().create_future()
        future.set_result("future")
        task = asyncio.ensure_future(calls("task"))
        for first, result in [(task, "task"), (future, "future"), (Awaitable(), "awaitable")]:
            assert await kv_batch(source(lambda: first, partial(calls, 1))) == [result, 1]  # noqa: B023

    run(main)


@list_and_stream
def test_a_task_among_the_rest_is_refused_and_left_alone(source):
    async def main():
        calls = Calls()
        task = asyncio.ensure_future(calls(1))
        batch = kv_batch(source(partial(calls, 0), lambda: task, partial(calls, 2)))
        with pytest.raises(
            TypeError, match=r"coroutine was expected as element 1, got .*Task.*held"
        ):
            await batch
        assert await task == 1
        assert calls.running == 0

    run(main)


@pytest.mark.parametrize("item", [3, lambda: 3], ids=["int", "callable"])
def test_items_that_cannot_be_awaited(item):
    async def main():
        calls = Calls()
        with pytest.raises(TypeError, match=r"element 0.*got int"):
            await kv_batch([item])
        with pytest.raises(TypeError, match=r"element 2.*got int"):
            await kv_batch([calls(0), calls(1), item, calls(3)])
        assert calls.running == 0

    run(main)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"aws": 5}, TypeError, "aws must be an iterable or async iterable, got 5"),
        ({"aws": [], "estimated_tokens": 5}, ValueError, "estimated_tokens must be 0 .* got 5"),
        ({"aws": [], "estimated_tokens": "5"}, TypeError, "estimated_tokens must be .* got '5'"),
        ({"aws": [], "scheduler": 5}, TypeError, "scheduler must be a scheduler .* got 5"),
        ({"aws": [], "progress": "tqdm"}, TypeError, "progress must be True or False, not 'tqdm'"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments, error, message):
    async def main():
        with pytest.raises(error, match=message):
            kv_batch(**arguments)

    run(main)


def test_it_is_refused_without_a_running_loop():
    with pytest.raises(RuntimeError, match="no running event loop"):
        kv_batch([])


@every_source
def test_a_first_call_that_fails_closes_the_rest(source):
    async def main():
        calls = Calls()
        with pytest.raises(ValueError, match=r"^0$"):
            await kv_batch(source(*makers(calls, 4, fail=[0])))
        assert calls.started == [0]

    run(main)


@every_source
def test_the_first_error_of_the_rest_ends_the_others(source):
    async def main():
        calls, never = Calls(), asyncio.Event()
        items = makers(calls, 3, fail=[1, 2])
        with pytest.raises(ValueError, match=r"^1$"):
            await kv_batch(source(*items, partial(calls, 3, never.wait)))
        assert calls.running == 0
        assert calls.ended == [0]

    run(main)


@list_and_stream
def test_an_item_that_cancels_itself_cancels_the_batch(source):
    async def main():
        async def cancelled():
            raise asyncio.CancelledError

        calls = Calls()
        with pytest.raises(asyncio.CancelledError):
            await kv_batch(source(partial(calls, 0), partial(calls, 1), cancelled))
        assert calls.running == 0

    run(main)


def test_an_iterable_that_raises():
    async def main():
        calls = Calls()

        def broken():
            yield calls(0)
            yield calls(1)
            raise LookupError("source")

        with pytest.raises(LookupError, match="source"):
            kv_batch(broken())
        assert calls.started == []

    run(main)


@pytest.mark.parametrize("read", [0, 1, 3])
@pytest.mark.parametrize("late", [False, True], ids=["in the warm-up", "after the warm-up"])
def test_an_async_source_that_raises_ends_everything(read, late):
    async def main():
        calls = Calls()

        async def broken():
            for i in range(read):
                yield calls(i, asyncio.Event().wait if i or not late else None)
            await steps(30 if late else 1)
            raise LookupError("source")

        with pytest.raises(LookupError, match="source"):
            await kv_batch(broken())
        assert calls.running == 0
        assert len(calls.started) == (read if late else min(read, 1))

    run(main)


def test_a_failure_closes_an_async_generator():
    async def main():
        closed = False

        async def source():
            nonlocal closed
            try:
                yield Calls()(0, fail=True)
                await asyncio.Event().wait()
            finally:
                await steps(2)
                closed = True

        with pytest.raises(ValueError, match=r"^0$"):
            await kv_batch(source())
        assert closed

    run(main)


def test_a_refused_item_closes_an_async_generator():
    async def main():
        closed = False

        async def source():
            nonlocal closed
            try:
                yield Calls()(0)
                await steps(20)
                yield "not awaitable"
            finally:
                await steps(2)
                closed = True

        with pytest.raises(TypeError, match="element 1, got str"):
            await kv_batch(source())
        assert closed

    run(main)


class TestScheduled:
    @every_source
    def test_every_item_is_admitted_by_the_scheduler(self, source):
        async def main():
            calls = Calls()
            batch = kv_batch(source(*makers(calls, 7)), scheduler=TaskScheduler(2))
            assert await batch == list(range(7))
            assert calls.ended[0] == 0
            assert calls.most == 2

        run(main)

    @every_source
    def test_the_rest_is_admitted_only_after_the_warm_up(self, source):
        async def main():
            calls, gate, scheduler = Calls(), asyncio.Event(), RecordingScheduler(8)
            items = [partial(calls, "first", gate.wait), *makers(calls, 4)]
            task = kv_batch(source(*items), scheduler=scheduler)
            await steps(30)
            assert len(scheduler.admissions) == 1
            gate.set()
            assert await task == ["first", 0, 1, 2, 3]
            assert len(scheduler.admissions) == 5

        run(main)

    @list_and_stream
    def test_estimates_are_one_for_all_or_one_for_each(self, source):
        async def main():
            for estimates, expected in [
                (70, [70, 70, 70]),
                ({"input": 5}, [{"input": 5}] * 3),
                ([1, {"input": 2}, 3], [1, {"input": 2}, 3]),
            ]:
                scheduler = RecordingScheduler(8)
                items = source(*makers(Calls(), 3))
                await kv_batch(items, scheduler=scheduler, estimated_tokens=estimates)
                assert [cost for cost, _ in scheduler.admissions] == expected

        run(main)

    def test_estimates_and_items_that_do_not_match(self):
        async def main():
            calls, scheduler = Calls(), TaskScheduler(8)
            for count in (2, 4):
                with pytest.raises(ValueError, match=f"3 entries for {count} elements of aws"):
                    kv_batch(
                        [calls(i) for i in range(count)],
                        scheduler=scheduler,
                        estimated_tokens=[1, 2, 3],
                    )
            source = stream(*makers(calls, 4))
            with pytest.raises(ValueError, match="3 entries, too few for element 3"):
                await kv_batch(source, scheduler=scheduler, estimated_tokens=[1, 2, 3])
            assert calls.running == 0

        run(main)

    def test_a_callable_is_called_once_admitted(self):
        async def main():
            calls, made, gate = Calls(), [], asyncio.Event()

            def make(i):
                made.append(i)
                return calls(i, gate.wait if i == 1 else None)

            task = kv_batch([partial(make, i) for i in range(4)], scheduler=TaskScheduler(1))
            await steps(40)
            assert made == [0, 1]
            gate.set()
            assert await task == [0, 1, 2, 3]

        run(main)

    @list_and_stream
    def test_a_task_that_the_scheduler_started_is_refused(self, source):
        """It would run beside the warm-up, and be admitted twice."""

        async def main():
            calls, scheduler = Calls(), TaskScheduler(4)
            started = await scheduler.start_task(calls(0))
            batch = kv_batch(source(lambda: started, partial(calls, 1)), scheduler=scheduler)
            with pytest.raises(TypeError, match=r"element 0, got .*Task"):
                await batch
            assert await started == 0
            assert calls.started == [0]

        run(main)


@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
@pytest.mark.parametrize("scheduled", [False, True], ids=["plain", "scheduled"])
@every_source
def test_cancellation_at_every_step_leaves_nothing(source, scheduled, twice):
    async def scenario():
        calls = Calls()
        scheduler = TaskScheduler(2) if scheduled else None
        batch = kv_batch(source(*makers(calls, 4)), scheduler=scheduler)
        try:
            assert await batch == [0, 1, 2, 3]
        finally:
            assert batch.done()
            assert twice or calls.running == 0

    assert cancel_at_every_step(scenario, twice=twice) > 8


@every_source
def test_cancelled_before_its_first_step(source):
    async def main():
        batch = kv_batch(source(*makers(Calls(), 3)))
        batch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await batch

    run(main)


def test_cancelling_the_batch_cancels_a_first_task():
    async def main():
        first = asyncio.ensure_future(asyncio.Event().wait())
        batch = kv_batch([first])
        await steps(3)
        batch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await batch
        assert first.cancelled()

    run(main)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in 3.12")
@every_source
def test_results_are_complete_with_eager_tasks(source):
    async def main():
        async def at_once(i):
            return i

        batch = kv_batch(source(*[partial(at_once, i) for i in range(4)]))
        assert await batch == [0, 1, 2, 3]
        batch = kv_batch(source(*makers(Calls(), 4)), scheduler=TaskScheduler(2))
        assert await batch == [0, 1, 2, 3]

    run(main, eager=True)


@pytest.mark.parametrize("scheduler", [None, TaskScheduler])
@pytest.mark.parametrize("in_thread", [False, True])
def test_the_others_start_when_the_first_answer_has_begun(scheduler, in_thread):
    async def main():
        started = []
        going = asyncio.Event()

        async def first():
            started.append(0)
            if in_thread:
                await asyncio.to_thread(report_first_token)
            else:
                report_first_token()
            await going.wait()  # what the others do, so they have started
            return 0

        async def other(i):
            started.append(i)
            assert current_call() is None or scheduler is not None
            going.set()
            return i

        batch = kv_batch(
            [first, *[partial(other, i) for i in (1, 2)]], scheduler=scheduler and scheduler()
        )
        assert await asyncio.wait_for(batch, 30) == [0, 1, 2]
        assert started == [0, 1, 2]

    asyncio.run(main())


def test_with_warm_answer_they_wait_for_its_end():
    async def main():
        ended = []

        async def first():
            report_first_token()
            await steps(5)
            ended.append(0)

        async def other():
            assert ended == [0]

        await kv_batch([first(), other(), other()], warm="answer")

    run(main)


def test_an_item_refused_at_the_first_token_ends_the_batch_and_not_the_first_call():
    async def main():
        ended = []

        async def first():
            report_first_token()
            try:
                await asyncio.sleep(1)
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise

        with pytest.raises(TypeError, match="as element 1, got int"):
            await kv_batch([first, 5])
        assert ended == ["cancelled"]

    run(main)


def test_an_unknown_value_of_warm_is_refused():
    async def main():
        with pytest.raises(ValueError, match="warm must be 'first_token' or 'answer', got 'now'"):
            kv_batch([], warm="now")

    run(main)
