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
