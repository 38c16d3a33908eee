"""Helpers for the tests of shares: names that are cleared, members in other processes."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from xtremeflow import RequestRateScheduler, auto_backoff
from xtremeflow.share import ShareError
from xtremeflow.share.member import clear

_numbers = itertools.count()
ROUNDS = int(os.environ.get("XTREMEFLOW_SOAK", "1"))
"""How often failures are repeated: more than once by `./dev check soak`."""

FORKS = """
        import asyncio, os, sys
        from xtremeflow import TaskScheduler
        async def call(scheduler):
            await (await scheduler.start_task(asyncio.sleep(0)))
        scheduler = TaskScheduler(1, share=sys.argv[1])
        asyncio.run(call(scheduler))
        child = os.fork()
        if child == 0:
            try:
                asyncio.run(call(scheduler))
            except RuntimeError as error:
                asyncio.run(call(TaskScheduler(1, share=sys.argv[1])))
                os._exit(7 if "forked" in str(error) else 1)
            os._exit(2)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        asyncio.run(call(scheduler))
        print(status)
"""
"""A program of a member that forks: its child is none, says so, and joins anew. It prints 7. It is
indented as in a test, which may add lines."""

DISPATCHES = """
    import asyncio, sys, time
    from xtremeflow import RequestRateScheduler
    async def call():
        print(time.monotonic_ns(), flush=True)
    async def main():
        scheduler = RequestRateScheduler(max_rps=float(sys.argv[2]), share=sys.argv[1])
        while True:
            await (await scheduler.start_task(call()))
    asyncio.run(main())
"""
"""A program of a member of the share, with so many calls a second. It prints when each of its calls
was dispatched, in ns, without end."""


@contextmanager
def share_name() -> Iterator[str]:
    """A share of this test alone, of which nothing is left."""
    name = f"shm:xtremeflow-test-{os.getpid()}-{next(_numbers)}"
    try:
        yield name
    finally:
        with suppress(ShareError):
            clear(name)


class Process:
    """A Python process that runs `program`, with `arguments` in sys.argv, `within` a command."""

    def __init__(self, program: str, *arguments: object, within: Sequence[str] = ()) -> None:
        python = [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)]
        command = [*within, *python]
        self.popen = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def says(self) -> str:
        """Its next line."""
        assert self.popen.stdout is not None
        return self.popen.stdout.readline().strip()

    def rest(self) -> list[str]:
        """Its other lines until its end, but for one that it did not end."""
        assert self.popen.stdout is not None
        return self.popen.stdout.read().split("\n")[:-1]

    def tell(self, line: str) -> None:
        assert self.popen.stdin is not None
        print(line, file=self.popen.stdin, flush=True)

    def kill(self) -> None:
        self.popen.kill()
        self.close()

    def close(self) -> int:
        """Waits for its end, and returns its status."""
        for stream in (self.popen.stdin, self.popen.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        return self.popen.wait(60)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *error: object) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
        self.close()


async def sent() -> float:
    return time.monotonic()


class _Refused(Exception):
    status_code = 429
    retry_after = 1.0


async def paused_by_a_refusal(
    share: str,
) -> tuple[RequestRateScheduler, RequestRateScheduler]:
    """Has a member refused for a second, and checks that another one pauses, too. Returns both."""
    first, second = (RequestRateScheduler(max_rps=1000, share=share) for _ in range(2))
    refusals, ended, is_refused = iter([True]), list[float](), asyncio.Event()

    @auto_backoff()
    async def call() -> None:
        if next(refusals, False):
            ended.append(time.monotonic())
            is_refused.set()
            raise _Refused

    await second.submit(sent())
    task = first.submit(call())
    await is_refused.wait()
    await asyncio.sleep(0.1)
    assert await second.submit(sent()) - ended[0] > 0.9
    await task
    return first, second


def eventually(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    """It comes to hold; how soon is no matter of a test's."""
    give_up = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < give_up, "it does not come to hold"
        time.sleep(0.005)
