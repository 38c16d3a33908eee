"""Groups of calls that share a prefix: the core against the model, and each rule as a sentence."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule, run_state_machine_as_test
from kit.core import Core
from kit.model import Model
from kit.model_call import IN_FLIGHT, Call
from kit.model_groups import Group
from kit.model_limit import MS, Figures
from kit.schedulers import MINUTES, SECOND, Make, Scheduler, dispatch, submit
from test_core_model import SETTINGS, CoreAndModel, delays, figures, slot_counts, spans

holds = st.sampled_from([0, 5, 2 * MS, 30 * MS, 3 * SECOND])
lives = st.sampled_from([1, 10 * MS, 2 * SECOND, 300 * SECOND, None])


class GroupsAndModel(CoreAndModel):
    """All that the other machine does, with groups to which the calls belong."""

    @initialize(
        limits=st.lists(figures, max_size=2),
        slots=slot_counts,
        hold=holds,
        ttls=st.lists(lives, min_size=1, max_size=4),
    )
    def start(
        self, limits: list[Figures], slots: int | None, hold: int, ttls: list[int | None]
    ) -> None:
        self.started = True
        self.core = Core(limits, slots)
        self.model = Model(limits, slots)
        self.set_hold(hold)
        for ttl in ttls:
            self.open(ttl)

    def draw_group(self, data: st.DataObject) -> int | None:
        still = [i for i, group in enumerate(self.model.groups) if not group.closed]
        group: int | None = data.draw(st.sampled_from([None, *still, *still]))
        return group

    def first_come_first_served(self, admitted: list[int], arrival: Call | None) -> None:
        """Within a group and a priority, and among the calls that belong to none."""
        waiting = self.model.waiting()
        for number in reversed(admitted):
            call = self.model.calls[number]
            for other in waiting:
                if other.group is call.group and other.priority == call.priority:
                    assert call.number < other.number or other is arrival
            waiting.append(call)

    @rule(hold=holds)
    def set_hold(self, hold: int) -> None:
        self.core.set_hold(hold)
        self.model.set_hold(hold)

    @rule(data=st.data(), ttl=lives)
    def branch(self, data: st.DataObject, ttl: int | None) -> None:
        self.open(ttl, self.draw_group(data))

    def open(self, ttl: int | None, trunk: int | None = None) -> None:
        if sum(not group.closed for group in self.model.groups) < 6:
            group = self.core.open_group(ttl, trunk)
            assert group == self.model.open_group(ttl, trunk)

    @precondition(lambda self: any(not group.closed for group in self.model.groups))
    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        group = self.draw_group(data)
        if group is not None:
            self.core.close_group(group)
            self.model.close_group(group)

    @rule(data=st.data(), ttl=lives)
    def other_life(self, data: st.DataObject, ttl: int | None) -> None:
        group = self.draw_group(data)
        if group is not None:
            self.core.set_life(group, ttl)
            self.model.set_life(group, ttl)

    @rule(data=st.data(), tokens=st.sampled_from([0, 1, 2, 5, 50]))
    def other_tokens(self, data: st.DataObject, tokens: int) -> None:
        group = self.draw_group(data)
        if group is not None:
            self.core.set_tokens(group, tokens)
            self.model.set_tokens(group, tokens)

    @rule(delay=delays, gives_way=st.sampled_from([True, True, False]))
    def give_way(self, delay: int, gives_way: bool) -> None:
        now = self.later(delay)
        self.core.give_way(now, gives_way)
        self.model.give_way(now, gives_way)
        self.compare()

    @precondition(lambda self: self.has(IN_FLIGHT))
    @rule(
        data=st.data(),
        delay=delays,
        found=st.sampled_from([True, True, False]),
        is_free=st.sampled_from([True, True, True, False]),
    )
    def look_up(self, data: st.DataObject, delay: int, found: bool, is_free: bool) -> None:
        now, call = self.later(delay), self.pick(data, IN_FLIGHT)
        self.core.looked_up(now, call.number, found, is_free)
        self.model.looked_up(now, call.number, found, is_free)
        self.compare()

    @precondition(lambda self: self.has(IN_FLIGHT))
    @rule(data=st.data(), delay=delays)
    def warm(self, data: st.DataObject, delay: int) -> None:
        """A leader's first token, as a rule."""
        flying = [call for call in self.model.calls if call.state == IN_FLIGHT]
        leading = [call for call in flying if call.group and call.group.leader == call.number]
        call = data.draw(st.sampled_from(leading or flying))
        now = self.later(delay)
        self.core.warmed(now, call.number)
        self.model.warmed(now, call.number)
        self.compare()

    @rule(
        data=st.data(),
        delay=delays,
        priority=st.sampled_from([0, 0, 0, 1]),
        patience=st.one_of(st.none(), st.none(), spans),
        times=st.sampled_from([1, 2, 4, 8, 30]),
    )
    def submit(
        self, data: st.DataObject, delay: int, priority: int, patience: int | None, times: int
    ) -> None:
        now, group = self.later(delay), self.draw_group(data)
        costs = [data.draw(st.integers(0, limit.capacity + 1)) for limit in self.model.limits]
        deadline = None if patience is None else now + patience
        for _ in range(times):
            number = self.model.submit(now, costs, priority, deadline, group)
            assert self.core.submit(now, costs, priority, deadline, group) == number
            self.compare(self.model.calls[number])

    @invariant()
    def holds_are_counted_and_bounded(self) -> None:
        if not self.started:
            return
        groups = self.model.groups
        living = [call for call in self.model.calls if call.state not in ("done", "expired")]
        used = sum(self.is_used(group, living) for group in groups)
        figures = [
            sum(getattr(each, name) for each in groups) for name in ("led", "lapsed", "held")
        ]
        assert self.core.prefixes == (*figures, used)
        for change in self.model.changes():
            assert self.model.armed is not None
            assert self.model.now < self.model.armed <= change

    def is_used(self, group: Group, living: list[Call]) -> bool:
        """Not closed yet, or with a call, or with a branch of which that is true."""
        branches = (each for each in self.model.groups if each.trunk is group)
        return (
            not group.closed
            or any(call.group is group for call in living)
            or any(self.is_used(branch, living) for branch in branches)
        )


