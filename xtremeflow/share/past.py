"""The units used of each limit in the last minute, as far as they were noted."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

KEPT, APART = 60.0, 0.03  # s: for which notes are kept at least, between two of them


class Past:
    """Notes of the units used.

    times  of the notes, in seconds
    used   units of each limit by then
    """

    def __init__(self) -> None:
        self.times: list[float] = []
        self.used: list[Sequence[float]] = []

    def is_fresh(self, now: float) -> bool:
        """Whether the last note is so young that no other is due."""
        return bool(self.times) and now - self.times[-1] < APART

    def note(self, now: float, used: Sequence[float]) -> None:
        """Adds a note, and drops those that are too old."""
        self.times.append(now)
        self.used.append(used)
        if now - self.times[0] > 2 * KEPT:
            gone = bisect_right(self.times, now - KEPT)
            del self.times[:gone], self.used[:gone]

    def at(self, time: float) -> Sequence[float]:
        """Returns the units used by `time`, in proportion between two notes, or those of the note
        that is nearest. There must be one."""
        after = bisect_right(self.times, time)
        if after in (0, len(self.times)):
            return self.used[0 if after == 0 else -1]
        begin, end = self.times[after - 1], self.times[after]
        part = (time - begin) / (end - begin)
        pairs = zip(self.used[after - 1], self.used[after], strict=True)
        return [past + part * (later - past) for past, later in pairs]

    def clear(self) -> None:
        self.times.clear()
        self.used.clear()
