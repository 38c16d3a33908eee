"""Joins a scheduler to a share whose account a keeper has."""

from __future__ import annotations

import atexit
import os
import weakref
from collections.abc import Callable, Sequence

from xtremeflow import _core
from xtremeflow.share.holder import Holder
from xtremeflow.share.keeper import KeptShare
from xtremeflow.share.place import FORMS, ShareError
from xtremeflow.share.ray_keeper import SCHEME, ray_share
from xtremeflow.share.redis_keeper import SCHEMES, redis_share
from xtremeflow.share.rows import Described
from xtremeflow.values.limits import Definition

LEAVING = 1.0  # seconds that the end of the process waits for it


def kept_share(share: object) -> KeptShare | None:
    """Returns the share with a keeper that this names; None if it names one on this machine.

    Raises:
        TypeError, ValueError: It is no share at all.
    """
    if isinstance(share, KeptShare):
        return share
    if isinstance(share, str):
        scheme = share.partition(":")[0]
        if scheme == SCHEME:
            return ray_share(share)
        return redis_share(share) if scheme in SCHEMES else None
    raise TypeError(f"share must be {FORMS}, or a RedisShare or RayShare, got {share!r}")


class Membership:
    """A scheduler's membership in a share."""

    def __init__(self, share: KeptShare) -> None:
        self.name = str(share)
        self._loop, self._patience = share.loop(), share.joining
        self.holder = Holder(self.name, share.keeper, share.terms, self._loop)
        self._wait: Callable[[float], None] = lambda _: None

    def join(self, limits: Sequence[Definition], slots: int | None, belief: str) -> Described:
        """Joins with these limits, and returns those that count.

        Raises:
            ShareError: The keeper does not answer, or refuses.
        """
        try:
            return self._loop.finish(self.holder.join(limits, slots, belief), self._patience)
        except TimeoutError:
            raise ShareError(f"the share {self.name!r} does not answer in time") from None

    def begin(self, scheduler: _core.Scheduler) -> None:
        """Makes a scheduler with the share's limits the member."""
        self.holder.begin(scheduler)
        _here[self.holder.member] = weakref.ref(scheduler), self
        self._wait = self._loop.start(self._talk())

    async def _talk(self) -> None:
        try:
            await self.holder.talk()
        finally:
            reference, _ = _here.pop(self.holder.member, (lambda: None, None))
            scheduler = reference()
            if scheduler is not None:
                scheduler._lease_end(False)

    def leave(self, seconds: float = LEAVING) -> None:
        """Leaves the account. Waits at most so many seconds for that."""
        self.holder.close()
        self._wait(seconds)


_here: dict[str, tuple[weakref.ref[_core.Scheduler], Membership]] = {}
"""The members of this process."""


def _forget_all() -> None:
    """Drops the memberships after a fork, since they are the parent's."""
    for reference, _ in list(_here.values()):
        scheduler = reference()
        if scheduler is not None:
            scheduler._lease_end(True)
    _here.clear()


def _leave_all() -> None:
    here = list(_here.values())
    for reference, lease in here:
        scheduler = reference()
        if scheduler is not None:
            scheduler._lease_end(False)
        lease.holder.close()
    for _, lease in here:
        lease.leave()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
atexit.register(_leave_all)
