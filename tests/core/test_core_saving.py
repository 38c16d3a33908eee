"""What is read from a cache, where that is not charged: calls of warm groups pay for less."""

from __future__ import annotations

import pytest
from kit.core import Core, SharedMemory
from kit.schedulers import MINUTES, SECOND, Make, Scheduler, dispatch

BUCKET = (60, 60 * SECOND, 1000)


def warm_group(scheduler: Scheduler, is_free: bool = True) -> int:
    """A group of 90 tokens whose second call has found its prefix. That leaves 800 units."""
    group = scheduler.open_group(MINUTES)
    scheduler.set_tokens(group, 90)
    leader, reader = (scheduler.submit(0, [100], group=group) for _ in range(2))
    dispatch(scheduler, leader)
    scheduler.warmed(0, leader)
    assert scheduler.collect() == [leader, reader]
    dispatch(scheduler, reader)
    scheduler.looked_up(0, reader, True, is_free)
    return group


@pytest.mark.parametrize(("is_free", "admitted"), [(True, 80), (False, 8)])
def test_calls_of_a_warm_group_pay_for_what_they_do_not_read(
    make: Make, is_free: bool, admitted: int
) -> None:
    scheduler = make(BUCKET)
    group = warm_group(scheduler, is_free)
    for _ in range(100):
        scheduler.submit(0, [100], group=group)
    assert len(scheduler.collect()) == admitted


def test_another_group_pays_less_as_soon_as_its_own_prefix_can_be_read(make: Make) -> None:
    scheduler = make(BUCKET)
    warm_group(scheduler)
    other = scheduler.open_group(MINUTES)
    scheduler.set_tokens(other, 90)
    leader = scheduler.submit(0, [100], group=other)
    assert scheduler.used(0) == 300
    dispatch(scheduler, leader)
    scheduler.warmed(0, leader)
    scheduler.submit(0, [100], group=other)
    assert scheduler.used(0) == 310


def test_a_hold_that_has_lapsed_makes_no_call_cheaper(make: Make) -> None:
    scheduler = make(BUCKET)
    warm_group(scheduler)
    other = scheduler.open_group(MINUTES)
    scheduler.set_tokens(other, 90)
    leader = scheduler.submit(0, [100], group=other)
    dispatch(scheduler, leader)
    scheduler.poll(3 * SECOND)
    scheduler.submit(3 * SECOND, [100], group=other)
    assert scheduler.used(0) == 400


def test_after_a_miss_calls_pay_for_the_whole_prompt(make: Make) -> None:
    scheduler = make(BUCKET)
    group = warm_group(scheduler)
    reader = scheduler.submit(0, [100], group=group)
    dispatch(scheduler, reader)
    scheduler.looked_up(0, reader, False)
    scheduler.submit(0, [100], group=group)
    assert scheduler.used(0) == 310


def test_an_estimate_that_leaves_the_prefix_out_is_not_made_smaller(make: Make) -> None:
    scheduler = make(BUCKET)
    group = warm_group(scheduler)
    scheduler.submit(0, [90], group=group)
    scheduler.submit(0, [91], group=group)
    assert scheduler.used(0) == 291


def test_only_limits_that_count_input_are_spared(make: Make) -> None:
    scheduler = make(BUCKET, BUCKET)
    scheduler.set_hold(0)
    group = scheduler.open_group(MINUTES)
    scheduler.set_tokens(group, 90)
    leader, reader = (scheduler.submit(0, [100, 50], group=group) for _ in range(2))
    dispatch(scheduler, leader, reader)
    scheduler.looked_up(0, reader, True, True)
    scheduler.submit(0, [100, 50], group=group)
    assert (scheduler.used(0), scheduler.used(1)) == (210, 150)


def test_a_call_that_was_not_dispatched_waits_with_its_whole_cost(make: Make) -> None:
    scheduler = make(BUCKET)
    group = warm_group(scheduler)
    number = scheduler.submit(0, [100], group=group)
    assert scheduler.used(0) == 210
    scheduler.put_back(MINUTES, number)  # by then the group is cold again
    assert scheduler.used(0) == 300


def test_a_head_that_waits_longer_than_its_prefix_lives_waits_for_its_whole_cost(
    make: Make,
) -> None:
    scheduler = make((1, SECOND, 1000))
    group = scheduler.open_group(10 * SECOND)
    scheduler.set_tokens(group, 90)
    leader = scheduler.submit(0, [900], group=group)
    reader = scheduler.submit(0, [100], group=group)
    dispatch(scheduler, leader)
    scheduler.warmed(0, leader)
    assert scheduler.collect() == [leader, reader]
    dispatch(scheduler, reader)
    scheduler.looked_up(0, reader, True, True)
    soon = scheduler.submit(0, [95], group=group)
    assert scheduler.armed == 5 * SECOND  # for 5 units, while the group is warm
    scheduler.poll(5 * SECOND)
    late = scheduler.submit(5 * SECOND, [101], group=group)
    assert scheduler.armed == (5 + 101) * SECOND  # 11 units would have come too late
    scheduler.poll(106 * SECOND)
    assert scheduler.collect() == [soon, late]


def test_a_member_of_a_share_pays_less_for_a_warm_group_too() -> None:
    memory, members = SharedMemory(), [Core([BUCKET]) for _ in range(2)]
    for seat, member in enumerate(members):
        assert member.join(memory, seat, 0)
        member.set_hold(3 * SECOND)
    one, other = members
    group = warm_group(one)
    calls = [one.submit(0, [100], group=group) for _ in range(100)]
    assert one.collect() == calls[:80]
    assert other.level(0, 0) == 0
    one.put_back(0, calls[0])  # its 10 units are those that it takes again
    assert one.collect() == calls[:1]
    assert one.armed == 10 * SECOND
    for member in members:
        member.close()
    memory.close()


def trunk_and_branch(scheduler: Scheduler) -> tuple[int, int]:
    """A warm trunk of 90 tokens whose second call has found it, and a cold branch of 95. That
    leaves 800 units."""
    trunk = warm_group(scheduler)
    branch = scheduler.open_group(MINUTES, trunk)
    scheduler.set_tokens(branch, 95)
    return trunk, branch


def test_the_leader_of_a_branch_does_not_pay_for_its_warm_trunk(make: Make) -> None:
    scheduler = make(BUCKET)
    _, branch = trunk_and_branch(scheduler)
    leader = scheduler.submit(0, [100], group=branch)
    assert scheduler.used(0) == 210
    dispatch(scheduler, leader)
    scheduler.warmed(0, leader)
    scheduler.submit(0, [100], group=branch)
    assert scheduler.used(0) == 215


def test_the_leader_of_a_branch_pays_for_a_trunk_that_is_cold(make: Make) -> None:
    scheduler = make(BUCKET)
    _, branch = trunk_and_branch(scheduler)
    scheduler.submit(MINUTES, [100], group=branch)
    assert scheduler.used(0) == 300


def test_after_a_miss_of_a_branch_its_trunk_is_paid_for_too(make: Make) -> None:
    scheduler = make(BUCKET)
    trunk, branch = trunk_and_branch(scheduler)
    leader = scheduler.submit(0, [100], group=branch)
    dispatch(scheduler, leader)
    scheduler.warmed(0, leader)
    reader = scheduler.submit(0, [100], group=branch)
    dispatch(scheduler, reader)
    scheduler.looked_up(0, reader, False)
    scheduler.submit(0, [100], group=trunk)
    assert scheduler.used(0) == 315
