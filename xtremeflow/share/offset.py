"""The difference of two clocks and the time of a round trip, as commands and their answers show
them."""

from __future__ import annotations

from collections import deque

US = 1_000  # ns
DRIFT = 1e-4  # by which clocks may run at different speeds
LATEST = 8  # round trips by which it is known how long an answer takes


class Offset:
    """The instants of a keeper's clock on the member's own.

    The keeper answers at some instant between the command and its answer, so each answer bounds the
    difference of the clocks from both sides. The bounds of several answers narrow each other. If
    they contradict each other, a clock was set, and the latest answer counts.
    """

    def __init__(self) -> None:
        self._low = self._high = 0.0  # the keeper's instant less our own, in microseconds
        self._at: float | None = None
        self._trips: deque[int] = deque(maxlen=LATEST)  # in ns

    def note(self, sent: int, told: int, received: int) -> None:
        """Notes an answer: our instants in ns, and the keeper's between them in microseconds."""
        self._trips.append(received - sent)
        low, high = told - received / 1e3, told - sent / 1e3
        if self._at is not None:
            drift = DRIFT * (received / 1e3 - self._at)
            self._low, self._high = self._low - drift, self._high + drift
        if self._at is None or low > self._high or high < self._low:
            self._low, self._high = low, high
        else:
            self._low, self._high = max(self._low, low), min(self._high, high)
        self._at = received / 1e3

    @property
    def ahead(self) -> float:
        """Seconds by which the keeper's clock is ahead of our own."""
        return (self._low + self._high) / 2e6

    @property
    def trip(self) -> int:
        """Time until an answer, in ns. The longest of the last ones does not count: it may have met
        a stall."""
        return sorted(self._trips)[-2:][0] if self._trips else 0

    def here(self, instant: int) -> int:
        """Returns the keeper's instant in ns of our own clock."""
        return round((instant - (self._low + self._high) / 2) * 1e3)

    def there(self, instant: int) -> int:
        """Returns our own instant in ns in the keeper's microseconds."""
        return round(instant / 1e3 + (self._low + self._high) / 2)
