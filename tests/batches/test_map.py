from __future__ import annotations

import asyncio
import sys
import weakref
from contextlib import aclosing, suppress
from functools import partial

import pytest
from kit.flows import Calls, RecordingScheduler, TaskScheduler, cancel_at_every_step, run, steps

from xtremeflow.batches.map import map_calls


async def stream(items):
    for item in items:
        await asyncio.sleep(0)
        yield item


class Stream:
    def __init__(self, items):
        self.items = items

    def __aiter__(self):
        return stream(self.items)


SOURCES = {"list": list, "iterator": iter, "async generator": stream, "async iterable": Stream}
every_source = pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
both_orders = pytest.mark.parametrize("ordered", [True, False], ids=["ordered", "as completed"])


async def collect(results):
    """All results, and the error that ended them."""
    got = []
    try:
        async for result in results:
            got.append(result)
    except BaseException as exc:
        return got, exc
    return got, None


@every_source
@both_orders
@pytest.mark.parametrize("count", [0, 1, 40])
def test_every_item_is_called_once_within_the_schedulers_limits(source, ordered, count):
    async def main():
        calls = Calls()
        results = map_calls(TaskScheduler(3), calls, source(range(count)), ordered=ordered)
        got, error = await collect(results)
        assert error is None
        assert (got if ordered else sorted(got)) == list(range(count))
        assert sorted(calls.ended) == list(range(count))
        assert calls.most == min(count, 3)

    run(main)


def test_ordered_or_as_completed():
    async def main():
        async def longer_first(i):
            await asyncio.sleep(1 - i / 10)
            return i

        scheduler = TaskScheduler(10)
        assert [i async for i in map_calls(scheduler, longer_first, range(10))] == list(range(10))
        results = map_calls(scheduler, longer_first, range(10), ordered=False)
        assert [i async for i in results] == list(range(9, -1, -1))

    run(main)


@both_orders
def test_results_are_yielded_while_the_next_call_waits_for_its_admission(ordered):
    async def main():
        async def call(i):
            await asyncio.sleep(1 if i == 0 else 100)
            return i

        results = map_calls(TaskScheduler(2), call, range(4), ordered=ordered, window=10)
        assert await anext(results) == 0
        assert asyncio.get_running_loop().time() == pytest.approx(1)
        await results.aclose()

    run(main)


@both_orders
@pytest.mark.parametrize("source", [iter, stream], ids=["sync", "async"])
def test_the_source_is_read_one_item_ahead_of_admission(source, ordered):
    async def main():
        read, gate = [], asyncio.Event()

        def items():
            for i in range(100):
                read.append(i)
                yield i

        async def call(i):
            await gate.wait()
            return i

        results = map_calls(TaskScheduler(3), call, source(items()), ordered=ordered)
        reading = asyncio.ensure_future(collect(results))
        await steps(100)
        assert len(read) == 4
        gate.set()
        got, _ = await reading
        assert sorted(got) == list(range(100))

    run(main)


@both_orders
@pytest.mark.parametrize(("concurrency", "window", "bound"), [(5, None, 10), (5, 3, 3), (2, 9, 9)])
def test_the_window_bounds_what_the_consumer_has_not_read(ordered, concurrency, window, bound):
    async def main():
        calls = Calls()
        scheduler = TaskScheduler(concurrency)
        results = map_calls(scheduler, calls, range(10_000), ordered=ordered, window=window)
        async with aclosing(results):
            for read in range(1, 4):
                await anext(results)
                await steps(300)
                assert len(calls.started) == len(calls.ended) == read + bound

    run(main)


@both_orders
def test_a_scheduler_without_max_concurrency_has_a_window_all_the_same(ordered):
    async def main():
        started = []

        async def call(i):
            started.append(i)
            await asyncio.Event().wait()

        results = map_calls(TaskScheduler(None), call, range(10_000), ordered=ordered)
        reading = asyncio.ensure_future(anext(results))
        await steps(3000)
        assert len(started) == 1024
        reading.cancel()
        await asyncio.wait([reading])

    run(main)


@both_orders
def test_memory_is_that_of_the_window_whatever_the_length(ordered):
    class Result:
        pass

    async def main():
        alive = weakref.WeakSet()
        most = 0

        async def call(i):
            result = Result()
            alive.add(result)
            return result

        results = map_calls(TaskScheduler(4), call, range(3000), ordered=ordered)
        async for _ in results:
            most = max(most, len(alive))
        assert most <= 8 + 2

    run(main)


