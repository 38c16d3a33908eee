"""The law of control, and the bank of models: the parts alone."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from xtremeflow._core import Reading
from xtremeflow.learning.ledger import Ledger
from xtremeflow.learning.rates.control import BUDGET, DEEP, Control, Refusal
from xtremeflow.learning.rates.models import BUCKET, Bank, Kind
from xtremeflow.learning.rates.noise import CLOSE, KNOWN


def known() -> Control:
    control = Control()
    control.know()
    control.dip(0.0, identified=False)
    return control


def refused(control: Control, now: float, calls: float, seconds: float, **given: float) -> Refusal:
    """A call that was sent just before."""
    told = given.get("told")
    return waiting(control, now, calls, seconds, told)[0]


def waiting(
    control: Control, now: float, calls: float, seconds: float, told: float | None = None
) -> tuple[Refusal, float | None]:
    """The same, with the seconds that the call is to wait."""
    return control.refused(now, now - 0.1, calls, seconds, told, unlikely=False)


def test_the_pace_dips_comes_back_and_grows_ever_faster() -> None:
    control = known()
    factors = [control.factor(second) for second in range(100)]
    assert factors == sorted(factors)
    assert factors[0] in (1 - DEEP, 1 - DEEP / 2)
    assert factors[15] == 1.0
    assert factors[70] - factors[69] > factors[30] - factors[29]


def test_where_nothing_is_known_the_pace_doubles() -> None:
    control = Control()
    assert control.factor(5.0) == 2 * control.factor(2.5) == 4 * control.factor(0.0)


def test_one_refusal_in_a_dip_is_chance_and_two_that_are_close_are_not() -> None:
    control = known()
    assert waiting(control, 1.0, 100, 1.0) == (Refusal.CHANCE, None)
    assert refused(control, 50.0, 100 + CLOSE, 1.0) is Refusal.EPISODE


def test_one_refusal_at_the_rate_is_the_limit_until_some_are_known_to_be_for_nothing() -> None:
    assert refused(known(), 10.0, 100, 30.0) is Refusal.EPISODE
    control = known()
    for refusal in range(1, KNOWN + 1):
        assert refused(control, refusal, 100.0 * refusal, 1.0) is Refusal.CHANCE
    assert refused(control, 60.0, 1000, 30.0) is Refusal.CHANCE
    assert refused(control, 61.0, 1001, 30.0) is Refusal.CHANCE  # two happen
    assert refused(control, 62.0, 1002, 30.0) is Refusal.EPISODE


def test_one_refusal_where_nothing_is_known_is_chance() -> None:
    control = Control()
    assert refused(control, 1.0, 10, 0.0) is Refusal.CHANCE
    # Of the same moment, but not of an episode: the burst was too large.
    assert control.refused(1.0, 0.9, 11, 0.0, None, unlikely=False)[0] is Refusal.EPISODE
    assert control.refused(1.1, 0.95, 12, 0.0, None, unlikely=False)[0] is Refusal.SAME


def test_a_wait_that_is_told_is_no_chance() -> None:
    assert refused(known(), 1.0, 100, 1.0, told=2.0) is Refusal.EPISODE


def test_waits_grow_while_nothing_passes_and_a_pass_ends_that() -> None:
    control = known()
    kinds, waits, now = [], [], 10.0
    for _ in range(8):
        kind, wait = waiting(control, now, 100, 100.0, told=0.0)
        assert wait is not None
        kinds.append(kind)
        waits.append(wait)
        now += wait + 0.2
    assert kinds == [Refusal.EPISODE, *[Refusal.STILL] * 7]
    assert waits == [0.0, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 8.0]
    assert control.passed(now) is not None
    assert not control.is_closed


def test_a_stop_is_thought_to_last_half_as_long_as_the_one_before() -> None:
    control, half = known(), pytest.approx(5.0)
    assert waiting(control, 10.0, 100, 30.0) == (Refusal.EPISODE, None)
    assert waiting(control, 11.0, 100, 0.0) == (Refusal.STILL, 1.0)
    assert control.stop is None
    control.passed(19.9)  # the first was sent at 9.9
    assert control.stop == half
    assert waiting(control, 60.0, 500, 30.0) == (Refusal.EPISODE, None)
    assert waiting(control, 65.2, 500, 0.0) == (Refusal.STILL, half)
    control.passed(61.0)  # 1.1 s after the first
    assert control.stop is None


def test_calls_refused_together_count_once() -> None:
    control = known()
    assert refused(control, 10.0, 100, 30.0) is Refusal.EPISODE
    assert control.refused(10.05, 9.95, 101, 30.0, None, unlikely=False)[0] is Refusal.SAME


def test_tests_become_rarer_until_they_are_within_the_budget() -> None:
    control, calls, now = known(), 0.0, 0.0
    shares = []
    for _ in range(40):
        seconds = 0.0
        while control.factor(seconds) < 1.0 + 0.02:
            seconds += 1.0
        calls, now = calls + 2.0 * seconds, now + seconds
        refused(control, now, calls, seconds)
        control.passed(now + 1.0)
        control.dip(0.0, identified=True)
        shares.append(1.0 / (2.0 * seconds))
    assert BUDGET / 2 < shares[-1] < 2 * BUDGET


def after_refusals(paces: Sequence[tuple[float, float]]) -> Bank:
    """A bucket of 10 a second has refused as often, after a slow pace for 30 s and a fast one."""
    bank, past = Bank(1), Ledger(1, 60.0)
    admitted, now = 0.0, 0.0
    for slow, fast in paces:
        banked, pace, until = 0.0, slow, now + 30.0
        while banked >= 0.0:
            now, admitted, banked = now + 1 / pace, admitted + 1, banked + 10 / pace - 1
            past.note(now, [Reading((admitted, 0, 1, 0, 0, 0))])
            pace = slow if now < until else fast
        bank.refused(now, (admitted,), [0], [1.0], past)
    return bank


VARIED = [(7.0, 14.0), (8.5, 13.0), (6.0, 15.0), (9.0, 12.0)] * 2


def test_a_bucket_is_told_from_a_window_and_its_rate_is_exact() -> None:
    bank = after_refusals(VARIED)
    assert bank.best.kind is BUCKET
    assert bank.best.rates[0].rate == pytest.approx(10.0, rel=0.01)


def test_a_model_that_foretells_each_refusal_stays_though_another_foretells_them_too() -> None:
    """At a steady pace a bucket of a second explains them as well, and costs less if wrong."""
    steady = [(9.5, 10.5)] * 20
    assert after_refusals(steady).best.kind is not BUCKET
    assert after_refusals([*VARIED, *steady]).best.kind is BUCKET


def test_a_limit_that_blocks_for_long_is_no_bucket() -> None:
    bank, past = Bank(1), Ledger(1, 60.0)
    for second in range(100):
        past.note(second, [Reading((10.0 * second, 0, 1, 0, 0, 0))])
    bank.refused(50.0, (500.0,), [0], [1.0], past)
    bank.blocked(20.0, 70.0, (500.0,))
    assert bank.best.kind == Kind(60.0, slides=True)


def test_a_told_rate_is_believed_of_every_bucket_until_refusals_say_another() -> None:
    bank, past = Bank(1), Ledger(1, 60.0)
    bank.told(0, 5.0)
    assert bank.first.rates[0].rate == bank.best.rates[0].rate == 5.0
    for second in range(200):
        past.note(second, [Reading((10.0 * second, 0, 1, 0, 0, 0))])
        if second % 50 == 49:
            bank.refused(second, (10.0 * second,), [0], [1.0], past)
    assert bank.best.rates[0].rate == pytest.approx(10.0, rel=0.05)
