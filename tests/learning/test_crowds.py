"""Whether refusals are told apart that depend on the calls in flight from those that do not."""

from __future__ import annotations

from random import Random

import pytest

from xtremeflow.learning.concurrency.crowds import CONVINCING, FEWEST, Crowds


def shown(refused_at: list[int], passed: list[int]) -> Crowds:
    """Calls that pass, then one that is refused, and so on; a second apart."""
    crowds, now = Crowds(), 0.0
    for crowd in refused_at:
        for other in passed:
            crowds.passed(other)
        now += 1.0
        crowds.refused(now, now - 0.1, crowd)
    return crowds


def test_refusals_above_all_that_pass_are_convincing() -> None:
    passed = [*range(50, 65)] * 3
    assert shown([65] * CONVINCING, passed).convinced
    assert not shown([65] * (CONVINCING - 1), passed).convinced
    assert not shown([65, 65, 55, 65, 65], passed).convinced


def test_calls_that_go_out_with_always_as_many_in_flight_prove_nothing() -> None:
    assert not shown([64] * 20, [64] * FEWEST).convinced


def test_the_first_calls_prove_nothing() -> None:
    assert not shown([9] * (FEWEST - 1), [8]).convinced


def test_refusals_while_there_are_more_and_more_in_flight_prove_nothing() -> None:
    crowds, now = Crowds(), 0.0
    for crowd in range(10, 200):
        crowds.passed(crowd)
        if crowd % 20 == 0:
            now += 1.0
            crowds.refused(now, now - 0.1, crowd)
    assert not crowds.convinced
    assert not crowds.is_suspected


def test_two_refusals_at_about_the_same_number_are_suspect() -> None:
    passed = [*range(50, 65)] * 3
    assert not shown([65], passed).is_suspected
    assert shown([65, 67], passed).is_suspected
    assert not shown([65, 80], passed).is_suspected
    assert not shown([65, 67, 55], passed).is_suspected


@pytest.mark.parametrize("busy", [False, True])
def test_of_calls_sent_together_the_highest_counts_where_no_rate_is_meant(busy: bool) -> None:
    """They arrive in any order, so the first that is refused may be any of them."""
    crowds = Crowds()
    for i in range(CONVINCING):
        for crowd in [*range(50, 65)] * 3:
            crowds.passed(crowd)
        for crowd in [52, 65, 58]:
            crowds.refused(i + 0.1, i, crowd, busy=busy)
    assert crowds.convinced is busy


def test_refusals_of_one_moment_count_once() -> None:
    crowds = Crowds()
    for crowd in [*range(40, 65)] * 2:
        crowds.passed(crowd)
    for _ in range(20):
        crowds.refused(10.1, 10.0, 65)
    assert not crowds.convinced


@pytest.mark.parametrize("seed", range(20))
def test_where_rates_are_limited_the_calls_in_flight_are_as_they_happen_to_be(seed: int) -> None:
    random = Random(seed)
    crowds, now = Crowds(), 0.0
    for _ in range(40):
        for _ in range(100):
            crowds.passed(round(random.gauss(50, 8)))
        now += 1.0
        crowds.refused(now, now - 0.1, round(random.gauss(53, 8)))  # a little more were sent
    assert not crowds.convinced
