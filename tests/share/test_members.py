"""Schedulers that share an account, on a virtual clock: together they keep the limits of one."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
from collections.abc import Iterator

import pytest
from kit.shares import share_name

from xtremeflow import (
    Limit,
    RequestRateScheduler,
    TaskScheduler,
    TokenRateScheduler,
    auto_backoff,
    report_token_usage,
)
from xtremeflow.testing import VirtualClockLoop, run


@pytest.fixture
def share() -> Iterator[str]:
    with share_name() as name:
        yield name
        gc.collect()


class Refused(Exception):
    status_code = 429
    retry_after = 5.0


async def now() -> float:
    return asyncio.get_running_loop().time()


def test_members_dispatch_together_what_one_scheduler_would(share: str) -> None:
    async def main() -> None:
        members = [TokenRateScheduler(max_tps=100, share=share) for _ in range(4)]
        begun = await now()
        calls = [
            member.submit(now(), 10) for turn in range(5) for member in members[: 4 - turn % 2]
        ]
        at = sorted([await call - begun for call in calls])
        assert at == pytest.approx([0.1 * n for n in range(len(calls))])
        for member in members:
            await member.wait_pending()

    run(main())


def test_a_lone_member_keeps_the_schedule_of_a_scheduler_without_a_share(share: str) -> None:
    async def main(share: str | None) -> list[float]:
        scheduler = TokenRateScheduler(max_tps=100, max_rps=20, burst_ratio=0.3, share=share)
        begun = await now()
        calls = [scheduler.submit(now(), cost) for cost in (10, 1, 30, 2, 2, 50, 0, 7)]
        return [await call - begun for call in calls]

    assert run(main(share)) == pytest.approx(run(main(None)))


def test_members_take_turns_whatever_the_number_of_their_calls(share: str) -> None:
    async def main() -> None:
        many, few = (RequestRateScheduler(max_rps=10, share=share) for _ in range(2))
        crowd = [many.submit(now()) for _ in range(50)]
        begun = await crowd[0]
        late = [few.submit(now()) for _ in range(3)]
        assert [await call - begun for call in late] == pytest.approx([0.2, 0.4, 0.6])
        await asyncio.gather(*crowd)

    run(main())


def test_slots_are_held_together_and_handed_over_at_once(share: str) -> None:
    async def main() -> None:
        running = most = 0

        async def call() -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(1)
            running -= 1

        members = [TaskScheduler(3, share=share) for _ in range(3)]
        begun = await now()
        await asyncio.gather(*(member.submit(call()) for member in members for _ in range(5)))
        assert most == 3
        assert await now() - begun == pytest.approx(5)

    run(main())


def test_a_report_moves_every_members_bucket(share: str) -> None:
    async def main() -> None:
        first, second = (
            TokenRateScheduler(limits=[Limit("tokens", 100, 1, 1000)], share=share)
            for _ in range(2)
        )

        async def frugal() -> None:
            await asyncio.sleep(1)
            report_token_usage(100).close()

        task = first.submit(frugal(), 1000)
        begun = await now()
        waits = second.submit(now(), 900)
        assert await waits - begun == pytest.approx(1)
        await task

    run(main())


def test_a_429_of_one_pauses_all(share: str) -> None:
    async def main() -> None:
        first, second = (RequestRateScheduler(max_rps=100, share=share) for _ in range(2))
        refusals = 1

        @auto_backoff()
        async def refused() -> float:
            nonlocal refusals
            if refusals:
                refusals -= 1
                raise Refused
            return await now()

        task = first.submit(refused())
        await asyncio.sleep(0.1)
        began = await now()
        others = [second.submit(now()) for _ in range(3)]
        at = [await call - began for call in (task, *others)]
        assert min(at) == pytest.approx(4.9)
        assert max(at) == pytest.approx(4.93)
        assert (first.stats().cooldowns, second.stats().cooldowns) == (1, 1)

    run(main())


def test_a_limit_set_by_one_is_everybodys(share: str) -> None:
    async def main() -> None:
        first, second = (RequestRateScheduler(max_rps=0.1, share=share) for _ in range(2))
        await (await first.start_task(now()))
        begun = await now()
        waits = second.submit(now())
        await asyncio.sleep(1)
        first.set_limit(Limit("requests", 10, 1))
        assert await waits - begun == pytest.approx(1, abs=0.2)
        assert second.limits[0].rate == pytest.approx(10)
        first.max_concurrency = 7
        assert second.max_concurrency == 7

    run(main())


def test_the_first_members_limits_count_and_the_others_are_told_once(
    share: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        first = TokenRateScheduler(max_tps=100, share=share)
        with caplog.at_level(logging.WARNING, "xtremeflow"):
            same = TokenRateScheduler(max_tps=100, share=share)
            assert caplog.messages == []
            other = TokenRateScheduler(max_tps=50, max_rps=3, share=share)
        (message,) = caplog.messages
        assert "100 tokens in 1 s" in message
        assert "50 tokens in 1 s" in message
        assert "3 requests in 1 s" in message
        for member in (first, same, other):
            assert [(each.name, each.rate) for each in member.limits] == [("tokens", 100)]

    run(main())


def test_limits_are_those_of_the_newcomer_where_nobody_is_left(share: str) -> None:
    async def main(rate: float) -> float:
        scheduler = TokenRateScheduler(max_tps=rate, share=share)
        await (await scheduler.start_task(now(), 10))
        return scheduler.limits[0].amount

    assert run(main(100)) == 100
    assert run(main(200)) == 200


def test_stats_say_who_shares_and_how_much_is_ones_own(share: str) -> None:
    async def main() -> None:
        first, second = (RequestRateScheduler(max_rps=10, share=share) for _ in range(2))
        assert first.stats().share is not None
        await asyncio.gather(*(first.submit(now()) for _ in range(3)), second.submit(now()))
        stats = first.stats().share
        assert stats is not None
        assert (stats.name, stats.members, stats.own) == (share, 2, 0.75)
        assert (stats.in_flight, stats.waiting) == (0, 0)
        assert 0 < second.stats().held_by_share < 1
        assert RequestRateScheduler(max_rps=10).stats().share is None

    run(main())


def test_the_shares_of_time_add_up(share: str) -> None:
    async def main() -> None:
        first, second = (RequestRateScheduler(max_rps=1, share=share) for _ in range(2))
        await asyncio.gather(*(each.submit(now()) for each in (first, second) for _ in range(5)))
        await asyncio.sleep(3)
        for stats in (first.stats(), second.stats()):
            total = stats.idle + stats.held_by_concurrency + stats.held_by_cooldown
            total += stats.held_by_share + sum(limit.held_back for limit in stats.limits)
            assert total == pytest.approx(1)

    run(main())


def test_a_scheduler_that_is_gone_has_left(share: str) -> None:
    async def main() -> None:
        first, second = (TaskScheduler(1, share=share) for _ in range(2))
        assert second._seats() == (0,)
        del first
        gc.collect()
        assert second._seats() == ()
        stats = second.stats().share
        assert stats is not None
        assert stats.members == 1

    run(main())


def test_a_cancelled_call_passes_its_turn_on_to_another_member(share: str) -> None:
    async def main() -> None:
        first, second = (TokenRateScheduler(max_tps=10, share=share) for _ in range(2))
        await (await first.start_task(now(), 10))
        begun = await now()
        leaves, waits = first.submit(now(), 50), second.submit(now(), 10)
        await asyncio.sleep(0.5)
        leaves.cancel()
        assert await waits - begun == pytest.approx(1)

    run(main())


def test_a_timeout_in_the_line_is_kept(share: str) -> None:
    async def main() -> None:
        first, second = (TokenRateScheduler(max_tps=1, share=share) for _ in range(2))
        await (await first.start_task(now(), 10))
        waits = first.submit(now(), 1)
        with pytest.raises(asyncio.TimeoutError):
            await second.submit(now(), 1, timeout=2)
        await waits
        assert second.stats().expired == 1

    run(main())


@pytest.mark.parametrize(
    ("share", "error"),
    [
        (5, TypeError),
        ("", ValueError),
        ("shm:", ValueError),
        ("disk:x", ValueError),
        ("file:relative", ValueError),
        ("file:", ValueError),
        ("shm:a\0b", ValueError),
    ],
)
def test_a_file_that_is_no_share_is_refused(share: object, error: type[Exception]) -> None:
    with pytest.raises(error, match="share must"):
        TaskScheduler(1, share=share)  # type: ignore[arg-type]


def test_an_answer_lowers_everybodys_limit(share: str) -> None:
    async def main() -> None:
        first, second = (RequestRateScheduler(max_rpm=600, share=share) for _ in range(2))

        async def call() -> None:
            first.observe(200, {"x-ratelimit-limit-requests": "60"}, {"id": 1})

        await (await first.start_task(call()))
        assert second.limits[0].rate == pytest.approx(1)

    run(main())


def test_a_loop_with_a_clock_of_its_own_does_not_share_with_one_that_has_none(share: str) -> None:
    async def call(scheduler: TaskScheduler) -> None:
        await (await scheduler.start_task(now()))

    real, virtual = TaskScheduler(1, share=share), TaskScheduler(1, share=share)
    asyncio.run(call(real))
    with pytest.raises(RuntimeError, match="another clock"):
        run(call(virtual))
    del real, virtual
    gc.collect()
    run(call(TaskScheduler(1, share=share)))  # nobody is left who has the other


def test_a_scheduler_that_has_left_refuses_calls(share: str) -> None:
    async def main() -> None:
        scheduler = TaskScheduler(1, share=share)
        scheduler._leave()
        with pytest.raises(RuntimeError, match="has left its share"):
            await scheduler.start_task(now())

    run(main())


def test_more_members_than_seats_are_refused_and_none_is_lost() -> None:
    with share_name() as share:
        members = [TaskScheduler(1, share=share) for _ in range(256)]
        with pytest.raises(RuntimeError, match="256 members already"):
            TaskScheduler(1, share=share)
        members.pop()
        gc.collect()
        members.append(TaskScheduler(1, share=share))
        del members
        gc.collect()


def test_members_in_threads_wake_each_other(share: str) -> None:
    """A slot that comes free in one loop is handed to the loop of another thread."""
    members = [TaskScheduler(1, share=share) for _ in range(2)]

    async def chain(member: TaskScheduler, n: int) -> int:
        for _ in range(n):
            await (await member.start_task(asyncio.sleep(0)))
        return n

    async def main() -> None:
        threads = [asyncio.to_thread(asyncio.run, chain(member, 50)) for member in members]
        assert await asyncio.gather(*threads) == [50, 50]

    asyncio.run(main())
    assert [member.total_completed for member in members] == [50, 50]
    members.clear()
    gc.collect()


def test_a_virtual_loop_that_is_closed_ends_its_calls(share: str) -> None:
    loop = VirtualClockLoop()
    dying = TaskScheduler(1, share=share)

    async def hang() -> None:
        dying.submit(asyncio.sleep(3600))
        await asyncio.sleep(0)

    loop.run_until_complete(hang())
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()

    async def other() -> None:
        await (await TaskScheduler(1, share=share).start_task(now()))

    run(other())


def test_a_name_that_is_no_share_is_refused_with_all_forms() -> None:
    forms = "'shm:NAME', 'file:/PATH', 'redis://HOST:PORT/0#NAME' or 'ray:NAME'"
    with pytest.raises(ValueError, match=re.escape(f"share must be {forms}, got 'openai'")):
        TaskScheduler(share="openai")
