"""Members of one account take turns at low rates and keep to a changed limit, wherever the account
lies; virtual clock."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from kit.strict import overdrawn

from xtremeflow import Limit, RequestRateScheduler
from xtremeflow.testing import run

Make = Callable[[], Any]


class Sent:
    """Calls of members, as (instant, member) in order."""

    def __init__(self, members: list[RequestRateScheduler], calls: int) -> None:
        self.members = members
        self.times: list[tuple[float, int]] = []
        self.tasks = [
            member.submit(self._call(place))
            for _ in range(calls)
            for place, member in enumerate(members)
        ]

    async def _call(self, place: int) -> None:
        self.times.append((asyncio.get_running_loop().time(), place))

    async def leave(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for member in self.members:
            member._leave()
            if member._leased is not None:
                member._leased.leave()
        await asyncio.sleep(5)

    def by_member(self, since: float, seconds: float) -> list[float]:
        """Calls a second of each member, from `since` s after the first call on."""
        begin = self.times[0][0] + since
        counts = Counter(place for at, place in self.times if begin <= at < begin + seconds)
        return [counts[place] / seconds for place in range(len(self.members))]


def test_a_changed_limit_is_that_of_all_members_within_a_second(make: Make) -> None:
    async def main() -> Sent:
        share = make()
        members = [RequestRateScheduler(max_rps=100, share=share) for _ in range(8)]
        sent = Sent(members, 600)
        for rate in (50, 200):
            await asyncio.sleep(10)
            members[3].set_limit(Limit("requests", rate, per=1.0, capacity=1))
        await asyncio.sleep(10)
        await sent.leave()
        return sent

    sent = run(main())
    for begin, rate in ((1, 100), (12, 50), (22, 200)):
        parts = sent.by_member(begin, 7)
        assert sum(parts) == pytest.approx(rate, rel=0.02)
        assert min(parts) > 0.8 * rate / 8


def test_many_members_at_a_low_rate_have_each_its_turn(make: Make) -> None:
    async def main() -> Sent:
        share = make()
        members = [RequestRateScheduler(max_rpm=50, burst_ratio=0, share=share) for _ in range(64)]
        sent = Sent(members, 3)
        await asyncio.wait_for(asyncio.gather(*sent.tasks), 300)
        await sent.leave()
        return sent

    sent = run(main())
    for turn in range(3):
        assert len({place for _, place in sent.times[64 * turn : 64 * (turn + 1)]}) == 64
    times = [at for at, _ in sent.times]
    assert overdrawn(times, 50 / 60) == 0
    assert (len(times) - 1) / (50 / 60) / (times[-1] - times[0]) >= 0.99