def test_the_costs_and_options_reach_the_scheduler():
    async def main():
        for estimate, expected in [
            (7, [7, 7, 7]),
            ({"input": 3}, [{"input": 3}] * 3),
            (lambda item: item * 10, [0, 10, 20]),
            (lambda item: {"input": item}, [{"input": 0}, {"input": 1}, {"input": 2}]),
        ]:
            scheduler = RecordingScheduler(4)
            results = map_calls(
                scheduler, Calls(), range(3), estimated_tokens=estimate, priority=5, timeout=60.0
            )
            assert await collect(results) == ([0, 1, 2], None)
            options = {"priority": 5, "timeout": 60.0}
            assert scheduler.admissions == [(cost, options) for cost in expected]

    run(main)


class TestErrors:
    @every_source
    @both_orders
    def test_the_first_error_is_raised_and_ends_the_remaining_calls(self, source, ordered):
        async def main():
            calls = Calls()

            async def call(i):
                return await calls(i, asyncio.Event().wait if i > 5 else None, fail=i == 5)

            results = map_calls(TaskScheduler(3), call, source(range(100)), ordered=ordered)
            got, error = await collect(results)
            assert sorted(got) == list(range(5))
            assert isinstance(error, ValueError)
            assert error.args == (5,)
            assert calls.running == 0
            assert max(calls.started) <= 8

        run(main)

    def test_ordered_raises_in_the_items_place(self):
        async def main():
            calls, gate = Calls(), asyncio.Event()

            async def call(i):
                return await calls(i, gate.wait if i == 0 else None, fail=i == 1)

            results = map_calls(TaskScheduler(3), call, range(100))
            reading = asyncio.ensure_future(collect(results))
            await steps(100)
            # No more once one has failed, but for those admitted in the same step.
            assert max(calls.started) <= 4
            gate.set()
            got, error = await reading
            assert got == [0]
            assert error.args == (1,)

        run(main)

    def test_as_completed_yields_all_that_is_ready_before_the_error(self):
        async def main():
            calls = Calls()

            async def call(i):
                return await calls(i, partial(steps, 10) if i == 4 else None, fail=i == 1)

            results = map_calls(TaskScheduler(5), call, range(5), ordered=False)
            got = [await anext(results)]
            await steps(100)  # a consumer slower than the error
            others, error = await collect(results)
            assert got + others == [0, 2, 3, 4]
            assert error.args == (1,)

        run(main)

    @every_source
    @both_orders
    def test_exceptions_returned_in_the_results_place(self, source, ordered):
        async def main():
            async def call(i):
                if i == 3:
                    raise asyncio.CancelledError
                if i % 2:
                    raise ValueError(i)
                return i

            results = map_calls(
                TaskScheduler(3), call, source(range(8)), ordered=ordered, return_exceptions=True
            )
            got, error = await collect(results)
            assert error is None
            assert [repr(i) for i in got] == [
                "0", "ValueError(1)", "2", "CancelledError()",
                "4", "ValueError(5)", "6", "ValueError(7)",
            ]  # fmt: skip

        run(main)

    @both_orders
    @pytest.mark.parametrize("error", [ValueError("fn"), StopIteration("fn")])
    def test_an_error_of_fn_itself_ends_the_iteration(self, ordered, error):
        def fn(i):
            if i == 2:
                raise error
            return Calls()(i)

        async def main():
            results = map_calls(TaskScheduler(8), fn, range(5), ordered=ordered)
            got, raised = await collect(results)
            assert set(got) <= {0, 1}
            assert error in (raised, raised.__cause__)
            results = map_calls(
                TaskScheduler(8), fn, range(5), ordered=ordered, return_exceptions=True
            )
            got, raised = await collect(results)
            assert raised is None
            assert [i for i in got if isinstance(i, int)] == [0, 1, 3, 4]
            assert len(got) == 5

        run(main)

    def test_fn_that_is_not_async(self):
        async def main():
            got, error = await collect(map_calls(TaskScheduler(8), lambda i: i, [5]))
            assert got == []
            assert isinstance(error, TypeError)
            assert "fn must be an async function, but it returned 5" in str(error)

        run(main)

    def test_an_estimate_that_raises_is_its_items_error(self):
        async def main():
            calls = Calls()
            results = map_calls(
                TaskScheduler(8),
                calls,
                [1, 0, 2],
                estimated_tokens=lambda i: 10 // i,
                return_exceptions=True,
            )
            got, _ = await collect(results)
            assert [repr(i) for i in got[::2]] == ["1", "2"]
            assert isinstance(got[1], ZeroDivisionError)
            assert 0 not in calls.started

        run(main)

    @both_orders
    def test_a_refused_admission_is_its_items_error(self, ordered):
        class TimesOut(RecordingScheduler):
            async def start_task(self, coro, estimated_tokens=0, **options):
                if estimated_tokens == 2:
                    coro.close()
                    raise TimeoutError("admission")
                return await super().start_task(coro, estimated_tokens, **options)

        async def main():
            run_map = partial(
                map_calls, TimesOut(8), Calls(), range(4), estimated_tokens=int, ordered=ordered
            )
            got, error = await collect(run_map(return_exceptions=True))
            assert error is None
            assert sorted(map(repr, got)) == ["0", "1", "3", "TimeoutError('admission')"]
            got, error = await collect(run_map())
            assert set(got) <= {0, 1}
            assert isinstance(error, TimeoutError)

        run(main)

    @both_orders
    @pytest.mark.parametrize("kind", ["iterable", "async iterable"])
    def test_a_sources_error_comes_after_the_results_of_its_items(self, ordered, kind):
        def broken():
            yield from range(5)
            raise LookupError("source")

        async def main():
            source = broken() if kind == "iterable" else stream(broken())
            got, error = await collect(
                map_calls(TaskScheduler(3), Calls(), source, ordered=ordered)
            )
            assert sorted(got) == list(range(5))
            assert isinstance(error, LookupError)

        run(main)

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ({"fn": 5}, TypeError, "fn must be an async function of an item, got 5"),
            ({"items": 5}, TypeError, "items must be an iterable or async iterable, got 5"),
            ({"window": 0}, ValueError, "window must be 1 or more, got 0"),
            ({"window": 1.5}, TypeError, r"window must be an integer, got 1\.5"),
            ({"window": True}, TypeError, "window must be an integer, got True"),
            ({"ordered": "no"}, TypeError, "ordered must be True or False, not 'no'"),
            ({"return_exceptions": 1}, TypeError, "return_exceptions must be True or False, not 1"),
        ],
    )
    def test_bad_arguments_are_refused_by_name(self, arguments, error, message):
        with pytest.raises(error, match=message):
            map_calls(TaskScheduler(3), **{"fn": Calls(), "items": [], **arguments})


