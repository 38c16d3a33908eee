"""The admitted units of each limit over time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from xtremeflow.learning.reading import Reading
from xtremeflow.values.limits import MINUTE, ByLimit

APART = 0.03  # s between two notes


class Ledger:
    """The units admitted of each limit, without refused ones, which are not charged."""

    def __init__(self, limits: int) -> None:
        self.refused = [0.0] * limits
        """The units of refused calls."""
        self._times: list[float] = []
        self._amounts: list[ByLimit] = []
        self._nothing = (0.0,) * limits

    @property
    def due_at(self) -> float:
        """When it is time for another note."""
        return self._times[-1] + APART if self._times else 0.0

    def note(self, now: float, readings: Sequence[Reading]) -> None:
        pairs = zip(readings, self.refused, strict=True)
        self._times.append(now)
        self._amounts.append(tuple(reading.used - refused for reading, refused in pairs))
        kept = 2 * MINUTE  # twice the longest span of a model
        if now - self._times[0] > 2 * kept:
            gone = bisect_right(self._times, now - kept)
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
        """Returns the units admitted by `time`."""
        index = bisect_right(self._times, time) - 1
        return self._amounts[index] if index >= 0 else self._nothing
