"""The limits that a provider's answers tell: which of them to believe, and the bucket to keep.

The first word on a limit counts at once, a change when three answers in a row tell it. So answers
of another model with another limit neither change the limit nor move its level.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from xtremeflow.answers.headers import Observation, ToldDefinition
from xtremeflow.learning.reading import LimitKey
from xtremeflow.values.limits import DAY, MINUTE, Limit

REPEATED = 3  # answers that must tell a change before it is believed
# The share of a window's amount that may be used at once. It is small, because the rate has only
# the rest; less so where answers tell what is left. In a sliding window it makes up for the times
# in which no call passes.
BURST, TOLD_BURST, SLIDING_BURST = 0.01, 0.05, 0.15


@dataclass(slots=True)
class Told:
    """An observation and its consequences. Do not change it.

    amount     the told amount, in limit.per seconds
    limit      the bucket to keep
    changed    whether that is new
    remaining  units left; None if they are not reliable
    is_level   whether that is the level of the bucket; a window leaves more than its pace may use
    is_untold  whether calls that pass tell nothing of the level: only refusals do, or what is told
               is left is of a larger bucket or a longer window
    is_late    whether calls in flight are not charged yet: output is charged as it is produced, and
               tokens in a sliding window when calls end
    slides     seconds of a sliding window; None if it is none
    grain      units to which what is left is rounded
    reset      seconds until the limit is full again; None if they are not told
    """

    key: LimitKey
    amount: float
    limit: Limit
    changed: bool
    remaining: float | None
    is_level: bool
    is_untold: bool
    is_late: bool
    slides: float | None
    grain: float
    reset: float | None


@dataclass
class _Belief:
    told: Observation
    limit: Limit
    rival: ToldDefinition | None = None
    times: int = 0  # answers in a row that have told the rival


class ToldLimits:
    """The believed limits so far."""

    def __init__(self) -> None:
        self._beliefs: dict[LimitKey, _Belief] = {}

    def __bool__(self) -> bool:
        return bool(self._beliefs)

    @property
    def limits(self) -> list[Limit]:
        """Returns the buckets to keep."""
        return [belief.limit for belief in self._beliefs.values()]

    @property
    def beliefs(self) -> Iterator[tuple[LimitKey, Observation, bool]]:
        """What is believed of each limit, and whether nothing contradicts it; of a name that of
        minutes first."""
        for key in sorted(self._beliefs):
            belief = self._beliefs[key]
            yield key, belief.told, belief.rival is None

    def learn(self, seen: Observation) -> Told | None:
        """Takes an observation. Returns its consequences, or None if it is of no use."""
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

    def forget(self, key: LimitKey) -> None:
        """Forgets a limit: the next word on it is the first one again."""
        self._beliefs.pop(key, None)

    def _key(self, seen: Observation) -> LimitKey | None:
        if seen.per is not None:
            # Longer periods are months: a matter of payment, not of pace.
            return (seen.name, seen.per > MINUTE) if seen.per <= DAY else None
        for daily in (False, True):
            belief = self._beliefs.get((seen.name, daily))
            if belief is not None and belief.told.amount == seen.amount:
                return seen.name, daily
        return None


def _told(key: LimitKey, limit: Limit, changed: bool, seen: Observation) -> Told:
    is_bucket = seen.window is None
    is_level = is_bucket and limit.capacity == limit.amount and not seen.by_refusal
    is_part = seen.window is not None and seen.window < limit.per and not seen.slides
    is_untold = is_part or (is_bucket and not is_level)
    is_late = limit.name == "output_tokens" or (seen.slides and limit.name != "requests")
    slides = seen.window if seen.slides else None
    return Told(
        key, seen.amount, limit, changed, seen.remaining, is_level, is_untold, is_late, slides,
        seen.grain, seen.reset,
    )  # fmt: skip


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
