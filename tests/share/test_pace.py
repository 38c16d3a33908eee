"""The pace of chunks: after how long the next ones begin, and that it is the law of calls."""

from __future__ import annotations

from fractions import Fraction
from math import e, exp, inf, log

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.model_limit import Pace as PaceOfCalls

from xtremeflow.share.pace import LONGEST, Pace

RATE, CAPACITY = 10.0, 600.0
LAW = {"most": 40.0, "kept": 120.0, "scale": 50.0}


def gap(pace: Pace, cost: float, level: float, waiting: float = 0.0, now: float = 0.0) -> float:
    return pace.gap(RATE, CAPACITY, cost, level, waiting, now)


@pytest.mark.parametrize(
    ("level", "seconds"),
    [
        (120, 2.0),  # 20 units at the rate
        (70, 2.0 * e),  # the level is one scale lower
        (170, 2.0 / e),
        (120 + 50 * log(4), 0.5),  # from here on the highest pace counts
        (600, 0.5),
        (-1e6, LONGEST),
    ],
)
def test_the_pace_follows_the_level(level: float, seconds: float) -> None:
    assert gap(Pace(**LAW), 20, level) == pytest.approx(seconds)


def test_a_pace_without_a_scale_is_always_the_highest() -> None:
    assert gap(Pace(most=40.0), 20, -1e6) == 0.5


def test_a_chunk_that_costs_nothing_holds_none_back() -> None:
    assert gap(Pace(**LAW), 0, -1e6) == 0


def test_a_pace_ends() -> None:
    pace = Pace(**LAW, until=10.0)
    assert gap(pace, 20, 120, now=9.0) == 1.0
    assert gap(pace, 20, 120, now=11.0) == 0


def test_calls_that_fit_go_at_once_as_long_as_they_have_room_together() -> None:
    pace = Pace(**LAW, fits=0.5)
    assert gap(pace, 100, 200, waiting=50) == 0  # 50 and the 100 that went: half of 300
    assert gap(pace, 1, 200, waiting=50) > 0
    assert gap(pace, 40, 259, waiting=59) == 0  # with the 140 that went: half of 399
    assert gap(pace, 1, 259, waiting=60) > 0


def test_what_went_at_once_fades_as_the_bucket_refills() -> None:
    pace = Pace(**LAW, fits=0.5)
    assert gap(pace, 100, 200, waiting=50) == 0
    left = 100 * exp(-1)  # a bucket's time later
    waits = 0.5 * (200 + left + 1) - (left + 1)
    assert gap(pace, 1, 200, waiting=waits + 0.01, now=CAPACITY / RATE) > 0
    assert gap(pace, 1, 200, waiting=waits - 0.01, now=CAPACITY / RATE) == 0


def test_a_new_pace_knows_what_went_at_once_at_the_one_before() -> None:
    before = Pace(**LAW, fits=0.5)
    assert gap(before, 100, 200, waiting=50) == 0
    assert gap(Pace(**LAW, fits=0.5).after(before), 1, 200, waiting=50) > 0
    assert gap(Pace(**LAW, fits=0.5).after(None), 1, 200, waiting=50) == 0


spent = st.tuples(
    st.integers(0, 300), st.integers(-600, 600), st.integers(0, 300), st.integers(0, 20)
)


@given(st.lists(spent, max_size=8), st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.0, 50.0]))
def test_it_is_the_law_of_calls(
    steps: list[tuple[int, int, int, int]], fits: float, scale: float
) -> None:
    chunks = Pace(40.0, 120.0, scale, fits, inf)
    calls = PaceOfCalls((40.0, 120.0, scale, fits))
    now = 0
    for cost, level, waiting, seconds in steps:
        now += seconds
        calls.next = now * 10**9
        calls.took(cost, Fraction(level), waiting, Fraction(10, 10**9), 600, now * 10**9)
        waits = gap(chunks, cost, level, waiting, now)
        assert waits == pytest.approx(calls.next / 1e9 - now, abs=2e-9)
