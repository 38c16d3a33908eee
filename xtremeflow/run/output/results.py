"""The results on disk, from which a later run goes on.

A result is one line. One write appends it, alone or with others. Its id carries the number and the
fingerprint of the line of the input that it answers, so no other file must be kept in step with
this one: the lines in here are done, the rest are not. A line that a crash has torn is the last one
and is cut off.
"""

from __future__ import annotations

import errno
import fcntl
import json
import mmap
import os
import re
import stat
from array import array
from collections.abc import Callable
from functools import partial
from pathlib import Path

_START = b'{"id": "xf-'
_ID = re.compile(rb'\{"id": "xf-(\d{1,15})-([0-9a-f]{16})"')


class ResultsError(Exception):
    """The output cannot be used. The message names it and says why."""


class InputChanged(Exception):
    """Lines that are done are not where they were. The message names them."""


class Done:
    """The lines that are done: 8 bytes a line, however large the results."""

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

    def add_all(self, others: Done) -> int:
        """Adds the lines of `others`, and returns the number of new ones."""
        before = self.count
        for line, mark in enumerate(others._marks):
            if mark:
                self.add(line, mark)
        return self.count - before

    def check(self, line: int, fingerprint: int) -> bool:
        """Whether that line is done. Raises InputChanged if another line with its number is."""
        before = self.get(line)
        if before not in (0, fingerprint):
            raise InputChanged(
                f"line {line} of the input is not the one that was done before: to go on, "
                "the lines already done must stay where they are; for a new job, choose a new "
                "output"
            )
        return before != 0

    def check_end(self, lines: int) -> None:
        """Raises InputChanged if lines are done that an input of `lines` lines does not have."""
        if self.last > lines:
            raise InputChanged(
                f"the input ends after {lines} lines, but line {self.last} was done before: to go "
                "on, the lines already done must stay where they are; for a new job, choose a new "
                "output"
            )

    def get(self, line: int) -> int:
        """Returns the fingerprint of a done line, or 0."""
        return self._marks[line] if line < len(self._marks) else 0


