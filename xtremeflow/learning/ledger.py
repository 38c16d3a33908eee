"""The units of each limit over time: admitted ones, or those that the provider has charged."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from math import inf

from xtremeflow._core import Reading
from xtremeflow.values.limits import ByLimit

APART = 1 / 2_000  # of the span: notes closer together count as one


class Ledger:
    """The units of each limit, without refused ones, which are not charged.

    span  the seconds of the past that may be asked for
    """

    def __init__(self, limits: int, span: float) -> None:
        self.refused = [0.0] * limits
        """The units of refused calls."""
        self._span = span
        self._times: list[float] = []
        self._amounts: list[ByLimit] = []
        self._nothing = (0.0,) * limits

    @property
    def due_at(self) -> float:
        """When it is time for another note."""
        return self._times[-1] + APART * self._span if self._times else -inf

    def note(self, now: float, readings: Sequence[Reading], uncharged: float = 0.0) -> None:
        """Takes readings. Of the units admitted so many are not charged yet."""
        pairs = zip(readings, self.refused, strict=True)
        amounts = tuple(reading.used - refused - uncharged for reading, refused in pairs)
        if now < self.due_at:
            self._amounts[-1] = amounts
            return
        self._times.append(now)
        self._amounts.append(amounts)
        if now - self._times[0] > 4 * self._span:
            gone = bisect_right(self._times, now - self._span) - 1  # that one is still asked for
            del self._times[:gone], self._amounts[:gone]

    def before(self, readings: Sequence[Reading]) -> ByLimit:
        """Returns the units admitted before the answer's call was dispatched."""
        pairs = zip(readings, self.refused, strict=True)
        return tuple(reading.used - reading.since - refused for reading, refused in pairs)

    def refuse(self, readings: Sequence[Reading]) -> None:
        """Subtracts the cost of the answer's refused call."""
        for i, reading in enumerate(readings):
            self.refused[i] += reading.cost

    def at(self, time: float) -> ByLimit:
        """Returns the units by `time`."""
        index = bisect_right(self._times, time) - 1
        return self._amounts[index] if index >= 0 else self._nothing

    def when(self, i: int, amount: float) -> float:
        """Returns when those of limit `i` came to `amount`; infinity if they have not."""
        index = bisect_left(self._amounts, amount, key=lambda amounts: amounts[i])
        return self._times[index] if index < len(self._times) else inf
