"""Told buckets that hold less than they are told to."""

from __future__ import annotations

import pytest

from xtremeflow.learning.told.burst import BACK, EVERY, LEAST, SOON, STEP, Burst


def told() -> Burst:
    burst = Burst()
    burst.begin(0, 60.0)
    burst.begin(1, 60.0)
    return burst


def test_a_bucket_holds_what_was_used_of_it() -> None:
    burst = told()
    assert 0 not in burst
    assert burst.refused(5.0, {0: 50.0, 1: 52.0})
    assert burst.seconds == 10.0
    assert 0 in burst
    assert 2 not in burst


def test_it_is_tried_to_hold_more_once_all_of_it_was_used() -> None:
    burst = told()
    burst.refused(0.0, {0: 50.0})
    assert not burst.see(10.0, {0: 10.0})
    assert not burst.see(20.0, {0: 5.0})
    assert burst.see(30.0, {0: 0.5})
    assert burst.seconds == pytest.approx(10.0 * (1 + STEP))
    assert not burst.see(30.0 + EVERY / 2, {0: 0.0})
    assert burst.see(30.0 + EVERY, {0: 0.0})


def test_a_further_cut_is_a_small_one() -> None:
    burst = told()
    burst.refused(0.0, {0: 50.0})
    burst.see(5.0, {0: 4.0})
    assert burst.refused(10.0, {0: 3.0})
    assert burst.seconds == pytest.approx(10.0 / BACK)


def test_no_bucket_is_so_small_so_twice_in_a_row_it_is_another_rate() -> None:
    burst = told()
    assert burst.refused(0.0, {0: 60.0, 1: 59.9})
    assert burst.seconds == LEAST
    assert not burst.refused(SOON - 1.0, {0: LEAST, 1: LEAST})
    assert burst.refused(SOON + 1.0, {0: LEAST, 1: LEAST})


def test_a_call_without_cost_explains_no_refusal() -> None:
    assert not told().refused(0.0, {})
