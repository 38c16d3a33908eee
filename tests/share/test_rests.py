"""The rests that answers tell, against levels that a test sets."""

from __future__ import annotations

from collections.abc import Hashable

import pytest

from xtremeflow.share.records import Rest
from xtremeflow.share.rests import Heard, Rests, Standing, standing
from xtremeflow.share.rows import Chunk, Taken, ToldOutage


class Account:
    """One limit, of 1 unit a second."""

    def __init__(self) -> None:
        self.now: Standing | None = None
        self.lowered: list[Rest] = []
        self.rests = Rests(self)

    def standing(self) -> Standing | None:
        return self.now

    def lower(self, index: int, rest: Rest) -> None:
        assert index == 0
        self.lowered.append(rest)

    def stands(
        self, at: float, used: float, level: float, lowered: float = 0.0, era: Hashable = 0
    ) -> None:
        self.now = Standing(era, at, (used,), (level,), (lowered,), (1.0,))

    def hear(self, left: float, sent_at: float, answered_at: float) -> float:
        return self.rests.hear(0, Heard(left, sent_at, answered_at))


@pytest.fixture
def account() -> Account:
    """It is known since 0 s, and an answer of then has told of it."""
    account = Account()
    account.stands(0.0, used=0, level=60)
    account.hear(60, -1.0, 0.0)
    return account


def test_a_level_is_lowered_to_the_most_that_any_instant_of_the_attempt_allows(
    account: Account,
) -> None:
    account.stands(1.0, used=10, level=51)
    account.hear(30, 0.2, 0.9)  # at 0.2: 30 + 0.8 - 8; at 0.9: 30 + 0.1 - 1
    assert account.lowered == [Rest(30, pytest.approx(9.0), 0.9)]


def test_notes_within_the_attempt_count(account: Account) -> None:
    account.stands(1.0, used=0, level=51)
    account.hear(60, 0.0, 1.0)
    account.stands(2.0, used=20, level=32)
    account.hear(40, 0.5, 1.5)  # at 1: 40 + 1 - 20 = 21, at 1.5: 40 + 0.5 - 10 = 30.5
    assert account.lowered == [Rest(40, pytest.approx(10.0), 1.5)]


@pytest.mark.parametrize(("level", "lowers"), [(29.0, False), (29.2, True)])
def test_a_level_stays_that_one_instant_allows(
    account: Account, level: float, lowers: bool
) -> None:
    account.stands(1.0, used=10, level=level)
    account.hear(30, 0.2, 0.9)
    assert bool(account.lowered) == lowers


def test_no_answer_puts_a_level_into_debt_further(account: Account) -> None:
    account.stands(1.0, used=10, level=-1)
    account.hear(-50, 0.2, 0.9)
    assert account.lowered == []


def test_an_answer_waits_until_the_units_used_by_then_are_known(account: Account) -> None:
    account.stands(1.0, used=10, level=51)
    account.hear(30, 0.2, 1.1)
    assert account.lowered == []
    account.stands(2.0, used=10, level=52)
    account.hear(60, 1.5, 2.1)
    assert account.lowered == [Rest(30, 10.0, 1.0)]  # from then on no unit was used


def test_an_answer_to_a_call_that_was_sent_before_all_notes_says_nothing(account: Account) -> None:
    account.stands(1.0, used=10, level=51)
    account.hear(0, -0.1, 0.9)
    assert account.lowered == []
    for second in range(2, 5):
        account.stands(second, used=10, level=40)
        account.hear(60, -0.1, second - 0.1)
    assert not account.rests.is_low(0)  # units that were used before the notes may not be seen


def test_levels_that_were_set_since_are_not_those_of_earlier_answers(account: Account) -> None:
    account.stands(1.0, used=10, level=51, era="another")
    account.hear(0, 0.2, 0.9)
    account.stands(2.0, used=10, level=51, era="another")
    account.hear(60, 1.2, 1.9)
    assert account.lowered == []


def test_it_tells_by_how_much_answers_to_any_members_have_lowered_the_level(
    account: Account,
) -> None:
    moved = list[float]()
    for at, lowered in enumerate([0, 7, 7, 9], 1):
        account.stands(at, used=0, level=10, lowered=lowered)
        moved.append(account.hear(60, at - 0.5, at))
    assert moved == [0, -7, 0, -2]


@pytest.mark.parametrize(
    ("seconds", "left", "used", "is_low"),
    [(2, 43, 0, True), (2, 42, 0, False), (2, 46, 4, False), (2, 47, 4, True), (1, 60, 0, False)],
)
def test_a_level_is_low_if_all_answers_of_two_seconds_call_it_so_by_their_gain(
    account: Account, seconds: int, left: float, used: float, is_low: bool
) -> None:
    """Units that were granted since the call was sent may not be seen yet."""
    for second in range(1, 2 + seconds):
        account.stands(second, used=used * second, level=40)
        account.hear(left, second - 1.0, second - 0.1)
    assert account.rests.is_low(0) == is_low
    assert not account.rests.is_low(0)  # from now on it takes as long again


def test_one_answer_that_allows_no_more_keeps_a_level_where_it_is(account: Account) -> None:
    for second, left in enumerate([60, 40, 60], 1):
        account.stands(second, used=0, level=40)
        account.hear(left, second - 0.5, second - 0.1)
    assert not account.rests.is_low(0)


def test_nothing_is_known_of_an_account_that_is_not_there() -> None:
    account = Account()
    assert account.hear(0, 0.0, 1.0) == 0
    assert account.lowered == []


def taken(now: int, used: float, chunk: Chunk | None = None) -> Taken:
    return Taken(
        now, "epoch", 1, 1, 3, 0, 1, 200_000, 1, 0, 0, -1, -1, "", "", 0, ToldOutage(), chunk,
        (used,), (5.0,),
    )  # fmt: skip


@pytest.mark.parametrize(("used", "level"), [(100, 46), (90, 56), (30, 60)])
def test_the_standing_goes_on_from_the_last_chunk(used: float, level: float) -> None:
    granted = taken(0, 80, Chunk(1_000_000, -1, (50.0,), (4.0,)))
    found = standing(granted, taken(3_000_000, used), [("units", 600, 60.0, 60)], at=7.0)
    assert found == Standing(("epoch", 3), 7.0, (used,), [level], (5.0,), [10.0])
