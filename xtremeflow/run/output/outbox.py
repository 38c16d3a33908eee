"""Lines on their way to the disk: without the key, and kept while the disk has no room.

The lines of one turn of the loop are written together, before the next turn sends another call. So
the end of the process loses no more than the calls in flight, as if each were written by itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from xtremeflow.run.input.keys import Key
from xtremeflow.run.output.counts import Counts
from xtremeflow.run.output.results import Results

logger = logging.getLogger("xtremeflow.run")

_ROOM_INTERVAL = 1.0  # s, between two attempts to write to a full disk


class Outbox:
    """Writes results and errors, and counts them.

    stop  called with the reason why no line can be written any more
    """

    def __init__(
        self, results: Results, counts: Counts, key: Key | None, stop: Callable[[str], None]
    ) -> None:
        self._results = results
        self._counts = counts
        self._key = key
        self._stop = stop
        self._lines: dict[str, list[bytes]] = {}  # of this turn, by outcome
        self._unsaved: list[tuple[str, bytes]] = []

    def succeeded(self, line: bytes) -> None:
        self._put("succeeded", line)

    def failed(self, line: bytes) -> None:
        self._put("failed", line)

    def bad(self, line: bytes) -> None:
        self._put("bad", line)

    def _put(self, outcome: str, line: bytes) -> None:
        if not self._lines:
            asyncio.get_running_loop().call_soon(self._flush)
        self._lines.setdefault(outcome, []).append(self._hidden(line))

    def _hidden(self, line: bytes) -> bytes:
        """Strikes the key out of a line, since some providers quote it."""
        if self._key is None:
            return line
        start = line.index(b",")  # behind the id, which a later run needs
        return line[:start] + self._key.hidden(line[start:])

    def _flush(self) -> None:
        turn, self._lines = self._lines, {}
        for outcome, lines in turn.items():
            try:
                self._write(outcome, lines)
            except OSError:  # some of them may have room
                for line in lines:
                    self._save(outcome, line)

    def _save(self, outcome: str, line: bytes) -> None:
        try:
            self._write(outcome, [line])
        except OSError as error:
            self._unsaved.append((outcome, line))
            self._counts.unsaved += 1
            self._stop(f"the results cannot be written: {error.strerror}")

    def _write(self, outcome: str, lines: list[bytes]) -> None:
        add = self._results.add if outcome == "succeeded" else self._results.add_error
        add(b"".join(lines))
        setattr(self._counts, outcome, getattr(self._counts, outcome) + len(lines))

    async def wait_for_room(self, patience: float, is_over: Callable[[], bool]) -> None:
        """Keeps answers that could not be written for `patience` seconds, because they are paid
        for."""
        self._flush()
        self._save_again()
        if self._unsaved:
            logger.warning(
                "the results cannot be written; %d answers are kept for %g s: make room",
                len(self._unsaved),
                patience,
            )
        now = asyncio.get_running_loop().time
        end = now() + patience
        while self._unsaved and not is_over() and now() < end:
            await asyncio.sleep(_ROOM_INTERVAL)
            self._save_again()

    def _save_again(self) -> None:
        unsaved, self._unsaved = self._unsaved, []
        self._counts.unsaved = 0
        for outcome, line in unsaved:
            self._save(outcome, line)
