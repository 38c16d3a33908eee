"""What was used, by the time."""

from __future__ import annotations

from math import inf

import pytest

from xtremeflow._core import Reading
from xtremeflow.learning.ledger import Ledger


def used(amount: float, cost: float = 1.0) -> list[Reading]:
    return [Reading((amount, 0, cost, 0.0, 0, 0.0))]


def test_it_tells_how_much_was_used_by_a_time_and_when_that_was_reached() -> None:
    ledger = Ledger(1, 60.0)
    for time, amount in ((10.0, 5.0), (10.01, 7.0), (30.0, 8.0)):
        ledger.note(time, used(amount))
    assert [ledger.at(time) for time in (9.0, 10.0, 29.9, 30.0)] == [(0,), (7,), (7,), (8,)]
    assert [ledger.when(0, amount) for amount in (1, 7, 7.5, 8, 9)] == [10, 10, 30, 30, inf]


def test_what_is_refused_is_not_used() -> None:
    ledger = Ledger(1, 60.0)
    ledger.refuse(used(5.0, cost=2.0))
    ledger.note(1.0, used(5.0))
    assert ledger.at(1.0) == (3.0,)
    assert ledger.before(used(6.0)) == (4.0,)


def test_what_was_used_before_a_long_pause_is_not_of_the_last_minute() -> None:
    ledger = Ledger(1, 60.0)
    ledger.note(0.0, used(1_000.0))
    ledger.note(1_000.0, used(1_001.0))
    ledger.note(1_001.0, used(1_002.0))
    assert ledger.at(941.0) == (1_000.0,)


def test_no_more_is_kept_than_is_asked_for() -> None:
    ledger = Ledger(1, 60.0)
    for i in range(100_000):
        ledger.note(i / 100, used(float(i)))
    assert len(ledger._times) <= 4 * 2_000 + 1
    assert ledger.at(940.0)[0] == pytest.approx(94_000, abs=3)
