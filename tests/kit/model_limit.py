"""A limit of the reference model, model.py: its bucket, and the pace at which calls pass it."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, exp

MS = 1_000_000
HOURS = 120_000 * MS  # a bucket that takes longer to fill is not one of a minute
LONGEST_GAP = 60_000 * MS  # between two calls that a pace holds apart
SPACING_PART = 20  # of the time that a call's cost takes: the longest wait at a full bucket

Figures = tuple[int, int, int]  # of a limit: amount, period in ns, capacity
Law = tuple[float, float, float, float]  # of a pace: most, kept, scale, fits; see Pace


@dataclass
class Pace:
    """Calls follow each other no faster than at `most` units a second, or at the limit's rate times
    e^((level - kept) / scale) if that is less; but if all that wait cost no more than the part
    `fits` of the level, they go at once. What has gone at once counts as waiting still, and fades
    as the bucket refills. A pace ends at `until`.

    It alone is reckoned in floating point: in the core's smallest parts of a unit, `parts` each,
    and step by step as there, as only so the same instants come out.
    """

    law: Law = (0.0, 0.0, 0.0, 0.0)
    until: int | None = None
    next: int = 0  # no call that costs anything passes before this instant
    burst: float = 0.0  # what has gone at once, in parts,
    faded: int = 0  # and has faded until this instant

    def fits(
        self, cost: float, left: float, waiting: float, rate: Fraction, full: int, when: int
    ) -> bool:
        """Whether all may go at once; all is in parts."""
        if self.law[3] <= 0:
            return False
        if full > 0 and when > self.faded:
            self.burst *= exp(float(self.faded - when) * float(rate.numerator) / float(full))
            self.faded = when
        burst = self.burst + cost
        if waiting + burst > self.law[3] * (left + burst):
            return False
        self.burst = burst
        return True

    def took(
        self,
        cost: int,
        level: Fraction,
        waiting: float,
        rate: Fraction,
        capacity: int,
        when: int,
    ) -> None:
        """A call was admitted, and left that level."""
        most, kept, scale, _ = self.law
        parts = rate.denominator
        if most <= 0 or cost == 0:
            return
        left = float(int(level * parts)) / float(parts) * float(parts)
        if self.fits(float(cost * parts), left, waiting * parts, rate, capacity * parts, when):
            return
        pace = most * parts / 1e9
        if scale > 0:
            steepness = (left - kept * parts) / (scale * parts)
            pace = min(pace, rate.numerator * exp(steepness) if steepness < 700 else pace)
        gap = min(float(cost * parts) / pace, float(LONGEST_GAP)) if pace else float(LONGEST_GAP)
        self.next = when + int(gap)
        if self.until is not None:
            self.next = min(self.next, self.until)


@dataclass
class Limit:
    """`amount` units every `per` ns, at most `capacity` at once; `level` is as of the instant `at`,
    which lies in the future while a cooldown lasts that the limit was the cause of.
    """

    amount: int
    per: int
    capacity: int
    level: Fraction = field(init=False)
    at: int = 0
    used: int = 0  # units, with settlements counted in
    reserve: Fraction = Fraction(0)  # of the capacity, which is not used
    due: Fraction = Fraction(0)  # what the next call takes in addition
    paid: Fraction = Fraction(0)  # how much of that the last call took
    reset: int = 0  # number of the reset that set the level
    shut: int = 0  # nothing passes before that instant
    full: int = 0  # when it was full last
    pace: Pace = field(default_factory=Pace)

    def __post_init__(self) -> None:
        self.level = Fraction(self.capacity)

    @property
    def rate(self) -> Fraction:
        return Fraction(self.amount, self.per)

    @property
    def room(self) -> Fraction:
        """What may be used at once."""
        return self.capacity - self.reserve

    @property
    def top(self) -> Fraction:
        """Where refilling ends: less than one ns of refill above that.

        Without that remainder a bucket read at whole nanoseconds would lose a part of one at each
        admission of a call as large as the capacity.
        """
        return self.room + Fraction(self.rate.numerator - 1, self.rate.denominator)

    def need(self, cost: int) -> Fraction:
        return min(Fraction(cost), self.room)

    def ready(self, cost: int) -> int:
        """The first whole nanosecond at which `cost` passes."""
        spaced = self.full_at + self.spacing(cost) if self.spacing(cost) else 0
        return max(self.shut, self.holds(self.need(cost)), spaced, self.pace.next if cost else 0)

    def holds(self, units: Fraction) -> int:
        """When the bucket will hold so much."""
        return self.at + max(0, ceil((units - self.level) / self.rate))

    @property
    def full_at(self) -> int:
        """Since when the bucket is full, or when it will be."""
        is_new = self.level < self.room or self.full > self.at
        return self.holds(self.room) if is_new else self.full

    def spacing(self, cost: int) -> int:
        """For how long a call that needs a part of the reserve waits at a full bucket, in ns."""
        whole = min(Fraction(cost), Fraction(self.capacity))
        return int(min(whole - self.need(cost), whole / SPACING_PART) / self.rate)

    def advance(self, t: int) -> None:
        if t > self.at:
            self.full = self.full_at
            self.level = min(self.level + self.rate * (t - self.at), self.top)
            self.at = t

    def take(self, cost: int, t: int) -> None:
        self.advance(t)
        assert self.level >= self.need(cost)
        self.level -= cost + self.due
        self.paid, self.due = self.due, Fraction(0)
        self.used += cost

    def untake(self, cost: int, now: int) -> None:
        """Give back what a call took, also in addition: the next one has to."""
        self.give_back(cost, now)
        self.level = min(self.level + self.paid, self.top)
        self.paid, self.due = Fraction(0), self.due + self.paid

    def give_back(self, units: int, now: int) -> None:
        """A refund, or with `units` below 0 a charge. The level after a cooldown is the provider's
        word, which nothing moves before.
        """
        self.advance(now)
        if now >= self.at:
            self.level = min(self.level + units, self.top)
        self.used -= units

    def keep(self, margin: int, now: int) -> None:
        """Hold back what `margin` ns bring in."""
        self.advance(now)
        self.reserve = min(Fraction(self.capacity), self.rate * margin)
        self.level = min(self.level, self.top)

    def refuse(self, cost: int, taken: int, now: int, end: int) -> bool:
        """A provider has sent a call away until `end`: then the bucket holds what this call needs,
        less what calls take that are on their way; the reserve is refilled after it. But another
        limit was the cause if the call costs nothing of this one, or if the bucket is one of hours
        and the wait is short.
        """
        wait, fill = end - now, self.capacity // self.rate
        if cost == 0 or (fill > HOURS and fill // 100 > wait):
            return False
        self.level, self.at, self.full = self.need(cost) - taken, end, 0
        self.due, self.paid = self.reserve, Fraction(0)
        self.pace.next = 0
        return True

    def set_level(self, units: int, now: int) -> bool:
        """A provider has that much left; not while a cooldown lasts."""
        if now < self.at:
            return False
        self.advance(now)
        self.level = min(Fraction(units), self.room)
        return True

    def lower(self, left: int, used: int, at: int, now: int) -> None:
        """An answer said that so much was left at that instant, of which so much was used since."""
        if now >= self.at:
            self.advance(now)
            most = left - used + self.rate * (now - at) - self.reserve
            self.level = min(self.level, max(most, min(self.level, Fraction(0))))

    def amend(self, units: int, now: int) -> None:
        """What was expected to be taken by the end of a cooldown was not."""
        if now < self.at:
            self.level = min(self.level + units, self.top)
