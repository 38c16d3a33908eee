"""Where a share lies: the file of ``"shm:NAME"`` and of ``"file:/PATH"``."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import tempfile
from pathlib import Path

VERSION = 1  # of what lies in the file
FORMS = "'shm:NAME' or 'file:/PATH'"

# Whose locks and memory are not those of one machine.
_REMOTE = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "glusterfs", "lustre", "fuse.sshfs", "afs"}
)


class ShareError(RuntimeError):
    """A share cannot be used as it is; the message says why, and what can be done."""


def path_of(share: str) -> Path:
    """The file of a share; the directory of ``shm:`` is made if need be.

    Raises:
        TypeError, ValueError: It is no share.
        ShareError: Its directory is not ours alone, or of another machine.
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
    """Of shared memory on Linux; elsewhere of the temporary files, which are mapped as well."""
    memory = Path("/dev/shm")
    above = memory if memory.is_dir() else Path(tempfile.gettempdir())
    directory = above / f"xtremeflow-{os.geteuid()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise ShareError(
            f"{directory} must be a directory of this user that nobody else may enter: remove it"
        )
    return directory


def _check_machine(share: str, directory: Path) -> None:
    """Processes of several machines do not see each other's memory, whatever the file says."""
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
    """By what the instants in a file are known to be of our clock: 32 bytes.

    The monotonic clock begins anew at each boot, and another time namespace has another one.
    """
    parts: list[str] = []
    for path in ("/proc/sys/kernel/random/boot_id", "/proc/self/timens_offsets"):
        try:
            parts.append(Path(path).read_text())
        except OSError:
            parts.append("")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32].encode()
