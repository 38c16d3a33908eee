"""The parts of which rates are found: estimates, windows, blockades, probing, what is saved."""

from __future__ import annotations

import json
from typing import Any

import pytest

from xtremeflow.learning.blockade import PATIENCE, Blockade
from xtremeflow.learning.gauge import Gauge, Ledger, Reading
from xtremeflow.learning.probing import BUDGET, EACH, REFUSED_AT, SEARCH, STEADY, Probing
from xtremeflow.learning.rates import Empty, estimate, explaining
from xtremeflow.learning.rules import ChargeRule
from xtremeflow.learning.saved import Learned, Rate, restored, saved
from xtremeflow.learning.windows import WINDOW, Windows

# -- rates ---------------------------------------------------------------------------------------


def empties(rate: float, *times: float, start: float = 0.0) -> list[Empty]:
    """Of a bucket that let `start` pass at once."""
    return [Empty(time, (start + rate * time,)) for time in times]


def test_the_rate_is_what_passed_between_two_refusals_whatever_the_capacity() -> None:
    found = estimate(empties(50.0, 3.0, 63.0, start=3_000.0), 0, cost=10.0)
    assert found.rate == pytest.approx(50.0)
    assert 10.0 / 60 <= found.doubt <= 30.0 / 60


def test_the_longest_time_that_agrees_counts() -> None:
    found = estimate(empties(50.0, 0.0, 10.0, 40.0, 100.0), 0, cost=10.0)
    assert found.rate == pytest.approx(50.0)
    assert found.doubt < 0.3
    short = estimate(empties(50.0, 90.0, 100.0), 0, cost=10.0)
    assert short.doubt > 5 * found.doubt


def test_where_the_limit_was_cut_only_the_time_since_counts() -> None:
    before = empties(50.0, 0.0, 60.0, 120.0)
    after = [Empty(120.0 + t, (6_000.0 + 25.0 * t,)) for t in (20.0, 40.0)]
    assert estimate([*before, *after], 0, cost=10.0).rate == pytest.approx(25.0)


def test_the_limit_that_keeps_pace_with_the_clock_explains_refusals() -> None:
    tokens_at = [0.0, 3_000.0, 9_100.0, 12_000.0, 18_000.0]
    requests_at = [0.0, 9.0, 40.0, 44.0, 80.0]
    times = [tokens / 100 for tokens in tokens_at]
    amounts = zip(requests_at, tokens_at, strict=True)
    seen = [Empty(*both) for both in zip(times, amounts, strict=True)]
    errors = explaining(seen, (1.0, 200.0))
    assert errors[1] < errors[0] / 4
    assert set(explaining(seen, (1.0, 0.0))) == {0}  # what a call does not cost cannot be it


def gauge(now: float, used: float, since: float = 0.0, cost: float = 1.0) -> Gauge:
    return Gauge(now, now, 0.0, now, 1, 1, [Reading(used, since, cost, 0.0, since)])


def test_refused_calls_do_not_count_as_admitted() -> None:
    ledger = Ledger(1)
    ledger.note(gauge(1.0, 10.0))
    assert ledger.before(gauge(2.0, 15.0, since=3.0)) == (12.0,)
    ledger.refuse(gauge(2.0, 15.0, cost=1.0))
    ledger.note(gauge(3.0, 20.0))
    assert ledger.admitted(gauge(3.0, 20.0)) == (19.0,)
    assert ledger.at(0.5) is None
    assert ledger.at(1.2) == (10.0,)
    assert ledger.at(2.9) == ledger.at(99.0) == (19.0,)


# -- windows -------------------------------------------------------------------------------------


def test_blockades_that_end_in_the_same_second_of_the_minute_are_windows() -> None:
    windows = Windows()
    windows.blocked(50.0, 62.0)
    windows.used_up((200.0,), {0})
    assert not windows.known
    windows.blocked(118.0, 121.0)
    windows.used_up((204.0,), {0})
    assert windows.known
    low, high = windows.next(400.0)
    assert (low, high) == (418.0, 421.0)
    assert windows.next(421.0) == (478.0, 481.0)
    assert windows.previous(430.0) == pytest.approx(419.5)