def test_groups_in_the_core_do_what_those_of_the_model_do() -> None:
    run_state_machine_as_test(GroupsAndModel, settings=settings(SETTINGS, max_examples=200))


# -- the rules -------------------------------------------------------------------------------------


def test_the_first_call_of_a_cold_group_goes_alone(make: Make) -> None:
    scheduler = make()
    group = scheduler.open_group(MINUTES)
    leader, *others = submit(scheduler, 5, group)
    assert scheduler.collect() == [leader]
    assert scheduler.in_use == 1
    assert scheduler.armed == 3 * SECOND
    dispatch(scheduler, leader)
    scheduler.warmed(SECOND, leader)
    assert scheduler.collect() == others


def test_those_held_take_no_quota_and_are_overtaken(make: Make) -> None:
    scheduler = make((10, SECOND, 2))
    group = scheduler.open_group(MINUTES)
    leader = scheduler.submit(0, [1], group=group)
    scheduler.submit(0, [1], group=group)
    other = scheduler.submit(0, [1])
    assert scheduler.collect() == [leader, other]
    assert scheduler.used(0) == 2


def test_a_warm_group_is_cold_again_when_its_time_is_over(make: Make) -> None:
    scheduler = make()
    group = scheduler.open_group(MINUTES)
    [leader] = submit(scheduler, 1, group)
    dispatch(scheduler, leader)
    scheduler.warmed(SECOND, leader)
    assert len(submit(scheduler, 2, group, MINUTES - 1)) == len(scheduler.collect()) - 1
    first, second = submit(scheduler, 2, group, MINUTES)  # from the leader's dispatch on
    assert scheduler.collect() == [first]
    assert scheduler.state(second) == "waiting"


def test_each_call_that_reads_the_prefix_renews_it(make: Make) -> None:
    scheduler = make()
    group = scheduler.open_group(MINUTES)
    [leader] = submit(scheduler, 1, group)
    dispatch(scheduler, leader)
    scheduler.finish(SECOND, leader, True)
    [reader] = submit(scheduler, 1, group, 200 * SECOND)
    dispatch(scheduler, reader)
    scheduler.warmed(201 * SECOND, reader)
    scheduler.collect()
    assert len(submit(scheduler, 2, group, 499 * SECOND)) == len(scheduler.collect())


