"""Waiting for all calls of a scheduler, from outside and from within one."""

from __future__ import annotations

import asyncio

import pytest

from xtremeflow import (
    TaskScheduler,
)
from xtremeflow.testing import run


def test_wait_pending_waits_for_calls_started_meanwhile() -> None:
    async def main() -> None:
        scheduler = TaskScheduler(1)
        now = asyncio.get_running_loop().time
        began = now()
        await scheduler.wait_pending()  # nothing runs
        assert now() == began

        async def starts_another(depth: int) -> None:
            await asyncio.sleep(1)
            if depth:
                scheduler.submit(starts_another(depth - 1))

        scheduler.submit(starts_another(3))
        await asyncio.gather(scheduler.wait_pending(), scheduler.wait_pending())
        assert now() == began + 4
        assert scheduler.total_completed == 4
        await scheduler.wait_pending()

    run(main())


def test_wait_pending_leaves_failures_in_the_tasks() -> None:
    async def fail() -> None:
        raise KeyError

    async def main() -> None:
        scheduler = TaskScheduler()
        failing = scheduler.submit(fail())
        cancelled = scheduler.submit(asyncio.sleep(9))
        cancelled.cancel()
        await scheduler.wait_pending()
        assert isinstance(failing.exception(), KeyError)
        assert cancelled.cancelled()

    run(main())


def test_a_call_that_waits_for_the_others_does_not_wait_for_itself() -> None:
    async def main() -> None:
        scheduler = TaskScheduler()
        now = asyncio.get_running_loop().time
        began = now()
        ended: dict[str, float] = {}

        async def waits(name: str) -> None:
            await asyncio.gather(scheduler.wait_pending(), scheduler.wait_pending())
            ended[name] = now() - began
            await asyncio.sleep(1)

        other = scheduler.submit(asyncio.sleep(2))
        scheduler.submit(waits("a"))
        scheduler.submit(waits("b"))
        await scheduler.wait_pending()
        assert other.done()
        assert ended == {"a": 2, "b": 2}
        assert now() == began + 3  # those outside wait for those inside, too

    run(main())


def test_a_wait_that_was_given_up_inside_a_call_counts_no_more() -> None:
    async def main() -> None:
        scheduler = TaskScheduler()
        gave_up = asyncio.Event()

        async def gives_up() -> None:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(scheduler.wait_pending(), 1)
            gave_up.set()

        other = scheduler.submit(asyncio.sleep(5))
        scheduler.submit(gives_up())
        await gave_up.wait()
        await scheduler.wait_pending()
        assert other.done()

    run(main())


def test_a_child_may_wait_on_when_its_call_has_ended() -> None:
    async def main() -> None:
        scheduler = TaskScheduler()
        children: list[asyncio.Task[None]] = []

        async def leaves_a_child() -> None:
            children.append(asyncio.create_task(scheduler.wait_pending()))
            await asyncio.sleep(1)

        other = scheduler.submit(asyncio.sleep(5))
        scheduler.submit(leaves_a_child())
        await scheduler.wait_pending()
        assert other.done()
        await children[0]

    run(main())
