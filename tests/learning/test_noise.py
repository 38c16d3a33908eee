"""Refusals that have a reason, and those that have none: the part alone."""

from __future__ import annotations

from random import Random

import pytest

from xtremeflow.learning.rates.noise import CLOSE, Noise


def taken(noise: Noise, share: float, calls: int, random: Random, first: int = 0) -> int:
    """Refuses a share of the calls at random. Returns how many were taken to have a reason."""
    refused = [i for i in range(first, first + calls) if random.random() < share]
    return sum(noise.refused(i, 1.0, is_due=False) for i in refused)


@pytest.mark.parametrize("share", [0.003, 0.01, 0.03])
def test_a_share_refused_at_random_is_known_after_a_few_and_rarely_has_a_reason(
    share: float,
) -> None:
    noise = Noise()
    reasons = taken(noise, share, 50_000, Random(1))
    assert noise.is_known
    assert reasons < 0.02 * share * 50_000


@pytest.mark.parametrize("before", [10_000, 1_000_000])
@pytest.mark.parametrize("share", [0.003, 0.01])
def test_a_share_is_known_as_soon_after_as_many_calls_of_which_none_was_refused(
    before: int, share: float
) -> None:
    noise = Noise()
    assert taken(noise, share, 20_000, Random(1), before) <= 2
    assert noise.is_known


def test_many_at_once_have_a_reason_however_many_are_refused_at_random() -> None:
    noise, random = Noise(), Random(2)
    taken(noise, 0.01, 10_000, random)
    assert any(noise.refused(10_000 + 2 * i, 0.0, is_due=True) for i in range(8))


def test_as_long_as_none_is_known_two_that_are_close_have_a_reason() -> None:
    noise = Noise()
    assert not noise.refused(100, 1.0, is_due=False)
    assert noise.refused(100 + CLOSE, 1.0, is_due=False)
    assert not noise.is_known


def test_refusals_that_are_due_say_nothing_of_the_share() -> None:
    noise = Noise()
    for i in range(20):
        noise.refused(100.0 * i, 0.5, is_due=True)
    assert not noise.is_known


def test_a_share_falls_with_the_calls_that_no_limit_could_have_refused() -> None:
    """A rate that was too high by a little has refused two within 20 calls."""

    def noise_after(calls: float, undue: float) -> Noise:
        noise = Noise()
        assert not any(noise.refused(start, 1.0, is_due=False) for start in (0.0, 20.0))
        noise.refused(20.0 + calls, undue, is_due=True)
        return noise

    def needed(noise: Noise, calls: float) -> int:
        """The refusals, every sixth call, until they have a reason."""
        refused = (noise.refused(calls + 6 * i, 0.0, is_due=True) for i in range(20))
        return next((i for i, has_a_reason in enumerate(refused) if has_a_reason), 20)

    assert needed(noise_after(300, 0.0), 400) > 8 > needed(noise_after(300, 1.0), 400) > 1


def test_refusals_that_have_a_reason_after_all_are_not_of_the_share() -> None:
    noise = Noise()
    assert not any(noise.refused(200.0 * i, 1.0, is_due=False) for i in range(2))
    assert noise.is_known
    assert [noise.refused(500.0 + i, 1.0, is_due=True) for i in range(3)] == [False, False, True]
    assert not noise.is_known
