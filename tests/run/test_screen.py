"""The frame of the live view, on a terminal that is resized, and in tmux."""

import os
import pty
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rich")

from xtremeflow.run.views import screen
from xtremeflow.run.views.screen import Screen


class Terminal:
    """As much of one as a frame needs. It loses rows as tmux does: first those below the cursor."""

    def __init__(self, width: int = 40, height: int = 10) -> None:
        self.width = width
        self.rows = [""] * height
        self.history: list[str] = []
        self.row = self.column = 0
        self.saved = (0, 0)
        self.hidden = False
        self.wraps = True

    def write(self, text: str) -> int:
        for part in re.findall(r"\x1b[78]|\x1b\[\??\d*[a-zA-Z]|\r|\n|[^\x1b\r\n]", text):
            if part[0] == "\x1b":
                self._control(part)
            elif part == "\r":
                self.column = 0
            elif part == "\n":
                self._down()
                self.column = 0
            else:
                self._put(part)
        return len(text)

    def _control(self, part: str) -> None:
        number = int(re.sub(r"\D", "", part) or 1)
        kind = part[-1]
        if kind == "A":
            self.row = max(0, self.row - number)
        elif kind == "B":
            self.row = min(len(self.rows) - 1, self.row + number)
        elif kind == "J":
            if self.row == self.column == 0:
                self.history += [row for row in self.rows if row]
            self.rows[self.row] = self.rows[self.row][: self.column]
            self.rows[self.row + 1 :] = [""] * (len(self.rows) - self.row - 1)
        elif kind == "K":
            self.rows[self.row] = ""
        elif part in ("\x1b[?25l", "\x1b[?25h"):
            self.hidden = kind == "l"
        elif part in ("\x1b[?7l", "\x1b[?7h"):
            self.wraps = kind == "h"
        elif part == "\x1b7":
            self.saved = self.row, self.column
        elif part == "\x1b8":
            self.row, self.column = self.saved
        else:
            assert kind == "m", part

    def _put(self, character: str) -> None:
        if self.column == self.width:
            if not self.wraps:
                return
            self._down()
            self.column = 0
        row = self.rows[self.row].ljust(self.column)
        self.rows[self.row] = row[: self.column] + character + row[self.column + 1 :]
        self.column += 1

    def _down(self) -> None:
        self.row += 1
        if self.row == len(self.rows):
            self.history.append(self.rows.pop(0))
            self.rows.append("")
            self.row -= 1

    def lower(self, height: int) -> None:
        while len(self.rows) > height:
            if self.row < len(self.rows) - 1:
                self.rows.pop()
            else:
                self.history.append(self.rows.pop(0))
                self.row -= 1

    @property
    def shown(self) -> list[str]:
        return [row for row in [*self.history, *self.rows] if row]

    def flush(self) -> None:
        pass

    def fileno(self) -> int:
        raise OSError


@contextmanager
def started(terminal: Any) -> Iterator[Screen]:
    frame = Screen(terminal)
    frame.start()
    try:
        yield frame
    finally:
        frame.stop()


def test_a_frame_takes_its_own_place_and_what_is_said_meanwhile_stands_above() -> None:
    terminal = Terminal()
    with started(terminal) as frame:
        frame.show(["one", "two"])
        frame.show(["three"])
        frame.show(["four", "\x1b[1mfive\x1b[0m", "six"])
        print("said", file=sys.stderr)
        assert terminal.shown == ["said", "four", "five", "six"]
        assert terminal.hidden
    assert not terminal.hidden
    assert sys.stderr is not None
    terminal.write("$ ")
    assert terminal.shown == ["said", "four", "five", "six", "$ "]


