"""Keeps a scheduler's limits to the limits that its provider's answers tell.

A bucket's level follows the rest that the answers tell (see the core's trail), and the pace follows
the level: the law of headers, `csrc/core/pace.h`. All clients of a key see the same level, so they
share it evenly although none knows of the others. A window that all clients use up before its end
is shared in the same way: its rest is spread over the remaining time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import inf
from typing import NamedTuple

from xtremeflow._core import Gauge
from xtremeflow.answers.headers import Observation
from xtremeflow.learning.reading import Core, LimitKey, Limits, defined
from xtremeflow.learning.saved import NAMES
from xtremeflow.learning.told.limits import Law, Told, ToldLimits
from xtremeflow.learning.told.part import Part
from xtremeflow.learning.told.sliding import Sliding
from xtremeflow.values.limits import MINUTE, Limit

logger = logging.getLogger("xtremeflow.learning")

# Of a bucket: the level at which one client's pace is the rate, kept for newcomers; and the same
# while no other user was noticed.
KEPT, ALONE = 0.2, 0.02
# Of the rest: waiting calls may use so much at once, while no other user was noticed; and else.
FITS, SHARED = 0.95, 0.25
SCALE = 1 / 12  # of a bucket: the change that e-folds the pace; less is faster, and wilder
FASTEST = 4.0  # times the rate, at most, while others may use the same bucket
MEMORABLE, AT_FIRST = 120.0, 10.0  # s that others are reckoned with: once noticed; unseen
NOTICED = 0.001  # of a bucket: if more is missing at an answer, others have used it

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
        self._sliding: dict[int, Sliding] = {}
        self._forget_at = inf  # s on the loop's clock: other users are there until then
        self._part = Part()

    def __bool__(self) -> bool:
        """Whether answers have told a limit."""
        return any(True for _ in self._kept)

    @property
    def known(self) -> Iterable[Limit]:
        """Returns the limits that answers have told."""
        return (told.limit for told in self._told)

    @property
    def _kept(self) -> Iterator[tuple[int, Told]]:
        """Returns those that the scheduler has a limit for, with its index."""
        for told in self._told:
            index = self._limits.index(told.key)
            if index is not None:
                yield index, told

    def _at(self, index: int) -> Told | None:
        return next((told for at, told in self._kept if at == index), None)

    def limit(self, index: int) -> Limit | None:
        """Returns the told limit, but no more than its bound; None if none was told."""
        told = self._at(index)
        return None if told is None else self._bucket(index, told)

    def forget(self, index: int, key: LimitKey) -> None:
        """Notes that the user has replaced a limit. The next answer tells the provider's."""
        self._told.forget(key)
        if self._sliding.pop(index, None) is not None:
            self._core._shut(index, 0.0)

    # -- answers that tell nothing new: see csrc/binding/scheduler/foretold.c

    def expected(self) -> list[Word] | None:
        """Returns what the next answer says of limits if it tells nothing new; None if that is not
        sure."""
        is_sure = all(told.is_sure for told in self._told)
        return [self._word(told) for told in self._told] if is_sure else None

    def _word(self, told: Told) -> Word:
        index, seen = self._limits.index(told.key), told.seen
        definition = (
            NAMES.index(seen.name), seen.per or 0.0, seen.amount, seen.window or 0.0,
            seen.burst or 0.0, seen.slides,
        )  # fmt: skip
        if index is None:
            return Word(*definition, -1, False, False, False, 0.0, 0.0, inf, seen)
        is_bounded = told.law is Law.PART or self._limits.bound(index) is not None
        return Word(
            *definition, index, told.is_late, is_bounded, told.is_bucket,
            self._bucket(index, told).per, self._notable(index, told), self._forget_at, seen,
        )  # fmt: skip

    def noticed(self, index: int, moved: float) -> float:
        """Notes by how much an answer that told nothing new has moved the level. Returns when
        other users are forgotten."""
        if (told := self._at(index)) is not None:
            self._notice(index, told, moved)
        return self._forget_at

    def caught_up(self, index: int, remaining: float, reset: float | None) -> None:
        """Notes what is left by the last of the answers that told nothing new."""
        if (told := self._at(index)) is not None:
            told.remaining, told.reset, told.changed = remaining, reset, False

    # -- answers

    def follow(
        self,
        seen: Sequence[Observation],
        sent_at: float | None,
        received_at: float | None,
        doubted: frozenset[int],
    ) -> list[tuple[int, float | None]]:
        """Follows an answer. Returns what it has told of sliding windows: the limits' indices, and
        what is left.

        Answers only lower the level of `doubted` limits, which refusals have contradicted.
        """
        sliding: list[tuple[int, float | None]] = []
        for observation in seen:
            told, left = self._told.learn(observation), observation.remaining
            index = None if told is None else self._limits.index(told.key)
            if told is None or index is None:
                continue
            if told.law is Law.SLIDING:
                sliding.append((index, left))
            if index not in doubted:
                self._apply(index, told, left, sent_at, received_at)
            elif left is not None and not told.is_late:
                self._core._told(
                    index, left, bounded=True, sent_at=sent_at, answered_at=received_at
                )
        return sliding

    def _apply(
        self,
        index: int,
        told: Told,
        left: float | None,
        sent_at: float | None,
        received_at: float | None,
    ) -> None:
        begins = left is not None and not self._limits.is_capped(index)
        if begins and told.changed:
            begins = not self._core._keeps(index, defined(self._bucket(index, told)))
        elif begins:
            begins = told.law is Law.LEVEL and self._core._is_low(index)
        if (told.changed or begins) and not self._begin(
            index, told, left if begins else None, sent_at
        ):
            return
        if told.law is Law.REST:
            self._pace(index, told)
        if left is None or begins or (told.is_late and told.law is Law.SLIDING):
            return  # what is left is also for the calls in flight that are about to end
        is_bounded = told.law is not Law.LEVEL or self._limits.bound(index) is not None
        moved = self._core._told(
            index,
            left,
            late=told.is_late,
            bounded=is_bounded,
            sent_at=sent_at,
            answered_at=received_at,
        )
        if told.is_bucket:
            self._notice(index, told, moved)

    def _begin(self, index: int, told: Told, left: float | None, sent_at: float | None) -> bool:
        """Begins to keep to a told limit. Returns whether it can be kept."""
        limit = self._bucket(index, told)
        try:
            if left is None:
                self._core._retune(index, defined(limit))
            else:
                self._core._begin(index, defined(limit), left, sent_at=sent_at)
        except ValueError:
            logger.debug("Not followed, the limit cannot be kept: %r", limit)
            return False
        if not self._has_others:
            self._forget_at = self._core._now() + AT_FIRST
        self._began(index, told)
        return True

    def _began(self, index: int, told: Told) -> None:
        limit = self._bucket(index, told)
        assert limit.capacity is not None
        self._pace(index, told)
        said = f"the provider's answers say {told.seen.amount:,.10g} per {told.limit.per:g} s"
        self._say(index, limit.rate, limit.capacity, said)

    def restore(self, index: int) -> bool:
        """Keeps a limit to the told one again. False if none was told."""
        told = self._at(index)
        if told is None:
            return False
        self._core._retune(index, defined(self._bucket(index, told)))
        self._began(index, told)
        return True

    def restore_all(self, doubted: frozenset[int]) -> None:
        """Keeps all told limits to the told ones again, but for those that refusals have
        contradicted."""
        for index in {at for at, _ in self._kept} - doubted:
            self.restore(index)

    def slide(
        self,
        told: Sequence[tuple[int, float | None]],
        gauge: Gauge,
        *,
        passed: bool,
        refused: bool,
    ) -> float:
        """Shuts limits until enough usage has slid out of their windows. Returns the seconds until
        the last one is open."""
        last = 0.0
        for index, left in told:
            known = self._at(index)
            assert known is not None
            seen, now = known.seen, gauge.now
            sliding = self._sliding.setdefault(index, Sliding(seen.window or 0.0, known.is_late))
            sliding.see(gauge, index, passed=passed, refused=refused)
            if left is not None:
                sliding.told(now, seen.amount, left)
            wait = sliding.wait(now, seen.amount)
            self._core._shut(index, wait)
            pace = sliding.pace(now, seen.amount) * known.limit.rate
            self._core._pace(index, min(pace, self._limits.steep(index)))
            last = max(last, wait)
        return last

    # -- refusals, and what they tell

    def explains(self, gauge: Gauge) -> bool:
        """Whether a told limit explains the refusal of the answer's call: too little is left, or
        the rest is not told. Where only one that is not told does, less of it is used."""
        is_untold = False
        for index, told in self._kept:
            reading = gauge.readings[index]
            if reading.cost <= 0:
                continue
            if told.law is Law.PART:
                is_untold = True
            elif told.remaining is None or min(reading.level, told.remaining) < reading.cost:
                return True
        if is_untold and self._part.refused(gauge.now, gauge.sent_at, others=self._has_others):
            self._pace_buckets()
        return is_untold

    def look(self, now: float) -> None:
        """Tries more of the limits that are not told."""
        if self._part.rise(now):
            self._pace_buckets()

    # -- other users

    @property
    def _has_others(self) -> bool:
        """Whether other users may use the key."""
        return self._forget_at < inf

    def _notice(self, index: int, told: Told, moved: float) -> None:
        """Notes other users, if an answer has moved the level down."""
        now, had = self._core._now(), self._has_others
        if -moved > self._notable(index, told):
            self._forget_at = now + MEMORABLE
        elif now > self._forget_at:
            self._forget_at = inf
        if had != self._has_others:
            self._pace_buckets()

    def _notable(self, index: int, told: Told) -> float:
        """Units: when more is missing at an answer, other users have taken it."""
        capacity = self._bucket(index, told).capacity
        assert capacity is not None
        is_told = told.law is Law.LEVEL and not told.is_late
        return max(NOTICED * capacity, told.seen.grain) if is_told else inf

    # -- what is kept

    def pace(self, index: int) -> bool:
        """Sets the pace of a told limit anew. False if none was told."""
        if (told := self._at(index)) is not None:
            self._pace(index, told)
        return told is not None

    def _pace_buckets(self) -> None:
        for index, told in self._kept:
            if told.is_bucket:
                self._pace(index, told)

    def _pace(self, index: int, told: Told) -> None:
        limit, steepest = self._bucket(index, told), self._limits.steep(index)
        assert limit.capacity is not None
        if limit.per > MINUTE or told.law is Law.SLIDING:
            return
        if told.law is Law.REST:
            if told.remaining and told.reset:
                left = min(max(told.reset, 1.0), limit.per)
                self._core._pace(index, min(told.remaining / left, steepest), seconds=left)
        elif told.law is Law.PART:
            part = self._part.part
            self._core._pace(index, min((part if part < 1 else FASTEST) * limit.rate, steepest))
        else:
            kept, fits = (KEPT, SHARED) if self._has_others else (ALONE, FITS)
            self._core._pace(
                index,
                min(FASTEST * limit.rate, steepest),
                kept=kept * limit.capacity,
                scale=SCALE * limit.capacity,
                fits=fits if steepest == inf else 0.0,
            )

    def _bucket(self, index: int, told: Told) -> Limit:
        """Returns the told limit, but no more than its bound."""
        bound, limit = self._limits.bound(index), told.limit
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