def test_blockades_that_end_at_any_time_are_not() -> None:
    windows = Windows()
    for end in (62.0, 153.0, 199.0, 290.0, 341.0, 437.0):
        windows.blocked(end - 2.0, end)
        windows.used_up((200.0,), {0})
        assert not windows.known


def test_windows_let_the_same_pass() -> None:
    windows = Windows()
    for turn, amount in enumerate((200.0, 120.0, 180.0)):
        windows.blocked(WINDOW * turn + 58.0, WINDOW * turn + 61.0)
        windows.used_up((amount,), {0})
        assert not windows.known


# -- blockades -----------------------------------------------------------------------------------


def test_refusals_of_one_moment_are_one() -> None:
    blockade = Blockade()
    assert blockade.refused(10.0, 10.1)
    assert not blockade.refused(9.9, 10.1)
    assert not blockade.refused(10.05, 10.2)
    assert not blockade.passed(10.1)  # it was on its way when the others were refused
    assert blockade.refused(12.1, 12.2)
    assert blockade.tries == 2
    assert blockade.passed(15.0)
    assert not blockade.passed(16.0)
    assert blockade.refused(20.0, 20.1)
    assert blockade.tries == 1


def test_a_call_that_passed_between_two_tries_has_ended_the_blockade() -> None:
    """It was answered after the second of them, which so is the first of another one."""
    blockade, windows = Blockade(), Windows()
    assert blockade.refused(10.0, 10.1)
    assert blockade.refused(12.3, 12.4)
    blockade.passed(12.2)
    assert blockade.tries == 1
    assert blockade.first == 12.3
    assert blockade.refused(20.0, 20.1)
    blockade.wait(None, 20.1, None, windows)
    assert blockade.left(20.1) == pytest.approx(4.0)


def test_waits_double_until_a_call_passes_and_then_are_what_was_enough() -> None:
    blockade, windows, now, waits = Blockade(), Windows(), 0.0, []
    for _ in range(6):
        blockade.refused(now, now)
        blockade.wait(None, now, None, windows)
        waits.append(blockade.left(now))
        now += waits[-1] + 0.01
    assert waits == pytest.approx([2.0, 4.0, 8.0, 16.0, 32.0, 32.0])
    assert blockade.passed(now)
    for _ in range(3):
        now += 100.0
        blockade.refused(now, now)
        blockade.refused(now + 4.0, now + 4.0)
        assert blockade.passed(now + 6.0)
    blockade.refused(now + 50.0, now + 50.0)
    blockade.wait(None, now + 50.0, None, windows)
    assert blockade.left(now + 50.0) == pytest.approx(5.0)


@pytest.mark.parametrize(("told", "waits"), [(0.2, 0.2), (7.0, 7.0)])
def test_what_is_told_is_waited_for(told: float, waits: float) -> None:
    blockade = Blockade()
    blockade.refused(0.0, 0.1)
    blockade.wait(told, 0.1, None, Windows())
    assert blockade.left(0.1) == pytest.approx(waits)


def test_a_known_boundary_is_waited_for() -> None:
    blockade, windows = Blockade(), Windows()
    for turn in range(2):
        windows.blocked(WINDOW * turn + 59.0, WINDOW * turn + 60.0)
        windows.used_up((100.0,), {0})
    blockade.refused(170.0, 170.1)
    blockade.wait(None, 170.1, None, windows)
    assert 180.0 <= 170.1 + blockade.left(170.1) <= 180.2


def test_a_first_burst_that_used_up_a_window_is_waited_for() -> None:
    blockade = Blockade()
    blockade.refused(9.0, 9.1)
    blockade.wait(None, 9.1, 0.0, Windows())
    assert blockade.left(9.1) == PATIENCE
    blockade.refused(11.1, 11.2)
    blockade.wait(None, 11.2, 0.0, Windows())
    assert 60.0 <= 11.2 + blockade.left(11.2) <= 60.2