class TestEnd:
    @every_source
    @both_orders
    @pytest.mark.parametrize("read", [0, 1, 5])
    def test_aclose_leaves_no_task_behind(self, source, ordered, read):
        async def main():
            calls = Calls()
            results = map_calls(TaskScheduler(3), calls, source(range(1000)), ordered=ordered)
            for _ in range(read):
                await anext(results)
            await results.aclose()
            assert calls.running == 0
            assert asyncio.all_tasks() == {asyncio.current_task()}

        run(main)

    def test_leaving_a_loop_ends_the_calls_too(self):
        async def main():
            calls = Calls()
            async for _ in map_calls(TaskScheduler(3), calls, range(1000)):
                break
            await steps(30)
            assert calls.running == 0
            assert asyncio.all_tasks() == {asyncio.current_task()}

        run(main)

    def test_a_call_admitted_while_the_map_ends(self):
        """By a scheduler that completes an admission in spite of a cancellation."""

        class Stubborn(RecordingScheduler):
            async def start_task(self, coro, estimated_tokens=0, **options):
                with suppress(asyncio.CancelledError):
                    await steps(5)
                return await super().start_task(coro, estimated_tokens, **options)

        async def main():
            calls = Calls()

            async def call(i):
                return await calls(i, asyncio.Event().wait if i else None)

            results = map_calls(Stubborn(50), call, range(1000))
            await anext(results)
            await results.aclose()
            assert calls.running == 0
            assert len(calls.started) < 10

        run(main)

    def test_aclose_closes_an_async_generator(self):
        async def main():
            closed = False

            async def source():
                nonlocal closed
                try:
                    for i in range(1000):
                        yield i
                finally:
                    await steps(2)
                    closed = True

            results = map_calls(TaskScheduler(3), Calls(), source())
            await anext(results)
            await results.aclose()
            assert closed

        run(main)

    @pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
    @pytest.mark.parametrize("fail", [None, 4])
    @every_source
    @both_orders
    def test_cancellation_at_every_step_leaves_nothing(self, source, ordered, fail, twice):
        async def scenario():
            calls, scheduler = Calls(), TaskScheduler(2)

            def call(i):
                return calls(i, fail=i == fail)

            try:
                results = map_calls(scheduler, call, source(range(6)), ordered=ordered)
                got, error = await collect(results)
                if isinstance(error, asyncio.CancelledError):
                    raise error
                assert set(got) >= set(range(6 if fail is None else 4))
            finally:
                assert twice or calls.running == 0
            # The scheduler's slots have all come back.
            assert await asyncio.gather(*[scheduler.submit(calls(i)) for i in range(4)])

        assert cancel_at_every_step(scenario, twice=twice) > 8


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in 3.12")
@every_source
@both_orders
def test_results_are_complete_with_eager_tasks(source, ordered):
    async def at_once(i):
        return i

    async def main():
        for call in (at_once, Calls()):
            results = map_calls(TaskScheduler(3), call, source(range(30)), ordered=ordered)
            got, error = await collect(results)
            assert error is None
            assert (got if ordered else sorted(got)) == list(range(30))

    run(main, eager=True)
