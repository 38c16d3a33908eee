"""A scheduler's statistics of its work."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest
from kit.calls import result

from xtremeflow import (
    TaskScheduler,
    TokenRateScheduler,
    report_first_token,
)
from xtremeflow.scheduler.stats import LimitStats, PrefixStats, Stats
from xtremeflow.testing import run


def test_stats_add_up_the_times_until_answers_begin() -> None:
    async def main() -> None:
        scheduler = TaskScheduler(1)

        async def streamed(seconds: float) -> None:
            await asyncio.sleep(seconds)
            report_first_token()
            await asyncio.sleep(1)
            report_first_token()  # counts once

        tasks = [scheduler.submit(streamed(2)), scheduler.submit(streamed(3))]
        await asyncio.gather(*tasks, scheduler.submit(asyncio.sleep(1)))
        stats = scheduler.stats()
        assert (stats.begun, stats.first_token_seconds, stats.succeeded) == (2, 5, 3)

    run(main())


def names(record: type) -> set[str]:
    return {each.name for each in dataclasses.fields(record)}


def test_a_counter_has_the_same_name_in_the_core_and_in_stats() -> None:
    async def main() -> None:
        scheduler = TokenRateScheduler(max_rpm=60)
        await scheduler.submit(asyncio.sleep(1), prefix="a")
        told = scheduler._snapshot()
        assert told.keys() <= names(Stats)
        assert told["limits"][0].keys() <= names(LimitStats)
        assert told["prefixes"].keys() == names(PrefixStats) - {"prompts", "saved"}

    run(main())


def test_stats_count_each_way_to_end() -> None:
    async def fail() -> None:
        raise KeyError

    async def main() -> None:
        scheduler = TaskScheduler(1)
        assert scheduler.stats().elapsed == 0
        tasks = [
            scheduler.submit(asyncio.sleep(2)),
            scheduler.submit(asyncio.sleep(1)),
            scheduler.submit(fail()),
            scheduler.submit(asyncio.sleep(1)),
            scheduler.submit(asyncio.sleep(1), timeout=1),
        ]
        await asyncio.sleep(0.5)
        stats = scheduler.stats()
        tasks[3].cancel()
        assert (stats.submitted, stats.admitted, stats.waiting, stats.in_flight) == (5, 1, 4, 1)
        await scheduler.wait_pending()
        await asyncio.gather(*tasks, return_exceptions=True)
        stats = scheduler.stats()
        ended = (stats.succeeded, stats.failed, stats.cancelled, stats.expired)
        assert ended == (2, 1, 1, 1)
        assert (stats.admitted, stats.waiting, stats.in_flight) == (3, 0, 0)
        assert stats.elapsed == 3
        assert scheduler.total_completed == 4

    run(main())


def test_the_shares_of_time_say_what_left_quota_idle_and_add_up() -> None:
    async def main() -> None:
        scheduler = TokenRateScheduler(max_tps=10, max_rps=1, max_concurrency=1)
        scheduler.submit(asyncio.sleep(4), 10)  # holds the slot from 0 to 4
        scheduler.submit(result(), 60)  # then goes at once, which is paid for until 10
        scheduler.submit(result(), 0)
        await scheduler.wait_pending()
        await asyncio.sleep(10)  # nothing waits from 10 to 20
        scheduler.notify_rate_limit_exceeded(5)
        await (await scheduler.start_task(result(), 0))  # at 25
        stats = scheduler.stats()
        assert stats.elapsed == 25
        requests, tokens = (
            next(limit for limit in stats.limits if limit.name == name)
            for name in ("requests", "tokens")
        )
        assert stats.held_by_concurrency == pytest.approx(4 / 25)
        assert tokens.held_back == pytest.approx(6 / 25)
        assert requests.held_back == 0
        assert stats.idle == pytest.approx(10 / 25)
        assert stats.held_by_cooldown == pytest.approx(5 / 25)
        shares = stats.idle + stats.held_by_concurrency + stats.held_by_cooldown
        assert shares + sum(limit.held_back for limit in stats.limits) == pytest.approx(1)
        assert tokens.used == 70
        assert tokens.utilisation == pytest.approx(70 / 250)
        assert requests.utilisation == pytest.approx(4 / 25)

    run(main())


def test_a_full_queue_uses_all_of_the_quota() -> None:
    async def main() -> None:
        scheduler = TokenRateScheduler(max_tps=1000, burst_ratio=0.1)
        for _ in range(200):
            scheduler.submit(result(), 50)
        await scheduler.wait_pending()
        (tokens,) = scheduler.stats().limits
        assert tokens.used == 10_000
        assert tokens.utilisation == pytest.approx(1, abs=0.006)
        assert tokens.held_back == pytest.approx(1)

    run(main())
