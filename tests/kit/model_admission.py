"""What time does, as a plain specification: which call is admitted when, and which expires."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from fractions import Fraction

from kit.model_call import ADMITTED, EXPIRED, WAITING, Call, Outage
from kit.model_groups import Group
from kit.model_limit import MS, Figures, Limit

CATCH_UP = 25 * MS  # lateness beyond this is not made good
INPUTS = 1  # so many of the limits count input; the others do not


class Admission:
    """The queue and what calls pass. `armed` is the instant at which something happens without any
    operation. Calls are known by their number.
    """

    def __init__(self, limits: Sequence[Figures], slots: int | None = None) -> None:
        self.limits = [Limit(*figures) for figures in limits]
        self.slots = slots
        self.let_in: int | None = None  # how many are let in for now, however many slots there are,
        self.ramp: int | None = None  # and how far that has come
        self.in_use = 0
        self.calls: list[Call] = []
        self.groups: list[Group] = []
        self.hold = 0  # the bound of a hold
        self.ways_are_given = True  # by groups that have used their turn up
        self.renewed = False  # the last call admitted had gone first because its group faded
        self.reads_free = False  # the last answer that told had found its prefix, at no charge
        self.outbox: list[int] = []  # the calls that were admitted or have expired, in order
        self.armed: int | None = None
        self.now = 0
        self.anchor = 0  # no admission is dated before this instant
        self.waited = False  # whether the last admission was waited for, or caught up after that
        self.arriving: Call | None = None  # what this operation has put into an empty queue
        self.admitted_at = -CATCH_UP  # when the last admission really happened, late or not
        self.admitted = 0  # attempts; those taken back before their dispatch are not counted
        self.resets = 0  # how often levels were set to what a provider said
        self.generation = 0  # episodes so far
        self.step = 0  # episodes since the last success: the exponent of the next guess
        self.end = 0  # of the cooldown: no call is admitted before it
        self.flying: list[Call] = []  # the calls in flight, in order of their dispatch
        self.outage = Outage()
        self.margin = 0  # ns
        self.margin_changed = 0

    def poll(self, now: int) -> None:
        """Let time pass: whatever was due is admitted, changes its group or expires, in order."""
        self.now = max(self.now, now)  # a clock that runs backward stands still
        while True:
            head = next(iter(self.going()), None)
            change = min(self.changes(), default=None)
            at = None if head is None else self.instant(head)
            in_time = at is not None and at <= self.now and (change is None or at <= change)
            if head is not None and at is not None and in_time and not head.overdue_at(at):
                self.admit(head, at)
                continue
            due = [call for call in self.waiting() if call.overdue_at(self.now + 1)]
            first = min(due, key=lambda call: call.deadline or 0, default=None)
            before = self.now if first is None else first.deadline or 0
            if change is not None and change <= before:
                self.change(change)
            elif first is not None:
                self.expire(first, head)
            else:
                break
        self.armed = self.next_instant()

    def changes(self) -> list[int]:
        """When time alone changes groups whose calls wait."""
        instants = [group.changes_at for group in self.groups if self.members(group)]
        return [at for at in instants if at is not None]

    def change(self, at: int) -> None:
        self.anchor = max(self.anchor, at)
        for group in self.groups:
            if group.changes_at == at and (waiting := self.members(group)):
                group.change(waiting)

    def collect(self) -> list[int]:
        collected, self.outbox = self.outbox, []
        return collected

    def waiting(self) -> list[Call]:
        queue = [call for call in self.calls if call.state == WAITING]
        return sorted(queue, key=lambda call: call.place)

    def going(self) -> list[Call]:
        """Those of them that are not held by their group, and do not give way to such calls. The
        first one of a group that fades goes first in its priority, but not two in a row."""
        waiting = self.waiting()
        going = [call for call in waiting if not call.held and not self.gives_way(call, waiting)]
        first = [call for call in going if call.priority == going[0].priority and call.fading]
        return going if self.renewed else first[:1] + [c for c in going if c not in first[:1]]

    def gives_way(self, call: Call, waiting: list[Call]) -> bool:
        """Whether its group has used its turn up, while another one, whose turn would be next, is
        held. `waiting` are all calls that wait, in order."""
        first = next(each for each in waiting if each.flow == call.flow)
        is_due = self.ways_are_given and first.used_up and not call.fading
        return is_due and any(each.held for each in waiting[: waiting.index(first)])

    def members(self, group: Group) -> int:
        """Calls of a group and its branches that wait."""
        return sum(call.group is not None and group in call.group.path for call in self.waiting())

    def instant(self, head: Call) -> int | None:
        """The virtual instant at which `head` is admitted; None while it depends on a free slot."""
        return self.offer(head)[0]

    def offer(self, call: Call) -> tuple[int | None, int]:
        """The instant at which a call is admitted, and the tokens taken off its costs: those that
        its group saves, else its trunk, as long as it is warm."""
        for group in [] if call.group is None else call.group.path:
            tokens = self.saving(call, group)
            at = self.ready(self.reduced(call, tokens))
            if tokens and self.is_warm_at(group, at):
                return at, tokens
        return self.ready(call.costs), 0

    def ready(self, costs: Sequence[int]) -> int | None:
        if self.full:
            return None
        ready = [limit.ready(cost) for limit, cost in zip(self.limits, costs, strict=True)]
        return max([self.anchor, self.now - CATCH_UP, self.end, self.outage.ready(), *ready])

    def saving(self, call: Call, group: Group) -> int:
        """The tokens that the provider will not charge, as long as the group is warm. An estimate
        that does not hold them leaves them out already."""
        held = [cost for cost in call.costs[:INPUTS] if cost]
        if not (self.reads_free and group.sure and held):
            return 0
        return group.tokens if min(held) > group.tokens else 0

    @staticmethod
    def reduced(call: Call, tokens: int) -> list[int]:
        """The costs without so many tokens of input."""
        return [c - tokens if i < INPUTS and c else c for i, c in enumerate(call.costs)]

    @staticmethod
    def is_warm_at(group: Group, at: int | None) -> bool:
        return at is None or group.warm_until is None or at < group.warm_until

    @property
    def full(self) -> bool:
        return any(n is not None and self.in_use >= n for n in (self.slots, self.ramp))

    def admit(self, call: Call, at: int) -> None:
        _, call.saved = self.offer(call)
        call.costs = self.reduced(call, call.saved)
        behind = len(self.waiting()) - 1  # they will cost as much each as the calls so far
        for limit, cost in zip(self.limits, call.costs, strict=True):
            limit.take(cost, at)
            waiting = float(limit.used) / float(self.admitted + 1) * behind
            left = min(limit.level, limit.room)
            limit.pace.took(cost, left, waiting, limit.rate, limit.capacity, at)
        self.try_one(at)
        self.admitted += 1
        self.in_use += 1
        self.anchor = at
        self.waited = call is not self.arriving or (self.waited and at < self.now)
        self.admitted_at = self.now
        call.state, call.resets = ADMITTED, self.resets
        self.renewed = call.fading
        if call.group is not None:
            newest = len(self.calls) - 1
            call.led = call.group.admitted(call.number, call.priority, at, newest, self.hold)
        self.outbox.append(call.number)

    def try_one(self, at: int) -> None:
        """In an outage a single call is let in; or all are, from now on."""
        outage = self.outage
        if not outage.interval:
            return
        if outage.first is None:
            outage.first = at
        elif at >= outage.convinced_at:
            self.outage = Outage()
        outage.next = at + outage.interval

    def expire(self, call: Call, head: Call | None) -> None:
        assert call.deadline is not None
        if call is head:  # until then it stood in the way
            self.anchor = max(self.anchor, call.deadline)
        call.state = EXPIRED
        self.outbox.append(call.number)

    def next_instant(self) -> int | None:
        instants = [call.deadline for call in self.waiting()]
        instants += [self.instant(call) for call in self.going()[:1]]
        return min((at for at in [*instants, *self.changes()] if at is not None), default=None)

    def state(self, number: int) -> str:
        return self.calls[number].state

    def level(self, index: int, now: int) -> Fraction:
        limit = copy(self.limits[index])
        limit.advance(now)
        return limit.level

    def rate(self, index: int) -> Fraction:
        return self.limits[index].rate

    def used(self, index: int) -> int:
        return self.limits[index].used
