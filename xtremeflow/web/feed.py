"""The feed of samples: one a second, of which the last ten minutes are kept for a page that is
opened later."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable

from xtremeflow.web.sample import Json

INTERVAL = 1.0  # s
KEPT = 600  # samples


class Feed:
    """Takes samples while it runs. A page reads those kept, and then each new one, until the feed
    has ended."""

    def __init__(self, look: Callable[[], Json], interval: float = INTERVAL) -> None:
        self._look = look
        self._interval = interval
        self._kept: deque[str] = deque(maxlen=KEPT)
        self._taken = 0
        self._is_over = False
        self._changed = asyncio.Event()

    async def run(self) -> None:
        while True:
            self.take()
            await asyncio.sleep(self._interval)

    def take(self) -> None:
        """Takes a sample now. A control does so, so that pages show its effect at once."""
        self._kept.append(json.dumps(self._look(), separators=(",", ":")))
        self._taken += 1
        self._changed.set()
        self._changed = asyncio.Event()

    def end(self) -> None:
        """Takes the last sample. Pages read it, and then no more."""
        self._is_over = True
        self.take()

    def latest(self) -> str:
        """Returns a sample of this moment, as JSON."""
        self.take()
        return self._kept[-1]

    async def samples(self) -> AsyncIterator[list[str]]:
        """Yields the samples since the last ones, as JSON. A slow reader misses the oldest."""
        seen = 0
        while True:
            new = min(self._taken - seen, len(self._kept))
            seen = self._taken
            if new:
                yield list(self._kept)[len(self._kept) - new :]
            elif self._is_over:
                return
            else:
                await self._changed.wait()
