"""What a scheduler does as a member of a share: it joins, and keeps to the share's limits."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from math import isclose

from xtremeflow.scheduler.observing import Observing
from xtremeflow.scheduler.stats import ShareStats, leased_from, share_from
from xtremeflow.share.elsewhere import Membership, kept_share
from xtremeflow.share.keeper import KeptShare
from xtremeflow.share.member import Member
from xtremeflow.values.limits import Limit

logger = logging.getLogger("xtremeflow")


class Sharing(Observing):
    """A scheduler that is alone, a member of a share on this machine, or one of a keeper's."""

    _leased: Membership | None

    def __init__(
        self, share: str | KeptShare | None, max_concurrency: int | None, places: Sequence[str]
    ) -> None:
        kept = None if share is None else kept_share(share)
        self._leased = None if kept is None else Membership(kept)
        self._share = None if share is None or kept is not None else Member(str(share))
        if self._leased is not None:
            self._borrow(self._leased, max_concurrency)
        elif self._share is not None:
            self._enter(self._share, max_concurrency)
        else:
            super().__init__(
                limits=[self._defined(limit) for limit in self._limits],
                max_concurrency=max_concurrency,
                places=places,
            )

    @property
    def limits(self) -> tuple[Limit, ...]:
        """The configured rate limits; of a share, as any member has set them."""
        if self._leased is not None:
            held = self._leased.holder.limits
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

    def _enter(self, share: Member, max_concurrency: int | None) -> None:
        """Joins a share on this machine, with the limits of its first member."""
        given = [self._defined(limit) for limit in self._limits]
        with share.joining():
            counts = given if share.alone else share.limits
            slots = max_concurrency if share.alone else share.max_concurrency
            super().__init__(limits=counts, max_concurrency=slots)
            if share.alone:
                share.describe(counts, self.max_concurrency)
            share.join(self)
        if (given, max_concurrency) != (counts, slots):
            self._yield(share.share, counts, slots, given, max_concurrency)

    def _borrow(self, lease: Membership, max_concurrency: int | None) -> None:
        """Joins a share of a keeper, with the limits of its first member."""
        given = [self._defined(limit) for limit in self._limits]
        described = lease.join(given, max_concurrency)
        counts = list(described.limits)
        slots = None if described.slots < 0 else described.slots
        super().__init__(limits=counts, max_concurrency=slots)
        lease.begin(self)
        if (given, max_concurrency) != (counts, slots):
            self._yield(lease.name, counts, slots, given, max_concurrency)

    def _yield(
        self,
        share: str,
        counts: Sequence[tuple[str, float, float, float]],
        slots: int | None,
        given: Sequence[tuple[str, float, float, float]],
        given_slots: int | None,
    ) -> None:
        """Takes the limits that count, which are not those given, and says so."""
        self._limits = [Limit(*definition) for definition in counts]
        logger.warning(
            "the share %r has a member, whose limits count: %s; not those given here: %s",
            share,
            _described(counts, slots),
            _described(given, given_slots),
        )

    def _tell_members(self, index: int, definition: tuple[str, float, float, float]) -> None:
        """Has the other members keep to a limit that was changed here."""
        if self._share is not None:
            definitions = [self._defined(limit) for limit in self.limits]
            self._share.redescribe(definitions, self.max_concurrency)
        if self._leased is not None:
            self._leased.holder.retune(index, definition)

    def _share_stats(self) -> ShareStats | None:
        if self._leased is not None:
            return leased_from(self._leased.name, self._leased.holder, self._snapshot())
        if self._share is None:
            return None
        self._share.sweep(self, self._seats())
        shared = self._shared()
        return None if shared is None else share_from(self._share.share, shared)


def _described(limits: Iterable[tuple[str, float, float, float]], slots: int | None) -> str:
    parts = [
        f"{amount:g} {name} in {per:g} s, {capacity:g} at once"
        for name, amount, per, capacity in limits
    ]
    return "; ".join([*parts, *([] if slots is None else [f"{slots} at a time"])]) or "none"
