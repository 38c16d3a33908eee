"""Waking: calls admitted during one turn of the loop run together in the next."""

from __future__ import annotations

import asyncio
import gc
import warnings
from typing import Any

import pytest

from xtremeflow import TaskScheduler


class CountingLoop(asyncio.SelectorEventLoop):
    callbacks = 0

    def call_soon(self, *args: Any, **kwargs: Any) -> Any:
        self.callbacks += 1
        return super().call_soon(*args, **kwargs)


async def until(gate: asyncio.Event) -> None:
    await gate.wait()


async def turns(n: int) -> None:
    for _ in range(n):
        await asyncio.sleep(0)


def test_one_callback_wakes_all_and_in_order() -> None:
    async def main() -> None:
        scheduler = TaskScheduler(10)
        gate, end = asyncio.Event(), asyncio.Event()
        seen: list[int] = []

        async def waits(i: int) -> None:
            seen.append(i)
            await end.wait()

        tasks = [scheduler.submit(until(gate)) for _ in range(10)]
        tasks += [scheduler.submit(waits(i)) for i in range(20)]
        await turns(3)
        before = loop.callbacks
        gate.set()
        await turns(5)
        # A step of each call that ends and of this one; and one for the ten that are let in.
        assert loop.callbacks - before == 10 + 5 + 1
        assert seen == list(range(10))
        end.set()
        await asyncio.gather(*tasks)
        assert seen == list(range(20))

    loop = CountingLoop()
    loop.run_until_complete(main())
    loop.close()


def test_calls_that_end_at_once_let_the_loop_turn() -> None:
    """A chain of calls, each of which lets the next one in, does not keep others from running."""

    async def main() -> None:
        scheduler = TaskScheduler(1)
        gate = asyncio.Event()
        ended = 0

        async def ends() -> None:
            nonlocal ended
            ended += 1

        scheduler.submit(until(gate))
        for _ in range(100):
            scheduler.submit(ends())
        await turns(3)
        gate.set()
        await turns(50)
        assert 0 < ended < 60
        await scheduler.wait_pending()
        assert ended == 100

    asyncio.run(main())


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_exit_of_one_leaves_the_others_woken(error: type[BaseException]) -> None:
    loop = asyncio.new_event_loop()
    scheduler = TaskScheduler(3)
    gate = asyncio.Event()

    async def exits() -> None:
        raise error

    async def answers(i: int) -> int:
        return i

    async def main() -> list[asyncio.Task[Any]]:
        for _ in range(3):
            scheduler.submit(until(gate))
        tasks = [scheduler.submit(c) for c in (answers(0), exits(), answers(2))]
        await turns(3)
        gate.set()
        return tasks

    _, exiting, last = tasks = loop.run_until_complete(main())
    with pytest.raises(error):
        loop.run_until_complete(asyncio.gather(*tasks))
    assert isinstance(exiting.exception(), error)
    assert loop.run_until_complete(last) == 2
    assert scheduler.active_tasks == 0
    loop.close()


def test_cancelled_after_it_was_let_in() -> None:
    async def main() -> None:
        scheduler = TaskScheduler(2)
        gate = asyncio.Event()
        for _ in range(2):
            scheduler.submit(until(gate))
        doomed, other = scheduler.submit(turns(0)), scheduler.submit(turns(0))
        await turns(2)
        gate.set()
        await turns(1)
        assert (scheduler.waiting, scheduler.active_tasks) == (0, 2)  # let in, without a step yet
        doomed.cancel()
        await asyncio.wait([doomed, other])
        assert doomed.cancelled()
        assert not other.cancelled()
        assert scheduler.active_tasks == 0

    asyncio.run(main())


def test_a_loop_that_is_closed_before_it_runs_them_gives_their_slots_back() -> None:
    scheduler = TaskScheduler(2)
    started: list[str] = []

    async def stops() -> None:
        await asyncio.sleep(0)
        asyncio.get_running_loop().stop()

    async def never() -> None:
        started.append("never")

    async def main() -> None:
        for coro in (stops(), stops(), never(), never()):
            scheduler.submit(coro)
        await asyncio.get_running_loop().create_future()

    loop = asyncio.new_event_loop()
    with pytest.raises(RuntimeError, match="stopped before"):
        loop.run_until_complete(main())
    assert (scheduler.waiting, scheduler.active_tasks) == (0, 2)
    loop.close()

    async def afterwards() -> str:
        return "done"

    async def another() -> Any:
        return await scheduler.submit(afterwards())

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tasks destroyed while pending
        assert asyncio.run(another()) == "done"
        del loop
        gc.collect()
    assert scheduler.active_tasks == 0
    assert started == []
