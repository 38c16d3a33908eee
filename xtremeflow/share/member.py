"""Joins a scheduler to a share in a file, and finds and wakes the other members.

The file begins with a page that names its kind and its limits. Then comes the memory in which the
core keeps the account (csrc/core/snapshot.h). Beside the file each seat has a file that its member
keeps locked while it lives, and a pipe into which others write to wake it. The kernel unlocks the
files of a killed process, whatever the process was doing.
"""

from __future__ import annotations

import atexit
import errno
import json
import mmap
import os
import re
import stat
import struct
import sys
import time
import weakref
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from xtremeflow import _core
from xtremeflow.learning.belief import Belief, given_from
from xtremeflow.learning.reading import PLACES
from xtremeflow.share.known import known
from xtremeflow.share.place import VERSION, ShareError, clock_id, path_of
from xtremeflow.values.limits import DAY, MINUTE

if sys.platform != "win32":
    import fcntl

MAGIC = b"xtremefl"
PAGE = 4096
_HEAD = struct.Struct("<8sI32sI")  # magic, version, clock, and the number of the valid text
_LENGTH = struct.Struct("<I")
_TEXT, _TEXT_BYTES = 64, 2016  # where the first text begins, and the room for each
_AGREED = PAGE // 2  # place of the members' clock in the core's memory
SEATS = 256
PATIENCE = 5.0  # seconds to wait for another process that joins


