"""The rules of admission and of the reflex, one sentence a test, for the model and for the core."""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from kit.core import Core
from kit.model_admission import CATCH_UP
from kit.model_limit import MS, Figures
from kit.schedulers import SECOND, Make, Scheduler


def run(scheduler: Scheduler, *costs: int, now: int = 0) -> int:
    """A call in flight."""
    number = scheduler.submit(now, costs)
    assert scheduler.dispatch(number)
    assert scheduler.collect() == [number]
    return number


def guess(scheduler: Scheduler, now: int, call: int) -> int:
    """A refusal that does not say how long: a second, then two, then four. Returns the end."""
    return scheduler.refused(now, call, told=None, base=SECOND, exponential=True, cap=60 * SECOND)


def wake(scheduler: Scheduler, late: int = 0) -> list[int]:
    """Sleeps until the armed instant; returns who is admitted or expires then."""
    assert scheduler.armed is not None
    scheduler.poll(scheduler.armed + late)
    return scheduler.collect()


# -- limits --------------------------------------------------------------------------------------


def test_a_level_refills_continuously_up_to_the_capacity(make: Make) -> None:
    scheduler = make((10, SECOND, 5))
    run(scheduler, 5)
    assert scheduler.level(0, 0) == 0
    assert scheduler.level(0, SECOND // 4) == Fraction(5, 2)
    assert scheduler.level(0, 9 * SECOND) == 5


def test_a_call_larger_than_the_capacity_runs_once_and_is_paid_for_afterwards(make: Make) -> None:
    scheduler = make((10, SECOND, 5))
    run(scheduler, 25)
    assert scheduler.level(0, 0) == -20
    scheduler.submit(0, [5])
    assert scheduler.armed == 25 * SECOND // 10


def test_a_limit_in_debt_admits_nobody(make: Make) -> None:
    scheduler = make((10, SECOND, 5))
    run(scheduler, 25)
    scheduler.submit(0, [0])
    assert scheduler.armed == 2 * SECOND


def test_admission_is_all_or_nothing(make: Make) -> None:
    scheduler = make((10, SECOND, 10), (1, SECOND, 1))
    run(scheduler, 1, 1)
    scheduler.submit(0, [1, 1])
    assert scheduler.level(0, 0) == 9
    assert scheduler.armed == SECOND


def test_denied_until_exactly_the_armed_instant(make: Make) -> None:
    scheduler = make((3, SECOND, 1))
    run(scheduler, 1)
    scheduler.submit(0, [1])
    assert scheduler.armed == ceil(SECOND / 3)
    scheduler.poll(scheduler.armed - 1)
    assert scheduler.collect() == []
    assert wake(scheduler) == [1]


# -- order ---------------------------------------------------------------------------------------


def test_small_calls_never_starve_a_large_one(make: Make) -> None:
    scheduler = make((10, SECOND, 10))
    run(scheduler, 10)
    large = scheduler.submit(0, [10])
    small = scheduler.submit(0, [1])
    assert wake(scheduler) == [large]
    assert wake(scheduler) == [small]


def test_a_higher_priority_goes_first_and_a_retry_before_newer_calls(make: Make) -> None:
    scheduler = make(slots=1)
    first = run(scheduler)
    newer = scheduler.submit(0, [])
    urgent = scheduler.submit(0, [], priority=1)
    scheduler.retry(0, first)
    assert scheduler.collect() == [urgent]
    scheduler.finish(0, urgent, False)
    assert scheduler.collect() == [first]
    scheduler.finish(0, first, False)
    assert scheduler.collect() == [newer]


def test_a_slot_is_held_only_while_a_call_is_in_flight(make: Make) -> None:
    scheduler = make((1, SECOND, 1), slots=1)
    first = run(scheduler, 1)
    waiting = scheduler.submit(0, [0])
    scheduler.retry(0, first)  # waits for its quota, without the slot
    assert scheduler.in_use == 0
    assert wake(scheduler) == [first]
    assert scheduler.state(waiting) == "waiting"


def test_a_waiting_call_expires_at_its_deadline(make: Make) -> None:
    scheduler = make((1, SECOND, 1))
    run(scheduler, 1)
    expiring = scheduler.submit(0, [1], deadline=SECOND - 1)
    in_time = scheduler.submit(0, [1], deadline=SECOND)
    assert wake(scheduler, late=5 * MS) == [expiring, in_time]
    assert scheduler.state(expiring) == "expired"
    assert scheduler.state(in_time) == "admitted"


# -- lateness ------------------------------------------------------------------------------------


def test_lateness_is_not_lost_but_bounded(make: Make) -> None:
    scheduler = make((1000, SECOND, 1))
    for _ in range(100):
        scheduler.submit(0, [1])
    assert scheduler.collect() == [0]
    assert wake(scheduler, late=4 * MS) == [1, 2, 3, 4, 5]
    assert scheduler.armed == 6 * MS
    assert len(wake(scheduler, late=SECOND)) == 1 + CATCH_UP // MS


def test_a_producer_slower_than_the_limit_saves_nothing_up(make: Make) -> None:
    scheduler = make((1000, SECOND, 1))
    pace = CATCH_UP - MS // 10
    for i in range(50):
        scheduler.submit(i * pace, [1])
    assert len(scheduler.collect()) == 50
    for _ in range(9):
        scheduler.submit(50 * pace, [1])
    assert len(scheduler.collect()) == 1


def test_an_operation_changes_nothing_of_the_past(make: Make) -> None:
    scheduler = make((1000, SECOND, 1), (1, 1000 * SECOND, 1))
    run(scheduler, 1, 1)
    blocked = scheduler.submit(0, [1, 1])
    behind = [scheduler.submit(0, [1, 0]) for _ in range(20)]
    scheduler.finish(5 * SECOND, blocked, False)
    assert scheduler.collect() == behind[:1]
    assert scheduler.armed == 5 * SECOND + MS


# -- settlement ----------------------------------------------------------------------------------


def test_a_second_report_settles_against_the_first(make: Make) -> None:
    scheduler = make((1, 1000 * SECOND, 100))
    call = run(scheduler, 60)
    scheduler.settle(0, call, 0, 50)
    scheduler.settle(0, call, 0, 45)
    assert scheduler.level(0, 0) == 55
    scheduler.settle(0, call, 0, 120)
    assert scheduler.level(0, 0) == -20


def test_a_refund_wakes_those_it_frees_and_stops_at_the_capacity(make: Make) -> None:
    scheduler = make((10, SECOND, 100))
    call = run(scheduler, 100)
    waiting = scheduler.submit(0, [30])
    scheduler.settle(0, call, 0, 70)
    assert scheduler.collect() == [waiting]
    scheduler.settle(100 * SECOND, call, 0, 0)
    assert scheduler.level(0, 100 * SECOND) == 100


def test_a_call_that_ends_without_a_report_keeps_its_estimate(make: Make) -> None:
    scheduler = make((1, 1000 * SECOND, 100))
    scheduler.finish(0, run(scheduler, 60), False)
    assert scheduler.level(0, 0) == 40


def test_a_call_never_dispatched_costs_nothing_and_passes_its_grant_on(make: Make) -> None:
    scheduler = make((1, 1000 * SECOND, 100), slots=1)
    admitted = scheduler.submit(0, [100])
    waiting = scheduler.submit(0, [100])
    assert scheduler.collect() == [admitted]
    scheduler.finish(0, admitted, False)
    assert scheduler.collect() == [waiting]
    assert scheduler.used(0) == 100


# -- the reflex ----------------------------------------------------------------------------------


def test_one_episode_however_many_refusals(make: Make) -> None:
    scheduler = make()
    calls = [run(scheduler) for _ in range(10)]
    assert {guess(scheduler, 0, call) for call in calls} == {SECOND}
    assert scheduler.submit(0, []) == 10
    assert wake(scheduler) == [10]
    assert scheduler.dispatch(10)
    assert guess(scheduler, SECOND, 10) == 3 * SECOND  # the exponential has stepped once


def test_a_success_after_the_episode_resets_the_exponential(make: Make) -> None:
    scheduler = make()
    first, early = run(scheduler), run(scheduler)
    guess(scheduler, 0, first)
    scheduler.finish(0, early, True)  # dispatched before: says nothing
    second, third = run(scheduler, now=SECOND), run(scheduler, now=SECOND)
    assert guess(scheduler, SECOND, second) == 3 * SECOND
    scheduler.finish(3 * SECOND, run(scheduler, now=3 * SECOND), True)
    assert guess(scheduler, 3 * SECOND, run(scheduler, now=3 * SECOND)) == 4 * SECOND
    assert scheduler.refused(3 * SECOND, third, told=2 * SECOND) == 5 * SECOND


def test_after_a_cooldown_one_call_at_once_and_the_rest_at_the_rate(make: Make) -> None:
    scheduler = make((10, SECOND, 10))
    calls = [run(scheduler, 1) for _ in range(5)]
    for call in calls:
        scheduler.refused(0, call, told=SECOND)
        scheduler.retry(0, call)
    for i, call in enumerate(calls):
        margin = 5 * MS if i > 0 else 0  # the first call came too early, for all that is known here
        assert scheduler.armed == SECOND + margin + i * SECOND // 10
        assert wake(scheduler) == [call]


def test_a_call_that_needs_the_reserve_goes_a_margin_after_the_bucket_is_full(make: Make) -> None:
    scheduler = make((1, SECOND, 1))
    early = run(scheduler, 1, now=SECOND)
    calls = [scheduler.submit(SECOND, [1]) for _ in range(3)]
    assert scheduler.refused(SECOND, early, told=15 * MS) == SECOND + 15 * MS
    scheduler.retry(SECOND, early)
    assert scheduler.armed == SECOND + 15 * MS
    assert wake(scheduler) == [early]
    margin = 20 * MS
    at = SECOND + 15 * MS + margin  # the reserve refills once after a cooldown
    for call in calls:
        at += SECOND + margin
        assert scheduler.armed == at
        assert wake(scheduler) == [call]


def test_the_margin_costs_at_most_a_twentieth_of_the_rate(make: Make) -> None:
    scheduler = make((1, SECOND, 1))
    early = run(scheduler, 1, now=SECOND)
    assert scheduler.refused(SECOND, early, told=999 * MS) == 1999 * MS
    scheduler.retry(SECOND, early)
    assert wake(scheduler) == [early]
    calls = [scheduler.submit(1999 * MS, [1]) for _ in range(3)]
    assert wake(scheduler) == calls[:1]
    before = scheduler.armed
    assert wake(scheduler) == calls[1:2]
    assert scheduler.armed == before + SECOND + 50 * MS


def test_a_refund_during_a_cooldown_does_not_move_the_promised_level(make: Make) -> None:
    scheduler = make((10, SECOND, 100))
    refused, admitted = run(scheduler, 10), scheduler.submit(0, [90])
    scheduler.refused(0, refused, told=5 * SECOND)
    scheduler.settle(0, refused, 0, 0)
    assert not scheduler.dispatch(admitted)
    scheduler.put_back(0, admitted)
    assert scheduler.level(0, 5 * SECOND) == 10  # what the refused call needs


def test_a_refusal_for_a_minute_does_not_throw_the_day_away(make: Make) -> None:
    scheduler = make((10, SECOND, 10), (10_000, 86_400 * SECOND, 10_000))
    scheduler.refused(0, run(scheduler, 1, 1), told=20 * SECOND)
    assert scheduler.level(0, 20 * SECOND) == 1
    assert scheduler.level(1, 20 * SECOND) > 9_999


# -- properties of the core alone ----------------------------------------------------------------

limits = st.tuples(
    st.sampled_from([1, 3, 7, 1000]),
    st.sampled_from([MS, 100 * MS, SECOND]),
    st.sampled_from([0, 1, 2, 10]),
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.integers(0, 25), st.integers(0, 3), st.integers(0, 1)),
        st.tuples(st.just("end"), st.integers(0, 30)),
        st.tuples(st.just("retry"), st.integers(0, 30)),
        st.tuples(st.just("wait"), st.integers(0, 40 * MS)),
    ),
    max_size=60,
)