class Log:
    """A file of lines that grows only by whole lines.

    It is locked while it is open. The lock ends with the process, however that ends.
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
        self._mend: Callable[[], None] | None = None

    @classmethod
    def of_existing(cls, path: Path) -> Log | None:
        """Opens the file, or returns None if it does not exist. Raises ResultsError."""
        try:
            path.stat()
        except FileNotFoundError:
            for needed, error in ((os.F_OK, errno.ENOENT), (os.W_OK, errno.EACCES)):
                if not os.access(path.parent, needed):
                    raise ResultsError(f"cannot write {path}: {os.strerror(error)}") from None
            return None
        except OSError as error:
            raise ResultsError(f"cannot write {path}: {error.strerror}") from None
        return cls(path)

    @property
    def status(self) -> os.stat_result:
        return os.fstat(self._file)

    def recover(self, done: Done) -> None:
        """Notes in `done` the lines of the file. It leaves a torn end for `mend`.

        Raises ResultsError for a line that is not of this command.
        """
        start, rest = _scan(self._file, self.path, done)
        if not rest:
            return
        if _is_json(rest) and _note(rest, done):  # only its end is missing
            self._mend = partial(self.append, b"\n")
        elif _is_torn(rest):
            self._mend = partial(self.cut, start)
        else:
            raise _foreign("the end", self.path)

    def mend(self) -> None:
        if self._mend is not None:
            self._mend()
            self._mend = None

    def append(self, lines: bytes) -> None:
        """Adds whole lines. Raises OSError, and adds nothing, if they cannot be written."""
        written = 0
        try:
            while written < len(lines):
                written += os.write(self._file, lines[written:] if written else lines)
        except BaseException:
            if written:
                self.cut(self._end)
            raise
        self._end += written

    def cut(self, end: int) -> None:
        os.ftruncate(self._file, end)
        self._end = end

    def sync(self) -> None:
        """Writes everything to the disk, so that a power failure does not lose it."""
        os.fsync(self._file)

    def close(self) -> None:
        os.close(self._file)


def _scan(file: int, path: Path, done: Done) -> tuple[int, bytes]:
    """Notes all whole lines. Returns the position of the rest, and the rest."""
    size = os.fstat(file).st_size
    if not size:
        return 0, b""
    with mmap.mmap(file, size, access=mmap.ACCESS_READ) as data:
        start = number = 0
        while (end := data.find(b"\n", start)) >= 0:
            number += 1
            match = _ID.match(data, start, end)
            if match is None:
                raise _foreign(f"line {number}", path)
            done.add(int(match[1]), int(match[2], 16))
            start = end + 1
        return start, data[start:]


def _note(line: bytes, done: Done) -> bool:
    match = _ID.match(line)
    if match is not None:
        done.add(int(match[1]), int(match[2], 16))
    return match is not None


def _is_torn(rest: bytes) -> bool:
    """Whether `rest` is the beginning of a line of ours, or the zeros that a power failure
    leaves."""
    return rest[: len(_START)] == _START[: len(rest)] or not rest.strip(b"\0")


def _foreign(what: str, path: Path) -> ResultsError:
    return ResultsError(f"{what} of {path} is not a result of this command: choose another output")


class Results:
    """The results, and beside them the errors: bad lines and calls that failed.

    The next run retries failed lines, so its errors begin anew. With `skip_failed` they stay.
    Nothing on the disk changes before `begin`, at the latest with the first written line, because
    until then the run may still be refused.
    """

    def __init__(self, path: Path, *, skip_failed: bool = False) -> None:
        """Locks and reads the files. Raises ResultsError if one of them cannot be used."""
        self.path = path
        self.errors_path = errors_path(path)
        self.done = Done()
        self.failed_before = 0
        self.last_written = 0.0
        """When an earlier run wrote its last result, in seconds since the epoch."""
        self._skip_failed = skip_failed
        self._begun = False
        self._results: Log | None = None
        self._errors: Log | None = None
        try:
            self._results = Log.of_existing(path)
            self._errors = Log.of_existing(self.errors_path)
            if self._results is not None:
                self.last_written = self._results.status.st_mtime
                self._results.recover(self.done)
            if self._errors is not None:
                failed = Done()
                self._errors.recover(failed)  # even if they are not kept: the file must be ours
                if skip_failed:
                    self.failed_before = self.done.add_all(failed)
        except OSError as error:
            self.close()
            raise ResultsError(f"cannot use {path}: {error.strerror}") from None
        except BaseException:
            self.close()
            raise

    def begin(self) -> None:
        """Makes the files ready for writing. Raises ResultsError."""
        if self._begun:
            return
        try:
            new = self._results is None
            results = self._results = self._results or Log(self.path)
            try:
                errors = self._errors = self._errors or Log(self.errors_path)
            except ResultsError:
                if new:
                    self.path.unlink()
                raise
            results.mend()
            if self._skip_failed:
                errors.mend()
            else:
                errors.cut(0)
        except OSError as error:
            raise ResultsError(f"cannot use {self.path}: {error.strerror}") from None
        self._begun = True

    def add(self, lines: bytes) -> None:
        self.begin()
        assert self._results is not None
        self._results.append(lines)

    def add_error(self, lines: bytes) -> None:
        self.begin()
        assert self._errors is not None
        self._errors.append(lines)

    def sync(self) -> None:
        for log in (self._results, self._errors):
            if log is not None:
                log.sync()

    def close(self) -> None:
        for log in (self._results, self._errors):
            if log is not None:
                log.close()


def errors_path(path: Path) -> Path:
    """Returns the path of the errors: `results.errors.jsonl` for `results.jsonl`."""
    return path.with_name(f"{path.stem}.errors{path.suffix}")


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True
