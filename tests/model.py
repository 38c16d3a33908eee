"""The scheduler core as a plain, slow specification.

Levels are exact fractions, instants are whole nanoseconds, the queue is a list that is searched from
end to end. Nothing here is clever, so that it can be checked against the rules by reading; the C core
must do the same, operation for operation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil

MS = 1_000_000
CATCH_UP = 10 * MS  # lateness beyond this is not made good
TURNAROUND = 1 * MS  # an arrival so soon after an admission belongs to the same run of calls


@dataclass
class Limit:
    """`amount` units every `per` ns, at most `capacity` at once; `level` is as of the instant `at`."""

    amount: int
    per: int
    capacity: int
    level: Fraction = field(init=False)
    at: int = 0

    def __post_init__(self) -> None:
        self.level = Fraction(self.capacity)

    @property
    def rate(self) -> Fraction:
        return Fraction(self.amount, self.per)

    @property
    def top(self) -> Fraction:
        """Where refilling ends: less than one ns of refill above the capacity.

        Without that remainder a bucket read at whole nanoseconds would lose a part of one at each
        admission of a call as large as the capacity.
        """
        return self.capacity + Fraction(self.rate.numerator - 1, self.rate.denominator)

    def need(self, cost: int) -> int:
        return min(cost, self.capacity)

    def level_at(self, t: int) -> Fraction:
        if t <= self.at:
            return self.level
        return max(self.level, min(self.level + self.rate * (t - self.at), self.top))

    def advance(self, t: int) -> None:
        self.level = self.level_at(t)
        self.at = max(self.at, t)

    def ready(self, cost: int) -> int:
        """The first whole nanosecond at which `cost` passes."""
        missing = self.need(cost) - self.level
        return self.at + max(0, ceil(missing / self.rate))


WAITING, GRANTED, RUNNING, OVER = "waiting", "granted", "running", "over"


@dataclass
class Call:
    costs: list[int]  # what one attempt takes of each limit
    priority: int
    number: int  # of its first enqueuing; a retry keeps it
    deadline: int | None
    state: str = WAITING
    held: list[int] = field(default_factory=list)  # what its attempt has paid, limit by limit
    generation: int = 0  # of the cooldown, at its dispatch

    @property
    def place(self) -> tuple[int, int]:
        return (-self.priority, self.number)


@dataclass(frozen=True)
class Event:
    """`call` was admitted at the virtual instant `at`, or had expired at its deadline `at`."""

    what: str  # "admitted" or "expired"
    call: int
    at: int


class Model:
    """Every operation takes `now`: time passes up to it, then the change happens, then the head is
    looked at again. `armed` is the instant at which something happens without any operation.
    """

    def __init__(self, limits: list[Limit], slots: int | None = None, now: int = 0) -> None:
        self.limits = limits
        for limit in limits:
            limit.at = now
        self.slots = slots
        self.in_flight = 0
        self.calls: dict[int, Call] = {}
        self.events: list[Event] = []
        self.armed: int | None = None
        self.now = now
        self.anchor = now  # no admission is dated before this instant
        self.last_admission: int | None = None
        self.admitted = 0
        self.admitted_cost = [0] * len(limits)
        self.generation = 0
        self.step = 0  # of the exponential, for the next episode
        self.episode_step = 0  # the one that the running episode used
        self.end: int | None = None  # of the cooldown: nobody is admitted before it
        self.refusing: set[int] = set()  # the limits that are empty at `end`
        self.promised: set[int] = set()  # those that the first head after `end` passes all the same

    # -- what time does --------------------------------------------------------------------------

    def advance(self, now: int) -> None:
        """Let time pass: whatever was due is admitted or expires, in order."""
        self.now = max(self.now, now)  # a clock that runs backward stands still
        self.end_cooldown()
        while queue := self.waiting():
            head = self.calls[queue[0]]
            at = self.instant(head)
            if at is not None and at <= self.now and at <= deadline_of(head):
                self.admit(queue[0], at)
            elif deadline_of(head) <= self.now:
                self.expire(queue[0])
            else:
                break
        for number in self.waiting():
            if deadline_of(self.calls[number]) <= self.now:
                self.expire(number)
        self.armed = self.next_instant()

    def end_cooldown(self) -> None:
        if self.end is None or self.end > self.now:
            return
        for index in self.refusing:
            self.limits[index].level, self.limits[index].at = Fraction(0), self.end
        self.anchor = max(self.anchor, self.end)
        self.promised, self.refusing, self.end = self.refusing, set(), None

    def waiting(self) -> list[int]:
        numbers = [number for number, call in self.calls.items() if call.state == WAITING]
        return sorted(numbers, key=lambda number: self.calls[number].place)

    def instant(self, head: Call) -> int | None:
        """The virtual instant at which `head` is admitted; None while it depends on a free slot."""
        if self.slots is not None and self.in_flight >= self.slots:
            return None
        instants = [self.anchor, self.now - CATCH_UP]
        if self.end is not None:
            instants.append(self.end)
        for index, limit in enumerate(self.limits):
            if index not in self.promised | self.refusing:
                instants.append(limit.ready(head.costs[index]))
        return max(instants)

    def admit(self, number: int, at: int) -> None:
        call = self.calls[number]
        for index, limit in enumerate(self.limits):
            limit.advance(at)
            if index in self.promised:
                limit.level = max(limit.level, Fraction(limit.need(call.costs[index])))
            limit.level -= call.costs[index]
            self.admitted_cost[index] += call.costs[index]
        self.promised = set()
        self.admitted += 1
        self.in_flight += 1
        self.anchor = self.last_admission = at
        call.state, call.held = GRANTED, list(call.costs)
        self.events.append(Event("admitted", number, at))

    def expire(self, number: int) -> None:
        call = self.calls[number]
        call.state = OVER
        self.events.append(Event("expired", number, deadline_of(call)))

    def next_instant(self) -> int | None:
        queue = self.waiting()
        instants = [self.calls[number].deadline for number in queue]
        if queue:
            instants.append(self.instant(self.calls[queue[0]]))
        return min((at for at in instants if at is not None), default=None)

    # -- operations ------------------------------------------------------------------------------

    def submit(
        self,
        now: int,
        costs: list[int],
        priority: int = 0,
        deadline: int | None = None,
    ) -> int:
        """Put a call into the queue; returns its number."""
        self.advance(now)
        number = len(self.calls)
        self.enqueue(Call(costs, priority, number, deadline))
        return number

    def enqueue(self, call: Call) -> None:
        last = self.last_admission
        if not self.waiting() and (last is None or self.now - last > TURNAROUND):
            self.anchor = self.now
        call.state, call.held = WAITING, []
        self.calls[call.number] = call
        self.advance(self.now)

    def dispatch(self, number: int) -> None:
        """A granted call starts its attempt."""
        call = self.calls[number]
        assert call.state == GRANTED
        call.state, call.generation = RUNNING, self.generation

    def cancel(self, now: int, number: int) -> None:
        """A call that waits, or was granted and not yet dispatched, is given up: it costs nothing."""
        self.advance(now)
        call = self.calls[number]
        if call.state == GRANTED:
            for index in range(len(self.limits)):
                self.settle(call, index, 0)
            self.free_slot()
        call.state = OVER
        self.advance(self.now)

    def finish(self, now: int, number: int, ok: bool) -> None:
        """The call is over and keeps what it holds: its estimate, or what it has reported."""
        self.advance(now)
        call = self.calls[number]
        assert call.state == RUNNING
        if ok and call.generation == self.generation:
            self.step = 0
        call.state = OVER
        self.free_slot()
        self.advance(self.now)

    def retry(self, now: int, number: int, deadline: int | None = None) -> None:
        """The attempt is over and keeps what it holds; the call waits again, in its old place."""
        self.advance(now)
        call = self.calls[number]
        assert call.state == RUNNING
        self.free_slot()
        call.deadline = deadline
        self.enqueue(call)

    def report(self, now: int, number: int, index: int, actual: int) -> None:
        """What the call really used of a limit replaces what it holds of it."""
        self.advance(now)
        self.settle(self.calls[number], index, actual)
        self.advance(self.now)

    def settle(self, call: Call, index: int, actual: int) -> None:
        limit = self.limits[index]
        limit.advance(self.now)
        refund = call.held[index] - actual
        if refund > 0:
            limit.level = max(limit.level, min(limit.level + refund, Fraction(limit.capacity)))
        else:
            limit.level += refund
        call.held[index] = actual

    def free_slot(self) -> None:
        self.in_flight -= 1
        self.anchor = self.now

    def set_slots(self, now: int, slots: int | None) -> None:
        self.advance(now)
        self.slots = slots
        self.anchor = self.now
        self.advance(self.now)

    def retune(self, now: int, index: int, amount: int, per: int, capacity: int) -> None:
        """Give a limit other figures; what its bucket holds stays, as far as the capacity allows."""
        self.advance(now)
        limit = self.limits[index]
        limit.advance(now)
        limit.amount, limit.per, limit.capacity = amount, per, capacity
        limit.level = min(limit.level, Fraction(capacity))
        self.advance(self.now)

    def rate_limited(
        self, now: int, number: int, length: int | None, base: int, exponential: bool, cap: int
    ) -> int:
        """A 429 came back for a call; returns the ns until the end of the cooldown."""
        self.advance(now)
        call = self.calls[number]
        if call.generation == self.generation:  # the first of its generation: a new episode
            self.generation += 1
            self.episode_step = self.step
            self.step += 1
        if length is None:
            length = base * 2**self.episode_step if exponential else base
        self.cool_down(min(length, cap), call.costs)
        return self.end - self.now

    def notify(self, now: int, length: int) -> None:
        """A program says that the provider is not to be called for `length` ns."""
        self.advance(now)
        self.generation += 1
        if self.admitted:
            costs = [Fraction(cost, self.admitted) for cost in self.admitted_cost]
        else:
            costs = [Fraction(1)] * len(self.limits)
        self.cool_down(length, costs)

    def cool_down(self, length: int, costs) -> None:
        self.end = max(self.end or 0, self.now + length)
        for index, limit in enumerate(self.limits):
            if limit.need(costs[index]) / limit.rate <= length:
                self.refusing.add(index)
        self.advance(self.now)


def deadline_of(call: Call) -> float:
    return float("inf") if call.deadline is None else call.deadline
