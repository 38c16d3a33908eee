"""A member whose keeper does not answer: when it tries again, and what it uses meanwhile.

It uses its part of the limits, in pieces so small that the pieces of all members at once are no
burst. It begins when the chunks that were granted before are used up. Afterwards it owes what it
has used.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

from xtremeflow import _core
from xtremeflow.share.timeline import CHUNK
from xtremeflow.values.limits import Definition

PIECE = CHUNK / 4e6  # seconds: a chunk of its own is the gain of its part in this time
LONGEST = 10.0  # seconds for which members go on alone, unless connections are refused
SECOND_TRY, LAST_TRY = 0.05, 1.0  # seconds between two tries to connect, at first and at most
LATEST = 2 * LAST_TRY  # within this time all members notice that an outage is over


class Alone:
    """The outages of a member, one after the other.

    Args:
        clock: Returns ns.
    """

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._chance = random.Random()  # the program's own numbers are not for this thread
        self._began = self._try_at = self._from = self._lent = 0  # ns
        self._ended = self._parts_until = -math.inf  # ns
        self._wait = SECOND_TRY  # before the next try, in seconds
        self.members = 1  # by which the limits are divided
        self._units: list[float] = []  # of its own chunks

    def begin(self, limits: int, granted: int, lent: int, members: int) -> None:
        """Begins an outage. Until `granted` (ns) members may have chunks, and until `lent` another
        one may have the account. The keeper has told of so many `members`."""
        self._lent = lent
        self._began = self._try_at = self._clock()
        self._from, self._units = max(self._began, granted), [0.0] * limits
        if self._began > self._ended + LATEST * 1e9:
            self._wait, self.members = SECOND_TRY, members
        else:  # something is wrong that connecting does not mend, and not all have joined again
            self.members = max(members, self.members)
            self.put_off()

    def end(self, left: Sequence[float], limits: Sequence[Definition]) -> list[float]:
        """Ends an outage, with `left` of the member's chunks unused. Returns what the member owes
        of each limit.

        The account's buckets have gained meanwhile at most what they hold. The members together owe
        no more than that, and a chunk.
        """
        self._ended = self._clock()
        used = [max(0.0, own - rest) for own, rest in zip(self._units, left, strict=True)]
        if any(used) or self._wait > SECOND_TRY:  # others may be alone for as long again
            self._parts_until = self._ended + LATEST * 1e9
        return [
            min(units, (capacity + amount / per * CHUNK / 1e6) / self.members)
            for units, (_, amount, per, capacity) in zip(used, limits, strict=True)
        ]

    def lose(self, members: int) -> None:
        """Notes that the account was lost. Of its `members` some may have noticed before, and may
        still be alone."""
        self.members = max(members, self.members)
        self._parts_until = self._clock() + LATEST * 1e9

    # -- tries to connect

    @property
    def seconds(self) -> float:
        """Until the next try; 0 if it is due."""
        return max(0.0, (self._try_at - self._clock()) / 1e9)

    def put_off(self) -> None:
        """Tries again later. Each wait is longer than the one before."""
        wait = self._wait * self._chance.uniform(0.5, 1.5)
        self._wait = min(LAST_TRY, 2 * self._wait)
        self._try_at = self._clock() + int(wait * 1e9)

    # -- its part

    def may_go_on(self, refused: bool) -> bool:
        """Whether the member may use its part now. While connections are `refused` no member gets
        an answer, or has the account, so it may go on without end."""
        now = self._clock()
        return refused or (now >= self._lent and now - self._began < LONGEST * 1e9)

    @property
    def parts(self) -> int:
        """The members that divide the limits: an outage ended, or the account was lost, a moment
        ago, and others may not have noticed yet. 0: the limits are not divided."""
        return self.members if self._clock() < self._parts_until else 0

    def grant(
        self, scheduler: _core.Scheduler, head: Sequence[int], limits: Sequence[Definition]
    ) -> None:
        """Grants the scheduler the next chunk of its own, unless it has enough.

        Args:
            scheduler: The member's.
            head: The costs of its first call.
            limits: Those of all members.
        """
        now = self._clock()
        if self._from > now + CHUNK * 1_000:
            return
        rates = [amount / per / self.members for _, amount, per, _ in limits]
        units = tuple(
            max(float(own), math.floor(rate * PIECE)) for own, rate in zip(head, rates, strict=True)
        )
        length = max((u / rate for u, rate in zip(units, rates, strict=True)), default=0.0)
        start = max(self._from, now)
        if not any(self._units):  # the first ones of all members are no burst either
            start += int(length * self._chance.random() * 1e9)
        self._from = start + int(length * 1e9)
        self._units = [a + b for a, b in zip(self._units, units, strict=True)]
        scheduler._lease_grant(start, tuple(map(float, head)), units, -1)
