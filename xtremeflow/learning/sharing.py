"""What follows from a refusal that came too early: the limit was cut, or somebody else uses it too.

Either way half of the old rate is the best first guess. So half is claimed, and kept to on average:
what was used less or more is made up for, and between refusals the pace grows only slowly. So who
has come second finds the other half free and steady. Where one's use differs from the claim for
long that was the wrong guess, and what passes counts again.
"""

from __future__ import annotations

from collections.abc import Mapping

from xtremeflow.learning.rates import Empty

HALF = 0.5
RELIABLE = 3  # refusals in a row that were expected; without them none is unexpected
DUE = 1.0  # s of the rate that are used beyond it before a refusal that is expected,
DOUBTS = 2.0  # less so many times what the rate may be wrong by
LESS, MORE = 20.0, 45.0  # s of the claim by which one's use may be off,
LONGEST = 300.0  # s: and so long it is kept to
EVENED = 60.0  # s in which a difference is to be made up for
LEAST, USUAL, MOST = 0.6, 0.9, 1.1  # of the claim is the pace after a refusal


def is_due(excess: float, seconds: float, doubt: float) -> bool:
    """Whether a refusal was to be expected, when in so many `seconds` so many of the rate had been
    used beyond it, which may be wrong by `doubt`, relative to it."""
    return excess > DUE - DOUBTS * doubt * seconds


class Sharing:
    """active  whether half is claimed
    is_new  whether the last refusal was the reason
    """

    def __init__(self) -> None:
        self.active = self.is_new = False
        self._expected = 0  # refusals in a row
        self._whole: Mapping[int, float] = {}  # rates before, by limit
        self._since: Empty | None = None
        self._owed = 0.0  # s of the claim

    def claim(self, i: int) -> float | None:
        """Of limit `i`, units per second; None is: what passes."""
        return HALF * self._whole[i] if self.active and i in self._whole else None

    @property
    def start(self) -> float:
        """The pace after a refusal, as a part of the claim."""
        return min(max(LEAST, USUAL + self._owed / EVENED), MOST)

    def refused(
        self, empty: Empty, rates: Mapping[int, float], first: int, *, expected: bool, known: bool
    ) -> None:
        """A call was refused.

        rates     of the limits that may be the reason,
        first     the one of them that is likely to be
        expected  whether it had to be
        known     whether the rates were known well
        """
        self.is_new = False
        if self.active:
            self._compare(empty, first)
        elif expected:
            self._expected = self._expected + 1 if known else 0
        else:
            if known and (self._whole or self._expected >= RELIABLE):
                self.active = self.is_new = True
                self._whole = {**rates, **self._whole}
                self._since, self._owed = empty, 0.0
            self._expected = 0

    def _compare(self, empty: Empty, first: int) -> None:
        """One's use with the claim."""
        claim = self.claim(first)
        assert self._since is not None
        time = empty.time - self._since.time
        used = empty.amounts[first] - self._since.amounts[first]
        self._owed = time - used / claim if claim is not None else 0.0
        if not -MORE < self._owed < LESS:
            self.give_up()
        elif time > LONGEST:
            self.active = False

    def give_up(self) -> Mapping[int, float]:
        """It was something else. Returns the rates before."""
        whole, self._whole = self._whole, {}
        self.active = False
        return whole
