"""A timeline: the account of members that share no memory, as one place keeps it for them.

A member asks for a *chunk* of its demand and is told from when on it may use it. The chunk is
charged at once, so a member that dies loses quota and never admits too much. Chunks follow each
other in the order in which members ask. Within its chunk a member keeps the pace of the limits.
A member that is alone is lent the whole account, and so asks seldom. It returns the account as soon
as another member asks.

The script of a Valkey or Redis server (script.py) is the same, operation for operation: a change
of one is a change of the other, and the tests compare the answers. Instants and lengths are
microseconds of the place's own clock, so members' clocks do not matter. Each method is one command,
takes ``now``, and returns a row of numbers and texts. `published` collects the messages that it
sends: pairs of a member, or "" for all, and a text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from xtremeflow.share.outage import Outage
from xtremeflow.share.records import HAS_LOAN, RETURNED, UNWANTED, Ask, Bucket, Record, Rest, Row
from xtremeflow.share.scores import Scores

CHUNK = 200_000  # a chunk's calls cost the gain of this time, divided by the members, or more;
TRIPS = 3  # if so many round trips take longer, the gain of that time,
LONGEST = 1_000_000  # but at most of this one
SPARE = 50_000  # the gain of this time may come back late at once,
RECOVERY = 14  # and this part of the rate all the time
LOAN = 1_000_000  # a member that is alone is lent the whole account for so long,
LONGEST_LOAN = 5_000_000  # for twice as long whenever the loan is prolonged, and at most for this
TRUST = 50_000  # a loan that is not returned is over so much later
FORGET = 8  # that time becomes shorter again by such a part of the time that passes
CLOSED = 1.5  # after a loss of the state no chunk starts within so many times that time
ROUNDING = 1e-9  # of a call is no call more
ACTIVE = 1_000_000  # members that have asked within this time divide the limits
SILENCE = 30_000_000  # a member that says nothing for so long is dead
MINUTE = 60_000_000  # after this time without a change the margin loses a 16th
CHECK = 1_000_000  # after this time another look at a member that is overdue

# places of the instants in an answer to an ask
NOW, END, NEXT, SENT, START, UNTIL = 1, 6, 18, 20, 22, 23


class Timeline:
    """The account."""

    def __init__(self) -> None:
        self.published: list[tuple[str, str]] = []
        self.exists = False

    def _begin(self, now: int, token: str, limits: Sequence[Row], slots: int) -> None:
        self.exists, self.belief = True, ""
        self.epoch, self.operations, self.version, self.generation = token, 0, 1, 0
        self.last, self.end, self.margin_at, self.span = now, 0, now, CHUNK
        self.closed = now + int(CLOSED * CHUNK)
        self.margin = self.out = self.wanting = self.ticket = self.flying = self.waiting = 0
        self.slots, self.outage = slots, Outage()
        self.borrower, self.due, self.loan, self.recalled = "", 0, 0, False
        self.limits = [Bucket(name, a, p, c, at=now, late_at=now) for name, a, p, c in limits]
        self.members: dict[str, Record] = {}
        self.deadlines, self.asked, self.line = Scores(), Scores(), Scores()
        self.published.append(("", "epoch"))  # to those that do not know that it was lost

    # -- members

    def join(
        self,
        now: int,
        member: str,
        connection: str,
        token: str,
        patience: int,
        slots: int,
        belief: str,
        limits: Sequence[Row],
    ) -> Row:
        """Makes a member of it. The first one brings the limits, and the levels begin empty. It
        also brings the belief, which is the knowledge of the provider in the members' words."""
        names = [limit[0] for limit in limits]
        if not self.exists or (
            not self.members and [bucket.name for bucket in self.limits] != names
        ):
            self._begin(now, token, limits, slots)
        now = self._tick(now)
        if not self.members:
            for bucket, (_, amount, per, capacity) in zip(self.limits, limits, strict=True):
                self._define(bucket, amount, per, capacity)
            self.slots, self.belief = slots, belief
            self.version += 1
        record = self.members.setdefault(member, Record(connection, now))
        record.connection, record.seen = connection, now
        self.deadlines.set(member, now + patience)
        return self._described(now)

    def describe(self, now: int) -> Row:
        """Returns the limits, or "unknown" if there is no account."""
        return self._described(now) if self.exists else ["unknown"]

    def _described(self, now: int) -> Row:
        row: Row = ["limits", now, self.epoch, self.operations, self.version, self.generation]
        row += [self.end, len(self.members), self.slots, self.belief]
        for bucket in self.limits:
            row += [bucket.name, bucket.amount, bucket.per, bucket.capacity]
        return row

    def leave(self, now: int, member: str, epoch: str, generation: int, *back: float) -> Row:
        """Ends a membership. Unused units and refunds come back."""
        if not self.exists or member not in self.members:
            return ["unknown"]
        now = self._tick(now)
        n = len(self.limits)
        if epoch == self.epoch and generation == self.generation:
            self._give_back(now, back[:n], back[n:])
        self._remove(member)
        self._hand_out("")
        return ["ok"]

    def bury(self, now: int, member: str, seen: int) -> Row:
        """Ends the membership of one that is dead, unless it has spoken since."""
        if not self.exists or member not in self.members:
            return ["unknown"]
        now = self._tick(now)
        if self.members[member].seen == seen:
            self._bury(now, member)
            self._hand_out("")
        return ["ok"]

    def _bury(self, now: int, member: str) -> None:
        record = self.members[member]
        if record.start > now:
            self._give_back(now, record.units, [0.0] * len(self.limits))
        self._remove(member)

    def _remove(self, member: str) -> None:
        if member == self.borrower:
            self._default()
        record = self.members.pop(member)
        self.out -= record.slots
        self.flying -= record.held
        self.wanting -= record.want > 0
        self.waiting -= record.waits > 0
        if self.outage.left(member, self.last):
            self._tell_outage()
        for scores in (self.deadlines, self.asked, self.line):
            scores.discard(member)

    def _find_dead(self, now: int, member: str) -> Row:
        """Buries the most overdue member, or returns it for a look at its connection."""
        deadline, suspect = self.deadlines.first()
        if deadline >= now or suspect == member:
            return ["", "", 0]
        record = self.members[suspect]
        if now - record.seen > SILENCE:
            self._bury(now, suspect)
            return ["", "", 0]
        self.deadlines.set(suspect, now + CHECK)
        return [suspect, record.connection, record.seen]

    # -- time and levels

    def _tick(self, now: int) -> int:
        """Begins a command. A clock that was set back takes all instants with it."""
        self.span = max(CHUNK, self.span - max(0, now - self.last) // FORGET)
        back = self.last - now
        if back > 0:
            self.end, self.closed = self.end - back, self.closed - back
            self.margin_at -= back
            self.due -= back
            self.outage.turn_back(back)
            for bucket in self.limits:
                bucket.at, bucket.late_at = bucket.at - back, bucket.late_at - back
            for record in self.members.values():
                record.start -= back
        self.last = now
        self.operations += 1
        if self.margin > 0 and now - self.margin_at > MINUTE:
            self.margin, self.margin_at = self.margin * 15 // 16, now
        for bucket in self.limits:
            if now > bucket.at:
                bucket.level = min(
                    self._room(bucket), bucket.level + bucket.rate * (now - bucket.at)
                )
                bucket.at = now
            bucket.late = max(0.0, bucket.late - bucket.rate / RECOVERY * (now - bucket.late_at))
            bucket.late_at = now
        return now

    def _room(self, bucket: Bucket) -> float:
        return max(0.0, bucket.capacity - bucket.rate * self.margin)

    def _level_at(self, bucket: Bucket, instant: int) -> float:
        gained = bucket.level + bucket.rate * (instant - bucket.at)
        return max(bucket.level, min(self._room(bucket), gained))

    def _define(self, bucket: Bucket, amount: float, per: float, capacity: float) -> None:
        bucket.amount, bucket.per, bucket.capacity = amount, per, capacity
        bucket.level = min(bucket.level, self._room(bucket))

    def _give_back(self, now: int, unused: Sequence[float], refunded: Sequence[float]) -> None:
        """Returns units. Those of chunks come late, so that only a part of them counts. A refund
        is not late: the provider has made it now."""
        for bucket, late, refund in zip(self.limits, unused, refunded, strict=True):
            bucket.used -= late + refund
            taken = max(0.0, min(late, bucket.rate * SPARE - bucket.late))
            bucket.late += taken
            bucket.level = min(max(bucket.level, self._room(bucket)), bucket.level + taken + refund)

    def _lower(self, rests: Sequence[Rest]) -> None:
        """Lowers levels to the most that answers allow, which is the rest that they tell and the
        gain since, less the units used since. A level that a refusal has set for the end of the
        cooldown stays."""
        for bucket, rest in zip(self.limits, rests, strict=True):
            if rest.left >= 0 and not self.end == bucket.at > self.last:
                gained = bucket.rate * (bucket.at - rest.at)
                kept_free = bucket.capacity - self._room(bucket)
                most = rest.left - kept_free + gained - (bucket.used - rest.used)
                level = min(bucket.level, max(most, 0.0))  # no answer puts a bucket into debt
                bucket.lowered += bucket.level - level
                bucket.level = level

    # -- asks

    def take(self, now: int, member: str, ask: Ask) -> Row:
        """Answers an ask: a chunk, slots, and how things stand.

        Returns "unknown" to one that is no member, else a row that `rows.Taken` names. It begins
        with "taken" and ends with the chunk: its start, or -1; the end of a loan, or -1; for each
        limit the level at the start and the units, which are -1 in a loan. Then follow of each
        limit the units used by all members, and those by which answers have lowered it. The fair
        number of slots is -1 if no member waits for some.
        """
        if not self.exists or member not in self.members:
            return ["unknown"]
        record = self.members[member]
        if ask.number == record.number:
            return _again(record.reply, now)
        rewound = ask.epoch == self.epoch and ask.operations > self.operations
        now = self._tick(now)
        if member == self.borrower:
            self._hear_of_loan(ask, record)
        if rewound:
            self._restart(now, ask.token)
        elif ask.epoch == self.epoch and ask.generation == self.generation:
            self._give_back(now, ask.unused, ask.refunded)
            self._lower(ask.told)
        if self.outage.hear(member, ask.tried, now, self.end):
            self._tell_outage()
        record.number, record.seen = ask.number, now
        self.waiting += (ask.waits > 0) - (record.waits > 0)
        record.connection, record.used, record.waits = ask.connection, list(ask.used), ask.waits
        self.deadlines.set(member, now + ask.patience)
        suspect = self._find_dead(now, member)
        self._ask_slots(member, ask)
        if ask.waits > 0:
            self.asked.set(member, now)
        elif ask.waits < 0:
            self.asked.discard(member)
        self._lengthen(now, ask)
        active = max(1, self.asked.above(now - max(ACTIVE, 2 * self.span)))
        chunk: Row = [-1, -1]
        if self.outage.interval > 0:
            chunk = self._grant_single(now, member, ask) if ask.waits > 0 else chunk
        elif member == self.borrower or (ask.waits > 0 and self._may_lend(now, ask, active)):
            chunk = self._lend(now, member, ask)
        elif ask.waits > 0:
            chunk = self._grant(now, member, ask, active)
        record.reply = ["taken", now, self.epoch, self.operations, self.version, self.generation]
        record.reply += [self.end, active, self.span, len(self.members), self.flying, self.waiting]
        record.reply += [record.slots, self._fair(member), *suspect, *self.outage.told()]
        record.reply += chunk
        record.reply += [bucket.used for bucket in self.limits]
        record.reply += [bucket.lowered for bucket in self.limits]
        return list(record.reply)

    def _restart(self, now: int, token: str) -> None:
        """Begins anew, since the latest changes are lost, and with them the units used."""
        self.epoch, self.closed = token, now + int(CLOSED * self.span)
        self.borrower = ""
        for bucket in self.limits:
            bucket.level = min(bucket.level, 0.0)
        self.published.append(("", "epoch"))

    def _lengthen(self, now: int, ask: Ask) -> None:
        """Lets all chunks last longer, so that none ends before the answer to the next ask. A loss
        of the state takes that long, too."""
        longer = min(LONGEST, TRIPS * ask.trip) - self.span
        if longer > 0:
            self.span += longer
            self.closed += int(CLOSED * longer) if now < self.closed else 0

    def _tell_outage(self) -> None:
        told = " ".join(map(str, self.outage.told()))
        self.published.append(("", f"outage {self.operations} {told}"))

    def _opens(self, instant: int) -> int:
        """Returns the first instant from then on at which a chunk or loan may begin."""
        return max(instant, self.end, self.closed)

    def _grant(self, now: int, member: str, ask: Ask, active: int) -> Row:
        if self._is_lent(now):
            return [-1, -1]
        record, behind = self.members[member], float(ask.waits - 1)
        earliest = now + ask.trip * 3 // 4  # one that starts earlier comes too late
        start = float(self._opens(earliest))
        for bucket, head, mean in zip(self.limits, ask.head, ask.mean, strict=True):
            lack = min(head, self._room(bucket)) - bucket.level
            start = max(start, bucket.at + lack / bucket.rate if lack > 0 else bucket.at)
            if mean > 0 and active != ask.parts:
                behind = min(behind, (bucket.rate * self.span / active - head) / mean - ROUNDING)
        if active == ask.parts:
            behind = min(behind, ask.exact - 1)
        behind = math.ceil(max(0.0, behind))
        record.start, record.units = math.ceil(start), []
        chunk: Row = [record.start, -1]
        for bucket, head, mean in zip(self.limits, ask.head, ask.mean, strict=True):
            level = self._level_at(bucket, record.start)
            units = head + math.floor(behind * mean + 0.5)
            bucket.level, bucket.at = level - units, record.start
            bucket.used += units
            record.units.append(units)
            chunk += [level, units]
        return chunk

    # -- loans

    def _may_lend(self, now: int, ask: Ask, active: int) -> bool:
        """Whether the member that asks is alone, and no chunk of another one lies ahead. Its own
        buckets keep no margin of others, and know nothing that members learn together."""
        is_simple = bool(self.limits) and not self.belief and self.margin == 0
        begin = self._opens(now)
        is_free = not self.borrower and all(bucket.at <= begin for bucket in self.limits)
        is_alone = active == 1 and self.waiting == 1
        return is_simple and is_free and is_alone and ask.loan != UNWANTED

    def _lend(self, now: int, member: str, ask: Ask) -> Row:
        """Lends the account, or prolongs the loan. Its member speaks before the end."""
        start = self._opens(now)
        is_alone = self.borrower and not self.recalled
        self.loan = min(LONGEST_LOAN, 2 * self.loan) if is_alone else LOAN
        chunk: Row = [start, start + self.loan]
        for bucket in self.limits:
            chunk += [self._level_at(bucket, start), -1]
        self.members[member].units = list(ask.head)
        self.borrower, self.due = member, start + self.loan + TRUST
        self.deadlines.set(member, self.due)
        return chunk

    def _hear_of_loan(self, ask: Ask, record: Record) -> None:
        """Takes over the levels of the member that has the account."""
        if ask.loan not in (HAS_LOAN, RETURNED):  # it has lost the answer, or began anew
            self._default()
            return
        rows = zip(self.limits, ask.levels, ask.used, record.used or ask.used, strict=True)
        for bucket, level, used, before in rows:
            bucket.level = min(level, self._room(bucket))
            bucket.used += used - before
        if ask.loan == RETURNED or self.outage.interval > 0:
            self._end_loan()
        elif self.recalled:
            self._recall()

    def _is_lent(self, now: int) -> bool:
        """Whether another member has the account. It is told to return it, also if the loan is over
        by a clock that was set ahead, and looked after if it does not."""
        if self.borrower and not self.recalled:
            self.recalled = True
            self.deadlines.set(self.borrower, now + TRUST)
            self._recall()
        if self.borrower and now > self.due:
            self._default()
        return self.borrower != ""

    def _recall(self) -> None:
        self.published.append((self.borrower, "recall"))

    def _default(self) -> None:
        """Ends a loan that was not returned, as if its member had used all that it could."""
        head = self.members[self.borrower].units
        for bucket, cost in zip(self.limits, head, strict=True):
            lost = max(0.0, bucket.level) + max(0.0, cost - self._room(bucket))
            bucket.level -= lost
            bucket.used += lost + bucket.rate * self.loan
        self._end_loan()

    def _end_loan(self) -> None:
        if self.recalled:
            self.published.append(("", "room"))
        self.borrower, self.recalled = "", False

    def _grant_single(self, now: int, member: str, ask: Ask) -> Row:
        """Grants a single call in an outage, if it is time for one. It does not wait for what was
        granted ahead, as none of that is used."""
        record, start = self.members[member], now + ask.trip * 3 // 4
        has_slot = self.slots < 0 or record.slots > record.held
        if start < self._opens(self.outage.next) or not has_slot:
            return [-1, -1]
        self.outage.admitted(member, start)
        record.start, record.units = start, list(ask.head)
        chunk: Row = [start, -1]
        for bucket, head in zip(self.limits, ask.head, strict=True):
            bucket.level -= head
            bucket.used += head
            chunk += [head, head]
        return chunk

    # -- slots

    def _fair(self, member: str) -> int:
        """Returns the number of slots to which a member comes back while others wait for some; -1
        if none wait."""
        others = len(self.line) - (member in self.line)
        contested = self.slots >= 0 and (others > 0 or self.out > self.slots)
        return self.slots // max(1, self.wanting) if contested else -1

    def _ask_slots(self, member: str, ask: Ask) -> None:
        record = self.members[member]
        self.wanting += (ask.want > 0) - (record.want > 0)
        self.flying += ask.held - record.held
        record.held, record.want = ask.held, ask.want
        if self.slots < 0:
            return
        slots = max(ask.held, record.slots - ask.returned)  # held: also after a loss of the state
        self.out += slots - record.slots
        record.slots = slots
        is_new = slots < ask.want and member not in self.line
        if slots >= ask.want:
            self.line.discard(member)
        elif is_new:
            self._wait_for_slots(member)
        self._hand_out(member)
        if is_new and member in self.line and len(self.line) == 1:
            self.published.append(("", "crowd"))

    def _wait_for_slots(self, member: str) -> None:
        self.ticket += 1
        self.line.set(member, self.ticket)

    def _hand_out(self, asking: str) -> None:
        """Gives free slots to those that wait, in turn."""
        if self.slots < 0:
            return
        fair = self.slots // max(1, self.wanting)
        while self.out < self.slots and self.line:
            _, first = self.line.first()
            record = self.members[first]
            give = min(self.slots - self.out, record.want - record.slots)
            if len(self.line) > 1:
                give = min(give, max(1, fair - record.slots))
            self.out += give
            record.slots += give
            if record.slots >= record.want:
                self.line.discard(first)
            else:
                self._wait_for_slots(first)
            if first != asking:
                self.published.append((first, f"slots {record.slots} {self.operations}"))

    # -- changes for all

    def refused(
        self,
        now: int,
        epoch: str,
        generation: int,
        wait: int,
        margin: int,
        levels: Sequence[float | None],
    ) -> Row:
        """Opens or extends the cooldown for all. An episode opens once, by its generation.

        `levels` are those that the provider has promised for the end, of the limits that it may
        have meant; a failure that is no refusal promises none, and is no episode. Returns the
        generation and the end.
        """
        if not self.exists:
            return ["unknown"]
        now = self._tick(now)
        end, before = now + wait, self.end
        is_episode = any(level is not None for level in levels)
        if is_episode and epoch == self.epoch and generation == self.generation:
            self.generation += 1
        self.end = max(before, end)
        if is_episode and self.borrower:
            self._default()
        if margin > self.margin:
            self.margin, self.margin_at = margin, now
        for bucket, level in zip(self.limits, levels, strict=True):
            if level is not None and end > before:
                bucket.level, bucket.at = level, end
        self.published.append(("", f"pause {self.generation} {self.end}"))
        return ["ok", now, self.epoch, self.generation, self.end]

    def retune(self, now: int, index: int, amount: float, per: float, capacity: float) -> Row:
        """Changes a limit for all, or the slots (index -1, `amount`). Returns the version."""
        if not self.exists:
            return ["unknown"]
        now = self._tick(now)
        self.version += 1
        if index < 0:
            self.slots = int(amount)
            self._hand_out("")
        else:
            self._define(self.limits[index], amount, per, capacity)
        self.published.append(("", f"limits {self.version}"))
        return ["ok", now, self.version]

    def learn(self, now: int, version: int, belief: str, lessons: Sequence[Row]) -> Row:
        """Changes the belief and limits for all, if `version` is still theirs, or below 0. Lessons
        are the index, amount, period, capacity, and the level now, or None. A cooldown that has set
        a level keeps it. Returns "ok" or "stale", and the version."""
        if not self.exists:
            return ["unknown"]
        now = self._tick(now)
        if version >= 0 and version != self.version:
            return ["stale", now, self.version]
        self.version += 1
        self.belief = belief
        for index, amount, per, capacity, level in lessons:
            bucket = self.limits[int(index)]
            self._define(bucket, amount, per, capacity)
            if level is not None and not self.end == bucket.at > now:
                bucket.level = min(self._room(bucket), level + bucket.rate * (bucket.at - now))
        self.published.append(("", f"limits {self.version}"))
        return ["ok", now, self.version]

    def status(self, now: int) -> dict[str, Any] | None:
        """Returns all of it for people to read, and changes nothing. None if there is nothing."""
        if not self.exists:
            return None
        limits = [
            {
                "name": bucket.name,
                "amount": bucket.amount,
                "per": bucket.per,
                "capacity": bucket.capacity,
                "level": min(
                    self._room(bucket), bucket.level + bucket.rate * max(0, now - bucket.at)
                ),
                "used": bucket.used,
            }
            for bucket in self.limits
        ]
        members = [
            {
                "member": name,
                "connection": record.connection,
                "silent": max(0, now - record.seen),
                "seen": record.seen,
                "slots": record.slots,
                "held": record.held,
                "waits": record.waits,
                "used": list(record.used),
            }
            for name, record in sorted(self.members.items())
        ]
        return {
            "limits": limits,
            "members": members,
            "slots": self.slots,
            "cooldown_left": max(0, self.end - now),
            "outage": self.outage.interval > 0,
            "prober": self.outage.prober,
            "generation": self.generation,
            "version": self.version,
            "belief": self.belief,
        }


def _again(reply: Row, now: int) -> Row:
    """Returns an answer once more. A clock that was set back has taken its instants with it."""
    back = max(0, reply[NOW] - now)
    places = (END, NEXT, SENT, START, UNTIL)
    moved = {place: reply[place] - back for place in places if reply[place] > 0}
    return [{**moved, NOW: now}.get(place, value) for place, value in enumerate(reply)]