# -- probing -------------------------------------------------------------------------------------


def test_the_pace_begins_below_the_estimate_and_grows_ever_faster() -> None:
    probing = Probing()
    probing.plan(10_000, 100.0, 600.0)
    assert probing.stretch == STEADY
    factors = [probing.factor(seconds) for seconds in (0, 20, 40, 55, 70)]
    assert factors[0] < 1 < factors[1] < 1.01 < factors[2] < 1.2 < factors[3] < factors[4]
    assert factors[3] > 1.9
    assert probing.excess(30.0) < 0 < probing.excess(50.0)


def test_refusals_are_kept_within_the_budget() -> None:
    probing = Probing()
    probing.plan(600, 600.0, 600.0)  # one call a second
    assert probing.stretch == pytest.approx(EACH / BUDGET / REFUSED_AT)
    for _ in range(20):
        probing.refused()
    usual = probing.stretch
    probing.plan(600, 600.0, 600.0)
    assert probing.stretch > usual
    probing.search()
    assert probing.stretch == SEARCH


# -- saved ---------------------------------------------------------------------------------------


def test_what_is_learned_survives_json() -> None:
    rates = {"tokens": Rate(1_234.5, 6.7, 80_000.0), "requests": Rate(3.0, 0.1, 0.0)}
    charges = {"m": ChargeRule("sum", settles=True), "": ChargeRule(cached_free=False)}
    for learned in (Learned(rates, 48), Learned(rates), Learned({}, 1, charges), Learned()):
        assert restored(json.loads(json.dumps(saved(learned)))) == learned


RATE = {"rate": 5.0, "doubt": 0.1, "burst": 0}


@pytest.mark.parametrize(
    ("learned", "error", "message"),
    [
        ("text", TypeError, "learned must be a dict as scheduler.learned gives it, got 'text'"),
        ({}, ValueError, r"learned\['version'\] must be 1, got None"),
        ({"version": 2}, ValueError, r"learned\['version'\] must be 1, got 2"),
        ({"version": 1, "rate": {}}, ValueError, "learned has 'rate', but there is only version, "),
        (
            {"version": 1, "concurrency": 0},
            ValueError,
            r"\['concurrency'\] must be 1 or more, got 0",
        ),
        (
            {"version": 1, "charges": {"m": {"admission": "all"}}},
            ValueError,
            r"\['charges'\]\['m'\]: admission must be one of 'nothing', .* or None, got 'all'",
        ),
        (
            {"version": 1, "charges": {"m": {"settles": 1}}},
            ValueError,
            r"\['m'\]: settles must be True, False or None, got 1",
        ),
        (
            {"version": 1, "charges": {"m": {"free": True}}},
            ValueError,
            r"\['charges'\]\['m'\] has 'free', but there is only admission, settles, cached_free",
        ),
        ({"version": 1, "rates": 3}, TypeError, r"learned\['rates'\] must be a dict"),
        ({"version": 1, "rates": {"token": RATE}}, ValueError, r"\['rates'\] has 'token', but"),
        ({"version": 1, "rates": {"tokens": 5}}, TypeError, r"\['tokens'\] must be a dict"),
        (
            {"version": 1, "rates": {"tokens": {**RATE, "rate": 0}}},
            ValueError,
            r"learned\['rates'\]\['tokens'\]\['rate'\] must be a number above 0, got 0",
        ),
        (
            {"version": 1, "rates": {"tokens": {**RATE, "rate": 1e13}}},
            ValueError,
            "must be from 0.001 to 1e12",
        ),
        (
            {"version": 1, "rates": {"tokens": {**RATE, "doubt": float("nan")}}},
            ValueError,
            r"\['doubt'\] must be a number, 0 or more, got nan",
        ),
        (
            {"version": 1, "rates": {"tokens": {"rate": 5.0, "doubt": 0.1}}},
            TypeError,
            r"\['burst'\] must be a number, 0 or more, got None",
        ),
    ],
)
def test_what_was_not_saved_is_refused(learned: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        restored(learned)
