"""The place of a share: the file of ``"shm:NAME"`` and of ``"file:/PATH"``."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import tempfile
from pathlib import Path

VERSION = 3  # of the file's format
FORMS = "'shm:NAME', 'file:/PATH', 'redis://HOST:PORT/0#NAME' or 'ray:NAME'"

# File systems whose locks and memory are not those of one machine.
_REMOTE = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "glusterfs", "lustre", "fuse.sshfs", "afs"}
)


class ShareError(RuntimeError):
    """A share cannot be used as it is. The message says why, and how to mend it."""


def path_of(share: str) -> Path:
    """Returns the file of a share. Creates the directory of ``shm:`` if need be.

    Raises:
        TypeError, ValueError: The name is not that of a share.
        ShareError: Its directory belongs to other users too, or to another machine.
    """
    if not isinstance(share, str):
        raise TypeError(f"share must be {FORMS}, got {share!r}")
    kind, _, name = share.partition(":")
    if kind not in ("shm", "file") or not name or "\0" in name:
        raise ValueError(f"share must be {FORMS}, got {share!r}")
    if sys.platform == "win32":
        raise ShareError("a share needs POSIX: this system has none")
    if kind == "shm":
        return _own_directory() / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.v{VERSION}"
    path = Path(name)
    if not path.is_absolute():
        raise ValueError(f"share must name an absolute path, got {share!r}")
    if not path.parent.is_dir():
        raise ShareError(f"the share {share!r} needs the directory {path.parent}")
    _check_machine(share, path.parent)
    return path


def _own_directory() -> Path:
    """Returns the directory of shared memory on Linux; elsewhere that of temporary files."""
    memory = Path("/dev/shm")
    above = memory if memory.is_dir() else Path(tempfile.gettempdir())
    directory = above / f"xtremeflow-{os.geteuid()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise ShareError(
            f"{directory} must be a directory of this user that no other user may enter: remove it"
        )
    return directory


def _check_machine(share: str, directory: Path) -> None:
    """Refuses network file systems, since machines do not see each other's memory. Raises
    ShareError."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()
    except OSError:
        return  # not Linux
    device = directory.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    for mount in mounts:
        fields, _, rest = mount.partition(" - ")
        if fields.split()[2] == number and rest.split()[0] in _REMOTE:
            raise ShareError(
                f"the share {share!r} lies on {rest.split()[0]}: its members must be on one "
                "machine, and the file on a disk or in the memory of that"
            )


def clock_id() -> bytes:
    """Returns 32 bytes that identify the clock of the instants in a file.

    The monotonic clock begins anew at each boot, and each time namespace has its own.
    """
    parts: list[str] = []
    for path in ("/proc/sys/kernel/random/boot_id", "/proc/self/timens_offsets"):
        try:
            parts.append(Path(path).read_text())
        except OSError:
            parts.append("")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32].encode()
