"""Groups that are about to be cold: a call that waits goes first, and renews their life."""

from __future__ import annotations

import pytest
from kit.schedulers import MINUTES, SECOND, Make, Scheduler, dispatch, submit


def fading_group(scheduler: Scheduler, ttl: int = MINUTES) -> tuple[int, int, int]:
    """A warm group, used at 0, whose next call waits behind an older one for a free slot."""
    group = scheduler.open_group(ttl)
    [leader] = submit(scheduler, 1, group)
    dispatch(scheduler, leader)
    scheduler.warmed(0, leader)
    assert scheduler.collect() == [leader]
    [older], [reader] = submit(scheduler, 1, None), submit(scheduler, 1, group)
    return leader, older, reader


def next_ones(scheduler: Scheduler, running: int, count: int) -> list[int]:
    """The calls that go next, one after the other, while the group fades."""
    order: list[int] = []
    for _ in range(count):
        scheduler.finish(295 * SECOND, running, False)
        [running] = scheduler.collect()
        order.append(running)
    return order


@pytest.mark.parametrize(
    ("life", "second", "overtakes"),
    [
        (300, 289.9, False),
        (300, 290, True),
        (300, 299.9, True),
        (300, 300, False),
        (3300, 3199.9, False),
        (3300, 3200, True),
        (10, 4.9, False),
        (10, 5, True),
    ],
)
def test_a_waiting_call_goes_first_if_else_its_prefix_would_soon_be_cold(
    make: Make, life: int, second: float, overtakes: bool
) -> None:
    """Ten seconds before that, or 3 % of a long life, or half of a short one."""
    scheduler = make(slots=1)
    leader, older, reader = fading_group(scheduler, life * SECOND)
    scheduler.finish(int(second * SECOND), leader, False)
    assert scheduler.collect() == [reader if overtakes else older]


def test_a_call_that_goes_in_its_turn_prolongs_the_life(make: Make) -> None:
    scheduler = make(slots=1)
    group = scheduler.open_group(MINUTES)
    first, second = submit(scheduler, 2, group)
    dispatch(scheduler, first)
    scheduler.finish(0, first, True)
    scheduler.collect()
    [older], [third] = submit(scheduler, 1, None), submit(scheduler, 1, group)
    scheduler.put_back(100 * SECOND, second)
    assert scheduler.collect() == [second]
    dispatch(scheduler, second)
    scheduler.warmed(101 * SECOND, second)
    assert scheduler.armed == 390 * SECOND
    scheduler.finish(389 * SECOND, second, False)
    assert scheduler.collect() == [older]
    scheduler.finish(390 * SECOND, older, False)
    assert scheduler.collect() == [third]


def test_one_call_renews_the_life_and_the_next_ones_wait_for_their_turn(make: Make) -> None:
    scheduler = make(slots=1)
    leader, older, reader = fading_group(scheduler)
    [last] = submit(scheduler, 1, 0)
    assert next_ones(scheduler, leader, 3) == [reader, older, last]


def test_a_call_that_renews_a_life_overtakes_none_of_a_higher_priority(make: Make) -> None:
    scheduler = make(slots=1)
    leader, older, reader = fading_group(scheduler)
    important = scheduler.submit(0, [], priority=1)
    assert next_ones(scheduler, leader, 3) == [important, reader, older]


def test_of_many_groups_that_fade_no_two_go_first_in_a_row(make: Make) -> None:
    scheduler = make(slots=9)
    groups = [scheduler.open_group(MINUTES) for _ in range(9)]
    leaders = [submit(scheduler, 1, group)[0] for group in groups]
    dispatch(scheduler, *leaders)
    for leader in leaders:
        scheduler.warmed(0, leader)
    older = submit(scheduler, 9, None)
    readers = [submit(scheduler, 1, group)[0] for group in groups]
    scheduler.collect()
    order = []
    for leader in leaders:
        scheduler.finish(295 * SECOND, leader, False)
        order += scheduler.collect()
    assert order == [readers[0], older[0], readers[1], older[1], readers[2], older[2], *order[6:]]
    assert len(order) == 9


def test_a_call_of_a_branch_renews_the_life_of_its_trunk(make: Make) -> None:
    scheduler = make(slots=1)
    trunk = scheduler.open_group(MINUTES)
    branch = scheduler.open_group(MINUTES, trunk)
    [leader] = submit(scheduler, 1, trunk)
    dispatch(scheduler, leader)
    scheduler.warmed(0, leader)
    [older], [reader] = submit(scheduler, 1, None), submit(scheduler, 1, branch)
    scheduler.collect()
    scheduler.finish(290 * SECOND, leader, False)
    assert scheduler.collect() == [reader]
    assert scheduler.state(older) == "waiting"


def test_a_group_that_was_found_to_be_cold_does_not_fade(make: Make) -> None:
    scheduler = make(slots=3)
    group = scheduler.open_group(MINUTES)
    leader, *readers = submit(scheduler, 3, group)
    dispatch(scheduler, leader)
    scheduler.warmed(0, leader)
    dispatch(scheduler, *readers)
    [older], _ = submit(scheduler, 1, None), submit(scheduler, 1, group)
    scheduler.collect()
    scheduler.poll(290 * SECOND)
    for reader in readers:
        scheduler.looked_up(291 * SECOND, reader, False)
    scheduler.finish(292 * SECOND, leader, False)
    assert scheduler.collect() == [older]
