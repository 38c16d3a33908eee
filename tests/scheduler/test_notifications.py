"""A notification of a rate limit holds all calls back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from kit.calls import result

from xtremeflow import (
    TaskScheduler,
)
from xtremeflow.testing import run


def test_a_notification_holds_all_calls_back() -> None:
    async def main() -> None:
        scheduler = TaskScheduler()
        now = asyncio.get_running_loop().time
        began = now()
        scheduler.notify_rate_limit_exceeded(retry_after=2)
        scheduler.notify_rate_limit_exceeded(1)  # never shortens
        assert scheduler.stats().cooldown_left == 2
        await (await scheduler.start_task(result()))
        assert now() == began + 2
        stats = scheduler.stats()
        assert (stats.refused, stats.cooldowns, stats.cooldown_seconds) == (2, 1, 2)
        assert stats.held_by_cooldown == 1
        scheduler.notify_rate_limit_exceeded(0)
        assert scheduler.stats().cooldowns == 1

    run(main())


@pytest.mark.parametrize(
    ("args", "error", "message"),
    [
        ((-1,), ValueError, "retry_after must be from 0 to 86400 seconds, not -1"),
        ((86401,), ValueError, "retry_after must be from 0 to 86400 seconds, not 86401"),
        ((float("nan"),), ValueError, "retry_after must be .*not nan"),
        (("2",), TypeError, "retry_after must be a number of seconds, not '2'"),
        ((), TypeError, "exactly one argument, retry_after"),
    ],
)
def test_bad_notifications_are_refused_and_change_nothing(
    args: Any, error: type[Exception], message: str
) -> None:
    scheduler = TaskScheduler()
    with pytest.raises(error, match=message):
        scheduler.notify_rate_limit_exceeded(*args)
    assert scheduler.stats().cooldowns == 0
