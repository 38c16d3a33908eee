"""The part of a rate that one client uses, where answers do not tell what a bucket has left.

A client that is refused uses a part less. While it is not refused it uses more, evenly in time. So
all clients of a key come to the same part: additive increase and multiplicative decrease, Chiu and
Jain 1989, https://doi.org/10.1016/0169-7552(89)90019-6.
"""

from __future__ import annotations

from math import inf

CUT = 0.3  # the part that is used less after a refusal; a third of it where that may be chance:
SOON = 10.0  # s after another refusal, and no other user was noticed
RISE = 0.004  # of the rate, more each second


class Part:
    """Times are in seconds on any one clock."""

    def __init__(self) -> None:
        self.part = 1.0
        """Of the rate."""
        self._at = 0.0
        self._heard = -inf

    def rise(self, now: float) -> bool:
        """Returns whether it has risen."""
        before = self.part
        self.part = min(1.0, before + RISE * (now - self._at))
        self._at = now
        return self.part > before

    def refused(self, now: float, sent_at: float, *, others: bool) -> bool:
        """Takes the refusal of a call sent at `sent_at`; `others` says whether other users may use
        the key. Returns whether the part has fallen."""
        if sent_at <= self._heard:
            return False
        is_sure = others or now - self._heard < SOON
        self.part *= 1.0 - (CUT if is_sure else CUT / 3)
        self._heard = self._at = now
        return True
