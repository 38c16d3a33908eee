"""A frame of lines at the bottom of a terminal, which is redrawn in its place.

It leaves nothing behind when the terminal becomes narrower, which breaks its lines, or when Ctrl-Z
stops the process and the shell writes below. Other output appears above it.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import re
import signal
import sys
from collections.abc import Sequence
from typing import IO, TextIO

from rich.cells import cell_len

_STYLES = re.compile(r"\x1b\[[0-9;]*m")
_PADDING = re.compile(r"(?: |\x1b\[[0-9;]*m)+$")
_HIDE, _SHOW = "\x1b[?25l", "\x1b[?25h"


class Screen:
    """Draws on the terminal of `file`. Call `start` and `stop` in the loop's thread."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._widths: list[int] = []  # of the lines on the screen, in cells
        self._lines: Sequence[str] = ()
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
        self._write(("\n" if self._widths else "") + _SHOW)
        self._widths = []

    def show(self, lines: Sequence[str]) -> None:
        """Draws lines, none wider than the terminal, in place of those before."""
        if self._is_in_front():
            # A narrower terminal breaks blanks at the end, too, and what its rows push out of the
            # screen cannot be erased.
            lines = [_PADDING.sub(_styles_alone, line) for line in lines]
            self._write(self._erased() + "\n".join(lines))
            self._lines = lines
            self._widths = [cell_len(_STYLES.sub("", line)) for line in lines]

    def above(self, text: str) -> None:
        """Writes whole lines above the frame."""
        self._write(self._erased() + text + "\n".join(self._lines if self._widths else ()))

    def _erased(self) -> str:
        """Returns the sequence that erases the frame. The cursor is at its end."""
        if not self._widths:
            return ""
        columns = max(1, self._columns())
        rows = sum(max(1, -(-width // columns)) for width in self._widths)
        # Line by line, because tmux keeps an area that is cleared at once in its history.
        return "\r" + (rows - 1) * "\x1b[2K\x1b[A" + "\x1b[2K"

    def _suspend(self) -> None:
        self._write(self._erased() + _SHOW)
        self._widths = []
        os.kill(os.getpid(), signal.SIGSTOP)  # until `fg` or `bg`
        self._write(_HIDE if self._is_in_front() else "")
        self.show(self._lines)

    def _is_in_front(self) -> bool:
        """Whether this job is in the foreground. A job in the background draws nothing."""
        try:
            return os.tcgetpgrp(self._file.fileno()) == os.getpgrp()
        except (OSError, ValueError):
            return True  # no terminal, in a test

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._file.fileno()).columns
        except (OSError, ValueError):
            return 80

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
