"""A call that stays open when its coroutine has returned, until its user ends it:
`Scheduler._open`."""

from __future__ import annotations

import asyncio
import contextvars
import gc
from typing import Any

import pytest

from xtremeflow import TaskScheduler, TokenRateScheduler, report_token_usage
from xtremeflow._core import Call, current_call
from xtremeflow.answers.attempt import admitted_again
from xtremeflow.testing import run

TOKENS = 10
TERMS = (0, None, TOKENS, None, 0, None)


async def begun(seconds: float = 1.0) -> Call:
    await asyncio.sleep(seconds)
    call = current_call()
    assert call is not None
    return call


async def broken() -> Call:
    await asyncio.sleep(1)
    raise ConnectionError("broken")


def books(scheduler: TaskScheduler) -> tuple[int, int, int, int, int]:
    counts = scheduler._snapshot()
    succeeded, failed, cancelled = (counts[how] for how in ("succeeded", "failed", "cancelled"))
    return succeeded, failed, cancelled, counts["in_flight"], counts["waiting"]


def test_it_holds_its_slot_until_its_end() -> None:
    async def main() -> None:
        scheduler = TaskScheduler(1)
        call = await scheduler._open(begun(), TERMS)
        assert (call.state, books(scheduler)) == ("in flight", (0, 0, 0, 1, 0))
        other = asyncio.ensure_future(scheduler._open(begun(), TERMS))
        await asyncio.sleep(5)
        assert not other.done()
        scheduler._end(call)
        scheduler._end(call)  # which does nothing
        assert call.state == "done"
        assert books(scheduler) == (1, 0, 0, 1, 0)
        scheduler._end(await other)
        assert books(scheduler) == (2, 0, 0, 0, 0)

    run(main())


def test_it_has_a_task_only_until_it_is_open() -> None:
    async def main() -> None:
        scheduler = TaskScheduler(1)
        task = asyncio.ensure_future(scheduler._open(begun(), TERMS))
        await asyncio.sleep(0)
        assert scheduler.pending_tasks == {task}
        call = await task
        assert scheduler.pending_tasks == set()
        assert scheduler.active_tasks == 1
        scheduler._end(call)
        await scheduler.wait_pending()

    run(main())


def test_its_coroutine_may_make_several_attempts() -> None:
    async def attempts(starts: list[float]) -> Call:
        call = current_call()
        assert call is not None
        for _ in range(2):
            starts.append(asyncio.get_running_loop().time())
            call.rate_limited(3.0, 0.0, False, 60.0)
            await admitted_again(call)
        return call

    async def main() -> None:
        scheduler = TokenRateScheduler(max_tps=1000, max_concurrency=1)
        starts: list[float] = []
        call = await scheduler._open(attempts(starts), TERMS)
        assert starts[1] - starts[0] == pytest.approx(3)
        assert call.state == "in flight"
        scheduler._end(call)
        assert books(scheduler) == (1, 0, 0, 0, 0)

    run(main())


def test_code_in_its_context_settles_it() -> None:
    async def main() -> None:
        scheduler = TokenRateScheduler(max_tps=1, burst_ratio=100)

        async def opening() -> contextvars.Context:
            return contextvars.copy_context()

        context = await scheduler._open(opening(), TERMS)
        assert current_call() is None
        call = context.run(current_call)
        assert call is not None
        context.run(lambda: report_token_usage(3).close())
        assert call.held["tokens"] == 3
        scheduler._end(call)
        assert scheduler.stats().limits[0].used == 3

    run(main())


@pytest.mark.parametrize(
    ("how", "ends"),
    [("fails", (0, 1, 0, 0, 0)), ("cancelled", (0, 0, 1, 0, 0)), ("late", (1, 0, 0, 0, 0))],
)
def test_one_that_does_not_open_holds_nothing(how: str, ends: tuple[int, ...]) -> None:
    async def main() -> None:
        scheduler = TaskScheduler(1)
        if how == "fails":
            with pytest.raises(ConnectionError):
                await scheduler._open(broken(), TERMS)
        elif how == "cancelled":
            task = asyncio.ensure_future(scheduler._open(begun(), TERMS))
            await asyncio.sleep(0.5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            first = await scheduler._open(begun(), TERMS)
            with pytest.raises(asyncio.TimeoutError, match="not admitted within its timeout"):
                await scheduler._open(begun(), (0, 2.0, TOKENS, None, 0, None))
            scheduler._end(first)
        assert books(scheduler) == ends

    run(main())


@pytest.mark.parametrize("steps", [0, 1])
def test_one_that_is_dropped_before_it_is_open_holds_nothing(steps: int) -> None:
    async def main() -> None:
        scheduler = TaskScheduler(1)
        opening: Any = scheduler._open(begun(), TERMS)
        for _ in range(steps):
            opening.send(None)
        opening.close()
        del opening
        gc.collect()
        assert books(scheduler)[3:] == (0, 0)

    run(main())


def test_a_block_that_raises_ends_the_open_calls() -> None:
    """They have no task that could be cancelled."""

    async def main() -> None:
        scheduler = TaskScheduler(2)
        calls: list[Call] = []

        async def block() -> None:
            async with scheduler:
                calls.append(await scheduler._open(begun(), TERMS))
                raise KeyError

        with pytest.raises(KeyError):
            await block()
        assert calls[0].state == "done"
        assert books(scheduler) == (0, 0, 1, 0, 0)
        scheduler._end(calls[0])
        assert books(scheduler) == (0, 0, 1, 0, 0)

    run(main())


def test_a_closed_loop_leaves_no_open_call_behind() -> None:
    scheduler = TaskScheduler(1)

    async def leave() -> Call:
        return await scheduler._open(begun(0), TERMS)

    async def again() -> None:
        scheduler._end(await asyncio.wait_for(leave(), 5))

    call = asyncio.run(leave())
    asyncio.run(again())
    scheduler._end(call)
    assert books(scheduler) == (1, 0, 1, 0, 0)


def test_only_a_call_of_the_scheduler_can_be_ended() -> None:
    async def main() -> None:
        one, other = TaskScheduler(1), TaskScheduler(1)
        call = await one._open(begun(), TERMS)
        for wrong in (call, None):
            with pytest.raises(TypeError, match="must be a call of this scheduler, not"):
                other._end(wrong)  # type: ignore[arg-type]
        one._end(call)

    run(main())
