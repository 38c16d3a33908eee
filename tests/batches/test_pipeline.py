from __future__ import annotations

import asyncio
import contextvars
import sys
from contextlib import aclosing
from functools import partial

import pytest
from kit.flows import Calls, TaskScheduler, cancel_at_every_step, run, steps

from xtremeflow.pipeline import async_chunks, async_pipeline


def produces(count, error=None):
    async def producer(queue):
        for i in range(count):
            await queue.put(i)
        if error is not None:
            raise error

    return producer


async def collect(pipeline):
    """All results, and the error that ended them."""
    results = []
    try:
        async for result in pipeline:
            results.append(result)
    except BaseException as exc:
        return results, exc
    return results, None


MODES = {
    "one worker": {},
    "three workers": {"workers": 3},
    "ordered": {"workers": 3, "ordered": True},
    "elastic": {"workers": 1, "max_workers": 4, "check_interval": 0.01},
    "narrow": {"workers": 3, "maxsize": 1},
    "unbounded": {"workers": 3, "maxsize": 0},
}
eager_tasks = pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in 3.12")
every_mode = pytest.mark.parametrize("mode", MODES.values(), ids=MODES)


@every_mode
@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_every_item_comes_out_once(mode, count):
    async def main():
        calls = Calls()
        results = [result async for result in async_pipeline(produces(count), calls, **mode)]
        assert sorted(results) == list(range(count))
        assert sorted(calls.ended) == list(range(count))
        if mode.get("ordered") or not mode.get("workers"):
            assert mode.get("max_workers") or results == list(range(count))
        assert await collect(async_pipeline(produces(count), **mode)) == (list(range(count)), None)

    run(main)


@every_mode
def test_none_is_an_ordinary_item(mode):
    async def producer(queue):
        for item in (None, 1, None, 2, None):
            await queue.put(item)

    async def same(item):
        return item

    async def main():
        for process in (None, same):
            results = [item async for item in async_pipeline(producer, process, **mode)]
            assert sorted(results, key=str) == [1, 2, None, None, None]

    run(main)


def test_ordered_yields_in_the_order_of_the_queue():
    async def main():
        async def longer_first(i):
            await asyncio.sleep(1 - i / 10)
            return i

        for ordered in (True, False):
            pipeline = async_pipeline(produces(10), longer_first, workers=10, ordered=ordered)
            results = [i async for i in pipeline]
            assert results == sorted(range(10), reverse=not ordered)

    run(main)


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("elastic", [False, True])
def test_no_more_than_the_workers_work_at_a_time(workers, elastic):
    """max_workers=workers adds none."""

    async def main():
        calls = Calls()
        mode = {"max_workers": workers, "check_interval": 0.0} if elastic else {}
        await collect(async_pipeline(produces(30), calls, workers, **mode))
        assert calls.most == workers

    run(main)


def test_an_item_has_one_worker_however_many_there_may_be():
    async def main():
        async def count(item):
            return len(asyncio.all_tasks())

        before = len(asyncio.all_tasks())
        tasks, _ = await collect(async_pipeline(produces(3), count, workers=10**10))
        assert max(tasks) <= before + 3

    run(main)


def test_whole_numbers_may_be_of_any_type():
    np = pytest.importorskip("numpy")

    async def main():
        sizes = {"workers": np.uint8(2), "max_workers": np.uint8(3), "maxsize": np.uint8(200)}
        pipeline = async_pipeline(produces(300), Calls(), ordered=True, **sizes)
        assert await collect(pipeline) == (list(range(300)), None)

    run(main)


