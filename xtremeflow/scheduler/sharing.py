"""What a scheduler does as a member of a share: it joins, and keeps to the share's limits."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from math import isclose

from xtremeflow.learning.belief import Belief, belief_from, text_of
from xtremeflow.learning.learner import PLACES, UNLIMITED
from xtremeflow.scheduler.account import AtKeeper, InMemory, SharedAccount
from xtremeflow.scheduler.observing import Observing
from xtremeflow.scheduler.stats import ShareStats, leased_from, share_from
from xtremeflow.share.elsewhere import Membership, kept_share
from xtremeflow.share.keeper import KeptShare
from xtremeflow.share.member import Member
from xtremeflow.values.limits import Definition, Limit

logger = logging.getLogger("xtremeflow")


class Sharing(Observing):
    """A scheduler that is alone, a member of a share on this machine, or one of a keeper's."""

    _leased: Membership | None

    def __init__(self, share: str | KeptShare | None, max_concurrency: int | None) -> None:
        kept = None if share is None else kept_share(share)
        self._leased = None if kept is None else Membership(kept)
        self._share = None if share is None or kept is not None else Member(str(share))
        if self._leased is not None:
            self._borrow(self._leased, max_concurrency)
        elif self._share is not None:
            self._enter(self._share, max_concurrency)
        else:
            self._begin_with([self._defined(limit) for limit in self._limits], max_concurrency)

    def _begin_with(self, limits: Sequence[Definition], slots: int | None) -> None:
        """Initialises the native part, with places for limits to be learned if it adapts."""
        places = [name for name, _ in PLACES] if self._adapt else []
        super().__init__(limits=limits, max_concurrency=slots, places=places)

    @property
    def limits(self) -> tuple[Limit, ...]:
        """The configured rate limits, and behind them the bounds that `set_limit` has set on other
        limits; of a share, as any member has set them."""
        if self._adapt:
            return self._learned_limits()
        if self._leased is not None:
            held = self._leased.holder.agreed.limits
            if [self._defined(limit) for limit in self._limits] != held:
                self._limits = [Limit(*definition) for definition in held]
        shared = self._shared()
        if shared is not None:
            for index, now in enumerate(shared["limits"]):
                own = self._limits[index]
                _, amount, per, capacity = self._defined(own)
                if not (isclose(amount / per, now["rate"]) and isclose(capacity, now["capacity"])):
                    amount = now["rate"] * own.per
                    self._limits[index] = Limit(own.name, amount, own.per, now["capacity"])
        return tuple(self._limits)

    def _learned_limits(self) -> tuple[Limit, ...]:
        with self._learning:
            if self._account is not None:
                self._look()
            learner = self._following()
            for index, limit in enumerate(learner.configured):
                if Limit(*self._defined(self._limits[index])) != limit:
                    self._limits[index] = limit
            return (*self._limits, *learner.bounds.values())

    def _enter(self, share: Member, max_concurrency: int | None) -> None:
        """Joins a share on this machine, with the limits of its first member."""
        given = self._given()
        with share.joining():
            common = given if share.alone else share.belief
            slots = max_concurrency if share.alone else share.max_concurrency
            self._adapt = common.adapt
            self._begin_with([each for each, _ in common.given], slots)
            if share.alone:
                share.describe(given, self.max_concurrency)
            share.join(self)
        self._account = SharedAccount(
            self, InMemory(self, f"seat {share.seat}, process {os.getpid()}")
        )
        self._agree(share.share, common, slots, given, max_concurrency)

    def _borrow(self, lease: Membership, max_concurrency: int | None) -> None:
        """Joins a share of a keeper, with the limits of its first member."""
        given = self._given()
        limits = [each for each, _ in given.given]
        if given.adapt:
            limits += [(name, UNLIMITED, 1.0, UNLIMITED) for name, _ in PLACES]
        described = lease.join(limits, max_concurrency, text_of(given) if given.adapt else "")
        common = belief_from(described.belief)
        if common is None:
            common = Belief(False, tuple((each, True) for each in described.limits))
        slots = None if described.slots < 0 else described.slots
        self._adapt = common.adapt
        self._begin_with([each for each, _ in common.given], slots)
        for index, definition in enumerate(described.limits):
            self._retune(index, definition)
        lease.begin(self)
        self._account = SharedAccount(self, AtKeeper(lease.holder, max(1, described.members)))
        self._agree(lease.name, common, slots, given, max_concurrency)

    def _agree(
        self, share: str, common: Belief, slots: int | None, given: Belief, given_slots: int | None
    ) -> None:
        """Takes the account's limits, and warns if this member was given others."""
        if common.adapt:
            self._common = common
        same = [each for each, _ in common.given] == [each for each, _ in given.given]
        if same and (common.adapt, slots) == (given.adapt, given_slots):
            return
        self._limits = common.limits
        logger.warning(
            "the share %r has a member, whose limits count: %s; not those given here: %s",
            share,
            _described(common, slots),
            _described(given, given_slots),
        )

    def _tell_members(self, index: int, definition: tuple[str, float, float, float]) -> None:
        """Has the other members keep to a limit that was changed here."""
        if self._share is not None:
            self._share.redescribe(self._given(), self.max_concurrency)
        if self._leased is not None and self._learner is None:
            self._leased.holder.retune(index, definition)

    def _share_stats(self) -> ShareStats | None:
        if self._leased is not None:
            return leased_from(self._leased.name, self._leased.holder, self._snapshot())
        if self._share is None:
            return None
        self._share.sweep(self, self._seats())
        shared = self._shared()
        return None if shared is None else share_from(self._share.share, shared)


def _described(belief: Belief, slots: int | None) -> str:
    parts = [
        f"{amount:,.10g} {name} in {per:g} s, {capacity:,.10g} at once"
        for (name, amount, per, capacity), _ in belief.given
    ]
    parts += [] if slots is None else [f"{slots} at a time"]
    if belief.adapt:
        parts.append(f"adapt={belief.adapt}")
    return "; ".join(parts) or "none"
