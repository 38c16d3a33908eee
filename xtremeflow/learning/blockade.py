"""A blockade: from a refusal until a call that was sent after it passes; and how to wait for that.

Where the provider does not say how long, the first try comes after what was enough the last time,
further ones after waits that double, or where a window's boundary is due.
"""

from __future__ import annotations

from xtremeflow.learning.windows import EXACT, FIRST_WINDOWS, WINDOW, Windows

PATIENCE = 2.0  # s
LONGEST = 32.0  # s
USUAL = 16.0  # s: the longest first wait
LASTING = 3.5  # s
SHORTER = 0.5  # what a first wait shrinks to that was enough
LATE = 0.05  # s after a boundary
SOON = 0.5  # s
TOLD_LATE = 1.5  # s by which waits that are told may be too long


class Blockade:
    """closed  whether it lasts
    tries   that were refused in it: 1 is the first refusal
    first   when the first one of them was sent, in seconds on the loop's clock
    last    when the last one was
    lasted  whether the last one was more than a moment: the level was nothing until its end
    """

    def __init__(self) -> None:
        self.closed = False
        self.tries = 0
        self.first = self.last = 0.0
        self.lasted = False
        self._heard = -1.0  # when the last one's refusal came,
        self._heard_before = -1.0  # and the one's before
        self._until = 0.0
        self._usual = 0.0

    def refused(self, sent_at: float, now: float) -> bool:
        """Whether that is another try; or else of the same moment as the last one."""
        if sent_at <= self._heard:
            return False
        self.tries = self.tries + 1 if self.closed else 1
        self.closed = True
        self.last, self._heard_before, self._heard = sent_at, self._heard, now
        if self.tries == 1:
            self.first = sent_at
        return True

    def passed(self, sent_at: float) -> bool:
        """Whether it ends with the call that was sent then and has passed."""
        if not self.closed or sent_at <= self._heard:
            if sent_at > self._heard_before:  # it ended, and another one has begun since
                self.tries, self.first = min(self.tries, 1), self.last
            return False
        self.closed = False
        self.lasted = sent_at - self.first > LASTING
        middle = (sent_at + self.last) / 2 - self.first
        if self.tries > 1:
            self._usual = middle if middle <= USUAL else self._usual
        else:
            self._usual *= SHORTER
        return True

    def wait(self, told: float | None, now: float, begun: float | None, windows: Windows) -> None:
        """Choose the next try, not before `told` seconds from now, or as it seems best.

        begun  when the first call of all was submitted, if so many were let pass that they may
               have used up a window at once
        """
        patience = min(LONGEST, PATIENCE * 2.0 ** (self.tries - 1)) if self.tries > 1 else 0.0
        if told is not None:
            self._until = now + max(told, patience, self._usual)
            self.last = max(self.last, now + told - TOLD_LATE)
            return
        patience = max(patience, PATIENCE)
        if self.tries == 1:
            boundary = _boundary(windows, now) if windows.known else None
            patience = max(patience, self._usual) if windows.low is None else patience
        else:
            boundary = _boundary(windows, now, patience)
            if boundary is None and self.tries <= 3 and begun is not None:
                ends = (begun + window + LATE for window in FIRST_WINDOWS)
                boundary = next((end for end in ends if now < end), None)
        self._until = now + patience if boundary is None else boundary

    def left(self, now: float) -> float:
        return max(1e-3, self._until - now)


def _boundary(windows: Windows, now: float, patience: float = WINDOW) -> float | None:
    """When to try again because a boundary is about to come; halving where it may lie."""
    if windows.low is None:
        return None
    low, high = windows.next(now)
    low = max(low, now)
    if high - low <= EXACT:
        until = high + LATE
    elif windows.seen == 1:
        until = high - EXACT  # the end is the likelier, if a window begins with the first call
    else:
        until = (low + high) / 2
    return max(until, now + SOON) if windows.known or until <= now + patience else None
