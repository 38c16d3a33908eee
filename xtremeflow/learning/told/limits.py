"""The limits that a provider's answers tell of: which of them to believe, and what to keep to.

The first word on a limit counts at once, a change when it was said three times in a row: the
answers of another model with another limit, between ours, then neither change the limit nor say
how much of it is left.
"""

from __future__ import annotations

from dataclasses import dataclass

from xtremeflow.answers.headers import Definition, Observation
from xtremeflow.learning.reading import Key
from xtremeflow.values.limits import DAY, MINUTE, Limit

REPEATED = 3  # as often a change must be said to be believed
# The share of a window's amount that may be used at once: little, for it is a part of what may be
# used at all. Where the window slides it is to make up for the times in which nothing passes.
BURST, SLIDING_BURST = 0.01, 0.15


@dataclass(slots=True)
class Told:
    """What to make of an observation. It is not to be changed.

    amount     what the provider says, in limit.per seconds
    limit      what to keep to
    changed    whether that is new
    remaining  how much of it is left; None where that is not to be relied on
    is_level   whether that is just what may be used now: a window leaves more than may be used at
               its pace
    is_late    whether calls in flight are not charged yet: output is only as it is produced, and
               tokens in a window that slides only when they end
    slides     seconds of that window; None: it is none
    reset      seconds until all of it is there again; None where that is not said
    """

    key: Key
    amount: float
    limit: Limit
    changed: bool
    remaining: float | None
    is_level: bool
    is_late: bool
    slides: float | None
    reset: float | None


@dataclass
class _Belief:
    told: Observation
    limit: Limit
    rival: Definition | None = None
    times: int = 0  # that the rival was said, in a row


class ToldLimits:
    """What is believed so far."""

    def __init__(self) -> None:
        self._beliefs: dict[Key, _Belief] = {}

    def __bool__(self) -> bool:
        return bool(self._beliefs)

    @property
    def limits(self) -> list[Limit]:
        """What to keep to."""
        return [belief.limit for belief in self._beliefs.values()]

    def learn(self, seen: Observation) -> Told | None:
        """Take in an observation; None if it is of no use."""
        key = self._key(seen)
        if key is None:
            return None
        belief = self._beliefs.get(key)
        if belief is None:
            limit = kept(seen)
            self._beliefs[key] = _Belief(seen, limit)
            return _told(key, limit, True, seen)
        said = seen.definition
        if seen.per is None or said == belief.told.definition:
            belief.rival = None
            return _told(key, belief.limit, False, seen)
        belief.times = belief.times + 1 if said == belief.rival else 1
        belief.rival = said
        if belief.times < REPEATED:
            return None
        belief.told, belief.limit, belief.rival = seen, kept(seen), None
        return _told(key, belief.limit, True, seen)

    def forget(self, key: Key) -> None:
        """The next word on that limit is the first one again."""
        self._beliefs.pop(key, None)

    def _key(self, seen: Observation) -> Key | None:
        if seen.per is not None:
            # What is counted over longer is months: a matter of payment, not of pace.
            return (seen.name, seen.per > MINUTE) if seen.per <= DAY else None
        for daily in (False, True):
            belief = self._beliefs.get((seen.name, daily))
            if belief is not None and belief.told.amount == seen.amount:
                return seen.name, daily
        return None


def _told(key: Key, limit: Limit, changed: bool, seen: Observation) -> Told:
    is_level = limit.capacity == limit.amount
    is_late = limit.name == "output_tokens" or (seen.slides and limit.name != "requests")
    slides = seen.window if seen.slides else None
    return Told(
        key, seen.amount, limit, changed, seen.remaining, is_level, is_late, slides, seen.reset
    )


def kept(told: Observation) -> Limit:
    """The bucket that keeps within a provider's limit.

    Like the provider's where that is one. A window lets pass what comes at any pace: the capacity
    plus what refills during the window must not exceed it. If it slides, its amount is kept to
    otherwise (sliding.py), by the bucket only on average.
    """
    per = MINUTE if told.per is None else told.per
    if told.window is None:
        burst = per if told.burst is None else min(told.burst, per)
        return Limit(told.name, told.amount, per, told.amount * burst / per)
    amount = told.amount * told.window / per
    if told.slides:
        return Limit(told.name, told.amount, per, SLIDING_BURST * amount)
    return Limit(told.name, told.amount * (1 - BURST), per, BURST * amount)