@pytest.mark.parametrize("height", [2, 3, 5, 8])
def test_a_lower_terminal_drops_the_frame_and_keeps_nothing_of_it(
    monkeypatch: pytest.MonkeyPatch, height: int
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(screen, "_SETTLING", 0.0)
    with started(terminal) as frame:
        print("said", file=sys.stderr)
        for number in range(20):
            frame.show([f"frame {number}, row {row}" for row in range(9)])
        terminal.lower(height)
        frame.show([f"too late, row {row}" for row in range(9)])  # the new size is not told yet
        lines = [f"last, row {row}" for row in range(height - 1)]
        monkeypatch.setattr(frame, "_terminal_size", lambda: height)
        frame.show(lines)
        assert terminal.shown == ["said", *lines]


def test_a_size_that_was_just_told_may_be_the_one_before_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = Terminal()
    with started(terminal) as frame:
        frame.show([f"row {row}" for row in range(9)])
        terminal.lower(4)
        monkeypatch.setattr(frame, "_terminal_size", lambda: 8)
        for _ in range(3):
            frame.show([f"row {row}" for row in range(7)])
        assert terminal.history == []


def test_a_frame_on_the_whole_screen_is_not_kept_each_time() -> None:
    terminal = Terminal()
    with started(terminal) as frame:
        for number in range(5):
            frame.show([f"frame {number}, row {row}" for row in range(10)])
        assert terminal.history == []


def test_lines_that_are_too_wide_stay_lines() -> None:
    terminal = Terminal()
    with started(terminal) as frame:
        frame.show(["x" * 100, "y"])
        frame.show(["x" * 41, "z\x1b[1m" + " " * 25 + "\x1b[0m"])
        assert terminal.shown == ["x" * 40, "z"]  # blanks at an end are not drawn
        assert terminal.wraps


def test_a_terminal_that_is_gone_ends_nothing() -> None:
    class Gone(Terminal):
        def write(self, text: str) -> int:
            raise OSError(5, "Input/output error")

    frame = Screen(Gone())  # type: ignore[arg-type]
    frame.start()
    frame.show(["a"])
    frame.stop()


PROGRAM = """
import asyncio, shutil, sys
from xtremeflow.run.views import screen  # noqa: E402
from xtremeflow.run.views.screen import Screen  # noqa: E402

async def main():
    screen = Screen(sys.stderr)
    screen.start()
    for number in range(80):
        columns, rows = shutil.get_terminal_size()
        names = [f"frame {number} row {row} " for row in range(min(12, rows - 1))]
        screen.show([name.ljust(columns, "=") for name in names])
        await asyncio.sleep(0.05)
    screen.stop()
    print("the end")

asyncio.run(main())
"""


@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
def test_tmux_keeps_no_frame_in_its_history(tmp_path: Path) -> None:
    try:
        ends = pty.openpty()
    except OSError as error:
        pytest.skip(f"there is no pseudo-terminal to be had: {error}")
    for end in ends:
        os.close(end)
    program, socket = tmp_path / "program.py", tmp_path / "tmux"
    program.write_text(PROGRAM)

    def tmux(*arguments: str) -> str:
        command = ["tmux", "-f", "/dev/null", "-S", str(socket), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    line = f"seq 15; {sys.executable} {program}; sleep 60"
    tmux("new-session", "-d", "-x", "100", "-y", "30", line)

    def wait_for(text: str) -> str:
        patience = time.monotonic() + 20
        while text not in (shown := tmux("capture-pane", "-p", "-S", "-")):
            assert time.monotonic() < patience, shown
            time.sleep(0.1)
        return shown

    try:
        # tmux tells the program of a size late. A first frame for the size before may be too high.
        wait_for("frame")
        for width, height in ((100, 8), (100, 30), (60, 30), (110, 20), (100, 6), (100, 30)):
            time.sleep(0.2)
            tmux("resize-window", "-x", str(width), "-y", str(height))
        text = wait_for("the end")
    finally:
        tmux("kill-server")
    frames = re.findall(r"frame (\d+) row", text)
    assert len(frames) == 12
    assert set(frames) == {"79"}
    assert "=\n=" not in text