@pytest.mark.parametrize("how", ["fails", "is refused", "is cancelled", "is put back"])
def test_if_the_leader_ends_without_an_answer_the_next_leads(make: Make, how: str) -> None:
    scheduler = make()
    group = scheduler.open_group(MINUTES)
    leader, second, third = submit(scheduler, 3, group)
    if how == "fails":
        dispatch(scheduler, leader)
        scheduler.finish(SECOND, leader, False)
    elif how == "is refused":
        dispatch(scheduler, leader)
        scheduler.rest(SECOND, leader)
    elif how == "is cancelled":
        scheduler.finish(SECOND, leader, False)
    else:
        scheduler.put_back(SECOND, leader)
        second, third = leader, second
    assert [n for n in scheduler.collect() if n != leader or how == "is put back"][-1:] == [second]
    assert scheduler.state(third) == "waiting"


def test_leaders_that_fail_one_after_another_hold_no_call_for_longer(make: Make) -> None:
    scheduler = make()
    group = scheduler.open_group(MINUTES)
    calls = submit(scheduler, 10, group)
    for second, leader in enumerate(calls[:2], 1):
        assert scheduler.collect() == [leader]
        dispatch(scheduler, leader)
        scheduler.finish(second * SECOND, leader, False)
    assert scheduler.collect() == [calls[2]]
    assert scheduler.armed == 3 * SECOND
    scheduler.poll(3 * SECOND)
    assert scheduler.collect() == calls[3:]


def test_a_bound_that_changes_counts_from_the_next_hold_of_any_group_on(make: Make) -> None:
    scheduler = make(slots=1)
    one, other = scheduler.open_group(MINUTES), scheduler.open_group(MINUTES)
    [leader], [second, *_] = submit(scheduler, 1, one), submit(scheduler, 3, other)
    dispatch(scheduler, leader)
    scheduler.set_hold(SECOND)
    scheduler.set_slots(2 * SECOND, 9)
    assert scheduler.collect() == [leader, second]
    assert scheduler.armed == 3 * SECOND


@pytest.mark.parametrize("looked", [False, True])
def test_a_life_that_changes_counts_from_the_next_hold_on(make: Make, looked: bool) -> None:
    """Also if the core did not run between the end of the hold and the change."""
    scheduler = make()
    scheduler.set_hold(SECOND)
    group = scheduler.open_group(2 * SECOND)
    [leader] = submit(scheduler, 1, group)
    dispatch(scheduler, leader)
    scheduler.poll(2 * SECOND)
    if looked:
        scheduler.looked_up(2 * SECOND, leader, True)
    scheduler.set_life(group, None)
    scheduler.collect()
    assert submit(scheduler, 2, group, 4 * SECOND)[:1] == scheduler.collect()  # it is cold again


def test_the_hold_of_a_call_that_was_refused_begins_anew(make: Make) -> None:
    scheduler = make()
    group = scheduler.open_group(MINUTES)
    leader, *others = submit(scheduler, 4, group)
    dispatch(scheduler, leader)
    scheduler.refused(2 * SECOND, leader, told=20 * SECOND)
    scheduler.retry(2 * SECOND, leader)
    scheduler.collect()
    scheduler.poll(22 * SECOND)
    assert scheduler.collect() == [leader]
    assert scheduler.armed == 25 * SECOND
    assert {scheduler.state(number) for number in others} == {"waiting"}


def test_a_group_without_a_bound_is_never_held(make: Make) -> None:
    scheduler = make()
    scheduler.set_hold(0)
    group = scheduler.open_group(None)
    assert submit(scheduler, 5, group) == scheduler.collect()


def test_a_call_that_is_held_expires_at_its_deadline(make: Make) -> None:
    scheduler = make()
    group = scheduler.open_group(MINUTES)
    submit(scheduler, 1, group)
    hasty = scheduler.submit(0, [], deadline=SECOND, group=group)
    scheduler.collect()
    scheduler.poll(SECOND)
    assert scheduler.collect() == [hasty]
    assert scheduler.state(hasty) == "expired"


def test_a_small_group_is_finished_before_the_next_one_begins(make: Make) -> None:
    scheduler = make(slots=1)
    running = scheduler.submit(0, [])
    scheduler.set_hold(0)
    one, other = scheduler.open_group(None), scheduler.open_group(None)
    mixed = [scheduler.submit(0, [], group=group) for group in (one, other) * 3]
    order = []
    for _ in mixed:
        dispatch(scheduler, running)
        scheduler.collect()
        scheduler.finish(0, running, True)
        [running] = scheduler.collect()
        order.append(running)
    assert order == mixed[0::2] + mixed[1::2]