@given(
    limits=st.lists(limits, min_size=1, max_size=2), slots=st.sampled_from([None, 2]), steps=steps
)
def test_a_punctual_loop_never_exceeds_a_limit(
    limits: list[Figures], slots: int | None, steps: list[tuple[Any, ...]]
) -> None:
    """From one admission to another no more than a bucket and what it gained in the meantime.

    Nothing is late here, and nobody asks so soon after an admission that the schedule goes on.
    """
    core = Core(limits, slots)
    costs: list[list[int]] = []
    admissions: list[tuple[int, int]] = []  # instant, call
    now = SECOND  # long after the start, which counts as an admission

    def note() -> None:
        for number in core.collect():
            assert core.dispatch(number)
            admissions.append((now, number))

    for name, *arguments in [*steps, ("wait", SECOND)]:
        if admissions and not any(core.state(number) == "waiting" for number in range(len(costs))):
            now = max(now, admissions[-1][0] + CATCH_UP + 1)
        if name == "submit":
            cost, second_cost, priority = arguments
            costs.append([cost, second_cost][: len(limits)])
            core.submit(now, costs[-1], priority)
        elif name == "wait":
            until = now + arguments[0]
            while core.armed is not None and core.armed <= until:
                now = core.armed
                core.poll(now)
                note()
            now = until
        elif costs:
            number = arguments[0] % len(costs)
            if name == "end" and core.state(number) in ("waiting", "in flight"):
                core.finish(now, number, True)
            elif name == "retry" and core.state(number) == "in flight":
                core.retry(now, number)
        note()
    core.close()

    for index, (amount, per, capacity) in enumerate(limits):
        rate = Fraction(amount, per)
        for i, (start, _) in enumerate(admissions):
            total = 0
            for at, number in admissions[i:]:
                cost = costs[number][index]
                gained = rate * (at - start + 1)  # an instant is rounded up to a ns
                assert total + min(cost, capacity) <= capacity + gained
                total += cost


