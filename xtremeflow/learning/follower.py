"""Keeps a scheduler's limits to what its provider's answers say of them, or show."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from xtremeflow.answers.answer import Answer
from xtremeflow.answers.verdict import Meaning, Verdict
from xtremeflow.learning.crowds import Crowds
from xtremeflow.learning.finder import RateFinder, Setting, Suspect
from xtremeflow.learning.gauge import Gauge, Seen, gauge_of
from xtremeflow.learning.headers import MINUTE, observed
from xtremeflow.learning.rates import Estimate
from xtremeflow.learning.saved import NAMES, Learned, Rate
from xtremeflow.learning.sliding import Sliding
from xtremeflow.learning.slots import Slots
from xtremeflow.learning.told import Key, ToldLimits, key_of
from xtremeflow.learning.told import Verdict as Belief
from xtremeflow.limits import Limit

logger = logging.getLogger("xtremeflow.learning")

PLACES: tuple[Key, ...] = (
    ("requests", False),
    ("tokens", False),
    ("input_tokens", False),
    ("output_tokens", False),
    ("requests", True),
    ("tokens", True),
)
"""What limits may be learned of, besides those that are configured: by name, and per day or not."""

ASSUMED = 0.3  # the doubt of a limit that is configured, relative to it
TOLD = 1e-9  # of one that the provider's answers tell
UNLIMITED = 1e12  # units per second, and at once
TRIVIAL = 0.02  # changes of a rate by less are not worth a line of the log

Definition = tuple[str, float, float, float]


class Core(Protocol):
    """What of a scheduler the follower moves; see `xtremeflow._core.Scheduler`."""

    def _track(self, /) -> None: ...
    def _flight(self, /) -> tuple[float, float, int, int, int] | None: ...
    def _ramp(self, slots: int | None, /) -> None: ...
    def _retune(self, index: int, limit: Definition, /) -> None: ...
    def _begin(
        self, index: int, limit: Definition, remaining: float, sent_at: float | None, /
    ) -> None: ...
    def _told(
        self,
        index: int,
        remaining: float,
        late: bool,
        bounded: bool,
        sent_at: float | None,
        answered_at: float | None,
        /,
    ) -> float: ...
    def _shut(self, index: int, seconds: float, /) -> None: ...
    def _gauge(self, sent_at: float | None, /) -> Seen: ...


class Follower:
    """Applies what answers say, and what is concluded from them, to a scheduler.

    core        its native part
    configured  its limits as given, with their capacities
    bounded     whether these are upper bounds; else they are only what is assumed at first
    places      whether it has PLACES, behind the configured limits, for others
    learned     what was learned before
    """

    def __init__(
        self,
        core: Core,
        configured: Sequence[Limit],
        *,
        bounded: bool,
        places: bool,
        learned: Learned | None = None,
    ) -> None:
        self.reasons: dict[int, str] = {}
        """By the limits' indices: why they are what they are, where that was learned."""
        self._core = core
        self._configured = list(configured)
        self._bounded = bounded
        self._places = places
        self._told = ToldLimits()
        self._sliding: dict[int, Sliding] = {}
        self._finder: RateFinder | None = None
        self._logged: dict[int, float] = {}
        before = learned or Learned()
        self.slots = Slots(before.concurrency) if places else None
        """How many calls are let in, where that is learned."""
        self._crowds = Crowds(convinced=before.concurrency is not None)
        self._why = "" if self.slots is None else self.slots.reason
        core._track()
        if places:
            self._finder = RateFinder([self._suspect(name, before.rates) for name in NAMES])
            self._resume(before)
        self._let_in()

    def configure(self, index: int, limit: Limit) -> None:
        """The user has replaced a limit; the next answer tells what the provider says of it."""
        self._configured[index] = limit
        self._told.forget(key_of(limit))
        self.reasons.pop(index, None)
        if self._sliding.pop(index, None) is not None:
            self._core._shut(index, 0.0)
        if self._finder is not None and key_of(limit) in PLACES[: len(NAMES)]:
            self._finder.replace(self._suspect(limit.name, {}))

    def answered(self, answer: Answer, verdict: Verdict) -> Verdict:
        """Follow what an answer said, and that it came; returns its verdict, with what is known
        here of its meaning and wait.

        The answer's times may be None: of the current call, now.
        """
        sent_at, received_at, wait = answer.sent_at, answer.received_at, verdict.wait
        passed = verdict.meaning is Meaning.PASSED
        refused = verdict.meaning is Meaning.RATE
        overloaded = verdict.meaning is Meaning.OVERLOADED
        advised: float | None = None
        sliding: list[Belief] = []
        for observation in observed(answer):
            belief = self._told.learn(observation)
            if belief is not None:
                self._apply(belief, sent_at, received_at)
                if belief.slides is not None:
                    sliding.append(belief)
        if sliding:
            gauge = gauge_of(self._core._gauge(sent_at))
            shut = max(self._slide(belief, gauge, passed, refused) for belief in sliding)
            if refused and wait is None and shut > 0:
                advised = shut
        needs_a_place = False
        if self._told:
            self._leave()
        elif self._finder is not None and (passed or refused or overloaded):
            gauge = gauge_of(self._core._gauge(sent_at))
            if not passed and wait is None:
                if refused and self._finder.expects(gauge):
                    self._crowds.explained()
                else:
                    needs_a_place = self._wants_a_place(overloaded)
            has_begun = gauge.now > gauge.first  # else no rate can be told from what was admitted
            if has_begun and not (needs_a_place or overloaded):
                advised = self._find(self._finder, gauge, refused, wait)
        if passed:
            self._count()
        self._let_in()
        if needs_a_place:
            return replace(verdict, meaning=Meaning.PLACES)
        return verdict if advised is None else replace(verdict, advised=advised)

    # -- what is told

    def _apply(self, belief: Belief, sent_at: float | None, received_at: float | None) -> None:
        index = self._index(belief.key)
        if index is None:
            return
        is_bound = self._bounded and index < len(self._configured)
        if belief.changed:
            self._change(index, belief, is_bound, sent_at)
        if belief.remaining is not None and (is_bound or not belief.changed):
            is_bound |= not belief.is_level
            late = belief.is_late
            if late and belief.slides is not None:
                return  # what is left is also for the calls in flight that are about to end
            self._core._told(index, belief.remaining, late, is_bound, sent_at, received_at)

    def _slide(self, belief: Belief, gauge: Gauge, passed: bool, refused: bool) -> float:
        """Shut a limit until what was used up of it has slid out of its window; returns the
        seconds."""
        index = self._index(belief.key)
        if index is None or belief.slides is None:
            return 0.0
        sliding = self._sliding.setdefault(index, Sliding(belief.slides, belief.is_late))
        sliding.see(gauge, index, passed=passed, refused=refused)
        if belief.remaining is not None:
            sliding.told(gauge.now, belief.amount, belief.remaining)
        wait = sliding.wait(gauge.now, belief.amount)
        self._core._shut(index, wait)
        return wait

    def _change(self, index: int, belief: Belief, is_bound: bool, sent_at: float | None) -> None:
        limit = belief.limit
        if is_bound:
            limit = _lesser(self._configured[index], limit)
        try:
            if is_bound or belief.remaining is None:
                self._core._retune(index, _defined(limit))
            else:
                self._core._begin(index, _defined(limit), belief.remaining, sent_at)
        except ValueError:
            logger.debug("Not followed, the limit cannot be kept: %r", limit)
            return
        said = f"the provider's answers say {belief.amount:,.10g} per {limit.per:g} s"
        assert limit.capacity is not None
        self._say(index, limit.name, limit.rate, limit.capacity, said)

    def _index(self, key: Key) -> int | None:
        """Of the limit that the answer means: a configured one, or one of the places."""
        for index, limit in enumerate(self._configured):
            if key_of(limit) == key:
                return index
        if self._places and key in PLACES:
            return len(self._configured) + PLACES.index(key)
        return None

    # -- how many at a time

    def _count(self) -> None:
        """The current call has passed."""
        flight = self._core._flight()
        if self.slots is not None and flight is not None:
            _, _, crowd, _, _ = flight
            self._crowds.passed(crowd)
            self.slots.answered(*flight)

    def _wants_a_place(self, overloaded: bool) -> bool:
        """Whether the current call was refused for the number of calls in flight; then no rate is
        learned from it."""
        flight = self._core._flight()
        if flight is None or self.slots is None:
            return False
        now, sent_at, crowd, _, _ = flight
        was_convinced = self._crowds.convinced
        if not self._crowds.refused(now, sent_at, crowd) and not overloaded:
            return False
        if not self.slots.refused(now, sent_at, crowd):
            self._crowds = Crowds()
            return False
        if not was_convinced:
            self._free()
        return True

    def _let_in(self) -> None:
        if self.slots is None:
            return
        if self.slots.reason != self._why:
            self._why = self.slots.reason
            logger.info("Calls in flight are now %s: %s", self.slots.size, self._why)
        self._core._ramp(self.slots.size)

    # -- what is found

    @property
    def learned(self) -> Learned:
        """What is known by now."""
        return Learned(self._rates(), None if self.slots is None else self.slots.known)

    def _rates(self) -> dict[str, Rate]:
        """What is known of the limits per minute, by their names."""
        if self._finder is not None:
            return self._finder.rates
        return {
            limit.name: Rate(limit.rate, TOLD * limit.rate, limit.capacity or 0.0)
            for limit in self._told.limits
            if limit.per <= MINUTE and limit.name in NAMES
        }

    def confidence(self, index: int) -> float | None:
        """1 less the doubt of a limit's rate, relative to it; None where nothing is learned."""
        if self._finder is None:
            return 1.0 if index in self.reasons else None
        for suspect in self._finder.suspects:
            if suspect.index == index and suspect.belief is not None and index in self.reasons:
                return max(0.0, 1.0 - suspect.belief.doubt / suspect.belief.rate)
        return None

    def _free(self) -> None:
        """It was none of the rates: nothing that was found of them is kept."""
        assert self._finder is not None
        for suspect in self._finder.suspects:
            if suspect.belief is not None:
                self._set(self._finder.freed(suspect), None)
        self._finder = RateFinder(self._finder.suspects)

    def _suspect(self, name: str, learned: Mapping[str, Rate]) -> Suspect:
        index = self._index((name, False))
        assert index is not None
        suspect = Suspect(name, index)
        if index < len(self._configured):
            limit = self._configured[index]
            assert limit.capacity is not None
            suspect.belief = Estimate(limit.rate, ASSUMED * limit.rate)
            suspect.pace, suspect.burst = limit.rate, limit.capacity
            if self._bounded:
                suspect.most = limit
        if name in learned:
            rate = learned[name]
            suspect.belief, suspect.burst = Estimate(rate.rate, rate.doubt), rate.burst
        return suspect

    def _resume(self, before: Learned) -> None:
        """Begin with what was learned before."""
        assert self._finder is not None
        for suspect in self._finder.suspects:
            if suspect.name in before.rates:
                if self.slots is not None and before.concurrency is None:
                    self.slots.open()
                self._set(self._finder.resume(suspect), None)

    def _find(
        self, finder: RateFinder, gauge: Gauge, refused: bool, wait: float | None
    ) -> float | None:
        """Returns how long to wait after a refusal."""
        settings = finder.refused(gauge, wait) if refused else finder.answered(gauge)
        for setting in settings:
            self._set(setting, gauge.now)
        return finder.wait if refused else None

    def _set(self, setting: Setting, now: float | None) -> None:
        index, rate, capacity = setting.index, setting.rate, setting.capacity
        if rate is None:
            rate = capacity = UNLIMITED
        definition = (self._name(index), min(rate, UNLIMITED), 1.0, min(capacity, UNLIMITED))
        if setting.level is None:
            self._core._retune(index, definition)
        else:
            self._core._begin(index, definition, setting.level, now)
        if setting.rate is None:
            self.reasons.pop(index, None)
            self._logged.pop(index, None)
        elif setting.reason is not None:
            self._say(index, self._name(index), rate, capacity, setting.reason)

    def _leave(self) -> None:
        """The provider tells its limits: nothing that was found besides is kept."""
        finder, self._finder = self._finder, None
        if finder is None:
            return
        if self.slots is not None:
            self.slots.open()
        told = {self._index(key_of(limit)) for limit in self._told.limits}
        for suspect in finder.suspects:
            if suspect.belief is not None and suspect.index not in told:
                self._set(finder.freed(suspect), None)

    def _name(self, index: int) -> str:
        if index < len(self._configured):
            return self._configured[index].name
        return PLACES[index - len(self._configured)][0]

    def _say(self, index: int, name: str, rate: float, capacity: float, reason: str) -> None:
        self.reasons[index] = reason
        logged = self._logged.get(index, 0.0)
        is_trivial = abs(rate - logged) <= TRIVIAL * logged
        if not is_trivial:
            self._logged[index] = rate
        logger.log(
            logging.DEBUG if is_trivial else logging.INFO,
            "Limit on %s is now %.10g/s, at once %.10g: %s",
            name,
            rate,
            capacity,
            reason,
        )


def _defined(limit: Limit) -> Definition:
    assert limit.capacity is not None
    return limit.name, float(limit.amount), float(limit.per), float(limit.capacity)


def _lesser(bound: Limit, told: Limit) -> Limit:
    """The bound, or what is told where its rate is lower."""
    if told.rate >= bound.rate:
        return bound
    assert bound.capacity is not None
    assert told.capacity is not None
    return Limit(told.name, told.amount, told.per, min(bound.capacity, told.capacity))
