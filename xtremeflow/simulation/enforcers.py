"""The algorithms by which providers enforce a limit: strict, exact and without a clock.

Every method takes `now`, an integer count of nanoseconds on any clock that does not go back.
All arithmetic is on integers, so a cost passes at exactly the promised instant, and never earlier.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable
from fractions import Fraction

from xtremeflow.values.arguments import check_kind, check_number

NANOSECONDS = 1_000_000_000


class Enforcer(ABC):
    """One limit of a provider and its state.

    Attributes:
        unit: The unit that it counts: "requests", "tokens", "input_tokens" or "output_tokens".
        largest: The largest cost that can ever pass.
        per: Its period in seconds; None for a limit on calls in flight.
    """

    def __init__(self, unit: str, largest: int, per: float | None = None) -> None:
        check_kind("unit", unit, str)
        if largest < 1:
            raise ValueError(f"a limit on {unit} must let at least 1 pass, got {largest}")
        self.unit = unit
        self.largest = largest
        self.per = per

    @abstractmethod
    def wait(self, cost: int, now: int) -> int | None:
        """Returns the nanoseconds until `cost` passes if no other call comes: 0 is now, None is
        unknown.

        `cost` must not be above `largest`, since such a call never passes.
        """

    @abstractmethod
    def take(self, cost: int, now: int) -> None:
        """Charges `cost`, for which `wait(cost, now)` has just returned 0."""

    @abstractmethod
    def settle(self, cost: int, actual: int, taken: int, now: int) -> None:
        """Replaces the `cost` taken at the instant `taken` by `actual`, as far as that still
        counts.

        It always succeeds, so afterwards more than `largest` may be taken.
        """

    @abstractmethod
    def remaining(self, now: int) -> int:
        """Returns the largest cost that passes now; 0 if the limit is overdrawn."""

    @abstractmethod
    def reset(self, now: int) -> int | None:
        """Returns the nanoseconds until the limit is full if no other call comes; None is
        unknown."""

    def count(self, cost: int, now: int) -> None:
        """Charges a refused call, as far as something is left."""
        left = min(cost, self.remaining(now))
        if left:
            self.take(left, now)

    def part(self, seconds: float) -> Enforcer | None:
        """Returns a limit of the same kind that allows, in a period of `seconds`, its part of the
        amount.
        None: there is no such limit.

        Only called on a limit whose period is longer.
        """
        return None

    def release(self, cost: int) -> None:  # noqa: B027 - only a limit on concurrency cares
        """Notes that the call that took `cost` has ended."""


class TokenBucket(Enforcer):
    """A bucket that refills continuously at `amount` per `per` seconds up to `capacity`. It starts
    full.

    `capacity` is `amount` by default: a full period's worth may be taken at once.
    """

    def __init__(
        self, unit: str, amount: float, per: float = 60.0, capacity: float | None = None
    ) -> None:
        capacity = amount if capacity is None else capacity
        check_number("amount", amount, zero=False)
        check_number("capacity", capacity, zero=False)
        rate, full = Fraction(amount) / _nanoseconds("per", per), Fraction(capacity)
        super().__init__(unit, math.floor(full), per)
        self._text = f"{amount:,.10g} per {per:g} s, capacity {float(full):,.10g}"
        self._rate = amount / per
        # The level is counted in 1/scale of a unit, so that refill and capacity are integers.
        self._scale = math.lcm(rate.denominator, full.denominator)
        self._refill = int(rate * self._scale)  # per nanosecond
        self._full = int(full * self._scale)
        self._level = self._full
        self._at: int | None = None  # the instant of _level; None, and full, until the first take

    def _level_at(self, now: int) -> int:
        if self._at is None:
            return self._full
        return min(self._full, self._level + (now - self._at) * self._refill)

    def wait(self, cost: int, now: int) -> int:
        missing = cost * self._scale - self._level_at(now)
        return max(0, -(-missing // self._refill))

    def take(self, cost: int, now: int) -> None:
        self._level = self._level_at(now) - cost * self._scale
        self._at = now

    def count(self, cost: int, now: int) -> None:
        """Charges a refused call. The part of a unit that has refilled so far is lost, too."""
        level = self._level_at(now)
        self._level = min(level, max(level - cost * self._scale, 0))
        self._at = now

    def part(self, seconds: float) -> TokenBucket:
        amount = self._rate * seconds
        return TokenBucket(self.unit, amount, seconds, capacity=max(amount, 1.0))

    def settle(self, cost: int, actual: int, taken: int, now: int) -> None:
        self._level = min(self._full, self._level_at(now) + (cost - actual) * self._scale)
        self._at = now

    def remaining(self, now: int) -> int:
        return max(0, self._level_at(now) // self._scale)

    def reset(self, now: int) -> int:
        return -(-(self._full - self._level_at(now)) // self._refill)

    def __repr__(self) -> str:
        return f"TokenBucket({self.unit}: {self._text})"


class FixedWindow(Enforcer):
    """A limit of `amount` in each window of `per` seconds. The first window opens at the first
    cost, unless `first_window` says otherwise.

    The windows follow one another without a gap, whether used or not.
    """

    def __init__(self, unit: str, amount: int, per: float = 60.0) -> None:
        super().__init__(unit, _whole("amount", amount), per)
        self._per = _nanoseconds("per", per)
        self._opened: int | None = None  # start of the window that _used belongs to
        self._used = 0
        self._passed: Callable[[], float] = float  # of nothing: 0.0

    def first_window(self, passed: Callable[[], float]) -> None:
        """Lets the first window begin before the first cost. `passed` returns, at the first cost,
        the share of the window that is over.
        """
        self._passed = passed

    def _roll(self, now: int) -> int:
        """Moves to the window of `now` and returns its start."""
        if self._opened is None:
            return now - int(self._passed() * self._per)
        passed = (now - self._opened) // self._per
        if passed:
            self._opened += passed * self._per
            self._used = 0
        return self._opened

    def wait(self, cost: int, now: int) -> int:
        opened = self._roll(now)
        return 0 if self._used + cost <= self.largest else opened + self._per - now

    def take(self, cost: int, now: int) -> None:
        self._opened = self._roll(now)
        self._used += cost

    def settle(self, cost: int, actual: int, taken: int, now: int) -> None:
        self._opened = self._roll(now)
        if actual > cost or taken >= self._opened:  # the refund of a past window is worth nothing
            self._used += actual - cost

    def remaining(self, now: int) -> int:
        self._roll(now)
        return max(0, self.largest - self._used)

    def reset(self, now: int) -> int:
        opened = self._roll(now)
        return opened + self._per - now if self._used else 0

    def part(self, seconds: float) -> FixedWindow:
        amount = round(self.largest * seconds * NANOSECONDS / self._per)
        return FixedWindow(self.unit, max(amount, 1), seconds)

    def __repr__(self) -> str:
        per = self._per / NANOSECONDS
        return f"FixedWindow({self.unit}: {self.largest:,} per {per:g} s)"


class SlidingWindow(Enforcer):
    """A limit of `amount` in any `per` seconds, kept by a log of the costs.

    A cost taken at t counts up to, and no longer at, t + per.
    """

    def __init__(self, unit: str, amount: int, per: float = 60.0) -> None:
        super().__init__(unit, _whole("amount", amount), per)
        self._per = _nanoseconds("per", per)
        self._log: OrderedDict[int, int] = OrderedDict()  # costs by when they stop counting
        self._used = 0

    def _forget(self, now: int) -> None:
        while self._log and (first := next(iter(self._log))) <= now:
            self._used -= self._log.pop(first)

    def wait(self, cost: int, now: int) -> int:
        self._forget(now)
        excess = self._used + cost - self.largest
        if excess <= 0:
            return 0
        for expires, taken in self._log.items():
            excess -= taken
            if excess <= 0:
                return expires - now
        raise ValueError(f"a cost of {cost} never passes {self!r}")

    def take(self, cost: int, now: int) -> None:
        self._forget(now)
        self._add(now + self._per, cost)

    def _add(self, expires: int, cost: int) -> None:
        self._used += cost
        left = self._log.get(expires, 0) + cost
        if left:
            self._log[expires] = left
        else:
            self._log.pop(expires, None)

    def settle(self, cost: int, actual: int, taken: int, now: int) -> None:
        """Settles a cost. A refund ends when that cost ends to count; a charge counts from now
        on."""
        self._forget(now)
        if actual > cost:
            self._add(now + self._per, actual - cost)
        elif (expires := taken + self._per) in self._log:
            self._add(expires, actual - cost)

    def remaining(self, now: int) -> int:
        self._forget(now)
        return max(0, self.largest - self._used)

    def reset(self, now: int) -> int:
        self._forget(now)
        return next(reversed(self._log)) - now if self._log else 0

    def part(self, seconds: float) -> SlidingWindow:
        amount = round(self.largest * seconds * NANOSECONDS / self._per)
        return SlidingWindow(self.unit, max(amount, 1), seconds)

    def __repr__(self) -> str:
        per = self._per / NANOSECONDS
        return f"SlidingWindow({self.unit}: {self.largest:,} per {per:g} s)"


class Concurrency(Enforcer):
    """A limit of `amount` held at once, each from its admission to the end of its call.

    The moment at which a place becomes free is unknown, so a refusal promises no time.
    """

    def __init__(self, amount: int, unit: str = "requests") -> None:
        super().__init__(unit, _whole("amount", amount))
        self._held = 0

    def wait(self, cost: int, now: int) -> int | None:
        return 0 if self._held + cost <= self.largest else None

    def take(self, cost: int, now: int) -> None:
        self._held += cost

    def settle(self, cost: int, actual: int, taken: int, now: int) -> None:
        self._held += actual - cost

    def count(self, cost: int, now: int) -> None:
        """Does nothing: a refused call holds no place."""

    def remaining(self, now: int) -> int:
        return max(0, self.largest - self._held)

    def reset(self, now: int) -> int | None:
        return None if self._held else 0

    def release(self, cost: int) -> None:
        self._held -= cost

    def __repr__(self) -> str:
        return f"Concurrency({self.unit}: {self.largest:,} at once)"


def _whole(name: str, value: int) -> int:
    check_number(name, value, zero=False)
    if value != int(value):
        raise ValueError(f"{name} must be a whole number, got {value!r}")
    return int(value)


def _nanoseconds(name: str, seconds: float) -> int:
    check_number(name, seconds, zero=False)
    nanoseconds = round(seconds * NANOSECONDS)
    if nanoseconds < 1:
        raise ValueError(f"{name} must be at least a nanosecond, got {seconds!r} s")
    return nanoseconds
