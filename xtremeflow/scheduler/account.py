"""The account of a share, which a learner moves and reads in the place of its own scheduler.

The learner moves limits here as it moves those of a scheduler that is alone. They become lessons,
which all members learn at once, together with the belief. The lessons count if the account still
has the version that the learner knew, else another member was faster and the learner begins anew.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from math import isclose
from typing import Any, NamedTuple, Protocol

from xtremeflow import _core
from xtremeflow.learning.belief import Belief, belief_from, text_of
from xtremeflow.learning.reading import Core
from xtremeflow.share.holder import Holder
from xtremeflow.share.past import Past
from xtremeflow.share.records import Rest
from xtremeflow.share.rests import Heard, Levels, Rests, Standing
from xtremeflow.share.rows import Lesson
from xtremeflow.values.limits import Definition


def check_keepable(limit: Definition) -> None:
    """Raises ValueError if the core cannot keep to that limit."""
    _core.Scheduler(limits=[limit])


class Believed(NamedTuple):
    """The belief as an account has it.

    version  of the limits and the belief
    belief   its text; None: the asker knows this version
    used     units of each limit, by all members
    """

    version: int
    belief: str | None
    used: Sequence[float]


class AccountPlace(Levels, Protocol):
    """The place of an account: shared memory, or a keeper.

    by       this member, in words
    members  their number when this one joined, itself included
    ahead    seconds by which its clock is ahead of the scheduler's
    """

    by: str
    members: int

    @property
    def ahead(self) -> float: ...
    def believed(self, known: int) -> Believed | None: ...
    def definition(self, index: int) -> tuple[float, float]:
        """Returns the rate and the capacity of a limit."""
        ...

    def pace(self, index: int, most: float, **terms: float) -> None:
        """Gives a limit a pace, see `Scheduler._pace`."""
        ...

    def learn(self, version: int | None, belief: str, lessons: Sequence[Lesson]) -> bool | None:
        """Changes limits and the belief for all members, if the account still has that version.
        None is any version. Returns whether it did; None if that is not known yet."""
        ...

    def outcome(self) -> bool | None:
        """Returns the same for the last lessons, as far as it is known by now."""
        ...


class SharedAccount:
    """An account in the place of its member's own scheduler, as a `learning.reading.Core` and a
    `learning.belief.SharedBelief`.

    scheduler  the member
    place      where its account lies
    """

    def __init__(self, scheduler: Core, place: AccountPlace) -> None:
        self._scheduler: Core = weakref.proxy(scheduler)  # to which this belongs
        self._place = place
        self._version = -1
        self._text = ""
        self._belief: Belief | None = None  # as all have it
        self._lessons: list[Lesson] = []
        self._after: list[Callable[[], None]] = []  # moves that follow the lessons
        self._outcome: bool | None = True  # of those sent last
        self._rests = Rests(place)
        self._past = Past()  # of the other members

    # -- conferring

    @property
    def ahead(self) -> float:
        return self._place.ahead

    @property
    def members(self) -> int:
        return self._place.members

    @property
    def has_lessons(self) -> bool:
        return bool(self._lessons)

    def has_lost(self) -> bool:
        """See `learning.belief.SharedBelief`."""
        if self._outcome is None:
            self._outcome = self._place.outcome()
        if self._outcome is not False:
            self._go_on()
            return False
        self._outcome = True
        self._lessons.clear()
        return True

    def heard(self) -> Belief | None:
        """See `learning.belief.SharedBelief`."""
        if self._outcome is None:  # what was said last is on its way
            return None
        found = self._place.believed(self._version)
        if found is None or found.belief is None:
            return None
        self._version = found.version
        if found.belief == self._text:
            return None
        self._text = found.belief
        self._belief = belief_from(found.belief)
        return self._belief

    def say(self, belief: Belief | None, *, always: bool = False) -> None:
        """See `learning.belief.SharedBelief`."""
        is_news = belief is not None and belief.is_news_to(self._belief)
        if not always and (self._outcome is None or not (self._lessons or is_news)):
            return
        text = self._text if belief is None else text_of(replace(belief, by=self._place.by))
        lessons, self._lessons = self._lessons, []
        self._outcome = self._place.learn(None if always else self._version, text, lessons)
        if self._outcome is not False:
            self._text, self._belief = text, belief
        self._go_on()

    def _go_on(self) -> None:
        """Makes the moves that follow the lessons, once all members have learned these."""
        if self._outcome and not self._lessons:
            after, self._after = self._after, []
            for move in after:
                move()

    def _follow(self, move: Callable[[], None]) -> None:
        self._after.append(move)
        self._go_on()

    def _is_low(self, index: int, /) -> bool:
        return self._rests.is_low(index)

    def _keeps(self, index: int, limit: Definition, /) -> bool:
        rate, capacity = self._place.definition(index)
        _, amount, per, most = limit
        return isclose(rate, amount / per) and isclose(capacity, most)

    # -- moves

    def _retune(self, index: int, limit: Definition, /) -> None:
        self._teach(index, limit, None)

    def _begin(
        self, index: int, limit: Definition, remaining: float, /, *, sent_at: float | None = None
    ) -> None:
        reading = self._gauge(sent_at).readings[index]
        self._teach(index, limit, remaining - max(0.0, reading.since - reading.cost))

    def _teach(self, index: int, limit: Definition, level: float | None) -> None:
        check_keepable(limit)
        self._lessons.append((index, limit, level))

    def _pace(self, index: int, most: float, /, **terms: float) -> None:
        self._follow(partial(self._place.pace, index, most, **terms))

    def _told(
        self,
        index: int,
        remaining: float,
        /,
        *,
        late: bool = False,
        sent_at: float | None = None,
        answered_at: float | None = None,
        **_: Any,
    ) -> float:
        """Lowers the level of the account, if it contradicts the answer. A `late` limit says too
        little of the calls of others that are on their way."""
        if late:
            return 0.0
        seen = self._scheduler._gauge(sent_at)
        answered = seen.now if answered_at is None else answered_at
        return self._rests.hear(index, Heard(remaining, seen.sent_at, answered))

    def _shut(self, index: int, seconds: float, /) -> None:
        self._scheduler._shut(index, seconds)

    def _ramp(self, slots: int | None, /) -> None:
        self._follow(partial(self._scheduler._ramp, slots))

    def _track(self, /) -> None:
        """Levels are not followed."""

    # -- readings

    def _now(self, /) -> float:
        return self._scheduler._now()

    def _flight(self, /) -> _core.Flight | None:
        return self._scheduler._flight()

    def _gauge(self, sent_at: float | None, /) -> _core.Gauge:
        """Returns a reading in which the units used are those of all members."""
        seen = self._scheduler._gauge(sent_at)
        own = seen.readings
        found = self._place.believed(self._version)
        if found is None:  # it has left
            return seen
        others = [used - each.used for used, each in zip(found.used, own, strict=True)]
        self._note(seen.now, others)
        readings = tuple(
            _core.Reading((round(used), round(each.since + max(0.0, other - past)), *each[2:]))
            for each, used, other, past in zip(
                own, found.used, others, self._past.at(seen.sent_at), strict=True
            )
        )
        return _core.Gauge((seen.now, seen.sent_at, seen.first, seen.shared, readings))

    def _note(self, now: float, others: Sequence[float]) -> None:
        if self._past.is_fresh(now):
            self._past.used[-1] = others
        else:
            self._past.note(now, others)


class InMemory:
    """An `AccountPlace` in the memory of this machine, whose members have one clock."""

    ahead = 0.0

    def __init__(self, scheduler: _core.Scheduler, by: str) -> None:
        self._scheduler: _core.Scheduler = weakref.proxy(scheduler)
        self.by = by
        self.members = 1 + len(scheduler._seats())

    def believed(self, known: int) -> Believed | None:
        found = self._scheduler._believed(max(known, 0))
        return None if found is None else Believed(*found)

    def standing(self) -> Standing | None:
        found = self._scheduler._standing()
        return None if found is None else Standing(*found)

    def lower(self, index: int, rest: Rest) -> None:
        self._scheduler._lower(index, *rest)

    def pace(self, index: int, most: float, **terms: float) -> None:
        self._scheduler._pace(index, most, **terms)

    def definition(self, index: int) -> tuple[float, float]:
        shared = self._scheduler._shared()
        limit = {"rate": 0.0, "capacity": 0.0} if shared is None else shared["limits"][index]
        return limit["rate"], limit["capacity"]

    def learn(self, version: int | None, belief: str, lessons: Sequence[Lesson]) -> bool | None:
        if version is not None:
            return self._scheduler._learn(version, belief, tuple(lessons))
        done = False
        while not done and (found := self.believed(-1)) is not None:
            done = self._scheduler._learn(found.version, belief, tuple(lessons))
        return done

    def outcome(self) -> bool | None:
        return True


class AtKeeper:
    """An `AccountPlace` at a keeper, with which the member's holder talks."""

    def __init__(self, holder: Holder, members: int) -> None:
        self._holder, self.by = holder, f"member {holder.member[:8]}"
        self.members = members

    @property
    def ahead(self) -> float:
        return self._holder.ahead

    def believed(self, known: int) -> Believed | None:
        agreed, last = self._holder.agreed, self._holder.last
        version, belief = agreed.known
        used = last.used if last is not None else (0.0,) * len(agreed.limits)
        return Believed(version, None if version == known else belief, used)

    def definition(self, index: int) -> tuple[float, float]:
        _, amount, per, capacity = self._holder.agreed.limits[index]
        return amount / per, capacity

    def standing(self) -> Standing | None:
        return self._holder.standing

    def lower(self, index: int, rest: Rest) -> None:
        self._holder.tell(index, rest)

    def pace(self, index: int, most: float, **terms: float) -> None:
        self._holder.pace(index, most, **terms)

    def learn(self, version: int | None, belief: str, lessons: Sequence[Lesson]) -> bool | None:
        self._holder.learn(-1 if version is None else version, belief, lessons)
        return None

    def outcome(self) -> bool | None:
        return self._holder.agreed.learned
