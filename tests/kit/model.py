"""The scheduler core as a plain, slow specification.

Levels are exact fractions, instants are whole nanoseconds, the queue is a list that is searched
from end to end. Nothing here is clever, so that it can be checked against the rules by reading; the
C core must do the same, operation for operation.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from kit.model_admission import CATCH_UP, Admission
from kit.model_call import ADMITTED, DONE, IN_FLIGHT, RESTING, WAITING, Call, Outage
from kit.model_groups import Group
from kit.model_limit import MS, Figures, Law, Pace

MARGIN_VAGUE = 1_000 * MS
UNTRUE, UNTRUE_TIMES = 50_000_000, 8
OUTAGE_AFTER = 3  # failures in a row
MARGIN_STEP = 5 * MS
MARGIN_MOST = 2_000 * MS
MARGIN_KEPT = 60_000 * MS
OVERTAKING = 1_000 * MS  # calls overtake one another by no more
CALLS_A_TURN = 16


class Model(Admission):
    """Every operation takes `now`: time passes up to it, then the change happens, then the head is
    looked at again.
    """

    def begin(self, now: int) -> None:
        """Only the passing of time is played back. What an operation changes for calls that have
        waited until now, it changes from now on.
        """
        self.poll(now)
        for group in self.groups:  # what no call has waited for
            if group.warming and group.held_until <= self.now:
                group.lapse(0)
        if self.going():
            self.anchor = self.now

    def enqueue(self, call: Call) -> None:
        """An arrival soon after an admission that was waited for continues the schedule: whoever
        waits for one admission to ask for the next one loses nothing by it. Else the schedule
        starts anew.
        """
        is_empty = not self.going()
        call.state = WAITING
        if is_empty and self.going()[:1] == [call]:
            if not self.waited or self.now - self.admitted_at > CATCH_UP:
                self.anchor = self.now
            self.arriving = call
        self.poll(self.now)
        self.arriving = None

    def slots_change(self) -> None:
        if self.full:
            self.anchor = self.now  # nobody could have had one earlier

    def free_slot(self) -> None:
        self.slots_change()
        self.in_use -= 1

    def take_back(self, call: Call) -> None:
        """A level that was set since its admission is not what the call has paid from."""
        for limit, cost in zip(self.limits, call.costs, strict=True):
            if limit.reset > call.resets:
                limit.used -= cost
            else:
                limit.untake(cost, self.now)
        call.costs, call.saved = self.reduced(call, -call.saved), 0
        if self.outage.interval and call.resets == self.resets:
            self.outage.first, self.outage.next = None, self.now
        self.admitted -= 1
        self.free_slot()

    def submit(
        self,
        now: int,
        costs: Sequence[int],
        priority: int = 0,
        deadline: int | None = None,
        group: int | None = None,
    ) -> int:
        self.begin(now)
        call = Call(list(costs), priority, len(self.calls), deadline, priced=any(costs))
        call.group = None if group is None else self.groups[group]
        self.calls.append(call)
        self.enqueue(call)
        return call.number

    def dispatch(self, number: int) -> bool:
        """An admitted call starts its attempt, unless a cooldown runs, or levels were set since:
        these have not paid for it.
        """
        call = self.calls[number]
        if call.resets != self.resets or self.end > self.now:
            return False
        call.state, call.deadline = IN_FLIGHT, None  # it has kept it
        call.generation = self.generation
        call.dispatched = self.now
        call.repeated = call.refused = False
        self.flying.append(call)
        return True

    def land(self, call: Call) -> None:
        self.flying.remove(call)
        call.foreseen = False

    def put_back(self, now: int, number: int) -> None:
        """An admitted call that was not dispatched waits again, in its old place."""
        self.begin(now)
        call = self.calls[number]
        self.take_back(call)
        self.lose(call, False)
        self.enqueue(call)

    def end_attempt(self, call: Call) -> None:
        """It stays paid for; the next one costs the same again."""
        spends = not call.refused
        self.land(call)
        call.repeated = True
        call.state = RESTING
        self.free_slot()
        self.lose(call, spends)

    def rest(self, now: int, number: int) -> None:
        """A call waits out of the queue, and holds nothing."""
        self.begin(now)
        self.end_attempt(self.calls[number])
        self.poll(self.now)

    def retry(self, now: int, number: int) -> None:
        """A call waits for its next attempt, in its old place."""
        self.begin(now)
        call = self.calls[number]
        if call.state == IN_FLIGHT:
            self.end_attempt(call)
        self.enqueue(call)

    def finish(self, now: int, number: int, ok: bool) -> None:
        """A call is over, in whatever state. One that is in flight keeps what it holds; one that
        was not dispatched costs nothing.
        """
        self.begin(now)
        call = self.calls[number]
        if number in self.outbox:
            self.outbox.remove(number)
        if call.state == ADMITTED:
            self.take_back(call)
            self.lose(call, False)
        elif call.state == IN_FLIGHT:
            self.land(call)
            self.free_slot()
            if ok:
                self.succeed(call)
                self.warm(call)
            else:
                self.lose(call, not call.refused)
        call.state = DONE
        self.poll(self.now)

    # -- groups ----------------------------------------------------------------------------------

    def set_hold(self, hold: int) -> None:
        """The bound of a hold, from the next one on."""
        self.hold = hold

    def open_group(self, ttl: int | None, trunk: int | None = None) -> int:
        self.groups.append(Group(ttl, None if trunk is None else self.groups[trunk]))
        return len(self.groups) - 1

    def close_group(self, group: int) -> None:
        """No call will join it any more."""
        self.groups[group].closed = True

    def give_way(self, now: int, gives_way: bool) -> None:
        """Groups that have used their turn up give way to calls that are held, or do not."""
        if gives_way != self.ways_are_given:
            self.begin(now)
            if not self.going():
                self.anchor = self.now
            self.ways_are_given = gives_way
            self.poll(self.now)

    def set_tokens(self, group: int, tokens: int) -> None:
        self.groups[group].tokens = tokens

    def set_life(self, group: int, ttl: int | None) -> None:
        self.groups[group].ttl = ttl

    def warmed(self, now: int, number: int) -> None:
        """The prefix of a call in flight can be read."""
        self.begin(now)
        self.warm(self.calls[number])
        self.poll(self.now)

    def looked_up(self, now: int, number: int, found: bool, is_free: bool = False) -> None:
        """The prefix was found in the cache, or not; where `is_free`, that is not charged."""
        self.begin(now)
        call = self.calls[number]
        if call.group is not None and (found or not call.led):
            call.group.looked_up(found, self.now)
            self.reads_free = found and is_free
        self.poll(self.now)

    def warm(self, call: Call) -> None:
        path = [] if call.group is None else call.group.path
        read = [g for g in path if g.leader == call.number or call.dispatched >= g.missed_at]
        self.let_go(read)
        for group in read:
            group.sure = group.sure or group.warming
            group.end_hold(self.now, self.members(group))
            group.warm(group.lives(call.dispatched))

    def lose(self, call: Call, spends: bool) -> None:
        path = [] if call.group is None else call.group.path
        led = [group for group in path if group.leader == call.number]
        self.let_go(led)
        for group in led:
            group.lost(spends, self.now, self.members(group))

    def let_go(self, groups: Sequence[Group]) -> None:
        """Those that were held could not have gone earlier."""
        if any(each.warming and self.members(each) for each in groups) and not self.going():
            self.anchor = self.now

    def succeed(self, call: Call) -> None:
        self.answered(call)
        if call.generation == self.generation:
            self.step = 0
        if self.margin and self.now - self.margin_changed >= MARGIN_KEPT:
            self.margin -= self.margin if self.margin < MARGIN_STEP // 16 else self.margin // 16
            self.keep_margin()

    def answered(self, call: Call) -> None:
        """The provider has spoken: the outage is over, if the call came later than what failed."""
        if call.dispatched > self.outage.sent or not self.outage.interval:
            self.outage = Outage()

    def keep_margin(self) -> None:
        self.margin_changed = self.now
        for limit in self.limits:
            limit.keep(self.margin, self.now)

    def settle(self, now: int, number: int, index: int, actual: int) -> None:
        """What the last attempt really used of a limit replaces what it holds of it."""
        call = self.calls[number]
        if actual == call.costs[index] or call.repeated:
            return
        self.begin(now)
        self.limits[index].give_back(call.costs[index] - actual, self.now)
        if call.foreseen:
            self.limits[index].amend(call.costs[index] - actual, self.now)
        call.costs[index] = actual
        call.priced = call.priced and actual > 0
        self.poll(self.now)

    def set_level(self, now: int, index: int, units: int) -> None:
        self.begin(now)
        if self.limits[index].set_level(units, self.now):
            self.resets += 1
            self.limits[index].reset = self.resets
        self.poll(self.now)

    def shut(self, now: int, index: int, until: int) -> None:
        """A limit lets nothing pass for some time, whatever is left of it."""
        self.begin(now)
        self.limits[index].shut = until
        self.poll(self.now)

    def pace(self, now: int, index: int, law: Law, until: int | None) -> None:
        """Calls follow each other no faster than that; what was chosen for the next one stays."""
        self.begin(now)
        pace = self.limits[index].pace
        pace.law, pace.until = law, until
        self.poll(self.now)

    def set_slots(self, now: int, slots: int | None) -> None:
        self.begin(now)
        self.slots_change()
        self.slots = slots
        self.poll(self.now)

    def limit_to(self, now: int, let_in: int | None) -> None:
        """Let in no more calls for now, and these only as fast as they are dispatched."""
        self.let_in = let_in
        self.ramp_up(now, True)

    def ramp_up(self, now: int, wanted: bool = False) -> bool:
        """Let in some more, once those are dispatched that were let in. False: it is not time."""
        ends = self.ramp is None or (self.let_in is not None and self.ramp >= self.let_in)
        if not wanted and (ends or self.in_use < (self.ramp or 0)):
            return False
        self.begin(now)
        self.slots_change()
        more = len(self.flying) + CALLS_A_TURN
        self.ramp = more if self.let_in is None else min(more, self.let_in)
        self.poll(self.now)
        return True

    def retune(self, now: int, index: int, figures: Figures) -> None:
        """Give a limit other figures; the level stays, as far as the capacity allows, and in whole
        numbers of the new smallest part of a unit.
        """
        self.begin(now)
        self.give_figures(index, figures)
        self.poll(self.now)

    def give_figures(self, index: int, figures: Figures) -> None:
        limit = self.limits[index]
        limit.advance(self.now)
        limit.amount, limit.per, limit.capacity = figures
        parts = limit.rate.denominator
        limit.level = min(Fraction(int(limit.level * parts), parts), Fraction(limit.capacity))
        limit.due = limit.paid = Fraction(0)
        limit.pace = Pace(next=limit.pace.next)
        limit.keep(self.margin, self.now)

    def replace(
        self, now: int, index: int, figures: Figures, units: int, sent: int, number: int | None
    ) -> None:
        """A limit is another one, of which a provider says what is left: that has been taken from
        it which was dispatched since the call was, but for the call itself.
        """
        self.begin(now)
        call = None if number is None else self.calls[number]
        waits = self.end > self.now  # whoever was refused holds nothing until then
        held = sum(
            0 if each.refused and waits else each.costs[index]
            for each in self.flying
            if each is not call and each.dispatched > sent - OVERTAKING
        )
        self.give_figures(index, figures)
        if self.limits[index].set_level(units - held, self.now):
            self.resets += 1
            self.limits[index].reset = self.resets
        self.poll(self.now)

    def refused(
        self,
        now: int,
        number: int | None,
        told: int | None,
        base: int = 0,
        exponential: bool = True,
        cap: int = 0,
    ) -> int:
        """A 429 came back for a call, or (None) for one that is not known. Returns the end."""
        self.begin(now)
        call = None if number is None else self.calls[number]
        if told == base == 0:
            return max(self.end, self.now)
        opens = self.end <= self.now if call is None else call.generation == self.generation
        if call is not None and call.state == IN_FLIGHT:
            self.answered(call)
        step = self.step if opens else max(0, self.step - 1)
        guess = min(base * 2**step if exponential else base, cap)
        wait = guess if told is None else told
        if told is not None and opens and step:  # the last wait was untrue
            most = min(max(base, UNTRUE_TIMES * told), cap)
            wait = max(told, min(UNTRUE * 2 ** min(step - 1, 19), most))
        if opens:
            self.generation += 1
            self.step += 1
        if opens and call is not None and told is not None and told <= MARGIN_MOST:
            vague = told >= MARGIN_VAGUE
            most = self.margin + MARGIN_STEP
            early = min(told, most) if vague else told + min(told, MARGIN_STEP)
            self.margin = min(self.margin + early, MARGIN_MOST)
            self.keep_margin()
        if call in self.flying:
            call.refused = True
            if call.foreseen:
                for limit, cost in zip(self.limits, call.costs, strict=True):
                    limit.amend(cost, self.now)
            call.foreseen = False
        end = self.now + wait
        extends, promises = self.end > self.now, end > max(self.end, self.now)
        self.end = max(self.end, end)  # one that ends at once still dates what follows after it
        if promises:
            self.foresee(call, extends)
            self.promise(call)
        self.poll(self.now)
        return max(self.end, self.now)

    def failed(
        self, now: int, number: int, told: int | None, base: int, cap: int, alone: bool = False
    ) -> int:
        """The provider failed to answer a call. Returns the end of the cooldown. `alone`: while
        such failures are few, and the provider asks for nothing, they concern nobody else.
        """
        self.begin(now)
        call, outage = self.calls[number], self.outage
        interval = min(base, cap)
        wait = interval if told is None else told
        if wait:
            opens = call.generation == self.generation
            if not alone or told is not None or outage.failures + 1 >= OUTAGE_AFTER:
                self.generation += opens
                self.resets += opens
                if opens or told is not None:
                    self.end = max(self.end, self.now + wait)
            outage.sent = max(outage.sent, call.dispatched)
            if opens or not outage.interval:
                outage.failures += 1
                known = outage.longest // 2 if outage.interval else outage.longest
                outage.longest = max(known, self.now - call.dispatched)
                if outage.failures >= OUTAGE_AFTER:
                    outage.interval, outage.first, outage.next = interval, None, self.end
            self.poll(self.now)
        return max(self.end, self.now)

    def foresee(self, refused: Call | None, extends: bool) -> None:
        """Who takes the quota meanwhile that the refused call is to have: the calls dispatched
        after it. If it is not in flight, those foreseen by the cooldown that is extended.
        """
        after = self.flying[self.flying.index(refused) + 1 :] if refused in self.flying else None
        for call in self.flying:
            if not extends and call is not refused:
                call.refused = False  # it was sent again in the same attempt
            if after is not None:
                call.foreseen = call in after
            elif not extends:
                call.foreseen = False
            if call.refused:
                call.foreseen = False

    def promise(self, refused: Call | None) -> None:
        """At the end of the cooldown the refused call passes, less what others take meanwhile."""
        self.resets += 1
        for index, limit in enumerate(self.limits):
            cost = 0 if refused is None else refused.costs[index]
            if cost == 0 and not (refused is not None and refused.priced):
                # Not known: then what a call has cost so far on average.
                cost = limit.used // self.admitted if self.admitted else 1
            taken = sum(call.costs[index] for call in self.flying if call.foreseen)
            if limit.refuse(cost, taken, self.now, self.end):
                limit.reset = self.resets
