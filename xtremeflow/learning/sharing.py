"""What a refusal means that came too early: the limit was cut, or somebody else uses it as well.

Either way half of the old rate is the best first guess, so half is claimed. That is kept to on
average, by making up for what was used less or more, while the pace between refusals only grows
slowly. So another user finds the other half free and steady. If it cannot be kept to, or more than
that passes, it was the wrong guess.
"""

from __future__ import annotations

from collections.abc import Mapping

from xtremeflow.learning.rates import Empty

HALF = 0.5
RELIABLE = 3  # refusals in a row that were expected: without them none is unexpected
DUE = 1.0  # s of the rate that must have been used beyond it for a refusal to be expected,
DOUBTS = 2.0  # less this times what the rate may be wrong by
FAR = 30.0  # s of the claim by which one's use may differ from it
ENOUGH = 300.0  # s: then the limit is what passes
EVENED = 60.0  # s in which a difference is to be made up for
LEAST, USUAL, MOST = 0.6, 0.9, 1.1  # of the claim, to begin with after a refusal


class Sharing:
    """active  whether half is claimed"""

    def __init__(self) -> None:
        self.active = False
        self._expected = 0  # refusals in a row
        self._whole: Mapping[int, float] = {}  # the rates before, by limit
        self._since: Empty | None = None
        self._owed = 0.0  # s of the claim

    def claim(self, i: int) -> float:
        """Of limit `i`, units per second."""
        return HALF * self._whole[i]

    @property
    def start(self) -> float:
        """With which part of the claim to begin after a refusal."""
        return min(max(LEAST, USUAL + self._owed / EVENED), MOST)

    def refused(
        self, empty: Empty, rates: Mapping[int, float], first: int, *, expected: bool, known: bool
    ) -> None:
        """A call was refused.

        rates     of the limits that may have caused it, and
        first     which of them it was most likely
        expected  whether more than the rate had been used
        known     whether the rates were known well
        """
        if self.active:
            self._compare(empty, first)
        elif expected and known:
            self._expected += 1
        else:
            if not expected and known and (self._whole or self._expected >= RELIABLE):
                self.active, self._since, self._owed = True, empty, 0.0
                self._whole = {**rates, **self._whole}
            self._expected = 0

    def _compare(self, empty: Empty, first: int) -> None:
        """One's use with what was claimed."""
        assert self._since is not None
        time = empty.time - self._since.time
        used = empty.amounts[first] - self._since.amounts[first]
        self._owed = time - used / self.claim(first) if first in self._whole else 0.0
        if abs(self._owed) > FAR:
            self.forget()
        elif time > ENOUGH:
            self.active = False

    def forget(self) -> None:
        """It was something else."""
        self.active, self._whole, self._expected = False, {}, 0


def is_expected(excess: float, seconds: float, doubt: float) -> bool:
    """Whether a refusal is, after `excess` seconds of the rate were used beyond it in so many
    `seconds`, if the rate may be wrong by `doubt`, relative to it."""
    return excess > DUE - DOUBTS * doubt * seconds
