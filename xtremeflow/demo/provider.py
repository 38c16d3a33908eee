"""The provider: `xtremeflow serve` in a process of its own, and its counts."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

from xtremeflow.http import Client

_INTERVAL = 0.2  # s, between two looks


@contextlib.contextmanager
def served(options: Sequence[str]) -> Generator[str, None, None]:
    """Serves on a free port while the block lasts, and yields the base URL.

    Raises RuntimeError if it does not start. The server ignores a Ctrl-C in the terminal, because
    it still has to answer the calls in flight.
    """
    command = [sys.executable, "-m", "xtremeflow", "serve", "--port", "0", *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                name, _, value = line.strip().partition(": ")
                if name == "base URL":
                    yield value.strip()
                    return
            raise RuntimeError(f"xtremeflow serve ended with status {process.wait()}")
        finally:
            process.terminate()
            process.communicate()  # reads its last output, so that it does not block


@dataclass(frozen=True)
class Sample:
    """The counts of the provider at a moment, in seconds of the monotonic clock."""

    time: float
    seen: dict[str, Any]


class Observed:
    """The counts of a provider during a job."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []

    @property
    def seen(self) -> dict[str, Any]:
        """The last counts: see /admin/stats in docs/serve.md."""
        return self.samples[-1].seen

    def since_first(self) -> list[float]:
        """Returns the times of the samples, in seconds since the first admission."""
        last = self.samples[-1]
        first = last.time - (last.seen["seconds_since_first_admission"] or 0.0)
        return [sample.time - first for sample in self.samples]


@contextlib.asynccontextmanager
async def watched(
    base_url: str, show: Callable[[dict[str, Any]], None] = lambda seen: None
) -> AsyncGenerator[Observed, None]:
    """Resets the provider before the block, and watches it while the block lasts.

    Calls `show` with its counts several times a second.
    """
    admin = base_url.removesuffix("/v1") + "/admin"
    seen = Observed()
    async with Client(timeout=10.0) as client:
        (await client.post(f"{admin}/reset")).raise_for_status()

        async def look() -> None:
            answer = (await client.get(f"{admin}/stats")).raise_for_status()
            seen.samples.append(Sample(time.monotonic(), answer.json()))
            show(seen.seen)

        async def watch() -> None:
            while True:
                await look()
                await asyncio.sleep(_INTERVAL)

        await look()
        watching = asyncio.create_task(watch())
        try:
            yield seen
        finally:
            watching.cancel()
            await asyncio.wait([watching])
        await look()
