"""The limits that a provider's answers tell: which of them to believe, and the bucket to keep.

The first word on a limit counts at once, a change when three answers in a row tell it. So answers
of another model with another limit neither change the limit nor move its level.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto

from xtremeflow.answers.headers import Observation, ToldDefinition
from xtremeflow.learning.reading import LimitKey
from xtremeflow.values.limits import DAY, MINUTE, Limit

REPEATED = 3  # answers that must tell a change before it is believed
# The share of a window's amount that may be used at once. It is small, because the rate has only
# the rest; less so where answers tell what is left. In a sliding window it makes up for the times
# in which no call passes.
BURST, TOLD_BURST, SLIDING_BURST = 0.01, 0.05, 0.15


class Law(Enum):
    """How clients share a limit."""

    LEVEL = auto()  # the pace follows the level of a bucket, which answers tell
    REST = auto()  # the rest of a window is spread over the remaining time
    SLIDING = auto()  # see sliding.py
    PART = auto()  # only refusals tell of others: see part.py


class Told:
    """A limit as answers tell it, and what follows from that.

    key        of the limit
    seen       the observation that is believed
    limit      the bucket to keep
    law        how it is shared
    changed    whether the last answer has told something new
    is_sure    whether the last answer has told the same
    remaining  units left, as told last; None if never
    reset      seconds until the limit is full again, as told with them; None if not
    is_late    whether calls in flight are not charged yet: output is charged as it is produced, and
               tokens in a sliding window when calls end
    """

    def __init__(self, key: LimitKey, seen: Observation) -> None:
        self.key = key
        self._believe(seen)

    def _believe(self, seen: Observation) -> None:
        self.seen, self.limit = seen, kept(seen)
        self.law = _law(seen, self.limit)
        self.is_late = seen.name == "output_tokens" or (seen.slides and seen.name != "requests")
        self.changed = self.is_sure = True
        self._rival: ToldDefinition | None = None
        self._times = 0  # answers in a row that have told the rival
        self.remaining, self.reset = seen.remaining, seen.reset

    @property
    def is_bucket(self) -> bool:
        """Whether it is kept to by the level of its bucket."""
        return self.law in (Law.LEVEL, Law.PART)

    def hear(self, seen: Observation) -> bool:
        """Takes a further word. Returns whether it is on this limit, and not on a rival."""
        said = seen.definition
        if seen.per is not None and said != self.seen.definition:
            self._times = self._times + 1 if said == self._rival else 1
            self._rival, self.is_sure = said, False
            if self._times == REPEATED:
                self._believe(seen)
            return self.is_sure
        self._rival, self.changed, self.is_sure = None, False, True
        if seen.remaining is not None:
            self.remaining, self.reset = seen.remaining, seen.reset
        return True


class ToldLimits:
    """The believed limits so far."""

    def __init__(self) -> None:
        self._told: dict[LimitKey, Told] = {}

    def __iter__(self) -> Iterator[Told]:
        """Returns those of a name one after another, that of minutes first."""
        return iter([self._told[key] for key in sorted(self._told)])

    def learn(self, seen: Observation) -> Told | None:
        """Takes an observation. Returns its limit, or None if it is of no use."""
        key = self._key(seen)
        if key is None:
            return None
        told = self._told.get(key)
        if told is None:
            told = self._told[key] = Told(key, seen)
            return told
        return told if told.hear(seen) else None

    def forget(self, key: LimitKey) -> None:
        """Forgets a limit: the next word on it is the first one again."""
        self._told.pop(key, None)

    def _key(self, seen: Observation) -> LimitKey | None:
        if seen.per is not None:
            # Longer periods are months: a matter of payment, not of pace.
            return (seen.name, seen.per > MINUTE) if seen.per <= DAY else None
        for told in self:
            if told.seen.name == seen.name and told.seen.amount == seen.amount:
                return told.key
        return None


def _law(seen: Observation, limit: Limit) -> Law:
    if seen.slides:
        return Law.SLIDING
    if seen.window is not None:
        return Law.REST if seen.window >= limit.per else Law.PART
    return Law.LEVEL if limit.capacity == limit.amount and not seen.by_refusal else Law.PART


def kept(told: Observation) -> Limit:
    """Returns the bucket that keeps within a provider's limit.

    For a bucket it is the same bucket. For a window, the capacity plus the refill during the window
    must not exceed the amount, unless answers tell what is left of it. A sliding window's amount is
    kept by sliding.py, and by the bucket only on average.
    """
    per = MINUTE if told.per is None else told.per
    if told.window is None:
        burst = per if told.burst is None else min(told.burst, per)
        return Limit(told.name, told.amount, per, told.amount * burst / per)
    amount = told.amount * told.window / per
    if told.slides:
        return Limit(told.name, told.amount, per, SLIDING_BURST * amount)
    burst = BURST if told.reset is None else TOLD_BURST
    return Limit(told.name, told.amount * (1 - BURST), per, burst * amount)
