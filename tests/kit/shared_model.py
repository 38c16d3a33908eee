"""Members of one account as a plain, slow specification: each is the model of a scheduler, and what
they have in common is one object.

The member that looks plays the line back for all; see csrc/core/line.h. The C core must do the
same, operation for operation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

from kit.model import Model
from kit.model_admission import CATCH_UP
from kit.model_call import ADMITTED, IN_FLIGHT, Call, Outage
from kit.model_limit import MS, Figures, Limit

GRANT = 100 * MS  # a grant that was not taken by then lapses

QUIET, WAITING, GRANTED = "quiet", "waiting", "granted"


@dataclass(eq=False)
class Seat:
    """What the account knows of a member."""

    state: str = QUIET
    costs: list[int] = field(default_factory=list)  # of its head
    since: int = 0  # its head does not pass before
    at: int = 0  # granted: the instant at which it has passed,
    granted_at: int = 0  # and the one at which that was found out
    resets: int = 0  # granted: those of the account then
    held: int = 0  # slots
    behind: int = 0  # calls of its queue behind the head, when that came into the line


class Account:
    """What members have in common."""

    def __init__(self, limits: Sequence[Figures], slots: int | None = None) -> None:
        self.limits = [Limit(*figures) for figures in limits]
        self.slots = slots
        self.seats: list[Seat] = []
        self.line: list[Seat] = []  # whose heads wait or are granted, in the order of their asking
        self.anchor = 0  # who waits does not pass before: something has changed then
        self.resets = self.generation = self.step = self.end = 0
        self.outage = Outage()
        self.prober: Seat | None = None  # whose call is the first single one
        self.margin = self.margin_changed = 0
        self.version, self.belief = 1, b""

    @property
    def held(self) -> int:
        return sum(seat.held + (seat.state == GRANTED) for seat in self.seats)

    def due(self, seat: Seat, now: int) -> int:
        ready = [limit.ready(cost) for limit, cost in zip(self.limits, seat.costs, strict=True)]
        start = max(seat.since, self.anchor, now - CATCH_UP)
        return max([start, self.end, self.outage.ready(), *ready])

    def waiting(self, index: int, head: Seat) -> float:
        """The units that calls wait for once this head has passed. Those behind a head will cost as
        much each as that one."""
        later = self.line[self.line.index(head) + 1 :]
        waits = [
            (seat.behind + (seat.state == WAITING and seat in later), seat) for seat in self.line
        ]
        return float(sum(calls * seat.costs[index] for calls, seat in waits))

    def pay(self, seat: Seat, at: int) -> None:
        for index, (limit, cost) in enumerate(zip(self.limits, seat.costs, strict=True)):
            limit.take(cost, at)
            left, waiting = min(limit.level, limit.room), self.waiting(index, seat)
            limit.pace.took(cost, left, waiting, limit.rate, limit.capacity, at)
        outage = self.outage
        if outage.interval:
            if outage.first is None:
                outage.first, self.prober = at, seat
            elif at >= outage.convinced_at:
                self.outage = outage = Outage()
            outage.next = at + outage.interval if outage.interval else outage.next

    def unpay(self, costs: Sequence[int], resets: int, now: int) -> None:
        for limit, cost in zip(self.limits, costs, strict=True):
            if limit.reset > resets:
                limit.used -= cost
            else:
                limit.untake(cost, now)
        if self.outage.interval and resets == self.resets:
            self.outage.first, self.outage.next = None, now

    def clear(self, seat: Seat, now: int) -> None:
        if seat.state == GRANTED:
            self.unpay(seat.costs, seat.resets, now)
        seat.state = QUIET
        self.line = [each for each in self.line if each is not seat]

    def play(self, me: Seat, now: int) -> None:
        """Grants lapse, or go back into the line if levels were set since; then all that could have
        passed by now have, in order.
        """
        for seat in reversed(self.line):
            if seat.state == GRANTED and seat.resets != self.resets:
                self.unpay(seat.costs, seat.resets, now)
                seat.state, seat.since = WAITING, now
            elif seat.state == GRANTED and seat is not me and now - seat.granted_at > GRANT:
                self.clear(seat, now)
        for seat in self.line:
            if self.slots is not None and self.held >= self.slots:
                break
            if seat.state == WAITING:
                at = self.due(seat, now)
                if at > now:
                    break
                self.pay(seat, at)
                seat.state, seat.at, seat.granted_at = GRANTED, at, now
                seat.resets = self.resets

    def foresee(self, me: Seat, now: int) -> int | None:
        """When the head of `me` will pass; None: when a slot comes free."""
        future = copy(self)
        future.limits, future.outage = deepcopy(self.limits), copy(self.outage)
        at, held = now, self.held
        for seat in self.line:
            if seat.state == WAITING:
                if self.slots is not None and held >= self.slots:
                    return None
                held += 1
                at = max(at, future.due(seat, now))
                if seat is me:
                    break
                future.pay(seat, at)
        return at

    def open(self, me: Seat, now: int) -> None:
        """Before a change: from now on it counts for those who have waited until now."""
        self.play(me, now)
        if any(seat.state == WAITING for seat in self.line):
            self.anchor = max(self.anchor, now)

    def close(self, me: Seat, in_use: int, now: int) -> None:
        me.held = in_use
        self.play(me, now)

    def bury(self, by: Member, dead: Member, now: int) -> None:
        """A member is dead, and another one has noticed."""
        self.open(by.seat, now)
        by.seat.held = by.in_use
        self.clear(dead.seat, now)
        if self.outage.interval and self.outage.first is not None and self.prober is dead.seat:
            self.outage.first, self.outage.next = None, now
        dead.seat.held = 0
        self.play(by.seat, now)


def common(name: str) -> Any:
    return property(
        lambda self: getattr(self.account, name),
        lambda self, value: setattr(self.account, name, value),
    )


def changing(operation: Callable[..., Any]) -> Any:
    """An operation of the model that changes what is common, between its begin and its poll."""

    @wraps(operation)
    def changes(self: Member, *arguments: Any) -> Any:
        self.opens = True
        try:
            return operation(self, *arguments)
        finally:
            self.opens = self.is_open = False

    return changes


class Member(Model):
    """The model of a scheduler that is a member of an account."""

    limits, slots, resets = common("limits"), common("slots"), common("resets")
    generation, step, end = common("generation"), common("step"), common("end")
    outage, margin = common("outage"), common("margin")
    margin_changed = common("margin_changed")

    def __init__(self, account: Account) -> None:
        alone = Model([], None)
        self.account, self.seat = account, Seat()
        account.seats.append(self.seat)
        self.opens = self.is_open = False
        self.head_at: int | None = None
        for name, value in vars(alone).items():
            if not isinstance(getattr(Member, name, None), property):
                setattr(self, name, value)

    # -- the line

    def poll(self, now: int) -> None:
        self.now = max(self.now, now)
        if self.is_open:
            self.is_open = False
            self.account.close(self.seat, self.in_use, self.now)
        self.head_at = None
        while queue := self.waiting():
            at = self.ask(queue[0])
            if at is None or at > self.now:
                self.head_at = at
                break
            self.admit(queue[0], at)
        if not self.waiting() and self.seat.state != QUIET:
            self.account.open(self.seat, self.now)
            self.account.clear(self.seat, self.now)
            self.account.close(self.seat, self.in_use, self.now)
        self.armed = self.head_at

    def ask(self, head: Call) -> int | None:
        account, seat = self.account, self.seat
        if seat.state == QUIET or seat.costs != head.costs:
            if seat.state == GRANTED:
                account.clear(seat, self.now)
            if seat.state == QUIET:
                seat.since = self.anchor
                account.line.append(seat)
            seat.state, seat.costs = WAITING, list(head.costs)
            seat.behind = len(self.waiting()) - 1
        account.play(seat, self.now)
        if seat.state != GRANTED:
            return account.foresee(seat, self.now)
        seat.state, seat.held = QUIET, self.in_use + 1
        account.line.remove(seat)
        return seat.at

    def admit(self, call: Call, at: int) -> None:
        self.admitted += 1
        self.in_use += 1
        self.anchor = at
        self.waited = call is not self.arriving or (self.waited and at < self.now)
        self.admitted_at = self.now
        call.state, call.resets = ADMITTED, self.seat.resets
        self.outbox.append(call.number)

    # -- changes of what is common

    def begin(self, now: int) -> None:
        super().begin(now)
        if self.opens:
            self.account.open(self.seat, self.now)
            self.is_open = True

    settle, set_level, shut = (
        changing(Model.settle),
        changing(Model.set_level),
        changing(Model.shut),
    )
    set_slots, pace = changing(Model.set_slots), changing(Model.pace)
    refused, failed = changing(Model.refused), changing(Model.failed)

    @changing
    def retune(self, now: int, index: int, figures: Figures) -> None:
        super().retune(now, index, figures)
        self.account.version += 1

    def learn(
        self, now: int, version: int, index: int, figures: Figures, level: int | None, belief: bytes
    ) -> bool:
        """All members learn a limit and a belief, unless another one has been faster."""
        if version != self.account.version:
            self.poll(now)
            return False
        self.teach(now, index, figures, level)
        self.account.version, self.account.belief = version + 1, belief
        return True

    @changing
    def teach(self, now: int, index: int, figures: Figures, level: int | None) -> None:
        self.begin(now)
        self.give_figures(index, figures)
        if level is not None and self.limits[index].set_level(level, self.now):
            self.resets += 1
            self.limits[index].reset = self.resets
        self.poll(self.now)

    @changing
    def lower(self, now: int, index: int, left: int, used: int, at: int) -> None:
        """An answer has told what was left at `at`, when all members had used `used`."""
        self.begin(now)
        limit = self.limits[index]
        limit.lower(left, limit.used - used, at, self.now)
        self.poll(self.now)

    def free_slot(self) -> None:
        self.slots_change()
        self.in_use -= 1
        self.account.open(self.seat, self.now)
        self.account.close(self.seat, self.in_use, self.now)

    def take_back(self, call: Call) -> None:
        self.slots_change()
        self.in_use -= 1
        self.admitted -= 1
        self.account.open(self.seat, self.now)
        self.account.unpay(call.costs, call.resets, self.now)
        self.account.close(self.seat, self.in_use, self.now)

    def succeed(self, call: Call) -> None:
        if self.step or self.margin or self.outage.failures:
            self.account.open(self.seat, self.now)
            super().succeed(call)
            self.account.close(self.seat, self.in_use, self.now)

    @property
    def in_flight(self) -> list[Call]:
        return [call for call in self.calls if call.state == IN_FLIGHT]
