"""The holder of a lease: asks the keeper of an account for a scheduler's part, and hands it on.

The scheduler's core notes when there is something to ask for (csrc/core/lease.h). The holder asks
for one chunk at a time and at most one ahead, returns what was not used, tells of refusals, and
hears of those of others. Where the keeper does not answer it goes on alone for some time.
"""

from __future__ import annotations

import asyncio
import logging
import math
import uuid
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from xtremeflow import _core
from xtremeflow.share.agreed import Agreed
from xtremeflow.share.alone import Alone
from xtremeflow.share.asks import BUSY_PATIENCE, Asks, Reference
from xtremeflow.share.keeper import Keeper, KeeperLoop, Terms, Unreachable, Unusable
from xtremeflow.share.offset import US, Offset
from xtremeflow.share.pace import Pace
from xtremeflow.share.pauses import Pauses
from xtremeflow.share.place import ShareError
from xtremeflow.share.probing import Probing
from xtremeflow.share.records import HAS_LOAN, UNWANTED, Ask, Rest
from xtremeflow.share.rests import Standing, standing
from xtremeflow.share.rows import (
    Chunk,
    Described,
    Lesson,
    Taken,
    ToldOutage,
    described_from,
    taken_from,
    told_outage_from,
)
from xtremeflow.share.timeline import ACTIVE, CHUNK, LONGEST_LOAN, TRUST
from xtremeflow.values.limits import Definition

logger = logging.getLogger("xtremeflow")

FEW = 16  # members
LOOK = 0.05  # seconds between two looks of a member that goes on alone
SHORTEST = 1e-5  # seconds of a wait: for less, the clock of a loop that runs for long may not move


