"""Processes that send calls together: each prepares itself, and then all begin at one instant.

A sender is a coroutine function named as "MODULE:FUNCTION". It takes numbers and texts, and returns
a function that sends the calls. What that returns goes back as JSON. A process is

    python -m bench.share.together MODULE:FUNCTION ARGUMENTS-AS-JSON

of any interpreter. It says "ready", and takes the instant to begin at from its input.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

Send = Callable[[], Awaitable[Any]]

ROOT = Path(__file__).resolve().parents[2]
GET_READY = 0.2  # seconds for all processes to hear when they begin
READY = "ready\n"


def sent_together(python: str, sender: str, arguments: Sequence[Sequence[object]]) -> list[Any]:
    """Returns what senders return, one for each row of `arguments`, run by this interpreter."""
    processes = [
        subprocess.Popen(
            [python, "-m", __name__, sender, json.dumps(row)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for row in arguments
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            if process.stdout.readline() != READY:
                raise RuntimeError(f"{sender} has failed, see above")
        begin = time.monotonic() + GET_READY
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(f"{begin}\n")
            process.stdin.close()
        return [json.load(process.stdout) for process in processes if process.stdout is not None]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def soon() -> Any:
    """Returns a context of multiprocessing whose processes begin soon: they are forked from one
    that has imported the package."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["xtremeflow", "redis.asyncio"])
    return context


async def _sent(prepare: Callable[..., Awaitable[Send]], arguments: Sequence[Any]) -> Any:
    send = await prepare(*arguments)
    told.write(READY)
    told.flush()
    begin = float(sys.stdin.readline())
    await asyncio.sleep(max(0.0, begin - time.monotonic()))
    return await send()


if __name__ == "__main__":
    told = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # libraries print as well
    logging.disable(logging.WARNING)
    module, _, function = sys.argv[1].partition(":")
    prepare = getattr(importlib.import_module(module), function)
    json.dump(asyncio.run(_sent(prepare, json.loads(sys.argv[2]))), told)
    told.flush()
