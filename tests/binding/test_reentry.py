"""Code that runs in the middle of an operation, and takes away what it works on."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import weakref
from collections.abc import Iterator
from importlib.machinery import ExtensionFileLoader
from typing import Any

import pytest
from kit.cases import Cases

from xtremeflow import _core
from xtremeflow._core import Scheduler

case = Cases(__file__)


async def nothing() -> None:
    pass


async def call_of(scheduler: Scheduler) -> None:
    await (await scheduler.start_task(nothing(), 1))


@case
def a_module_goes_with_its_schedulers() -> None:
    class Holder:
        pass

    async def look(scheduler: Scheduler) -> None:
        scheduler._snapshot()  # no task: asyncio keeps the types of what they have run

    def use() -> weakref.ref[Any]:
        loader = ExtensionFileLoader("xtremeflow._core", _core.__file__)
        spec = importlib.util.spec_from_loader("xtremeflow._core", loader)
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        loader.exec_module(module)
        holder: Any = Holder()
        holder.itself = holder
        holder.scheduler = module.Scheduler(max_concurrency=2)
        asyncio.run(look(holder.scheduler))
        return weakref.ref(module)

    gc.disable()
    module = use()
    gc.collect()
    assert module() is None


@case
def limits_that_initialise_their_scheduler() -> None:
    class Limits:
        def __iter__(self) -> Iterator[Any]:
            scheduler.__init__(limits=[good])  # type: ignore[misc]
            return iter([good, self.last])

        last: Any = "no limit"

    good = ("tokens", 1.0, 1.0, 10.0)
    for last, error in [("no limit", TypeError), (good, RuntimeError)]:
        scheduler = Scheduler.__new__(Scheduler)
        limits: Any = Limits()
        limits.last = last
        try:
            scheduler.__init__(limits=limits)  # type: ignore[misc]
        except error:
            asyncio.run(call_of(scheduler))
        else:
            raise AssertionError


@case
def a_limit_that_changes_the_list_of_limits() -> None:
    class Amount:
        def __float__(self) -> float:
            limits.clear()
            return 1.0

    limits: list[Any] = [(name, Amount(), 1.0, 10.0) for name in ("tokens", "requests")]
    assert Scheduler(limits=limits).limit_names == ("tokens", "requests")


@case
def a_clock_that_closes_who_waits() -> None:
    class Loop(asyncio.SelectorEventLoop):
        victim: Any = None

        def time(self) -> float:
            victim, self.victim = self.victim, None
            if victim is not None:
                victim.close()
            return super().time()

    async def main() -> None:
        scheduler = Scheduler(max_concurrency=1)
        await call_of(scheduler)
        start = loop.victim = scheduler.start_task(nothing())
        with pytest.raises(RuntimeError, match="already awaited"):
            await start
        assert scheduler.active_tasks == 0
        await call_of(scheduler)

    loop = Loop()
    loop.run_until_complete(main())
    loop.close()


@case
def futures_that_are_asked_whether_they_are_done_and_give_up_others() -> None:
    class Nosy(asyncio.Future[None]):
        hook: Any = None

        def done(self) -> bool:
            hook, Nosy.hook = Nosy.hook, None
            if hook is not None:
                hook()
            return super().done()

    class Loop(asyncio.SelectorEventLoop):
        def create_future(self) -> asyncio.Future[Any]:
            return Nosy(loop=self)

    async def main() -> None:
        def give_up() -> None:
            for _ in range(100):
                drains.append(scheduler._drained())
            for drain in drains:
                drain.cancel()
            drains.clear()
            for _ in range(200):
                scheduler._drained().cancel()

        scheduler = Scheduler(max_concurrency=1)
        task = scheduler.submit(asyncio.sleep(10))
        drains = [scheduler._drained() for _ in range(40)]
        Nosy.hook = give_up
        while Nosy.hook is not None:
            drains.append(scheduler._drained())
        task.cancel()
        await asyncio.wait([task])
        await scheduler._drained()

    loop = Loop()
    loop.run_until_complete(main())
    loop.close()


@pytest.mark.parametrize("name", case.names)
def test_the_case_ends_well_in_a_process_of_its_own(name: str) -> None:
    case.check(name)


if __name__ == "__main__":
    case.main()
