"""The learner of a scheduler: the one name that schedulers import.

It follows the limits that answers tell (told/). It finds limits that answers do not tell, or that
refusals contradict, from refusals (rates/), and so the number of calls at a time (concurrency/).
Each limit is kept to the lowest of these.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence, Set
from dataclasses import replace
from functools import partial
from math import inf
from typing import NamedTuple, TypeVar

from xtremeflow._core import Gauge
from xtremeflow.answers.answer import Answer
from xtremeflow.answers.headers import observed
from xtremeflow.answers.verdict import Meaning, Verdict
from xtremeflow.learning.belief import Belief, SharedBelief
from xtremeflow.learning.concurrency.crowds import Crowds
from xtremeflow.learning.concurrency.slots import Flights, Slots
from xtremeflow.learning.rates.finder import ASSUMED, RateFinder
from xtremeflow.learning.reading import (
    PLACES,
    UNLIMITED,
    Core,
    Limits,
    defined,
    key_of,
)
from xtremeflow.learning.saved import NAMES, Learned, LearnedRate
from xtremeflow.learning.told.follower import ToldFollower, Word
from xtremeflow.values.amounts import shown
from xtremeflow.values.limits import MINUTE, Limit

__all__ = ["PLACES", "UNLIMITED", "Learner"]

T = TypeVar("T")
logger = logging.getLogger("xtremeflow.learning")


class Expected(NamedTuple):
    """The words of an answer that tells nothing new.

    words    of limits: see ToldFollower.expected
    look_at  seconds on the loop's clock: from then on an answer is worth to be looked at anyway
    slots    so many calls in flight, while others wait, make it so, too; -1: any number
    """

    words: tuple[Word, ...] = ()
    look_at: float = inf
    slots: int = -1


class Learner:
    """Applies answers, and the conclusions from them, to a scheduler.

    core        the scheduler's native part
    configured  its limits as given, with their capacities
    uncapped    the indices of those whose capacities were not given
    bounded     whether these are upper bounds; else they are only a first guess
    places      whether it has PLACES for other limits, behind the configured ones
    learned     the knowledge of an earlier learner
    account     what members of a share know together; None: it is alone
    """

    def __init__(
        self,
        core: Core,
        configured: Sequence[Limit],
        uncapped: Set[int],
        *,
        bounded: bool,
        places: bool,
        learned: Learned | None = None,
        account: SharedBelief | None = None,
    ) -> None:
        self.reasons: dict[int, str] = {}
        """By the limits' indices: why they are what they are, where that was learned."""
        self._core = core
        self._limits = Limits(configured, uncapped, bounded=bounded, places=places)
        self._told = ToldFollower(core, self._limits, self._say)
        self._finder: RateFinder | None = None
        self._account = account
        self._again: Callable[[], object] | None = None  # learns the last lesson once more
        self._let: int | None = None  # the number of calls that the core lets in
        self._logged: dict[int, str] = {}  # of limits, by their indices
        self.slots: Slots | None = None
        """How many calls are let in, where that is learned."""
        core._track()
        if places:
            before = learned or Learned()
            self.slots = Slots(before.concurrency, 1 if account is None else account.members)
            self._why = self.slots.reason
            self._crowds = Crowds(convinced=before.concurrency is not None)
            self._finder = RateFinder(
                core, self._limits, self._most, self._free, self._told.pace, self._say
            )
            self._finder.begin(self._given(), before.rates)
            if before.rates and before.concurrency is None:
                self.slots.open()
            self._let_in()
        if not self.hear():
            self._confer()

    def _given(self) -> dict[str, LearnedRate]:
        return {
            limit.name: LearnedRate(limit.rate, ASSUMED * limit.rate, limit.capacity or 0.0)
            for limit in self._limits.configured
            if key_of(limit) in PLACES[: len(NAMES)]
        }

    # -- limits that the user changes

    def place(self, name: str, per: float) -> int | None:
        """Returns the index of the place for a limit that is not given; None if it has none."""
        return self._limits.place((name, per > MINUTE))

    @property
    def bounds(self) -> dict[int, Limit]:
        """Returns the bounds that the user has set on places, by index."""
        return self._limits.placed

    def configure(self, index: int, limit: Limit, *, capped: bool, bounded: bool) -> None:
        """Replaces a limit, or sets the bound of a place, as the user says.

        Of a limit that was given, all that was learned is forgotten. Of a place it is kept.

        capped   whether with a capacity
        bounded  whether it is an upper bound, as that of a place always is
        """
        self.hear()
        if bounded:
            self._limits.bind(index, limit, capped=capped)
        if self._limits.given(index) is None:
            self._rebound(index)
        else:
            self._replace(index, limit, capped=capped)
        self._insist()

    def learn(self, index: int) -> None:
        """Takes the bound of a limit back."""
        self.hear()
        self._limits.unbind(index)
        given = self._limits.given(index)
        if given is None or self._told.limit(index) or key_of(given) in PLACES[: len(NAMES)]:
            self._rebound(index)
        self._insist()

    def _replace(self, index: int, limit: Limit, *, capped: bool) -> None:
        self._core._retune(index, defined(limit))
        self._limits.replace(index, limit, capped=capped)
        self._told.forget(index, key_of(limit))
        self.reasons.pop(index, None)
        if self._finder is not None and key_of(limit) in PLACES[: len(NAMES)]:
            self._finder.replace(index, limit)

    def _rebound(self, index: int) -> None:
        """Keeps to what is learned of a limit, under its bound as it is now."""
        gauge = self._core._gauge(None)
        if self._finder is None or not self._finder.bind(index, gauge):
            self._free(index)

    def _most(self, index: int) -> Limit | None:
        """Returns the told limit, or its bound; None if it may be any."""
        return self._told.limit(index) or self._limits.bound(index)

    def _insist(self) -> None:
        """Tells other members what the user has changed, also if one of them was faster."""
        if self._account is not None:
            self._account.say(self._belief(self._account.ahead), always=True)

    @property
    def configured(self) -> list[Limit]:
        """The configured limits, with their capacities; of a share, as any member has set them."""
        self.hear()
        return self._limits.configured

    # -- what members of a share know together

    def hear(self) -> bool:
        """Takes over what other members have learned meanwhile. Returns whether it has found
        something."""
        account = self._account
        if account is None:
            return False
        lost, belief = account.has_lost(), account.heard()
        is_found = belief is not None and self._take_over(account, belief)
        if lost:  # others were faster: what was learned last is learned again, from their belief
            self._told.restore_all(self._found)
            again, self._again = self._again, None
            if again is not None:
                again()
            account.say(self._belief(account.ahead))
        return is_found

    @property
    def _found(self) -> frozenset[int]:
        """The indices of limits that were found from refusals."""
        return frozenset() if self._finder is None else self._finder.limits

    def _take_over(self, account: SharedBelief, belief: Belief) -> bool:
        limits = self._limits
        for index, (limit, (_, capped)) in enumerate(zip(belief.limits, belief.given, strict=True)):
            if index < len(limits.configured) and limit != limits.configured[index]:
                limits.replace(index, limit, capped=capped)
                self._told.forget(index, key_of(limit))
        self._take_bounds(belief)
        self.reasons = dict(belief.reasons)
        if belief.found is None or self._finder is None:
            return False
        try:
            self._finder.restore(belief.found, self._core._gauge(None), account.ahead)
        except ValueError as error:
            logger.warning("What another member has learned makes no sense: %s", error)
            return False
        return True

    def _take_bounds(self, belief: Belief) -> None:
        for index, bound in belief.bounds.items():
            if bound is None:
                self._limits.unbind(index)
            else:
                definition, capped = bound
                self._limits.bind(index, Limit(*definition), capped=capped)

    def _confer(self) -> None:
        """Tells other members what is believed now, if that is news."""
        if self._account is not None:
            self._account.say(self._belief(self._account.ahead))
            self.hear()

    def _belief(self, ahead: float) -> Belief | None:
        if self._finder is None:
            return None
        limits, uncapped = self._limits.configured, self._limits.uncapped
        bounds = self._limits.bounds.items()
        return Belief(
            adapt="bounded" if self._limits.bounded else True,
            given=tuple((defined(each), i not in uncapped) for i, each in enumerate(limits)),
            bounds={
                i: None if bound is None else (defined(bound), i not in uncapped)
                for i, bound in bounds
            },
            reasons=dict(self.reasons),
            found=self._finder.state(self._core._gauge(None), ahead),
        )

    # -- answers

    def answered(self, answer: Answer, verdict: Verdict) -> Verdict:
        """Learns from an answer. Returns its verdict, corrected by the meaning and wait that are
        known here. If the answer's times are None, they are the current call's dispatch, and
        now."""
        passed, refused = verdict.meaning is Meaning.PASSED, verdict.meaning is Meaning.RATE
        self.told(answer)
        finder, sliding = self._finder, answer.followed
        steep = verdict.meaning is Meaning.STEEP
        looks = finder is not None and (
            refused or steep or (passed and self._core._now() >= finder.due_at)
        )
        if sliding or looks:
            gauge = self._core._gauge(answer.sent_at)
            shut = self._told.slide(sliding, gauge, passed=passed, refused=refused)
            if refused and verdict.wait is None and shut > 0:
                verdict = replace(verdict, advised=shut)
            elif finder is not None and passed and looks:
                self._told.look(gauge.now)
                self._learn(partial(finder.passed, gauge))
            elif finder is not None and steep:
                verdict = self._learn(partial(finder.too_steep, gauge, verdict))
            elif finder is not None and refused and gauge.now > gauge.first:
                verdict = self._refused(finder, gauge, verdict)
        if verdict.meaning is Meaning.OVERLOADED and verdict.wait is None and not self._told:
            verdict = self._for_a_place(verdict, busy=True)
        if self.slots is not None:
            if passed and (flight := self._core._flight()) is not None:
                self._crowds.passed(flight.crowd)
                self.slots.answered(*flight)
            self._let_in()
        if looks or self._has_lessons:
            self._confer()
        return verdict

    @property
    def _has_lessons(self) -> bool:
        return self._account is not None and self._account.has_lessons

    def told(self, answer: Answer) -> None:
        """Follows what an answer's head tells of limits, once. It may be called before the body has
        come, and so before the meaning of the answer is known."""
        self.hear()
        if answer.followed is not None:
            return
        was_told = bool(self._told)
        doubted = self._found if was_told else frozenset[int]()
        answer.followed = self._told.follow(
            observed(answer), answer.sent_at, answer.received_at, doubted
        )
        if self._told and not was_told:
            self._is_told()
            if self.slots is not None:
                self._let_in()
        if self._has_lessons:
            self._confer()

    # -- answers that tell nothing new: see csrc/binding/scheduler/foretold.c

    def expected(self) -> Expected | None:
        """Returns the words of an answer that tells nothing new; None if it may be anything."""
        finder, slots = self._finder, self.slots
        words = self._told.expected()
        if words is None or (self._found and self._told):
            return None
        return Expected(
            tuple(words),
            inf if finder is None else finder.due_at,
            -1 if slots is None or slots.size is None else slots.size,
        )

    def noticed(self, index: int, moved: float) -> float:
        """See `ToldFollower.noticed`."""
        return self._told.noticed(index, moved)

    def caught_up(self, index: int, remaining: float, reset: float | None) -> None:
        """See `ToldFollower.caught_up`."""
        self._told.caught_up(index, remaining, reset)

    def passed(self, flights: Flights) -> None:
        """Takes in answers that told nothing new, by the fields of their Flights."""
        if self.slots is not None and flights[0]:
            self._crowds.passed(*flights[2])
            self.slots.all_answered(flights)

    def _refused(self, finder: RateFinder, gauge: Gauge, verdict: Verdict) -> Verdict:
        if self._told and self._told.explains(gauge):
            return verdict
        if verdict.wait is None and not self._told and not finder.expects(gauge):
            found = self._for_a_place(verdict, busy=False)
            if found.meaning is Meaning.PLACES:
                return found
        return self._learn(partial(finder.refused, gauge, verdict, is_told=bool(self._told)))

    def _learn(self, lesson: Callable[[], T]) -> T:
        self._again = lesson
        return lesson()

    def _for_a_place(self, verdict: Verdict, *, busy: bool) -> Verdict:
        """Returns the verdict on a refusal that may be for the number of calls in flight."""
        flight = self._core._flight()
        if self.slots is None or flight is None:
            return verdict
        was_convinced, when = self._crowds.convinced, flight[:3]
        is_found = self._crowds.refused(*when, busy=busy)
        if not is_found and not (busy and self._crowds.is_suspected):
            return verdict
        if not self.slots.refused(*when):
            self._crowds = Crowds()
            return verdict
        if self._finder is not None and is_found and not was_convinced:
            self._finder.give_up()
        return replace(verdict, meaning=Meaning.PLACES)

    def _is_told(self) -> None:
        """Drops all assumed and found limits, because the provider tells its limits."""
        if self.slots is not None:
            self.slots.open()
        if self._finder is not None:
            self._finder.give_up()

    def _free(self, index: int) -> None:
        """Resets a limit that is no longer found to the told one, or to its bound."""
        if self._told.restore(index):
            return
        self.reasons.pop(index, None)
        bound = self._limits.bound(index)
        if bound is not None:
            self._core._retune(index, defined(bound))
        else:
            name = NAMES[0] if (given := self._limits.given(index)) is None else given.name
            self._core._retune(index, (name, UNLIMITED, 1.0, UNLIMITED))
        if (steepest := self._limits.steep(index)) < inf:
            self._core._pace(index, steepest)

    def _let_in(self) -> None:
        assert self.slots is not None
        if self.slots.reason != self._why:
            self._why = self.slots.reason
            logger.info("Calls in flight are now %s: %s", self.slots.size, self._why)
        if self.slots.size != self._let:
            self._let = self.slots.size
            self._core._ramp(self._let)

    # -- knowledge

    @property
    def learned(self) -> Learned:
        """Returns the knowledge so far."""
        rates = {
            limit.name: LearnedRate(limit.rate, 0.0, limit.capacity or 0.0)
            for limit in self._told.known
            if limit.per <= MINUTE and limit.name in NAMES
        }
        if self._finder is not None:
            rates.update(self._finder.rates)
        return Learned(rates, None if self.slots is None else self.slots.known)

    def confidence(self, index: int) -> float | None:
        """Returns 1 less the relative doubt of a limit's rate; None if nothing is learned of it."""
        if index not in self.reasons:
            return None
        found = None if self._finder is None else self._finder.confidence(index)
        return found if found is not None or self._told.limit(index) is None else 1.0

    def _say(self, index: int, rate: float, capacity: float, reason: str) -> None:
        self.reasons[index] = reason
        given = self._limits.given(index)
        place = index - len(self._limits.configured)
        name = PLACES[place][0] if given is None else given.name
        news = f"{name} is now {shown(MINUTE * rate)}/min, at once {shown(capacity)}: {reason}"
        if news != self._logged.get(index):
            self._logged[index] = news
            logger.info("Limit on %s", news)
