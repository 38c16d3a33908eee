"""Members of an account on a timeline, on a virtual clock: what they dispatch together."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random

import pytest
from kit.shares import ROUNDS
from kit.strict import overdrawn, overdrawn_units
from kit.timelines import Network, TimelineShare

from xtremeflow import (
    Limit,
    RequestRateScheduler,
    TaskScheduler,
    TokenRateScheduler,
    auto_backoff,
    report_token_usage,
)
from xtremeflow.share.keeper import Fair, Terms, Unreachable
from xtremeflow.testing import run

CLOSED = 0.3  # seconds before a new account's first call


class Refused(Exception):
    status_code = 429
    retry_after = 5.0


async def now() -> float:
    return asyncio.get_running_loop().time()


async def done(*members: TaskScheduler) -> None:
    """Lets the members leave."""
    for member in members:
        await member.wait_pending()
        assert member._leased is not None
        member._leased.leave()
    await asyncio.sleep(5)


@pytest.mark.parametrize("delay", [0.0, 0.001, 0.01, 0.05, 0.1, 0.15])
@pytest.mark.parametrize("count", [1, 8])
def test_members_use_the_limit_and_no_more_at_any_delay(delay: float, count: int) -> None:
    async def main() -> list[float]:
        share = TimelineShare(Network(delay))
        members = [RequestRateScheduler(max_rps=400, share=share) for _ in range(count)]
        await asyncio.gather(*(member.submit(now()) for member in members))
        calls = [
            member.submit(now())
            for place, member in enumerate(members)
            for _ in range(1200 // (place + 1))
        ]
        times = await asyncio.gather(*calls)
        await done(*members)
        return sorted(times)

    times = run(main())
    assert overdrawn(times, 400, 1) == 0
    if delay > 0.05:  # the first chunks end too early: by these the members learn how long it takes
        times = times[400:]
    assert (len(times) - 1) / 400 / (times[-1] - times[0]) >= 0.99


def used_by(rate: float, tokens: float, share: TimelineShare | None, count: int) -> float:
    """The part of the limits that members use whose calls cost 50 to 150 tokens. A provider that
    counts strictly refuses none of the calls."""
    seconds = max(20, 600 / rate)

    async def main() -> list[tuple[float, int]]:
        chance, times = random.Random(1), list[tuple[float, int]]()
        members = [
            TokenRateScheduler(max_rps=rate, max_tps=tokens, share=share) for _ in range(count)
        ]

        async def call(cost: int) -> None:
            times.append((await now(), cost))

        costs = [chance.randint(50, 150) for _ in range(round(2 * rate * seconds))]
        calls = [members[i % count].submit(call(cost), cost) for i, cost in enumerate(costs)]
        await asyncio.sleep(seconds)
        for each in calls:
            each.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        if share is not None:
            await done(*members)
        return times

    times = run(main())
    assert overdrawn((at for at, _ in times), rate) == 0
    assert overdrawn_units(times, tokens, 150) == 0
    used = max((len(times) - 1) / rate, sum(cost for _, cost in times[1:]) / tokens)
    return used / (max(times)[0] - min(times)[0])


@pytest.mark.parametrize("delay", [0.0005, 0.01, 0.05])
@pytest.mark.parametrize("rate", [2, 10, 100])
@pytest.mark.parametrize("cost", [100, 50])  # tokens of the limit for each of the requests
def test_uneven_costs_leave_no_part_of_the_limits_unused(
    rate: float, cost: float, delay: float
) -> None:
    # Two limits that hold up in turn cannot be used up by anyone.
    alone = used_by(rate, rate * cost, None, 1)
    assert alone >= (0.87 if cost == 100 else 0.999)
    for count in (1, 2, 6):
        assert used_by(rate, rate * cost, TimelineShare(Network(delay)), count) >= 0.99 * alone


def test_costs_that_differ_from_the_estimates_move_the_account() -> None:
    async def main() -> list[tuple[float, float]]:
        share = TimelineShare(Network(0.001))
        members = [TokenRateScheduler(max_tps=10_000, share=share) for _ in range(4)]

        async def call(actual: int) -> tuple[float, float]:
            at = await now()
            report_token_usage(actual)
            return at, actual

        calls = [
            member.submit(call(40 + 20 * (turn % 3)), 80)
            for turn in range(300)
            for member in members
        ]
        times = await asyncio.gather(*calls)
        await done(*members)
        return times

    times = run(main())
    units = sum(cost for _, cost in times)
    used = units / 10_000 / (max(times)[0] - min(times)[0])
    assert overdrawn_units(times, 10_000, 80) == 0
    assert used > 0.9  # the last reports come after the last call


@pytest.mark.parametrize("rate", [50, 1000], ids=["held back", "not held back"])
def test_a_member_that_is_alone_is_lent_the_account_and_asks_seldom(rate: float) -> None:
    async def main() -> int:
        share = TimelineShare(Network(0.001))
        member = RequestRateScheduler(max_rps=rate, share=share)
        tasks = [member.submit(now()) for _ in range(50 if rate == 1000 else 2000)]
        await asyncio.sleep(8)  # until the loans are as long as they become
        before = share.network.commands
        for _ in range(1000):
            await asyncio.sleep(0.02)
            tasks += [member.submit(now())] if rate == 1000 else []
        commands = share.network.commands - before
        await asyncio.gather(*tasks)
        await done(member)
        assert share.timeline.limits[0].used == len(tasks)
        return commands

    assert run(main()) <= 6  # in 20 s


@pytest.mark.parametrize("delay", [0.0, 0.001, 0.02])
def test_the_account_comes_back_as_soon_as_another_member_asks(delay: float) -> None:
    async def main() -> tuple[list[float], float]:
        share = TimelineShare(Network(delay))
        alone, other = (RequestRateScheduler(max_rps=100, share=share) for _ in range(2))
        calls = [alone.submit(now()) for _ in range(1000)]
        await asyncio.sleep(2.1)
        begun = await now()
        calls += [other.submit(now()) for _ in range(100)]
        waited = await calls[1000] - begun
        times = sorted(await asyncio.gather(*calls))
        await done(alone, other)
        return times, waited

    times, waited = run(main())
    assert waited < 0.3 + 6 * delay  # as long as for the chunks of a member that is not alone
    assert overdrawn(times, 100, 1) == 0
    assert (len(times) - 1) / 100 / (times[-1] - times[0]) >= 0.98


@pytest.mark.parametrize("is_killed", [True, False], ids=["killed", "stopped"])
def test_a_member_that_dies_with_the_account_has_used_it(is_killed: bool) -> None:
    """One that is killed is found by its connection. If it is there, the loan has to end."""

    async def main() -> tuple[list[float], float]:
        share = TimelineShare(Network(0.001))
        dying, living = (RequestRateScheduler(max_rps=100, share=share) for _ in range(2))
        times: list[float] = []

        async def call() -> None:
            times.append(await now())

        lost = [dying.submit(call()) for _ in range(5000)]
        await asyncio.sleep(10)
        assert dying._leased is not None
        (share.kill if is_killed else share.silence)(dying._leased.holder.member)
        for task in lost if is_killed else ():
            task.cancel()
        begun = await now()
        kept = [living.submit(call()) for _ in range(200)]
        await kept[0]
        waited = await now() - begun
        await asyncio.gather(*kept)
        for task in lost:
            task.cancel()
        await done(living)
        return times, waited

    times, waited = run(main())
    assert waited < (0.1 if is_killed else 5.1)
    assert overdrawn(sorted(times), 100, 1) == 0


def test_a_pause_is_heard_while_the_answer_to_a_command_is_on_its_way() -> None:
    @auto_backoff(max_retries=0)
    async def refused() -> None:
        raise Refused

    async def main() -> None:
        share = TimelineShare(Network(0.001))
        first, second = (RequestRateScheduler(max_rps=100, share=share) for _ in range(2))
        await first.submit(now())
        share.network.delay = 2.0
        waits = second.submit(now())
        await asyncio.sleep(0.01)
        share.network.delay = 0.001
        with pytest.raises(Refused):
            await first.submit(refused())
        await asyncio.sleep(0.01)
        assert second.stats().cooldown_left > 4
        await waits
        await done(first, second)

    run(main())


def test_a_refusal_in_one_member_pauses_all_and_opens_one_episode() -> None:
    async def main() -> None:
        share = TimelineShare(Network(0.002))
        members = [RequestRateScheduler(max_rps=1000, share=share) for _ in range(3)]
        refusals = iter([True, True, True])
        dispatched: list[float] = []

        @auto_backoff()
        async def call() -> None:
            dispatched.append(await now())
            await asyncio.sleep(0.01)
            if next(refusals, False):
                raise Refused

        calls = [member.submit(call()) for _ in range(20) for member in members]
        await asyncio.gather(*calls)
        early = [at for at in dispatched if at < min(dispatched) + 0.02]
        pause = sorted(dispatched)
        gaps = [b - a for a, b in itertools.pairwise(pause)]
        assert max(gaps) == pytest.approx(5.0, abs=0.05)
        assert len(early) < 30
        assert share.timeline.generation == 1
        assert [member.stats().cooldowns for member in members] == [1, 1, 1]
        await done(*members)

    run(main())


@pytest.mark.parametrize("after", [0.0, 0.004, 0.008, 0.03])
def test_a_refusal_while_an_ask_is_on_its_way_is_told(after: float) -> None:
    async def main() -> None:
        share = TimelineShare(Network(0.005))
        members = [RequestRateScheduler(max_rps=1000, share=share) for _ in range(2)]
        await members[1].submit(now())
        refusals, dispatched, ended = iter([True]), list[float](), list[float]()

        @auto_backoff()
        async def call() -> None:
            dispatched.append(await now())
            if next(refusals, False):
                await asyncio.sleep(after)
                ended.append(await now())
                raise Refused

        await asyncio.gather(*(members[0].submit(call()) for _ in range(300)))
        assert not [at for at in dispatched if ended[0] < at < ended[0] + 4.99]
        assert share.timeline.generation == 1
        assert [member.stats().cooldowns for member in members] == [1, 1]
        await done(*members)

    run(main())


def test_slots_are_those_of_all_members_and_are_handed_over() -> None:
    async def main() -> None:
        share = TimelineShare(Network(0.001))
        members = [TaskScheduler(3, share=share) for _ in range(5)]
        running = most = 0
        turns: list[int] = []

        async def call(member: int) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            turns.append(member)
            await asyncio.sleep(0.1)
            running -= 1

        calls = [
            member.submit(call(place)) for place, member in enumerate(members) for _ in range(12)
        ]
        await asyncio.gather(*calls)
        assert most == 3
        assert set(turns[:15]) == set(range(5))
        assert share.timeline.out <= 3
        await done(*members)

    run(main())


def test_a_slot_of_an_idle_member_goes_to_one_that_waits() -> None:
    async def main() -> None:
        share = TimelineShare(Network(0.001))
        first, second = (TaskScheduler(1, share=share) for _ in range(2))
        await (await first.start_task(asyncio.sleep(0.01)))
        begun = await now()
        await (await second.start_task(asyncio.sleep(0.01)))
        assert await now() - begun < 0.1
        await done(first, second)

    run(main())


def test_a_lone_member_that_waits_for_a_slot_asks_only_now_and_then() -> None:
    async def main() -> None:
        share = TimelineShare(Network(0.005))
        holds, waits = (TaskScheduler(1, share=share) for _ in range(2))
        task = await holds.start_task(asyncio.sleep(20))
        waiting = waits.submit(now())
        await asyncio.sleep(1)
        before = share.network.commands
        await asyncio.sleep(10)
        assert share.network.commands - before <= 22  # one a second of each member
        await task
        await waiting
        await done(holds, waits)

    run(main())


def test_the_first_limits_count_and_changes_reach_all(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        share = TimelineShare(Network(0.001))
        first = RequestRateScheduler(max_rps=100, max_concurrency=4, share=share)
        with caplog.at_level(logging.WARNING):
            second = RequestRateScheduler(max_rps=5, share=share)
        assert "has a member, whose limits count: 100 requests in 1 s" in caplog.text
        assert second.limits[0].amount == 100
        assert second.max_concurrency == 4
        second.set_limit(Limit("requests", 50, per=1, capacity=1))
        second.max_concurrency = 2
        await asyncio.sleep(0.1)
        times = await asyncio.gather(*(first.submit(now()) for _ in range(40)))
        assert first.limits[0].amount == 50
        assert first.max_concurrency == 2
        assert 39 / (max(times) - min(times)) == pytest.approx(50, rel=0.1)
        await done(first, second)

    run(main())


@pytest.mark.parametrize("refused", [True, False])
@pytest.mark.parametrize("on_outage", ["share", "wait"])
def test_without_an_answer_members_go_on_at_their_part(on_outage: str, refused: bool) -> None:
    async def main() -> tuple[list[float], float]:
        share = TimelineShare(Network(0.001), Terms(on_outage=on_outage))  # type: ignore[arg-type]
        members = [RequestRateScheduler(max_rps=100, share=share) for _ in range(4)]
        calls = [member.submit(now()) for _ in range(2000) for member in members[:2]]
        await asyncio.sleep(2)
        broken = await now()
        share.network.broken = Unreachable("cut", refused=refused)
        await asyncio.sleep(20)
        share.network.broken = None
        times = sorted(await asyncio.gather(*calls))
        assert all(not member.stats().share or member.stats().share.outages == 1  # type: ignore
                   for member in members)  # fmt: skip
        await done(*members)
        return times, broken

    times, broken = run(main())
    assert overdrawn(times, 100, 1) == 0
    alone = sum(broken + 1 < time < broken + 9 for time in times)
    long = sum(broken + 12 < time < broken + 19 for time in times)
    assert alone == (pytest.approx(400, rel=0.05) if on_outage == "share" else 0)
    assert long == (pytest.approx(350, rel=0.05) if on_outage == "share" and refused else 0)


def test_a_member_without_an_answer_waits_for_the_end_of_a_loan() -> None:
    async def main() -> tuple[list[float], float]:
        share = TimelineShare(Network(0.001))
        alone, other = (RequestRateScheduler(max_rps=100, share=share) for _ in range(2))
        calls = [other.submit(now())]
        await asyncio.sleep(3)
        calls += [alone.submit(now()) for _ in range(4000)]
        await asyncio.sleep(12)
        share.network.broken = Unreachable("cut")
        begun = await now()
        calls += [other.submit(now()) for _ in range(300)]
        waited = await calls[4001] - begun
        await asyncio.sleep(10)
        share.network.broken = None
        times = sorted(await asyncio.gather(*calls))
        await done(alone, other)
        return times, waited

    times, waited = run(main())
    assert overdrawn(times, 100, 1) == 0
    assert 1 < waited < 6


def test_members_wait_for_longer_than_the_steps_of_a_clock_that_runs_for_months() -> None:
    async def main() -> list[float]:
        share = TimelineShare(Network(0.001), Terms(on_outage="wait"))
        members = [RequestRateScheduler(max_rps=100, share=share) for _ in range(4)]
        calls = [member.submit(now()) for _ in range(50) for member in members]
        await asyncio.sleep(0.5)
        share.network.broken = Unreachable("cut")
        await asyncio.sleep(20)  # would never be over: for a wait of 1 ns its clock does not move
        share.network.broken = None
        times = await asyncio.gather(*calls)
        await done(*members)
        return sorted(times)

    assert overdrawn(run(main(), start=3e7), 100, 1) == 0


@pytest.mark.parametrize("seconds", [0.05, 0.3, 0.5, 1, 3])
def test_a_short_outage_lets_no_call_pass_that_the_limit_does_not(seconds: float) -> None:
    async def main() -> list[float]:
        share = TimelineShare(Network(0.001))
        members = [RequestRateScheduler(max_rps=100, share=share) for _ in range(3)]
        calls = [member.submit(now()) for _ in range(130) for member in members]
        await asyncio.sleep(0.5)
        share.network.broken = Unreachable("cut")
        await asyncio.sleep(seconds)
        share.network.broken = None
        times = sorted(await asyncio.gather(*calls))
        await done(*members)
        return times

    times = run(main())
    assert overdrawn(times, 100) == 0
    assert times[-1] - times[0] < 3.9 + 3.5


async def lose_the_account(share: TimelineShare) -> None:
    """Kills the keeper after half a second. Another one begins anew after as long."""
    await asyncio.sleep(0.5)
    share.network.broken = Unreachable("killed", refused=True)
    share.timeline.exists = False
    await asyncio.sleep(0.5)
    share.network.broken = None


def test_a_member_that_finds_the_account_lost_counts_those_that_are_still_alone() -> None:
    async def main() -> list[float]:
        share = TimelineShare(Network(0.001))
        *busy, idle = (RequestRateScheduler(max_rps=100, share=share) for _ in range(4))
        for place, member in enumerate(busy):
            member._leased.holder._alone._chance.seed(place)  # type: ignore[union-attr]
        calls = [member.submit(now()) for _ in range(300) for member in busy]
        for _ in range(5):
            await lose_the_account(share)
            calls += [idle.submit(now()) for _ in range(40)]
            await asyncio.sleep(1)
        times = sorted(await asyncio.gather(*calls))
        await done(*busy, idle)
        return times

    assert overdrawn(run(main()), 100) == 0


def test_members_that_lose_the_keeper_while_others_have_not_joined_again_count_them() -> None:
    async def main() -> list[float]:
        share = TimelineShare(Network(0.001))
        members = [RequestRateScheduler(max_rps=100, share=share) for _ in range(4)]
        for place, member in enumerate(members):
            member._leased.holder._alone._chance.seed(place)  # type: ignore[union-attr]
        calls = [member.submit(now()) for _ in range(250) for member in members]
        for _ in range(10):
            await lose_the_account(share)
        times = sorted(await asyncio.gather(*calls))
        await done(*members)
        return times

    assert overdrawn(run(main()), 100) == 0


def test_a_fault_on_the_way_is_told_and_ends_no_membership(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> list[float]:
        share = TimelineShare(Network(0.001))
        members = [RequestRateScheduler(max_rps=100, share=share) for _ in range(2)]
        calls = [member.submit(now()) for _ in range(100) for member in members]
        await asyncio.sleep(0.5)
        share.network.broken = AttributeError("no keeper should raise it")
        await asyncio.sleep(0.5)
        share.network.broken = None
        times = await asyncio.gather(*calls)
        await done(*members)
        return times

    with caplog.at_level(logging.ERROR):
        times = run(main())
    assert overdrawn(times, 100) == 0
    assert "a fault in the share 'timeline'" in caplog.text


def test_an_account_that_is_lost_begins_empty_and_closed() -> None:
    async def main() -> list[float]:
        share = TimelineShare(Network(0.001))
        members = [RequestRateScheduler(max_rps=100, burst_ratio=2, share=share) for _ in range(4)]
        calls = [member.submit(now()) for _ in range(200) for member in members]
        await asyncio.sleep(1)
        share.timeline.exists = False
        times = sorted(await asyncio.gather(*calls))
        await done(*members)
        return times

    times = run(main())
    assert overdrawn(times, 100, 200) == 0
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert max(gaps) == pytest.approx(CLOSED, abs=0.11)


def test_a_rewound_account_is_noticed() -> None:
    from copy import deepcopy

    async def main() -> list[float]:
        share = TimelineShare(Network(0.001))
        members = [RequestRateScheduler(max_rps=100, share=share) for _ in range(4)]
        calls = [member.submit(now()) for _ in range(200) for member in members]
        await asyncio.sleep(1)
        before = deepcopy(share.timeline)
        await asyncio.sleep(1)
        share.timeline = before
        times = sorted(await asyncio.gather(*calls))
        assert share.timeline.epoch != before.epoch or before is share.timeline
        await done(*members)
        return times

    times = run(main())
    assert overdrawn(times, 100, 1) == 0


def test_clocks_that_differ_and_jump_change_nothing() -> None:
    async def main(skew: int, jump: int) -> list[float]:
        network = Network(0.001)
        network.skew = skew
        share = TimelineShare(network)
        members = [RequestRateScheduler(max_rps=100, share=share) for _ in range(4)]
        calls = [member.submit(now()) for _ in range(100) for member in members]
        await asyncio.sleep(1)
        network.skew += jump
        times = sorted(await asyncio.gather(*calls))
        await done(*members)
        return times

    for skew, jump in ((600_000_000, 0), (0, -600_000_000), (0, 600_000_000)):
        times = run(main(skew, jump))
        # Ahead, the account takes what it has granted, of 0.4 s, for used.
        assert overdrawn(times, 100, 1) <= (40 if jump > 0 else 0)
        assert times[-1] - times[0] < 4.5


def test_the_part_of_a_dead_member_goes_to_the_others() -> None:
    async def main() -> None:
        share = TimelineShare(Network(0.001))
        living, dying = (TaskScheduler(1, share=share) for _ in range(2))
        await dying.start_task(asyncio.sleep(3600))
        waits = living.submit(now())
        await asyncio.sleep(1)
        assert not waits.done()
        assert dying._leased is not None
        share.kill(dying._leased.holder.member)
        begun = await now()
        await waits
        assert await now() - begun < 5
        for task in dying.pending_tasks:
            task.cancel()
        await done(living, dying)

    run(main())


@pytest.mark.parametrize(("fair", "jain"), [("calls", 0.75), ("units", 0.95)])
def test_many_members_with_calls_of_different_sizes(fair: Fair, jain: float) -> None:
    count, rate, seconds = (100, 100_000, 15) if ROUNDS == 1 else (1_000, 1_000_000, 30)

    async def main() -> tuple[list[tuple[float, float]], list[int]]:
        share = TimelineShare(Network(0.001), Terms(fair=fair))
        members = [TokenRateScheduler(max_tps=rate, share=share) for _ in range(count)]
        used, times = [0] * count, list[tuple[float, float]]()

        async def call(place: int, cost: int) -> None:
            times.append((await now(), cost))
            used[place] += cost

        costs = [1500 if place % 2 else 500 for place in range(count)]
        tasks = [
            member.submit(call(place, costs[place]), costs[place])
            for place, member in enumerate(members)
            for _ in range(2 * seconds * rate // count // costs[place])
        ]
        await asyncio.sleep(seconds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        found = list(times), list(used)
        await done(*members)
        return found

    times, used = run(main())
    begun, ended = min(times)[0], max(times)[0]
    assert sum(used) / rate / (ended - begun) >= 0.99
    assert overdrawn_units(times, rate, 1500) == 0
    # Jain's index: 1 if all have the same, 1/n if one has all.
    assert sum(used) ** 2 / (count * sum(units**2 for units in used)) >= jain