class TestBounds:
    @pytest.mark.parametrize("ordered", [False, True])
    def test_a_slow_consumer_holds_back_the_workers_and_they_the_producer(self, ordered):
        async def main():
            calls, put = Calls(), []

            async def producer(queue):
                for i in range(1000):
                    await queue.put(i)
                    put.append(i)

            pipeline = async_pipeline(producer, calls, 2, maxsize=4, ordered=ordered)
            async with aclosing(pipeline):
                await anext(pipeline)
                await steps(500)
                # Of the results one is the consumer's, 2 + 4 may wait for it; 4 items are queued.
                assert len(calls.ended) == 7
                assert len(put) == 11

        run(main)

    def test_a_slow_worker_holds_back_the_producer(self):
        async def main():
            put = []

            async def producer(queue):
                for i in range(1000):
                    await queue.put(i)
                    put.append(i)

            pipeline = async_pipeline(producer, partial(asyncio.sleep, 10), maxsize=5)
            async with aclosing(pipeline):
                reading = asyncio.ensure_future(anext(pipeline))
                await steps(500)
                assert len(put) == 6
                assert await reading == 0

        run(main)

    def test_ordered_waits_behind_a_slow_item_within_the_bounds(self):
        async def main():
            gate, calls = asyncio.Event(), Calls()

            async def process(i):
                return await calls(i, gate.wait if i == 0 else None)

            pipeline = async_pipeline(produces(100), process, 3, maxsize=4, ordered=True)
            reading = asyncio.ensure_future(collect(pipeline))
            await steps(500)
            assert sorted(calls.ended) == list(range(1, 7))
            gate.set()
            assert await reading == (list(range(100)), None)

        run(main)

    def test_put_nowait_never_refuses(self):
        """Programs that were written for an unbounded queue."""

        async def producer(queue):
            for i in range(100):
                queue.put_nowait(i)
            await queue.put(100)

        async def main():
            assert await collect(async_pipeline(producer, maxsize=3)) == (list(range(101)), None)

        run(main)

    def test_many_writers_lose_no_item(self):
        async def producer(queue):
            await asyncio.gather(*(queue.put(i) for i in range(5000)))

        async def main():
            assert await collect(async_pipeline(producer, maxsize=3)) == (list(range(5000)), None)

        run(main)

    def test_the_producer_may_join_its_queue(self):
        async def producer(queue):
            for i in range(6):
                await queue.put(i)
            await queue.join()
            assert sorted(calls.ended) == list(range(6))
            await queue.put(6)

        async def main():
            results, error = await collect(async_pipeline(producer, calls, 2, maxsize=2))
            assert (sorted(results), error) == (list(range(7)), None)

        calls = Calls()
        run(main)


