"""Keeps a scheduler's limits to what its provider's answers say of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

from xtremeflow.learning.headers import Observation
from xtremeflow.learning.slots import Slots
from xtremeflow.learning.told import Key, ToldLimits, Verdict, key_of
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


class Follower:
    """Applies observations to a scheduler.

    core        its native part
    configured  its limits as given, with their capacities
    bounded     whether these are upper bounds; else they are only what is assumed at first
    places      whether it has PLACES, behind the configured limits, for others
    """

    def __init__(
        self, core: Core, configured: Sequence[Limit], *, bounded: bool, places: bool
    ) -> None:
        self.reasons: dict[int, str] = {}
        """By the limits' indices: why they are what they are, where that was learned."""
        self._core = core
        self._configured = list(configured)
        self._bounded = bounded
        self._places = places
        self._told = ToldLimits()
        self.slots = Slots() if places else None
        """How many calls are let in, where that is learned."""
        self._wishes_a_place = False
        self._why = "" if self.slots is None else self.slots.reason
        core._track()
        self._let_in()

    def configure(self, index: int, limit: Limit) -> None:
        """The user has replaced a limit; the next answer tells what the provider says of it."""
        self._configured[index] = limit
        self._told.forget(key_of(limit))
        self.reasons.pop(index, None)

    def answered(
        self,
        observations: Sequence[Observation],
        sent_at: float | None,
        received_at: float | None,
        refused: int | None = None,
        wait: float | None = None,
    ) -> None:
        """Follow what an answer said, and that it came.

        Times are in seconds on the loop's clock, or None: of the current call, now. `refused` is
        the HTTP status of a refusal, `wait` the seconds that it asks for.
        """
        for observation in observations:
            verdict = self._told.learn(observation)
            if verdict is not None:
                self._apply(verdict, sent_at, received_at)
        if self.slots is not None:
            if self._told:
                self.slots.open()
            # Who tells of rates, or of a wait, does not refuse for want of a place.
            may_be = refused is not None and wait is None and not observations
            self._wishes_a_place = may_be and self._claim(self.slots)
            self._let_in()

    def passed(self) -> None:
        """The current call was answered, and well."""
        flight = self._core._flight()
        if self.slots is not None and flight is not None:
            self.slots.answered(*flight)
            self._let_in()

    def take_wish(self) -> bool:
        """Whether the last answer was a refusal for the number of calls in flight, which no pause
        cures but that another call ends. Tells it once."""
        wish, self._wishes_a_place = self._wishes_a_place, False
        return wish

    def _claim(self, slots: Slots) -> bool:
        """Whether the current call was refused for the number of calls in flight."""
        flight = self._core._flight()
        if flight is None:
            return False
        now, sent_at, crowd, _, _ = flight
        return slots.refused(now, sent_at, crowd)

    def _let_in(self) -> None:
        if self.slots is None:
            return
        if self.slots.reason != self._why:
            self._why = self.slots.reason
            logger.info("Calls in flight are now %s: %s", self.slots.size, self._why)
        self._core._ramp(self.slots.size)

    def _apply(self, verdict: Verdict, sent_at: float | None, received_at: float | None) -> None:
        index = self._index(verdict.key)
        if index is None:
            return
        is_bound = self._bounded and index < len(self._configured)
        if verdict.changed:
            self._change(index, verdict, is_bound, sent_at)
        if verdict.remaining is not None and (is_bound or not verdict.changed):
            is_bound |= not verdict.is_level
            late = verdict.is_late
            self._core._told(index, verdict.remaining, late, is_bound, sent_at, received_at)

    def _change(self, index: int, verdict: Verdict, is_bound: bool, sent_at: float | None) -> None:
        limit = verdict.limit
        if is_bound:
            limit = _lesser(self._configured[index], limit)
        try:
            if is_bound or verdict.remaining is None:
                self._core._retune(index, _defined(limit))
            else:
                self._core._begin(index, _defined(limit), verdict.remaining, sent_at)
        except ValueError:
            logger.debug("Not followed, the limit cannot be kept: %r", limit)
            return
        said = f"the provider's answers say {verdict.limit.amount:,.10g} per {limit.per:g} s"
        self.reasons[index] = said
        logger.info(
            "Limit on %s is now %.10g/s, at once %.10g: %s",
            limit.name,
            limit.rate,
            limit.capacity,
            said,
        )

    def _index(self, key: Key) -> int | None:
        """Of the limit that the answer means: a configured one, or one of the places."""
        for index, limit in enumerate(self._configured):
            if key_of(limit) == key:
                return index
        if self._places and key in PLACES:
            return len(self._configured) + PLACES.index(key)
        return None


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
