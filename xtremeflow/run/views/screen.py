"""A frame of lines at the bottom of a terminal, which is redrawn in its place.

Between two drawings the cursor rests at the frame's first character. So a terminal that becomes
lower drops rows of the frame, which lie below the cursor, instead of keeping them in its history.
However a narrower one breaks the lines, all of the frame is behind the cursor. Ctrl-Z leaves
nothing of it to the shell. Other output appears above the frame.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import re
import signal
import sys
import time
from collections.abc import Sequence
from typing import IO, TextIO

_STYLES = re.compile(r"\x1b\[[0-9;]*m")
_PADDING = re.compile(r"(?: |\x1b\[[0-9;]*m)+$")
_HIDE, _SHOW = "\x1b[?25l", "\x1b[?25h"
_CUT, _WRAP = "\x1b[?7l", "\x1b[?7h"  # lines that are wider than the terminal
# From the cursor at the frame's start, which it saves. tmux keeps a screen that is erased from its
# first character on in its history, so the rows below are erased by themselves.
_ERASE = "\r\x1b7\x1b[B\x1b[J\x1b8\x1b[2K"

_SETTLING = 0.3  # s: tmux tells of a terminal's size up to 0.25 s after it has changed


class Screen:
    """Draws on the terminal of `file`. Call `start` and `stop` in the loop's thread."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._lines: Sequence[str] = ()
        self._room = (
            0  # rows that are sure to be there from the frame's start on; 0: it is not drawn
        )
        self._size: object = None  # of the terminal at the last drawing
        self._settled_at = 0.0
        self._before: TextIO | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._gone = False

    def start(self) -> None:
        self._write(_HIDE)
        self._before, sys.stderr = sys.stderr, _Above(self)
        # Where Ctrl-Z is ignored, as below an editor, it stays ignored.
        if signal.getsignal(signal.SIGTSTP) == signal.SIG_DFL:
            with contextlib.suppress(RuntimeError, ValueError):  # there is no loop; other thread
                self._loop = asyncio.get_running_loop()
                self._loop.add_signal_handler(signal.SIGTSTP, self._suspend)

    def stop(self) -> None:
        """Stops drawing. The last frame stays."""
        if self._loop is not None:
            self._loop.remove_signal_handler(signal.SIGTSTP)
        if self._before is not None:
            sys.stderr, self._before = self._before, None
        if self._room:
            # Drawn again, since a terminal that was resized may have dropped rows or broken lines.
            self._write(_ERASE + self._joined("\n") + "\n")
            self._room = 0
        self._write(_SHOW)

    def show(self, lines: Sequence[str]) -> None:
        """Draws lines in place of those before."""
        # A narrower terminal breaks blanks at the end, too, and what its rows push out of the
        # screen cannot be erased.
        self._lines = [_PADDING.sub(_styles_alone, line) for line in lines]
        if self._is_in_front():
            self._draw()

    def above(self, text: str) -> None:
        """Writes whole lines above the frame."""
        if not self._room:
            self._write(text)
            return
        self._write(_ERASE + text)
        self._room = 0
        self._draw()

    def _draw(self) -> None:
        """Draws the frame, and leaves the cursor at its start."""
        rows, size, now = len(self._lines), self._terminal_size(), time.monotonic()
        if size != self._size:
            self._size, self._settled_at, self._room = size, now + _SETTLING, min(self._room, 1)
        if self._room and (rows <= self._room or now < self._settled_at):
            # Without line feeds: rows that scroll out of the screen would stay in the history.
            self._write(_ERASE + self._joined("\r\x1b[B") + "\x1b8")
            return
        erase = _ERASE if self._room else ""
        back = f"\x1b[{rows - 1}A\r" if rows > 1 else "\r"
        self._write(erase + self._joined("\n") + back)
        self._room = rows

    def _joined(self, feed: str) -> str:
        return _CUT + feed.join(self._lines) + _WRAP

    def _suspend(self) -> None:
        self._write((_ERASE if self._room else "") + _SHOW)
        self._room = 0
        os.kill(os.getpid(), signal.SIGSTOP)  # until `fg` or `bg`
        self._write(_HIDE if self._is_in_front() else "")
        self.show(self._lines)

    def _is_in_front(self) -> bool:
        """Whether this job is in the foreground. A job in the background draws nothing."""
        try:
            return os.tcgetpgrp(self._file.fileno()) == os.getpgrp()
        except (OSError, ValueError):
            return True  # no terminal, in a test

    def _terminal_size(self) -> object:
        try:
            return os.get_terminal_size(self._file.fileno())
        except (OSError, ValueError):
            return None

    def _write(self, text: str) -> None:
        if self._gone or not text:
            return
        try:
            self._file.write(text)
            self._file.flush()
        except OSError:
            self._gone = True  # the terminal was closed, and the run goes on without it


def _styles_alone(text: re.Match[str]) -> str:
    return "".join(_STYLES.findall(text[0]))


class _Above(io.TextIOBase):
    """sys.stderr while there is a frame."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._rest = ""

    def write(self, text: str, /) -> int:
        lines, end, self._rest = (self._rest + text).rpartition("\n")
        if end:
            self._screen.above(lines + end)
        return len(text)

    def isatty(self) -> bool:
        return True
