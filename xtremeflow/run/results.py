"""The results on disk, which are also what a later run goes on from.

A result is one line, appended by one write. Its id carries the number and the fingerprint of the
line of the input that it answers, so no other file has to be kept in step with this one: what is
in here is done, the rest is not. A line that a crash has torn is the last one and is cut off.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import re
import stat
from array import array
from pathlib import Path

_ID = re.compile(rb'\{"id": "xf-(\d{1,15})-([0-9a-f]{16})"')


class ResultsError(Exception):
    """The output cannot be used; says which and why."""


class InputChanged(Exception):
    """Lines that are done are not where they were; says which."""


class Done:
    """Which lines are done: 8 bytes a line, however large the results."""

    def __init__(self) -> None:
        self._marks = array("Q")
        self.count = 0
        self.last = 0
        """The number of the last line of the input that is done; 0: none is."""

    def add(self, line: int, fingerprint: int) -> None:
        if line >= len(self._marks):
            self._marks.frombytes(
                bytes(8 * (max(line + 1, len(self._marks) * 2) - len(self._marks)))
            )
        self.count += not self._marks[line]
        self.last = max(self.last, line)
        self._marks[line] = fingerprint

    def check(self, line: int, fingerprint: int) -> bool:
        """Whether that line is done. Raises InputChanged if another one is, under its number."""
        before = self.get(line)
        if before not in (0, fingerprint):
            raise InputChanged(
                f"line {line} of the input is not the one that was done before: to go on, "
                "the lines already done must stay where they are; for a new job, choose a new "
                "output"
            )
        return before != 0

    def check_end(self, lines: int) -> None:
        """Raises InputChanged if lines are done that the input, of so many lines, does not have."""
        if self.last > lines:
            raise InputChanged(
                f"the input ends after {lines} lines, but line {self.last} was done before: to go "
                "on, the lines already done must stay where they are; for a new job, choose a new "
                "output"
            )

    def get(self, line: int) -> int:
        """The fingerprint of the line that was done, or 0."""
        return self._marks[line] if line < len(self._marks) else 0


class Log:
    """A file of lines that grows by whole lines only.

    It is locked for as long as it is open; the lock ends with the process, however that ends.
    """

    def __init__(self, path: Path) -> None:
        """Opens or creates it. Raises ResultsError if it cannot be written or is in use."""
        self.path = path
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise ResultsError(f"cannot write {path}: {error.strerror}") from None
        try:
            if not stat.S_ISREG(os.fstat(self._file).st_mode):
                raise ResultsError(f"cannot write {path}: it is not a regular file")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._end = os.fstat(self._file).st_size
        except BlockingIOError:
            os.close(self._file)
            raise ResultsError(
                f"{path} is in use by another run: wait for its end, or choose another output"
            ) from None
        except BaseException:
            os.close(self._file)
            raise

    @property
    def status(self) -> os.stat_result:
        return os.fstat(self._file)

    def recover(self, done: Done) -> None:
        """Notes in `done` what is there, and mends a torn end.

        Raises ResultsError for a line that is not a result.
        """
        start, rest = _scan(self._file, self.path, done)
        if not rest:
            return
        if _is_json(rest) and _note(rest, done):  # only its end is missing
            self.append(b"\n")
        else:
            self.cut(start)

    def append(self, line: bytes) -> None:
        """Adds the line, or nothing: raises OSError if it cannot be written."""
        written = 0
        try:
            while written < len(line):
                written += os.write(self._file, line[written:] if written else line)
        except BaseException:
            if written:
                self.cut(self._end)
            raise
        self._end += written

    def cut(self, end: int) -> None:
        os.ftruncate(self._file, end)
        self._end = end

    def sync(self) -> None:
        """Has the disk keep what was written, even if the power fails."""
        os.fsync(self._file)

    def close(self) -> None:
        os.close(self._file)


def _scan(file: int, path: Path, done: Done) -> tuple[int, bytes]:
    """Notes all whole lines; returns where the rest begins, and the rest."""
    size = os.fstat(file).st_size
    if not size:
        return 0, b""
    with mmap.mmap(file, size, access=mmap.ACCESS_READ) as data:
        start = number = 0
        while (end := data.find(b"\n", start)) >= 0:
            number += 1
            match = _ID.match(data, start, end)
            if match is None:
                raise ResultsError(
                    f"line {number} of {path} is not a result of this command: "
                    "choose another output"
                )
            done.add(int(match[1]), int(match[2], 16))
            start = end + 1
        return start, data[start:]


def _note(line: bytes, done: Done) -> bool:
    match = _ID.match(line)
    if match is not None:
        done.add(int(match[1]), int(match[2], 16))
    return match is not None


def what_is_done(path: Path) -> Done:
    """What the results hold, which stay as they are. Raises ResultsError."""
    done = Done()
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return done
    except OSError as error:
        raise ResultsError(f"cannot read {path}: {error.strerror}") from None
    try:
        _scan(file, path, done)
    finally:
        os.close(file)
    return done


class Results:
    """The results, and beside them the errors: bad lines and calls that failed.

    What failed is tried again by the next run, so its errors begin anew; with `skip_failed` it is
    left alone and stays.
    """

    def __init__(self, path: Path, *, skip_failed: bool = False) -> None:
        """Opens both. Raises ResultsError if one cannot be used."""
        self.done = Done()
        self.failed_before = 0
        self._results = Log(path)
        self.last_written = self._results.status.st_mtime
        """When an earlier run wrote its last result, in seconds since the epoch."""
        try:
            self._errors = Log(errors_path(path))
            try:
                self._results.recover(self.done)
                if skip_failed:
                    done = self.done.count
                    self._errors.recover(self.done)
                    self.failed_before = self.done.count - done
                else:
                    self._errors.cut(0)
            except BaseException:
                self._errors.close()
                raise
        except OSError as error:
            self._results.close()
            raise ResultsError(f"cannot use {path}: {error.strerror}") from None
        except BaseException:
            self._results.close()
            raise

    @property
    def path(self) -> Path:
        return self._results.path

    @property
    def errors_path(self) -> Path:
        return self._errors.path

    def add(self, line: bytes) -> None:
        self._results.append(line)

    def add_error(self, line: bytes) -> None:
        self._errors.append(line)

    def sync(self) -> None:
        self._results.sync()
        self._errors.sync()

    def close(self) -> None:
        self._results.close()
        self._errors.close()


def errors_path(path: Path) -> Path:
    """`results.jsonl` has its errors in `results.errors.jsonl`."""
    return path.with_name(f"{path.stem}.errors{path.suffix}")


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True