def test_a_turn_ends_after_fourteen_calls(make: Make) -> None:
    scheduler = make(slots=1)
    running = scheduler.submit(0, [])
    scheduler.set_hold(0)
    one, other = scheduler.open_group(None), scheduler.open_group(None)
    mixed = [scheduler.submit(0, [], group=group) for group in (one, other) * 20]
    order = []
    for _ in mixed:
        scheduler.collect()
        scheduler.finish(0, running, False)
        [running] = scheduler.collect()
        order.append(running)
    ones, others = mixed[0::2], mixed[1::2]
    assert order == ones[:14] + others[:14] + ones[14:] + others[14:]


def test_new_calls_of_a_group_do_not_prolong_its_turn(make: Make) -> None:
    scheduler = make(slots=1)
    running = scheduler.submit(0, [])
    scheduler.set_hold(0)
    group = scheduler.open_group(None)
    first, second = submit(scheduler, 2, group)
    other = scheduler.submit(0, [])
    scheduler.collect()
    scheduler.finish(0, running, False)
    assert scheduler.collect() == [first]
    [late] = submit(scheduler, 1, group)
    order = []
    running = first
    for _ in range(3):
        scheduler.finish(0, running, False)
        [running] = scheduler.collect()
        order.append(running)
    assert order == [second, other, late]


def test_a_call_is_not_of_a_turn_that_began_before_it_even_if_nobody_looked(make: Make) -> None:
    scheduler = make((1, SECOND, 1))
    scheduler.set_hold(0)
    group = scheduler.open_group(None)
    calls = [scheduler.submit(0, [1], group=each) for each in (None, group, group, None)]
    late = scheduler.submit(SECOND + 10 * MS, [1], group=group)  # the turn began 10 ms before
    for second in (2, 3, 4):
        scheduler.poll(second * SECOND)
    assert scheduler.collect() == [*calls, late]


def two_groups(scheduler: Scheduler, n: int) -> tuple[list[int], list[int]]:
    """The calls of two groups, one by one. The leaders have been dispatched."""
    groups = [scheduler.open_group(MINUTES) for _ in range(2)]
    ones, others = zip(
        *[[scheduler.submit(0, [], group=group) for group in groups] for _ in range(n)],
        strict=True,
    )
    assert scheduler.collect() == [ones[0], others[0]]
    dispatch(scheduler, ones[0], others[0])
    return list(ones), list(others)


def test_after_its_turn_a_group_gives_way_to_older_calls_that_are_held(make: Make) -> None:
    scheduler = make()
    ones, others = two_groups(scheduler, 20)
    scheduler.warmed(SECOND, ones[0])
    assert scheduler.collect() == ones[1:15]
    [late] = submit(scheduler, 1, 0, SECOND)  # it stays behind those of its group
    assert scheduler.collect() == []
    assert scheduler.armed == 3 * SECOND  # the bound of that hold
    scheduler.warmed(2 * SECOND, others[0])
    assert scheduler.collect() == [*others[1:15], *ones[15:], late, *others[15:]]


def test_a_call_that_comes_after_the_turn_gives_no_way(make: Make) -> None:
    scheduler = make()
    ones, _ = two_groups(scheduler, 15)
    scheduler.warmed(SECOND, ones[0])
    assert scheduler.collect() == ones[1:]
    assert submit(scheduler, 2, 0, SECOND) == scheduler.collect()


def test_where_machines_serve_all_calls_no_group_gives_way(make: Make) -> None:
    scheduler = make()
    ones, _ = two_groups(scheduler, 20)
    scheduler.warmed(SECOND, ones[0])
    assert scheduler.collect() == ones[1:15]
    scheduler.give_way(SECOND, False)
    assert scheduler.collect() == ones[15:]


def test_a_group_does_not_give_way_to_younger_calls(make: Make) -> None:
    scheduler = make()
    one, other = (scheduler.open_group(MINUTES) for _ in range(2))
    calls, _ = submit(scheduler, 20, one), submit(scheduler, 20, other)
    dispatch(scheduler, calls[0])
    scheduler.collect()
    scheduler.warmed(SECOND, calls[0])
    assert scheduler.collect() == calls[1:]


def test_calls_of_no_group_overtake_those_that_give_way(make: Make) -> None:
    scheduler = make()
    ones, _ = two_groups(scheduler, 20)
    scheduler.warmed(SECOND, ones[0])
    scheduler.collect()
    assert submit(scheduler, 1, None, SECOND) == scheduler.collect()