class TestErrors:
    @every_mode
    @pytest.mark.parametrize("error", [LookupError(), asyncio.CancelledError()], ids=repr)
    def test_a_producers_error_comes_after_the_results_of_its_items(self, mode, error):
        async def main():
            results, raised = await collect(async_pipeline(produces(9, error), Calls(), **mode))
            assert sorted(results) == list(range(9))
            assert type(raised) is type(error)

        run(main)

    @every_mode
    def test_results_ready_before_a_workers_error_are_yielded_before_it(self, mode):
        async def main():
            calls, failing = Calls(), asyncio.Event()

            async def process(i):
                if i == 7:
                    failing.set()
                return await calls(i, fail=i == 7)

            pipeline = async_pipeline(produces(1000), process, **mode)
            results = [await anext(pipeline) for _ in range(5)]
            await failing.wait()
            await steps(50)  # a consumer slower than the error
            others, raised = await collect(pipeline)
            results += others
            assert isinstance(raised, ValueError)
            assert raised.args == (7,)
            if mode.get("ordered"):
                assert results == list(range(7))
            else:
                assert sorted(results) == sorted(calls.ended)
            assert calls.running == 0
            assert max(calls.started) < 12

        run(main)

    @pytest.mark.parametrize("ordered", [False, True])
    def test_a_workers_error_ends_everything_promptly(self, ordered):
        async def main():
            calls, stopped = Calls(), []

            async def producer(queue):
                try:
                    for i in range(5):
                        await queue.put(i)
                    await asyncio.Event().wait()
                finally:
                    await steps(2)
                    stopped.append(True)

            async def process(i):
                return await calls(i, asyncio.Event().wait if i > 1 else None, fail=i == 1)

            results, raised = await collect(async_pipeline(producer, process, 4, ordered=ordered))
            assert results == [0]
            assert isinstance(raised, ValueError)
            assert stopped == [True]
            assert calls.running == 0

        run(main)

    @pytest.mark.parametrize("delay", range(6))
    def test_the_producers_clean_up_is_not_broken_into(self, delay):
        async def main():
            cleaned = []

            async def producer(queue):
                try:
                    await queue.put(1)
                    await asyncio.Event().wait()
                finally:
                    await steps(3)
                    cleaned.append(True)

            async def process(_):
                await steps(delay)
                raise ValueError

            _, error = await collect(async_pipeline(producer, process))
            assert isinstance(error, ValueError)
            assert cleaned == [True]

        run(main)

    @every_mode
    def test_an_item_that_cancels_itself(self, mode):
        """Such as one that awaits a cancelled task."""

        async def process(i):
            if i == 2:
                raise asyncio.CancelledError("item")
            return i

        async def main():
            results, raised = await collect(async_pipeline(produces(5), process, **mode))
            assert isinstance(raised, asyncio.CancelledError)
            assert {0, 1} <= set(results)
            assert 2 not in results

        run(main)

    def test_a_producer_that_writes_on_while_it_is_stopped(self):
        async def producer(queue):
            children.extend(asyncio.ensure_future(queue.put(i)) for i in range(20))
            try:
                await asyncio.Event().wait()
            finally:
                for i in range(20):
                    await queue.put(i)

        async def main():
            pipeline = async_pipeline(producer, maxsize=2)
            await anext(pipeline)
            await pipeline.aclose()
            await asyncio.gather(*children)

        children = []
        run(main)

    def test_functions_that_are_not_async(self):
        async def main():
            _, raised = await collect(async_pipeline(lambda queue: 5))
            assert isinstance(raised, TypeError)
            assert "producer must be an async function, but it returned 5" in str(raised)
            _, raised = await collect(async_pipeline(produces(3), lambda item: 7))
            assert isinstance(raised, TypeError)
            assert "process_item must be an async function, but it returned 7" in str(raised)

        run(main)

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ({"producer": 5}, TypeError, "producer must be an async function of a queue, got 5"),
            ({"process_item": 5}, TypeError, "process_item must be an async function .*, got 5"),
            ({"workers": 0}, ValueError, "workers must be 1 or more, got 0"),
            ({"workers": 1.5}, TypeError, r"workers must be an integer, got 1\.5"),
            ({"max_workers": "9"}, TypeError, "max_workers must be an integer, got '9'"),
            ({"maxsize": -1}, ValueError, "maxsize must be 0 or more, got -1"),
            ({"load_factor": 0}, ValueError, "load_factor must be a number above 0, got 0"),
            ({"load_factor": "2"}, TypeError, "load_factor must be a number above 0, got '2'"),
            ({"check_interval": -1}, ValueError, "check_interval must be a number, 0 or more"),
            ({"check_interval": float("nan")}, ValueError, "check_interval must be .* got nan"),
            ({"ordered": "no"}, TypeError, "ordered must be True or False, not 'no'"),
        ],
    )
    def test_bad_arguments_are_refused_by_name(self, arguments, error, message):
        with pytest.raises(error, match=message):
            async_pipeline(**{"producer": produces(1), **arguments})

    def test_fewer_max_workers_than_workers_warns_and_is_ignored(self):
        async def main():
            calls = Calls()
            with pytest.warns(UserWarning, match="max_workers=2 is below workers=3"):
                pipeline = async_pipeline(produces(9), calls, workers=3, max_workers=2)
            await collect(pipeline)
            assert calls.most == 3

        run(main)


