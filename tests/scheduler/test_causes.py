"""The causes that left quota idle, in every view."""

from __future__ import annotations

import asyncio

import pytest

from xtremeflow import Limit, TaskScheduler
from xtremeflow.run.output.counts import Counts
from xtremeflow.run.views.monitor import Monitor
from xtremeflow.scheduler.causes import IDLE, causes
from xtremeflow.testing import run


def test_the_causes_have_names_of_their_own_and_add_up_to_all_the_time() -> None:
    async def main() -> None:
        limits = [Limit("tokens", 10), Limit("tokens", 86_400, per=86_400.0)]
        scheduler = TaskScheduler(limits=limits)
        await asyncio.gather(*[scheduler.submit(asyncio.sleep(1), 10) for _ in range(3)])
        await asyncio.sleep(9)
        shares = causes(scheduler.stats())
        assert shares["tokens#2"] == pytest.approx(20 / 30)  # one per second binds, not ten
        assert shares[IDLE] == pytest.approx(10 / 30)
        assert sum(shares.values()) == pytest.approx(1)

    run(main())


@pytest.mark.parametrize(
    ("prefix", "slots", "told"),
    [
        ("a", None, "a prefix that is not in the cache yet"),
        (None, 1, "concurrency"),
    ],
)
def test_the_live_view_of_a_run_says_what_holds_the_queue_back(
    prefix: str | None, slots: int | None, told: str
) -> None:
    async def main() -> None:
        now = asyncio.get_running_loop().time
        scheduler, monitor = TaskScheduler(slots), Monitor(now())
        calls = [scheduler.submit(asyncio.sleep(10), prefix=prefix) for _ in range(3)]
        for _ in range(2):
            await asyncio.sleep(3)
            seen = monitor.look(
                now(), Counts(), scheduler.stats(), total=3, in_flight=1, concurrency=slots,
                stopping=None,
            )  # fmt: skip
        assert seen.held_back_by == told
        await asyncio.gather(*calls)

    run(main())