class Member:
    """A seat in a share, from `joining` until `close`.

    Args:
        share: As given by the user.

    Raises:
        TypeError, ValueError: The name is not that of a share.
        ShareError, OSError: The share cannot be used.
    """

    def __init__(self, share: str) -> None:
        self.share = share
        self.path = path_of(share)
        self.alone = False
        """Whether there is no other member: then our limits count, whatever they were before."""
        self.empty = False
        """Whether the limits were used, without knowing how much."""
        self.belief = Belief(False, ())
        """The limits as given, and whether the members learn."""
        self.max_concurrency: int | None = None
        self.seat = -1
        self._file = self._lock = self._pipe = -1
        self._ways: dict[int, int] = {}  # pipes to members of other processes, by their seats
        self._key: tuple[int, int] = (0, 0)

    # -- joining

    @contextmanager
    def joining(self) -> Generator[None, None, None]:
        """Takes a seat. Within the block no other process joins. Returns the seat if the block
        fails."""
        try:
            with _permitted(self.share):
                self._file = _opened(self.path)
            with _locked(self._file, self.share):
                found = os.fstat(self._file)
                if found.st_nlink == 0:
                    raise ShareError(f"the share {self.share!r} has just been cleared: try again")
                self._key = (found.st_dev, found.st_ino)
                with _permitted(self.share):
                    self._sit_down()
                self._prepare(found.st_size)
                yield
        except BaseException:
            self.close()
            raise

    def _sit_down(self) -> None:
        """Takes the first seat that is not locked."""
        taken = free = -1
        for seat in range(SEATS):
            path = self._beside(seat, "lock")
            if free >= 0 and not path.exists():
                continue
            lock = _try_lock(path)
            if lock is None:
                taken = seat
            elif free < 0:
                free, self._lock = seat, lock
            else:
                os.close(lock)
        if free < 0:
            raise ShareError(f"the share {self.share!r} has {SEATS} members already, the most")
        self.seat, self.alone = free, taken < 0
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, str(os.getpid()).encode(), 0)
        pipe = self._beside(free, "poke")
        with suppress(FileExistsError):
            os.mkfifo(pipe, 0o600)
        self._pipe = os.open(pipe, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)

    def _prepare(self, size: int) -> None:
        whole, offset, stride = _core.share_layout(self.seat)
        page = os.pread(self._file, PAGE, 0).ljust(PAGE, b"\0")
        if page[:8] not in (MAGIC, bytes(8)):
            raise ShareError(f"{self.path} is no share's file: name another one, or remove it")
        described = _description(page) if size == PAGE + whole else None
        if described is None and not self.alone:
            raise ShareError(
                f"the share {self.share!r} is used by another version of xtremeflow, or by "
                f"processes with another clock (of another machine, or time namespace)"
            )
        if self.alone:
            self.empty = page[:8] == MAGIC and described is None
            os.ftruncate(self._file, PAGE + whole)
            _allocate(self._file, 0, 2 * PAGE)
        _allocate(self._file, PAGE + offset, stride)
        self._all = mmap.mmap(self._file, PAGE + whole)
        self.memory = memoryview(self._all)[PAGE:]
        if described is None or (self.alone and _is_virtual(self.memory)):
            self._begin()
        elif self.alone:  # the clock of the first member that waits
            self.memory[_AGREED : _AGREED + 8] = bytes(8)
        if described is not None:
            self.belief, self.max_concurrency = described

    def _begin(self) -> None:
        """Begins the account anew."""
        self.memory[:PAGE] = bytes(PAGE)

    def describe(self, given: Belief, max_concurrency: int | None) -> None:
        """Writes the account's limits, for members that join later. Call it within `joining`."""
        if self.alone and _names(given) != _names(self.belief):
            self._begin()
        self._write(given, max_concurrency)

    def redescribe(self, given: Belief, max_concurrency: int | None) -> None:
        """Does the same for a member whose scheduler has changed the limits for all."""
        if self._file >= 0:
            with _locked(self._file, self.share):
                self._write(given, max_concurrency)

    def _write(self, given: Belief, max_concurrency: int | None) -> None:
        """Writes a text, and last the number that makes it valid, as this process may be killed
        anywhere."""
        limits = [[*definition, capped] for definition, capped in given.given]
        text = json.dumps([limits, max_concurrency, given.adapt]).encode()
        if len(text) > _TEXT_BYTES - _LENGTH.size:
            raise ValueError("the names of the limits are too long for a share")
        *_, before = _HEAD.unpack_from(self._all)
        which = (before + 1) % 2
        begin = _TEXT + which * _TEXT_BYTES
        self._all[begin : begin + _LENGTH.size + len(text)] = _LENGTH.pack(len(text)) + text
        head = _HEAD.pack(MAGIC, VERSION, clock_id(), which)
        self._all[8 : len(head)] = head[8:]
        self._all[:8] = MAGIC

    def join(self, scheduler: _core.Scheduler) -> None:
        """Makes the scheduler, which has the share's limits, the member. Call it within
        `joining`."""
        pipe = self._pipe
        if not scheduler._join(self, self.memory, self.seat, pipe, self.alone, self.empty):
            raise ShareError(f"the share {self.share!r} has other limits, or more than 16")
        _here[self._where(self.seat)] = weakref.ref(scheduler), self
        self.sweep(scheduler, scheduler._seats())

    # -- other members

    def _beside(self, seat: int, kind: str) -> Path:
        return self.path.with_name(f"{self.path.name}.{seat}.{kind}")

    def _where(self, seat: int) -> tuple[int, int, int]:
        """Returns the seat, with the file that tells it from those of other shares in this
        process."""
        return (*self._key, seat)

    def poke(self, seats: Sequence[int]) -> None:
        """Wakes these members, if they live."""
        for seat in seats:
            here, _ = _here.get(self._where(seat), (None, None))
            scheduler = here() if here is not None else None
            if scheduler is not None:
                scheduler._poked()
            else:
                self._poke_process(seat)

    def _poke_process(self, seat: int) -> None:
        try:
            if seat not in self._ways:
                pipe = self._beside(seat, "poke")
                self._ways[seat] = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.write(self._ways[seat], b"\0")
        except BlockingIOError:
            pass  # the pipe is full, which wakes it too
        except OSError:  # the member is gone, which a sweep finds later
            if (way := self._ways.pop(seat, None)) is not None:
                os.close(way)

    def sweep(self, scheduler: _core.Scheduler, seats: Sequence[int]) -> None:
        """Lets the scheduler return the slots and quota of those of these members that are dead."""
        for seat in seats:
            lock = _try_lock(self._beside(seat, "lock"))
            if lock is not None:  # and no other process can take the seat meanwhile
                try:
                    scheduler._bury(seat)
                finally:
                    os.close(lock)

    def close(self) -> None:
        """Releases the seat, which the scheduler has left. Once is enough."""
        where = self._where(self.seat)
        here = _here.get(where)
        if here is not None and here[1] is self:
            del _here[where]
        for descriptor in (self._pipe, self._lock, self._file, *self._ways.values()):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._lock = self._pipe = -1
        self._ways.clear()


_here: dict[tuple[int, int, int], tuple[weakref.ref[_core.Scheduler], Member]] = {}
"""The members of this process, by device and inode of the file, and seat."""


def _forget_all() -> None:
    """Drops the seats after a fork, since they are the parent's."""
    for reference, member in list(_here.values()):
        scheduler = reference()
        if scheduler is not None:
            scheduler._forget()
        member.close()


def _leave_all() -> None:
    for reference, _ in list(_here.values()):
        scheduler = reference()
        if scheduler is not None:
            scheduler._leave()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_forget_all)
atexit.register(_leave_all)

# -- files