class TestElastic:
    def test_grows_to_the_load_over_the_load_factor(self):
        async def main():
            most = {}
            for load_factor in (1, 2, 4):
                calls = Calls()
                process = partial(calls, wait=partial(asyncio.sleep, 1))
                pipeline = async_pipeline(
                    produces(20), process, 1, 100, load_factor, check_interval=0.1
                )
                await collect(pipeline)
                most[load_factor] = calls.most
            assert most == {1: 20, 2: 10, 4: 5}

        run(main)

    @pytest.mark.parametrize("maxsize", [1, 1024])
    def test_a_full_queue_means_all_the_workers(self, maxsize):
        async def main():
            calls = Calls()
            process = partial(calls, wait=partial(asyncio.sleep, 1))
            pipeline = async_pipeline(produces(3000), process, 1, 50, maxsize=maxsize)
            await collect(pipeline)
            assert calls.most == 50

        run(main)

    def test_shrinks_when_nothing_waits(self):
        async def main():
            calls = Calls()

            async def producer(queue):
                for i in range(40):
                    await queue.put(i)
                await asyncio.sleep(60)
                assert calls.most == 10
                calls.most = 0
                for i in range(4):
                    await queue.put(i)

            process = partial(calls, wait=partial(asyncio.sleep, 0.5))
            await collect(async_pipeline(producer, process, 2, 10))
            assert calls.most == 2

        run(main)

    def test_workers_that_are_too_many_stop_after_their_item(self):
        async def main():
            calls = Calls()

            async def producer(queue):
                for i in range(16):
                    await queue.put(i)
                await asyncio.sleep(32)
                for i in range(8):
                    await queue.put(i)
                # At 10 s there are 8 workers. At 30 s nothing waited and 7 worked: 4 are enough.
                assert calls.running == 7
                await asyncio.sleep(7.9)
                assert calls.running == 4

            process = partial(calls, wait=partial(asyncio.sleep, 14.9))
            results, error = await collect(
                async_pipeline(producer, process, 1, 8, check_interval=10)
            )
            assert error is None
            assert len(results) == 24

        run(main)

    @pytest.mark.parametrize("max_workers", [None, 1, 8])
    def test_the_last_items_do_not_wait_for_the_next_check(self, max_workers):
        async def main():
            pipeline = async_pipeline(
                produces(3), partial(asyncio.sleep, 0.5), 1, max_workers, check_interval=1000
            )
            await collect(pipeline)
            return asyncio.get_running_loop().time()

        assert run(main) < 10


class TestEnd:
    @every_mode
    @pytest.mark.parametrize("read", [0, 1, 5])
    def test_aclose_leaves_no_task_behind(self, mode, read):
        async def main():
            calls = Calls()
            pipeline = async_pipeline(produces(10_000), calls, **mode)
            for _ in range(read):
                await anext(pipeline)
            await pipeline.aclose()
            assert calls.running == 0
            assert asyncio.all_tasks() == {asyncio.current_task()}

        run(main)

    def test_leaving_a_loop_ends_the_tasks_too(self):
        async def main():
            calls = Calls()
            async for _ in async_pipeline(produces(10_000), calls, 3):
                break
            await steps(20)
            assert calls.running == 0
            assert asyncio.all_tasks() == {asyncio.current_task()}

        run(main)

    def test_a_second_cancellation_reaches_a_clean_up_that_does_not_end(self):
        async def process(_):
            try:
                await asyncio.Event().wait()
            finally:
                try:
                    await asyncio.Event().wait()
                finally:
                    ended.append(True)

        async def main():
            reading = asyncio.ensure_future(collect(async_pipeline(produces(1), process)))
            for _ in range(2):
                await steps(10)
                assert not reading.done()
                reading.cancel()
            _, error = await reading
            assert isinstance(error, asyncio.CancelledError)
            assert ended == [True]

        ended = []
        run(main)

    def test_a_cancelled_aclose_still_leaves_nothing(self):
        async def main():
            calls = Calls()
            pipeline = async_pipeline(produces(9), calls, 3)
            await anext(pipeline)
            closing = asyncio.ensure_future(pipeline.aclose())
            await steps(1)
            closing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await closing
            assert calls.running == 0

        run(main)

    @pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
    @pytest.mark.parametrize("error", [None, ValueError()], ids=["", "failing"])
    @every_mode
    def test_cancellation_at_every_step_leaves_nothing(self, mode, error, twice):
        async def scenario():
            calls = Calls()
            mode_now = {**mode, "check_interval": 0}
            pipeline = async_pipeline(produces(5, error), calls, **mode_now)
            try:
                results, raised = await collect(pipeline)
                if isinstance(raised, asyncio.CancelledError):
                    raise raised
                assert sorted(results) == [0, 1, 2, 3, 4]
            finally:
                assert twice or calls.running == 0

        assert cancel_at_every_step(scenario, twice=twice) > 8


