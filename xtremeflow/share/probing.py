"""A member's part in an outage of the provider: it tells news of its calls, and hears of others'.

While an outage lasts, the scheduler holds all calls. The prober asks for its next single call as
soon as that may go. The other members ask no more often than they speak anyway, and whichever asks
first then has the next one. So no member has to find out that another one is dead.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from xtremeflow import _core
from xtremeflow.share.offset import US, Offset
from xtremeflow.share.outage import AFTER
from xtremeflow.share.records import Tried
from xtremeflow.share.rows import ToldOutage

NEVER = -1  # to the scheduler


class Probing:
    """The outages of the provider, as a member knows them.

    Args:
        member: Its name.
        clock: Returns ns.
        offset: Of the keeper's clock.
    """

    def __init__(self, member: str, clock: Callable[[], int], offset: Offset) -> None:
        self._member, self._clock, self._offset = member, clock, offset
        self.told = ToldOutage()
        self._operations = -1  # those of the account, when it told that
        self._is_anew = False  # the account may have lost what it knew
        self._answered = self._failures = self._sent = self._took = self._interval = 0
        self._convinced_at: float = math.inf  # ns: its first single call lives for so long then
        self._first = -1  # the last of these calls that has, in ns

    # -- telling

    def collect(self, state: dict[str, Any]) -> None:
        """Takes up what calls have shown since the last look."""
        answered, failures, sent, took, interval = state["tried"]
        if answered > 0:
            self._answered, self._failures = max(self._answered, answered), 0
        if sent > 0:
            self._failures += failures
            self._sent, self._took = max(self._sent, sent), max(self._took, took)
            self._interval = interval or self._interval
        own, first, longest, sent = state["outage"]
        if self._is_anew and own != 0:
            self._failures, self._sent, self._took = max(AFTER, self._failures), sent, longest
            self._interval = self.told.interval * US if own == NEVER else self._interval
        self._is_anew = False
        self._convinced_at = math.inf
        if self.told.interval > 0 and first > self._first:
            self._convinced_at = first + max(2 * self.told.longest, self.told.interval) * US
            if self._clock() >= self._convinced_at:  # the provider is working on it
                self._answered, self._convinced_at = max(self._answered, first), math.inf
                self._first = first

    @property
    def is_urgent(self) -> bool:
        """Whether there is something to tell that begins an outage, moves or ends it."""
        if self.told.interval == 0:
            return self._failures >= AFTER
        return self._failures > 0 or self._there(self._answered) > self.told.sent

    @property
    def has_news(self) -> bool:
        """Whether there is something to tell."""
        return self._failures > 0

    def tell(self) -> Tried:
        """Returns all of it, which is told by that."""
        tried = Tried(
            self._there(self._answered),
            self._failures,
            self._there(self._sent),
            self._took // US,
            self._interval // US,
        )
        self._answered = self._failures = self._sent = self._took = 0
        return tried

    def _there(self, instant: int) -> int:
        return self._offset.there(instant) if instant > 0 else 0

    # -- asking

    @property
    def seconds(self) -> float:
        """Until it has something to do by itself."""
        now, at = self._clock(), self._convinced_at
        follows = self._offset.here(self.told.next)
        if self.told.interval > 0 and self.told.prober == self._member and follows > now:
            at = min(at, follows)
        return max(0.0, (at - now) / 1e9)

    def may_ask(self) -> bool:
        """Whether to ask for a call that waits, beside speaking from time to time."""
        told = self.told
        if told.interval == 0:
            return True
        return told.prober == self._member and self._offset.here(told.next) <= self._clock()

    # -- hearing

    def begin_anew(self) -> None:
        """Notes that the account is another one, or an older one. It hears of the outage again."""
        self._is_anew, self._operations = True, -1

    def hear(
        self, scheduler: _core.Scheduler, operations: int, told: ToldOutage, at: int | None
    ) -> bool:
        """Takes over the account's outage, as it was after so many operations.

        Args:
            scheduler: The member's.
            operations: Those of the account.
            told: The outage.
            at: From then on (ns) a single call of this member may go; None: no other one may.

        Returns:
            Whether it is a new one for the scheduler, as an episode is.
        """
        is_late = operations < self._operations
        if is_late or (self._is_anew and told.interval == 0):
            return False
        self._operations = operations
        if told.interval == self.told.interval == 0:
            return False
        self.told = told
        if told.interval == 0:
            return scheduler._lease_outage(0, NEVER, 0, 0)
        sent = self._offset.here(told.sent)
        return scheduler._lease_outage(
            NEVER, NEVER if at is None else at, told.longest * US, max(0, sent)
        )

    def go_on_alone(self, scheduler: _core.Scheduler) -> None:
        """Lets the scheduler try single calls by itself, since the account is not reached."""
        told, self.told = self.told, ToldOutage()
        if told.interval > 0:
            sent = max(0, self._offset.here(told.sent))
            scheduler._lease_outage(told.interval * US, self._clock(), told.longest * US, sent)
            self._interval = told.interval * US
