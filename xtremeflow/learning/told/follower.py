"""Keeps a scheduler's limits to the limits that its provider's answers tell.

A bucket's level follows the rest that the answers tell (see the core's trail), and the pace follows
the level: the law of headers, `csrc/core/pace.h`. All clients of a key see the same level, so they
share it evenly although none knows of the others. A window that all clients use up before its end
is shared in the same way: its rest is spread over the remaining time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import inf
from typing import NamedTuple

from xtremeflow.answers.headers import Observation
from xtremeflow.learning.reading import Core, Gauge, LimitKey, Limits, defined
from xtremeflow.learning.told.burst import Burst
from xtremeflow.learning.told.limits import Told, ToldLimits
from xtremeflow.learning.told.part import Part
from xtremeflow.learning.told.sliding import Sliding
from xtremeflow.values.limits import MINUTE, Limit

logger = logging.getLogger("xtremeflow.learning")

KEPT = 0.2  # of a bucket: the level at which one client's pace is the rate, kept for newcomers
ALONE = 0.02  # the same while no other user was noticed
SCALE = 1 / 12  # of a bucket: the change that e-folds the pace; less is faster, and wilder
FASTEST = 4.0  # times the rate, at most, while others may use the same bucket
# Parts of the rest: waiting calls that cost no more together may go at once, if no other user was
# noticed for so many seconds; and if one was, or may be there.
FITS, SHARED = 0.95, 0.25
MEMORABLE, AT_FIRST = 120.0, 10.0  # s that others are reckoned with: once noticed; unseen
NOTICED = 0.001  # of a bucket: if more is missing at an answer, others have used it

NAMES = ("requests", "tokens", "input_tokens", "output_tokens")  # in the order of the reader in C

Say = Callable[[int, float, float, str], None]


class Word(NamedTuple):
    """One limit in an answer that tells nothing new, and the consequences. Times are in seconds; 0
    where the answer says nothing.

    name, per, amount, window, burst, slides
                of the limit, as told; its name is an index of NAMES
    place       of the scheduler's limit; -1: it keeps to none of these
    is_late, is_bounded
                see `Scheduler._told`
    is_level    whether the limit is kept to by its level
    kept_per    the period of the limit that is kept to
    notice      units of it: when more is missing, other users have taken it
    forget_at   when other users are forgotten, on the loop's clock
    seen        what was told of it
    """

    name: int
    per: float
    amount: float
    window: float
    burst: float
    slides: bool
    place: int
    is_late: bool
    is_bounded: bool
    is_level: bool
    kept_per: float
    notice: float
    forget_at: float
    seen: Observation


class ToldFollower:
    """Follows told limits.

    say  a function that takes a limit's index, rate (per s), capacity and the reason for them
    """

    def __init__(self, core: Core, limits: Limits, say: Say) -> None:
        self._core = core
        self._limits = limits
        self._say = say
        self._told = ToldLimits()
        self._last: dict[int, Told] = {}
        self._sliding: dict[int, Sliding] = {}
        self._others_at: float | None = None  # when other users were last noticed
        self._burst = Burst()
        self._part = Part()

    def __bool__(self) -> bool:
        """Whether answers have told a limit."""
        return bool(self._last)

    @property
    def known(self) -> Sequence[Limit]:
        """Returns the limits that are kept."""
        return self._told.limits

    def limit(self, index: int) -> Limit | None:
        """Returns the told state of a limit, or None."""
        told = self._last.get(index)
        return None if told is None else told.limit

    def forget(self, index: int, key: LimitKey) -> None:
        """Notes that the user has replaced a limit. The next answer tells the provider's."""
        self._told.forget(key)
        self._last.pop(index, None)
        self._burst.forget(index)
        if self._sliding.pop(index, None) is not None:
            self._core._shut(index, 0.0)

    # -- answers that tell nothing new: see csrc/binding/scheduler/foretold.c

    def expected(self) -> list[Word] | None:
        """Returns what the next answer says of limits if it tells nothing new; None if that is not
        sure."""
        words: list[Word] = []
        for key, seen, is_sure in self._told.beliefs:
            index = self._limits.index(key)
            told = None if index is None else self._last.get(index)
            if not is_sure or (told is None and index is not None):
                return None
            definition = (
                NAMES.index(seen.name), seen.per or 0.0, seen.amount, seen.window or 0.0,
                seen.burst or 0.0, seen.slides,
            )  # fmt: skip
            if index is not None and told is not None and index in self._burst:
                if told.remaining is None or told.remaining < 2 * self._holds(index, told):
                    return None
                index = None  # what is left does not bind
            if index is None or told is None:
                words.append(Word(*definition, -1, False, False, False, 0.0, 0.0, inf, seen))
                continue
            limit = self._kept(index, told)
            assert limit.capacity is not None
            is_bound = told.is_untold or self._limits.bound(index) is not None
            notice, forget_at = self._notable(told, limit), self._forget_at
            words.append(
                Word(*definition, index, told.is_late, is_bound, told.is_level or told.is_untold,
                     limit.per, notice, forget_at, seen)
            )  # fmt: skip
        return words

    @property
    def _has_others(self) -> bool:
        """Whether other users may use the key."""
        return self._others_at is not None

    @property
    def _forget_at(self) -> float:
        """When others are forgotten who were noticed, in seconds on the loop's clock."""
        return inf if self._others_at is None else self._others_at + MEMORABLE

    def noticed(self, index: int, moved: float) -> float:
        """Notes by how much an answer that told nothing new has moved the level. Returns
        `_forget_at`."""
        told = self._last.get(index)
        if told is not None:
            self._notice(told, self._kept(index, told), moved)
        return self._forget_at

    def caught_up(self, index: int, remaining: float, reset: float | None) -> None:
        """Notes what is left by the last of the answers that told nothing new."""
        told = self._last.get(index)
        if told is not None:
            self._last[index] = replace(told, remaining=remaining, reset=reset, changed=False)

    # -- answers

    def follow(
        self,
        seen: Sequence[Observation],
        sent_at: float | None,
        received_at: float | None,
        doubted: frozenset[int],
    ) -> list[Told]:
        """Follows an answer. Returns what it has told of sliding windows.

        Answers only lower the level of `doubted` limits, which refusals have contradicted.
        """
        sliding: list[Told] = []
        for observation in seen:
            told = self._told.learn(observation)
            index = None if told is None else self._limits.index(told.key)
            if told is None or index is None:
                continue
            is_new = told.changed
            if is_new or told.remaining is not None:
                self._last[index] = told
            if told.slides is not None:
                sliding.append(told)
            if index not in doubted:
                self._apply(index, told, sent_at, received_at)
            elif told.remaining is not None and not told.is_late:
                self._core._told(
                    index,
                    told.remaining,
                    bounded=True,
                    sent_at=sent_at,
                    answered_at=received_at,
                )
        return sliding

    def restore(self, index: int) -> bool:
        """Keeps a limit to the told one again. False if none was told."""
        told = self._last.get(index)
        if told is None:
            return False
        limit = self._kept(index, told)
        self._core._retune(index, defined(limit))
        self._pace(index, told, limit)
        self._told_why(index, told, limit)
        return True

    def explains(self, gauge: Gauge) -> bool:
        """Whether a told limit explains the refusal of the answer's call: too little is left, or
        the rest is not told. Where only one that is not told does, less of it is used."""
        is_untold = False
        for index, told in self._last.items():
            reading = gauge.readings[index]
            if reading.cost <= 0:
                continue
            if told.is_untold:
                is_untold = True
            elif told.remaining is None or min(reading.level, told.remaining) < reading.cost:
                return True
        if is_untold and self._part.refused(gauge.now, gauge.sent_at, others=self._has_others):
            self._pace_buckets()
        return is_untold

    def _pace_buckets(self) -> None:
        for index, told in self._last.items():
            if told.is_level or told.is_untold:
                self._pace(index, told, self._kept(index, told))

    @property
    def due_at(self) -> float:
        """From when on the pass of a call is worth a look."""
        return self._part.due_at

    def level(self, gauge: Gauge) -> None:
        """Takes a reading of the told buckets."""
        if self._part.rise(gauge.now):
            self._pace_buckets()
        rates = {index: self._last[index].limit.rate for index in self._burst.limits}
        levels = {index: gauge.readings[index].level / rate for index, rate in rates.items()}
        if self._burst.see(gauge.now, levels):
            for index in levels:
                told = self._last[index]
                limit = self._kept(index, told)
                self._core._retune(index, defined(limit))
                self._pace(index, told, limit)

    def cut(self, gauge: Gauge) -> bool:
        """Takes a refusal for which enough was left. Returns whether it is explained by buckets
        that hold less than told."""
        levels: dict[int, float] = {}
        for index in self._burst.limits:
            reading, rate = gauge.readings[index], self._last[index].limit.rate
            if reading.cost > 0:  # at its dispatch
                level = reading.level + reading.since
                levels[index] = level / rate - (gauge.now - gauge.sent_at)
        if not self._burst.refused(gauge.now, levels):
            return False
        for index in self._burst.limits:
            told = self._last[index]
            limit = self._kept(index, told)
            assert limit.capacity is not None
            self._core._begin(index, defined(limit), 0.0, sent_at=self._core._now() + 1.0)
            self._pace(index, told, limit)
            self._say(index, limit.rate, limit.capacity, "a call was refused after so much at once")
        return True

    def slide(self, told: Sequence[Told], gauge: Gauge, *, passed: bool, refused: bool) -> float:
        """Shuts limits until enough usage has slid out of their windows. Returns the seconds until
        the last one is open."""
        last = 0.0
        for word in told:
            index = self._limits.index(word.key)
            if index is None or word.slides is None:
                continue
            sliding = self._sliding.setdefault(index, Sliding(word.slides, word.is_late))
            sliding.see(gauge, index, passed=passed, refused=refused)
            if word.remaining is not None:
                sliding.told(gauge.now, word.amount, word.remaining)
            wait = sliding.wait(gauge.now, word.amount)
            self._core._shut(index, wait)
            pace = sliding.pace(gauge.now, word.amount) * word.limit.rate
            self._core._pace(index, min(pace, self._limits.steep(index)))
            last = max(last, wait)
        return last

    def _apply(
        self, index: int, told: Told, sent_at: float | None, received_at: float | None
    ) -> None:
        is_bound = self._limits.bound(index) is not None
        begins = told.changed and told.remaining is not None and not self._limits.is_capped(index)
        limit = self._kept(index, told)
        if told.changed:
            try:
                if told.remaining is None or not begins:
                    self._core._retune(index, defined(limit))
                else:
                    self._core._begin(index, defined(limit), told.remaining, sent_at=sent_at)
            except ValueError:
                logger.debug("Not followed, the limit cannot be kept: %r", limit)
                return
            self._told_why(index, told, limit)
            if self._others_at is None:
                self._others_at = self._core._now() - MEMORABLE + AT_FIRST
            if told.is_level and limit.per <= MINUTE:
                assert limit.capacity is not None
                self._burst.begin(index, limit.capacity / limit.rate)
        if told.changed or not (told.is_level or told.is_untold):
            self._pace(index, told, limit)
        if told.remaining is None or begins:
            return
        if told.is_late and told.slides is not None:
            return  # the rest is also for the calls in flight that are about to end
        if index in self._burst and told.remaining >= self._holds(index, told):
            return
        is_bound |= not told.is_level or index in self._burst
        moved = self._core._told(
            index,
            told.remaining,
            late=told.is_late,
            bounded=is_bound,
            sent_at=sent_at,
            answered_at=received_at,
        )
        if told.is_level or told.is_untold:
            self._notice(told, limit, moved)

    def _notice(self, told: Told, limit: Limit, moved: float) -> None:
        """Notes other users, if an answer has moved the level down."""
        now, was = self._core._now(), self._others_at
        if -moved > self._notable(told, limit):
            self._others_at = now
        elif now > self._forget_at:
            self._others_at = None
        if (was is None) != (self._others_at is None):
            self._pace_buckets()

    def _notable(self, told: Told, limit: Limit) -> float:
        """Units: when more is missing at an answer, other users have taken it."""
        assert limit.capacity is not None
        return inf if told.is_late or told.is_untold else max(NOTICED * limit.capacity, told.grain)

    def pace(self, index: int) -> bool:
        """Sets the pace of a told limit anew. False if none was told."""
        told = self._last.get(index)
        if told is not None:
            self._pace(index, told, self._kept(index, told))
        return told is not None

    def _pace(self, index: int, told: Told, limit: Limit) -> None:
        assert limit.capacity is not None
        if limit.per > MINUTE or told.slides is not None:
            return
        steepest = self._limits.steep(index)
        if index in self._burst:
            self._core._pace(index, min(FASTEST * limit.rate, steepest))
        elif told.is_level:
            scale, is_shared = SCALE * limit.capacity, self._has_others
            kept = (KEPT if is_shared else ALONE) * limit.capacity
            fits = SHARED if is_shared else FITS
            most = FASTEST * limit.rate
            if steepest < inf:
                most, fits = min(most, steepest), 0.0
            self._core._pace(index, most, kept=kept, scale=scale, fits=fits)
        elif told.is_untold:
            part = self._part.part
            self._core._pace(index, min((FASTEST if part == 1 else part) * limit.rate, steepest))
        elif told.remaining and told.reset:
            left = min(max(told.reset, 1.0), limit.per)
            self._core._pace(index, min(told.remaining / left, steepest), seconds=left)

    def _holds(self, index: int, told: Told) -> float:
        """Returns the units that a cut bucket holds."""
        return max(1.0, self._burst.seconds * told.limit.rate)

    def _kept(self, index: int, told: Told) -> Limit:
        """Returns the told limit, but no more than its bound, and than its bucket holds."""
        bound, limit = self._limits.bound(index), told.limit
        if index in self._burst:
            assert limit.capacity is not None
            capacity = min(limit.capacity, self._holds(index, told))
            limit = Limit(limit.name, limit.amount, limit.per, capacity)
        if bound is None:
            return limit
        assert bound.capacity is not None
        assert limit.capacity is not None
        capacity = limit.capacity
        if self._limits.is_capped(index):
            if limit.rate >= bound.rate:
                return bound
            capacity = min(bound.capacity, capacity)
        lower = min(limit, bound, key=lambda one: one.rate)
        return Limit(limit.name, lower.amount, lower.per, capacity)

    def _told_why(self, index: int, told: Told, limit: Limit) -> None:
        assert limit.capacity is not None
        said = f"the provider's answers say {told.amount:,.10g} per {told.limit.per:g} s"
        self._say(index, limit.rate, limit.capacity, said)