@contextmanager
def _permitted(share: str) -> Generator[None, None, None]:
    """Raises ShareError if the system permits no use of the share's files within the block."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        raise ShareError(
            f"the share {share!r} needs a file that this user may write, in a directory in which "
            f"this user may make others: {error}"
        ) from error


def _opened(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        file = os.open(path, flags, 0o600)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ShareError(f"{path} is a link: a share's file must not be one") from None
        raise
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise ShareError(f"{path} must be a file")
    return file


def _try_lock(path: Path) -> int | None:
    """Locks a file, created if need be. Returns its descriptor, or None if another process has
    it."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


@contextmanager
def _locked(file: int, share: str) -> Generator[None, None, None]:
    """Lets no other process join during the block. Joining takes moments, so a longer wait
    fails."""
    give_up = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > give_up:
                raise ShareError(
                    f"another process has been joining the share {share!r} for {PATIENCE:g} s: "
                    "is it stopped?"
                ) from None
            time.sleep(0.001)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


def _allocate(file: int, offset: int, length: int) -> None:
    """Allocates a part of the file, or a later write to its memory would kill the process."""
    if sys.platform == "linux":
        os.posix_fallocate(file, offset, length)


def _names(given: Belief) -> list[str]:
    return [name for (name, *_), _ in given.given]


def _description(page: bytes) -> tuple[Belief, int | None] | None:
    """Returns the limits and slots that a file's first page describes, or None if the file is of
    another kind or clock."""
    magic, version, clock, which = _HEAD.unpack_from(page)
    if (magic, version, clock) != (MAGIC, VERSION, clock_id()) or which > 1:
        return None
    begin = _TEXT + which * _TEXT_BYTES
    (length,) = _LENGTH.unpack_from(page, begin)
    begin += _LENGTH.size
    try:
        limits, slots, adapt = json.loads(page[begin : begin + length])
        given = tuple(map(given_from, limits))
        if adapt not in (True, False, "bounded"):
            return None
        return Belief(adapt, given), None if slots is None else int(slots)
    except (ValueError, TypeError):
        return None


def _is_virtual(memory: memoryview) -> bool:
    """Whether the members were on loops with clocks of their own."""
    agreed: int = struct.unpack_from("=Q", memory, _AGREED)[0]
    return agreed > 1


# -- looking from outside


def state_of(share: str) -> dict[str, Any] | None:
    """Returns the state of a share without joining it: limits, members, and those that live.

    None if there is no such share.
    """
    path = path_of(share)
    try:
        with _permitted(share):
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        whole, _, _ = _core.share_layout(0)
        described = _description(os.pread(file, PAGE, 0).ljust(PAGE, b"\0"))
        if described is None or os.fstat(file).st_size != PAGE + whole:
            return None
        with mmap.mmap(file, PAGE + whole) as everything, memoryview(everything) as memory:
            state = _core.share_state(memory[PAGE:], time.monotonic())
    finally:
        os.close(file)
    if state is None:
        return None
    alive = _living(path)
    state["members"] = [member for member in state["members"] if member["seat"] in alive]
    for member in state["members"]:
        member["pid"] = alive[member["seat"]]
    named = [(name, per) for (name, _, per, _), _ in described[0].given]
    named += [(name, DAY if daily else MINUTE) for name, daily in PLACES]
    for limit, (name, per) in zip(state["limits"], named, strict=False):
        limit.update(name=name, per=per)
    return known(state)


def _living(path: Path) -> dict[int, int | None]:
    """Returns the seats whose members live, with their process numbers if known."""
    seats: dict[int, int | None] = {}
    for file in path.parent.glob(f"{path.name}.*.lock"):
        number = re.fullmatch(r".*\.(\d+)\.lock", file.name)
        lock = _try_lock(file) if number is not None else None
        if number is not None and lock is None:
            text = file.read_text(errors="replace")
            seats[int(number[1])] = int(text) if text.isdecimal() else None
        elif lock is not None:
            os.close(lock)
    return seats


def clear(share: str) -> bool:
    """Removes the files of a share. Returns False if there are none.

    Raises:
        ShareError: The share has members.
    """
    path = path_of(share)
    if not path.exists():
        return False
    with _permitted(share):
        file = _opened(path)
    try:
        with _locked(file, share), _permitted(share):
            if living := _living(path):
                raise ShareError(
                    f"the share {share!r} has members, {len(living)} of them: end them first"
                )
            if os.pread(file, 8, 0).strip(b"\0") not in (b"", MAGIC):
                raise ShareError(f"{path} is no share's file")
            for other in path.parent.glob(f"{path.name}.*"):
                if re.fullmatch(r"\d+\.(lock|poke)", other.name[len(path.name) + 1 :]):
                    other.unlink()
            path.unlink()
    finally:
        os.close(file)
    return True
