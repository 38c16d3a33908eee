"""The progress of a job while it goes on."""

from __future__ import annotations

import sys
import time
from typing import Any

_LOG_INTERVAL = 10.0  # s


class ProgressLine:
    """A line of progress: in a terminal it is overwritten; elsewhere a new one every ten
    seconds."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._began = time.monotonic()
        self._in_place = sys.stdout.isatty()
        self._next = _LOG_INTERVAL

    def show(self, seen: dict[str, Any]) -> None:
        """Shows the counts `seen` of the provider so far."""
        elapsed = time.monotonic() - self._began
        done = seen["succeeded"]
        text = (
            f"  {done:,} of {self._total:,} done ({done / self._total:.0%}), "
            f"{seen['in_flight']:,} in flight, {seen['refused']:,} refused, {elapsed:.0f} s"
        )
        if self._in_place:
            end = "\n" if done == self._total else ""
            print(f"\r{text}\x1b[K", end=end, flush=True)
        elif elapsed >= self._next or done == self._total:
            self._next += _LOG_INTERVAL
            print(text, flush=True)