class Holder:
    """A member of the account, from `join` until `close`.

    Args:
        name: Of the share, for messages.
        keeper: Makes a connection for the member of that name, not connected yet.
        terms: How the share is used.
        loop: Where `talk` runs.
    """

    def __init__(
        self,
        name: str,
        keeper: Callable[[str], Keeper],
        terms: Terms,
        loop: KeeperLoop,
    ) -> None:
        self.name, self.terms = name, terms
        self.member = uuid.uuid4().hex
        self.outages = 0
        self.reachable = False
        self.last: Taken | None = None
        self._granted: Taken | None = None  # the last answer with a chunk
        self.agreed = Agreed(self._command, lambda: self._scheduler())
        self._keeper, self._clock, self._wake = keeper(self.member), loop.clock, loop.wake
        self._scheduler: Callable[[], _core.Scheduler | None] = lambda: None
        self._news = asyncio.Event()
        self._offset = Offset()
        self._alone = Alone(self._clock)
        self._connection = ""
        self._unsent: Ask | None = None  # an ask whose answer is not known
        self._heard: list[str] = []
        self._closed = self._joined = False
        self._pauses = Pauses(self._clock, self._offset)
        self.probing = Probing(self.member, self._clock, self._offset)
        self._asks = Asks(terms, self._clock, self._offset, self.agreed, self.probing)
        self._telling = False  # of a cooldown, whose answer is not known
        self._until = -1  # when the present chunk lapses, or the loan must be prolonged, in ns
        self._answered_at = 0  # the last answer, in ns

    # -- joining

    async def join(self, limits: Sequence[Definition], slots: int | None, belief: str) -> Described:
        """Joins with these limits, which count if there is no member yet. Returns those that count.
        Tries once more if the keeper does not answer in time, as one that starts or fails over.

        Raises:
            ShareError: The keeper does not answer, or refuses.
        """
        self.agreed.give(limits, slots, belief)
        try:
            return await self._connected()
        except (Unreachable, Unusable) as error:
            await self._keeper.close()
            what = "does not answer" if isinstance(error, Unreachable) else "cannot be used"
            raise ShareError(f"the share {self.name!r} {what}: {error}") from error

    async def _connected(self) -> Described:
        try:
            return await self._connect()
        except Unreachable as error:
            if error.refused:
                raise
            return await self._connect()

    async def _connect(self) -> Described:
        self._heard.clear()
        self._connection = await self._keeper.connect(self._hear)
        if not self._joined:
            await self._bury_gone()
        row = await self._command(
            "join", self.member, self._connection, uuid.uuid4().hex, BUSY_PATIENCE,
            self.agreed.slots, self.agreed.known[1], self.agreed.limits,
        )  # fmt: skip
        described = described_from(row)
        if described is None:
            raise Unusable(f"it answers {row!r}")
        if self._joined and not self.agreed.are_of(described):
            raise Unusable("it has other limits now")
        self.agreed.take_in(described)
        if not self._joined:
            self._epoch, self._operations = described.epoch, described.operations
            self._pauses.generation = described.generation
            self._first_end = self._offset.here(described.end) if described.end else 0
        elif described.epoch != self._epoch:
            self._alone.lose(self.last.members if self.last is not None else 1)
        self.reachable = self._asks.must_speak = True
        return described

    async def _bury_gone(self) -> None:
        """Buries members that were killed, so that they do not keep their limits against one that
        starts anew."""
        described = described_from(await self._command("describe"))
        if described is None or described.members > FEW:
            return  # among many there are others that see to it
        state = await self._keeper.status()
        members: list[dict[str, Any]] = [] if state is None else state["members"]
        for member in members:
            if not await self._keeper.lives(member["connection"]):
                await self._command("bury", member["member"], member["seen"])

    def begin(self, scheduler: _core.Scheduler) -> None:
        """Makes a scheduler with the share's limits the member."""
        self._scheduler = weakref.ref(scheduler)
        scheduler._lease(self)
        self._joined = True
        self._asks.begin()
        self._pauses.begin(scheduler, self._first_end)

    # -- what the scheduler and the user tell, from any thread

    def ask(self) -> None:
        """Notes that there is something to ask for."""
        self._wake(self._news.set)

    def set_slots(self, slots: int | None) -> None:
        """Changes the slots for all members."""
        self.retune(-1, ("", -1.0 if slots is None else float(slots), 1.0, 1.0))

    def retune(self, index: int, definition: Definition) -> None:
        """Changes a limit for all members; with index -1 the slots."""
        self.agreed.retune(index, definition)
        self.ask()

    def learn(self, version: int, belief: str, lessons: Sequence[Lesson]) -> None:
        """Changes limits and the belief for all members, see `Agreed.learn`."""
        self.agreed.learn(version, belief, lessons)
        self.ask()

    def tell(self, index: int, rest: Rest) -> None:
        """Tells the rest that an answer tells with the next ask, unless a lower one is told."""
        rest = rest._replace(at=self._offset.there(round(rest.at * 1e9)))
        self._asks.back.tell(index, rest, self.agreed.limits[index])

    def pace(self, index: int, most: float, *, seconds: float = 0.0, **terms: float) -> None:
        """Keeps the member's part of a limit's pace, see `Pace`; with `seconds` for so long."""
        until = self._clock() / 1e9 + seconds if seconds > 0 else math.inf
        self._asks.demand.pace(index, Pace(most, until=until, **terms))

    def close(self) -> None:
        """Leaves the account."""
        self._closed = True
        self.ask()

    @property
    def ahead(self) -> float:
        """Seconds by which the keeper's clock is ahead of the scheduler's."""
        return self._offset.ahead

    @property
    def standing(self) -> Standing | None:
        """The limits of the account, as the last answer tells them. None if that is not known, or
        if levels were set since."""
        last, granted = self.last, self._granted
        era = self._epoch, self._pauses.generation
        if last is None or granted is None or not era == last.era == granted.era:
            return None
        return standing(granted, last, self.agreed.limits, self._offset.here(last.now) / 1e9)

    # -- the conversation

    async def talk(self) -> None:
        """Asks and answers until `close`, in the keeper's loop."""
        while not self._closed:
            try:
                if not self.reachable:
                    await self._connect()
                await self._step()
            except Unreachable as error:
                await self._go_on_alone(error)
            except Unusable as error:
                logger.error("the share %r cannot be used: %s", self.name, error)
                await self._go_on_alone(Unreachable(str(error)))
            except Exception as error:  # else the calls would wait for ever
                logger.exception("a fault in the share %r", self.name)
                await self._go_on_alone(Unreachable(repr(error)))
        with suppress(Unreachable, Unusable):
            await self._leave()
        await self._keeper.close()

    async def _leave(self) -> None:
        if self.reachable:
            await self._return()
            back = (*self._asks.back.unused, *self._asks.back.refunded)
            await self._command("leave", self.member, self._epoch, self._pauses.generation, *back)

    async def _return(self) -> None:
        """Returns the account, if it is lent."""
        scheduler = self._scheduler()
        state = scheduler._lease_look() if scheduler is not None else {"has_loan": False}
        if scheduler is not None and state["has_loan"]:
            self._collect(state)
            self._asks.is_recalled = True
            self._asks.demand.put_off(TRUST)
            ask = self._asks.next(scheduler, state, self._reference, self.last, 0)
            await self._command("take", self.member, ask)

    async def _command(self, name: str, *arguments: Any) -> list[Any]:
        sent = self._clock()
        row = await self._keeper.command(name, *arguments)
        self._answered_at = self._clock()
        if len(row) > 1 and not isinstance(row[1], dict):
            self._offset.note(sent, int(float(row[1])), self._answered_at)
        return row

    async def _step(self) -> None:
        scheduler = self._scheduler()
        if scheduler is None:
            self._closed = True
            return
        state = scheduler._lease_look()
        if state["refused"]:
            self._asks.back.clear()
        self._collect(state)
        await self._tell_pauses(scheduler, state)
        await self.agreed.tell()
        await self._listen(scheduler)
        self._until = self._asks.renewal(state["until"]) if state["has_loan"] else state["until"]
        if self._unsent is not None:  # its chunk is asked for now
            ask: Ask | None = self._asks.again(self._unsent, self._alone.parts)
        else:
            ask = self._asks.next(scheduler, state, self._reference, self.last, self._alone.parts)
        if ask is not None:
            await self._take(scheduler, ask)
        seconds = self._asks.pause(state)
        del scheduler
        await self._rest(seconds)

    @property
    def _reference(self) -> Reference:
        generation = self._pauses.generation
        return Reference(self._connection, self._epoch, self._operations, generation)

    async def _rest(self, seconds: float) -> None:
        """Waits for news: at most so many seconds, and no longer than the chunk is valid."""
        if self._until >= 0:
            seconds = min(seconds, max(0.0, (self._until - self._clock()) / 1e9) + 0.001)
        if self._asks.demand.waits > 0:
            seconds = min(seconds, self._asks.demand.waits)
        await self._wait_for_news(min(seconds, self.probing.seconds))

    async def _wait_for_news(self, most: float) -> None:
        """Waits for news: at most so many seconds."""
        timer = asyncio.get_running_loop().call_later(max(SHORTEST, most), self._news.set)
        try:
            await self._news.wait()
        finally:
            timer.cancel()
        self._news.clear()

    def _collect(self, state: dict[str, Any]) -> None:
        """Takes up what the scheduler has to tell."""
        self._asks.collect(state)
        self.probing.collect(state)

    async def _take(self, scheduler: _core.Scheduler, ask: Ask) -> None:
        self._unsent = ask
        row = await self._command("take", self.member, ask)
        self._unsent = None
        taken = taken_from(row)
        if taken is None:
            self.reachable = False  # the account is lost: join it anew
            scheduler._lease_asks(False, 0, 0)
            scheduler._lease_void()
            self._joined_anew()
            return
        if ask.loan == UNWANTED and taken.chunk is not None and taken.chunk.is_loan:
            taken = replace(taken, chunk=None)  # of an ask sent again: its levels may be old
        await self._apply(scheduler, ask, taken)

    def _joined_anew(self) -> None:
        self._epoch = ""
        self._asks.begin_anew()
        self.probing.begin_anew()

    async def _apply(self, scheduler: _core.Scheduler, ask: Ask, taken: Taken) -> None:
        is_void = taken.generation < self._pauses.generation  # it was told of a pause meanwhile
        if taken.epoch != self._epoch:
            is_void, self._epoch = False, taken.epoch
            self._pauses.generation = taken.generation
            scheduler._lease_void()
            self._asks.back.clear()
            self.probing.begin_anew()
        if taken.fair >= 0 and (self.last is None or self.last.fair < 0):
            self._news.set()  # others wait for slots: we may have some to return
        self._operations, self.last = taken.operations, taken
        self._hear_pause(scheduler, taken.generation, taken.end)
        await self.agreed.hear(taken.version)
        if self.agreed.slots >= 0:
            scheduler._lease_slots(taken.slots, taken.fair, self.agreed.slots)
        chunk = None if is_void else taken.chunk
        start = self._offset.here(chunk.start) if chunk is not None else None
        self._hear_outage(scheduler, taken.operations, taken.outage, start)
        if chunk is not None and start is not None:
            self._take_chunk(scheduler, ask, taken, chunk, start)
        else:
            if ask.loan == HAS_LOAN:
                scheduler._lease_return()
            if ask.waits > 0:
                scheduler._lease_asks(False, ask.want, 0)
                if taken.outage.interval == 0:  # another member has the account
                    self._asks.demand.put_off(TRUST)
        if taken.suspect and not await self._keeper.lives(taken.connection):
            await self._command("bury", taken.suspect, taken.seen)

    def _take_chunk(
        self, scheduler: _core.Scheduler, ask: Ask, taken: Taken, chunk: Chunk, start: int
    ) -> None:
        if chunk.is_loan:
            ends = start + (chunk.until - chunk.start) * US
            if scheduler._lease_grant(start, chunk.levels, chunk.units, ends) == ends:
                self._until = self._asks.renewal(ends)
            return
        until = scheduler._lease_grant(start, chunk.levels, chunk.units, -1)
        self._until = until if until >= 0 else self._until
        if until < 0:
            self._asks.back.give(chunk.units)
        self._granted = taken
        self._asks.demand.follow(ask, taken, self.agreed.limits, start, self._alone.parts)

    # -- pauses and outages

    async def _tell_pauses(self, scheduler: _core.Scheduler, state: dict[str, Any]) -> None:
        """Tells of a cooldown that calls of this member have opened or extended."""
        news = self._pauses.news(state)
        if news is not None:
            self._telling = True
            try:
                row = await self._command("refused", self._epoch, *news)
            finally:
                self._telling = False
            self._pauses.told(scheduler, state, row)
            self._asks.must_speak |= self.probing.has_news

    def _hear_pause(self, scheduler: _core.Scheduler, generation: int, end: int) -> None:
        if self._pauses.hear(scheduler, generation, end):
            self._asks.back.clear()

    def _take_in_pause(self, scheduler: _core.Scheduler, message: str) -> None:
        _, generation, end = message.split()
        self._hear_pause(scheduler, int(float(generation)), int(float(end)))

    def _hear_outage(
        self, scheduler: _core.Scheduler, operations: int, told: ToldOutage, at: int | None = None
    ) -> None:
        if self.probing.hear(scheduler, operations, told, at):
            self._pauses.count_episode()

    def _hear(self, message: str) -> None:
        """Takes a message of the keeper, in the loop. A pause waits for no answer to a command,
        except to one that tells of a pause, which may be the same."""
        scheduler = self._scheduler()
        if message.startswith("pause") and not self._telling and scheduler is not None:
            self._take_in_pause(scheduler, message)
        else:
            self._heard.append(message)
            self._news.set()

    async def _listen(self, scheduler: _core.Scheduler) -> None:
        heard, self._heard = self._heard, []
        for message in heard:
            kind, *rest = message.split()
            if kind == "pause":
                self._take_in_pause(scheduler, message)
            elif kind == "recall":
                self._asks.is_recalled = True
                self._asks.demand.put_off(TRUST)  # the others go first
            elif kind == "room":
                self._asks.demand.put_off(0)
            elif kind == "slots" and int(float(rest[1])) > self._operations:
                fair = self.last.fair if self.last is not None else -1
                scheduler._lease_slots(int(float(rest[0])), fair, self.agreed.slots)
            elif kind == "limits":
                await self.agreed.hear(int(float(rest[0])))
            elif kind == "outage":
                self._hear_outage(scheduler, int(float(rest[0])), told_outage_from(rest[1:]))
                self._asks.must_speak |= not self.probing.told.prober
            elif kind in ("crowd", "epoch"):
                self._asks.must_speak = True
            elif kind == "cut":
                raise Unreachable("its messages have ended")

    # -- an outage of the keeper

    async def _go_on_alone(self, error: Unreachable) -> None:
        """Uses the member's part of the limits until the keeper answers again."""
        self.reachable = False
        self.outages += 1
        logger.warning("the share %r does not answer: %s", self.name, error)
        span = self.last.span if self.last is not None else CHUNK
        granted = self._answered_at + 2 * span * US
        members = self.last.members if self.last is not None else 1
        lent = self._clock() + LONGEST_LOAN * US if self._may_be_lent else 0
        self._alone.begin(len(self.agreed.limits), granted, lent, members)
        scheduler = self._scheduler()
        if scheduler is not None:
            scheduler._lease_return()
            self.probing.go_on_alone(scheduler)
        refused = error.refused
        while not self._closed and self._scheduler() is not None:
            if self._alone.seconds == 0:
                try:
                    await self._connect()
                    break
                except Exception as again:  # whatever it is, the next try may do better
                    refused = isinstance(again, Unreachable) and again.refused
                self._alone.put_off()
            if self.terms.on_outage == "share" and self._alone.may_go_on(refused):
                self._grant_alone()
            await self._wait_for_news(min(LOOK, self._alone.seconds))
        if self.reachable:
            self._owe()
            logger.warning("the share %r answers again", self.name)

    @property
    def _may_be_lent(self) -> bool:
        """Whether another member may have the account, because this one had no chunk lately."""
        last, granted = self.last, self._granted
        if last is None or last.members == 1 or last.chunk is not None:
            return False
        return granted is None or last.now - granted.now > ACTIVE

    def _grant_alone(self) -> None:
        scheduler = self._scheduler()
        if scheduler is None:
            return
        state = scheduler._lease_look()
        self._collect(state)
        if state["has_next"] or state["waiting"] == 0:
            return
        self._alone.grant(scheduler, state["head"], self.agreed.limits)

    def _owe(self) -> None:
        """Charges the account for what was used without it."""
        scheduler = self._scheduler()
        if scheduler is None:
            return
        state = scheduler._lease_look()
        self._collect(state)
        left = [a + b for a, b in zip(state["left"], self._asks.back.unused, strict=True)]
        debts = self._alone.end(left, self.agreed.limits)
        if any(debts):
            scheduler._lease_void()
            self._asks.back.owe(debts)