@given(
    limit=limits,
    costs=st.lists(st.integers(0, 25), min_size=1, max_size=40),
    lateness=st.lists(st.integers(0, CATCH_UP - MS), min_size=1),
)
def test_with_a_full_queue_the_schedule_is_kept_however_late_the_loop(
    limit: Figures, costs: list[int], lateness: list[int]
) -> None:
    amount, per, capacity = limit
    due, spent = [0], 0
    for cost in costs:
        missing = spent + min(cost, capacity) - capacity
        due.append(max(due[-1], ceil(missing * Fraction(per, amount))))
        spent += cost
    due = due[1:]
    core = Core([limit])
    for cost in costs:
        core.submit(0, [cost])
    now, admitted = 0, core.collect()
    while admitted != list(range(len(costs))):
        assert core.armed == due[len(admitted)]
        now = max(now, core.armed + lateness[len(admitted) % len(lateness)])
        core.poll(now)
        admitted += core.collect()
        assert len(admitted) == sum(instant <= now for instant in due)
    core.close()


@given(
    rate=st.floats(-3, 9).map(lambda exponent: 10**exponent),
    period=st.sampled_from([0.1, 1.0, 3.7, 60.0, 3600.0]),
    seconds=st.floats(0, 60),
    costs=st.lists(st.integers(1, 100_000), min_size=1, max_size=20),
)
def test_odd_figures_do_not_drift(
    rate: float, period: float, seconds: float, costs: list[int]
) -> None:
    amount, capacity = rate * period, rate * seconds
    core = Core([(amount, period * 1e9, capacity)])
    exact = Fraction(amount) / Fraction(period * 1e9)
    full = core.level(0, 0)  # the capacity, to half a credit
    total, at = 0, 0
    for cost in costs * 20:
        core.submit(at, [cost])
        if core.armed is not None:
            at = core.armed
            core.poll(at)
        total += cost
    assert len(core.collect()) == len(costs) * 20
    spent = total + core.level(0, at) - full
    tolerance = Fraction(1, 10**9)
    assert abs(core.rate(0) - exact) <= tolerance * exact
    assert abs(spent - exact * at) <= tolerance * (exact * at + full) + tolerance
    core.close()
