"""The rests that answers tell, against the levels of an account.

An answer was made at some instant between the begin and the end of its attempt. What was left then,
the gain since, less what the members have used since, is the most that can be left now: other users
of the key may only have lowered it. The answer does not say at which instant it was made, so a
level is lowered only if it contradicts the answer for each of them.

A level may also be too low: it began as if no call on its way had been seen, or as a refusal meant
an empty bucket. It begins anew from an answer if all answers of two seconds say so. For the same
reason that of a scheduler that is alone rises (csrc/core/trail.h).
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from math import inf
from typing import NamedTuple, Protocol

from xtremeflow import _core
from xtremeflow.share.past import Past
from xtremeflow.share.records import Rest
from xtremeflow.share.rows import Taken
from xtremeflow.values.limits import Definition

RISING = _core.RISING_NS / 1e9
"""Seconds: all answers of it call a level too low, by the gain of it, before it begins anew."""


class Heard(NamedTuple):
    """The rest that an answer tells, and when its call was sent and answered, in seconds."""

    left: float
    sent_at: float
    answered_at: float


class Standing(NamedTuple):
    """The limits of an account at an instant.

    era     what these figures belong to: levels were set since, if it is another one
    at      the instant, in seconds on the scheduler's clock
    used    units of each limit, by all members
    levels  of the buckets
    lowered units by which answers have lowered these so far
    rates   in units per second
    """

    era: Hashable
    at: float
    used: Sequence[float]
    levels: Sequence[float]
    lowered: Sequence[float]
    rates: Sequence[float]


def standing(granted: Taken, last: Taken, limits: Sequence[Definition], at: float) -> Standing:
    """Returns the limits of an account on a timeline, as they were at the last answer of it, which
    was at `at`. Another answer has granted the last chunk."""
    chunk = granted.chunk
    assert chunk is not None
    levels, rates = list[float](), list[float]()
    for i, (_, amount, per, capacity) in enumerate(limits):
        gained = amount / per * (last.now - chunk.start) / 1e6
        level = chunk.levels[i] - chunk.units[i] + gained - (last.used[i] - granted.used[i])
        levels.append(min(capacity, level))
        rates.append(amount / per)
    return Standing(last.era, at, last.used, levels, last.lowered, rates)


class Levels(Protocol):
    """The levels of an account."""

    def standing(self) -> Standing | None:
        """Returns the limits at the latest instant of which they are known; None: they are not."""
        ...

    def lower(self, index: int, rest: Rest) -> None:
        """Lowers a level to the most that a rest allows."""
        ...


class Rests:
    """The rests that answers tell one member, and the past with which they are compared."""

    def __init__(self, levels: Levels) -> None:
        self._levels = levels
        self._era: Hashable = None
        self._past = Past()  # of all members
        self._heard: dict[int, deque[Heard]] = {}  # of instants that are not known yet
        self._lowered: dict[int, float] = {}  # units by which each level was, at the last rest
        self._low_since: dict[int, float] = {}  # the levels that answers call too low

    def hear(self, index: int, heard: Heard) -> float:
        """Takes a rest of a limit. Returns the units by which answers to any members have moved its
        level since the last one, as far as that is known here: 0 or less."""
        standing = self._levels.standing()
        if standing is None:
            return 0.0
        self._note(standing)
        told = self._heard.setdefault(index, deque())
        told.append(heard)
        known = None
        while told and told[0].answered_at < self._past.times[-1]:
            known = told.popleft()
        if known is not None:
            self._compare(index, known, standing)
        lowered = standing.lowered[index]
        before = self._lowered.get(index, lowered)
        self._lowered[index] = lowered
        return min(0.0, before - lowered)

    def is_low(self, index: int) -> bool:
        """Whether all answers of RISING have called the level of a limit too low. If so, that is
        noted anew from now on."""
        since = self._low_since.get(index)
        if since is None or self._past.times[-1] - since < RISING:
            return False
        del self._low_since[index]
        return True

    def _note(self, standing: Standing) -> None:
        if standing.era != self._era:
            self._era = standing.era
            self._past.clear()
            self._heard.clear()
            self._low_since.clear()
        if not self._past.is_fresh(standing.at):
            self._past.note(standing.at, standing.used)

    def _compare(self, index: int, heard: Heard, standing: Standing) -> None:
        """Lowers the level if it contradicts the rest at each instant of the attempt. One that
        began before all notes says nothing."""
        if heard.sent_at < self._past.times[0]:
            return
        level, rate = standing.levels[index], standing.rates[index]
        unseen = standing.used[index] - self._past.at(heard.sent_at)[index]  # at most
        if level < heard.left - unseen - rate * RISING:
            self._low_since.setdefault(index, standing.at)
        else:
            self._low_since.pop(index, None)
        most, rest = -inf, None
        for at, used in self._during(index, heard):
            allowed = heard.left + rate * (standing.at - at) - (standing.used[index] - used)
            if allowed >= level:
                return
            if allowed > most:
                most, rest = allowed, Rest(heard.left, used, at)
        if rest is not None and level > 0:  # no answer puts a bucket into debt
            self._levels.lower(index, rest)

    def _during(self, index: int, heard: Heard) -> Iterator[tuple[float, float]]:
        """Returns instants of the attempt and the units used by then, the latest first."""
        past = self._past
        first = bisect_right(past.times, heard.sent_at)
        last = bisect_right(past.times, heard.answered_at)
        yield heard.answered_at, past.at(heard.answered_at)[index]
        for place in range(last - 1, first - 1, -1):
            yield past.times[place], past.used[place][index]
        yield heard.sent_at, past.at(heard.sent_at)[index]
