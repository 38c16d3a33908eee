"""Half of a rate is claimed after a refusal that came too early, and given up where it is wrong."""

from __future__ import annotations

import pytest

from xtremeflow.learning.probing import Probing
from xtremeflow.learning.rates import Empty
from xtremeflow.learning.sharing import (
    EVENED,
    LEAST,
    LONGEST,
    MOST,
    RELIABLE,
    USUAL,
    Sharing,
    is_due,
)

RATE = 10.0


def shared(*, before: int = RELIABLE) -> Sharing:
    """So many refusals were expected; one at 0 s was not."""
    sharing = Sharing()
    for n in range(before, 0, -1):
        refuse(sharing, -50.0 * n, -500.0 * n, expected=True)
    refuse(sharing, 0.0, 0.0)
    return sharing


def refuse(
    sharing: Sharing, time: float, used: float, *, expected: bool = False, known: bool = True
) -> None:
    sharing.refused(Empty(time, (used,)), {0: RATE}, 0, expected=expected, known=known)


def test_half_is_claimed_after_a_refusal_that_came_too_early() -> None:
    sharing = shared()
    assert sharing.active
    assert sharing.is_new
    assert sharing.claim(0) == RATE / 2
    assert sharing.claim(1) is None  # of it nothing was known


def test_where_refusals_were_not_expected_before_none_is_too_early() -> None:
    assert not shared(before=RELIABLE - 1).active
    sharing = Sharing()
    for n in range(2 * RELIABLE):
        refuse(sharing, 50.0 * n, 500.0 * n, expected=True, known=False)
    refuse(sharing, 900.0, 9_000.0)
    assert not sharing.active


def test_what_was_used_less_or_more_than_the_claim_is_made_up_for() -> None:
    sharing = shared()
    assert sharing.start == USUAL
    refuse(sharing, 40.0, 200.0 - 6 * RATE / 2)
    assert sharing.start == pytest.approx(USUAL + 6 / EVENED)
    assert not sharing.is_new
    refuse(sharing, 80.0, 400.0 + 6 * RATE / 2)
    assert sharing.start == pytest.approx(USUAL - 6 / EVENED)
    refuse(sharing, 120.0, 600.0 + 40 * RATE / 2)
    assert sharing.start == LEAST
    refuse(sharing, 160.0, 800.0 - 19 * RATE / 2)
    assert sharing.start == MOST
    assert sharing.active
    assert sharing.claim(0) == RATE / 2


@pytest.mark.parametrize("rate", [0.3 * RATE, RATE])
def test_a_claim_that_is_far_off_is_given_up(rate: float) -> None:
    """The limit was cut to less, or not at all."""
    sharing, time = shared(), 0.0
    while sharing.active:
        time += 10.0
        refuse(sharing, time, rate * time)
    assert 40.0 <= time <= 60.0
    assert sharing.claim(0) is None
    refuse(sharing, time + 10.0, rate * time)  # nothing is known well of the new one yet
    assert not sharing.active


def test_after_some_minutes_what_passes_counts_again_and_is_never_halved_twice() -> None:
    sharing = shared()
    for time in range(50, int(LONGEST) + 60, 50):
        refuse(sharing, time, RATE / 2 * time)
    assert not sharing.active
    sharing.refused(Empty(400.0, (2_000.0,)), {0: RATE / 2}, 0, expected=False, known=True)
    assert sharing.claim(0) == RATE / 2


def test_of_an_outage_the_rate_before_is_told() -> None:
    sharing = shared()
    assert sharing.give_up() == {0: RATE}
    assert not sharing.active


@pytest.mark.parametrize(
    ("excess", "doubt", "due"), [(2.5, 0.0, True), (0.5, 0.0, False), (0.5, 0.01, True)]
)
def test_a_refusal_is_due_when_more_was_used_than_there_can_be(
    excess: float, doubt: float, due: bool
) -> None:
    assert is_due(excess, 40.0, doubt) is due


def test_the_pace_of_a_claim_grows_slowly_and_in_the_end_doubles() -> None:
    probing = Probing()
    probing.share(0.9)
    factors = [probing.factor(seconds) for seconds in (0, 20, 40, 60)]
    assert factors[0] == 0.9
    assert factors == sorted(factors)
    assert factors[-1] < 1.4
    assert probing.factor(100.0) > 2.0
    assert abs(probing.excess(35.0)) < 1.0  # the claim is kept to where refusals come so often