def test_a_prefix_that_two_calls_in_a_row_do_not_find_is_written_anew(make: Make) -> None:
    scheduler = make()
    group = scheduler.open_group(MINUTES)
    [leader] = submit(scheduler, 1, group)
    dispatch(scheduler, leader)
    scheduler.warmed(SECOND, leader)
    scheduler.looked_up(SECOND, leader, False)  # as is to be expected
    readers = submit(scheduler, 3, group, SECOND)
    dispatch(scheduler, *readers)
    for reader, found in zip(readers, (False, True, False), strict=True):
        scheduler.looked_up(2 * SECOND, reader, found)
    scheduler.collect()
    [another] = submit(scheduler, 1, group, 2 * SECOND)
    assert scheduler.collect() == [another]
    dispatch(scheduler, another)
    scheduler.looked_up(2 * SECOND, another, False)  # the second in a row
    first, _ = submit(scheduler, 2, group, 2 * SECOND)
    assert scheduler.collect() == [first]


# -- prefixes that go on from a shorter one --------------------------------------------------------


def two_branches(scheduler: Scheduler, n: int = 2) -> list[list[int]]:
    """The trunk, and the calls of its branches, of which the first leads both."""
    trunk = scheduler.open_group(MINUTES)
    branches = [scheduler.open_group(MINUTES, trunk) for _ in range(2)]
    calls = [submit(scheduler, n, branch) for branch in branches]
    assert scheduler.collect() == [calls[0][0]]
    dispatch(scheduler, calls[0][0])
    return [[trunk], *calls]


def test_the_leader_of_a_branch_waits_for_its_trunk(make: Make) -> None:
    scheduler = make()
    _, ones, others = two_branches(scheduler)
    assert scheduler.armed == 3 * SECOND
    scheduler.warmed(SECOND, ones[0])
    assert scheduler.collect() == [ones[1], others[0]]
    dispatch(scheduler, others[0])
    scheduler.warmed(2 * SECOND, others[0])
    assert scheduler.collect() == [others[1]]


def test_calls_of_a_trunk_itself_are_held_by_the_leader_of_a_branch(make: Make) -> None:
    scheduler = make()
    [trunk], ones, _ = two_branches(scheduler)
    [own] = submit(scheduler, 1, trunk)
    assert scheduler.collect() == []
    scheduler.warmed(SECOND, ones[0])
    assert own in scheduler.collect()


def test_the_leaders_of_branches_go_together_once_their_trunk_is_warm(make: Make) -> None:
    scheduler = make()
    trunk = scheduler.open_group(MINUTES)
    [first] = submit(scheduler, 1, trunk)
    dispatch(scheduler, first)
    scheduler.warmed(SECOND, first)
    branches = [scheduler.open_group(MINUTES, trunk) for _ in range(3)]
    calls = [submit(scheduler, 2, branch, SECOND) for branch in branches]
    assert scheduler.collect() == [first, *(leader for leader, _ in calls)]


def test_if_the_leader_of_trunk_and_branch_fails_another_branch_may_lead_the_trunk(
    make: Make,
) -> None:
    scheduler = make()
    _, ones, others = two_branches(scheduler, 1)
    scheduler.finish(SECOND, ones[0], False)
    assert scheduler.collect() == [others[0]]


def test_a_prefix_waits_for_each_that_it_goes_on_from(make: Make) -> None:
    """The turns of a conversation that come all at once: each begins with the one before."""
    scheduler = make()
    groups = [scheduler.open_group(MINUTES, n - 1 if n else None) for n in range(5)]
    turns = [submit(scheduler, 1, group)[0] for group in groups]
    for second, turn in enumerate(turns, 1):
        assert scheduler.collect() == [turn]
        dispatch(scheduler, turn)
        scheduler.warmed(second * SECOND, turn)


def test_a_call_of_a_branch_keeps_its_trunk_warm(make: Make) -> None:
    scheduler = make()
    [trunk], ones, _ = two_branches(scheduler)
    scheduler.warmed(SECOND, ones[0])
    [reader] = [n for n in scheduler.collect() if n == ones[1]]
    dispatch(scheduler, reader)  # a second after the leader
    scheduler.warmed(2 * SECOND, reader)
    assert submit(scheduler, 2, trunk, MINUTES + SECOND - 1) == scheduler.collect()[-2:]