class TestTiers:
    def test_one_pipeline_may_feed_another(self):
        async def plus_one(i):
            await steps(1)
            return i + 1

        async def producer(queue):
            async for i in async_pipeline(produces(100), plus_one, 3, maxsize=2):
                await queue.put(i)

        async def main():
            results, raised = await collect(async_pipeline(producer, plus_one, 2, maxsize=2))
            assert (sorted(results), raised) == (list(range(2, 102)), None)

        run(main)

    def test_an_error_of_the_first_tier_comes_after_its_results(self):
        async def producer(queue):
            async for i in async_pipeline(produces(10, LookupError("first tier")), Calls(), 3):
                await queue.put(i)

        async def main():
            results, raised = await collect(async_pipeline(producer, Calls(), 2))
            assert sorted(results) == list(range(10))
            assert isinstance(raised, LookupError)

        run(main)

    def test_a_producer_of_scheduled_tasks(self):
        """One tier at its rate limit, the next at its own pace."""

        async def main():
            scheduler, calls = TaskScheduler(3), Calls()

            async def producer(queue):
                for i in range(20):
                    await queue.put(await scheduler.start_task(calls(i)))

            async def process(task):
                return await task

            pipeline = async_pipeline(producer, process)
            assert await collect(pipeline) == (list(range(20)), None)
            assert calls.most == 3

        run(main)

    def test_items_run_in_the_consumers_context_whoever_makes_room(self):
        variable = contextvars.ContextVar("variable", default="unset")
        seen = []

        async def producer(queue):
            variable.set("producer")
            for i in range(5):
                await queue.put(i)

        async def process(i):
            seen.append(variable.get())

        async def main():
            variable.set("consumer")
            await collect(async_pipeline(producer, process, 2))
            assert seen == ["consumer"] * 5

        run(main)


@every_mode
@pytest.mark.parametrize("eager", [False, pytest.param(True, marks=eager_tasks)])
def test_items_may_put_items(mode, eager):
    async def main():
        queues = []

        async def producer(queue):
            queues.append(queue)
            await queue.put(5)

        async def countdown(i):
            if i:
                await queues[0].put(i - 1)
            return i

        results, error = await collect(async_pipeline(producer, countdown, **mode))
        assert (sorted(results), error) == ([0, 1, 2, 3, 4, 5], None)

    run(main, eager=eager)


@eager_tasks
@every_mode
def test_results_are_complete_with_eager_tasks(mode):
    async def at_once(i):
        return i

    async def main():
        for process in (None, at_once, Calls()):
            results, raised = await collect(async_pipeline(produces(30), process, **mode))
            assert (sorted(results), raised) == (list(range(30)), None)
            results, raised = await collect(
                async_pipeline(produces(30, LookupError()), process, **mode)
            )
            assert sorted(results) == list(range(30))
            assert isinstance(raised, LookupError)

    run(main, eager=True)


class TestChunks:
    @pytest.mark.parametrize(
        ("count", "chunks"),
        [(0, []), (1, [[0]]), (3, [[0, 1, 2]]), (5, [[0, 1, 2], [3, 4]])],
    )
    def test_chunks_are_full_but_for_the_last(self, count, chunks):
        async def main():
            source = async_pipeline(produces(count))
            assert [chunk async for chunk in async_chunks(source, 3)] == chunks

        run(main)

    def test_an_error_comes_after_the_items_read_before_it(self):
        async def main():
            source = async_pipeline(produces(5, LookupError()))
            results, raised = await collect(async_chunks(source, 3))
            assert results == [[0, 1, 2], [3, 4]]
            assert isinstance(raised, LookupError)

        run(main)

    def test_the_source_can_be_read_on(self):
        async def main():
            source = async_pipeline(produces(5))
            async with aclosing(async_chunks(source, 2)) as chunks:
                assert await anext(chunks) == [0, 1]
            assert [i async for i in source] == [2, 3, 4]

        run(main)

    def test_bad_arguments_are_refused_by_name(self):
        with pytest.raises(TypeError, match=r"iterable must be an async iterable, got \[\]"):
            async_chunks([], 3)
        for size, error in [(0, ValueError), (-1, ValueError), (1.5, TypeError)]:
            with pytest.raises(error, match=f"size must be .* got {size}"):
                async_chunks(async_pipeline(produces(1)), size)
