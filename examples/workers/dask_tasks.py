"""Dask tasks whose worker processes keep one limit together.

    python examples/workers/dask_tasks.py

Dask's semaphores count calls, and know no rates. Here each worker process makes its scheduler when
its first task needs it. For workers on several machines SHARE names an account on a server.
"""

from __future__ import annotations

import asyncio
import os
import time
from functools import cache

from distributed import Client, LocalCluster

from xtremeflow import RequestRateScheduler

RATE = 100  # requests per second, of all workers together
SHARE = os.environ.get("SHARE", "shm:dask-tasks")
PROMPTS = 200


@cache
def scheduler() -> RequestRateScheduler:
    """This process's."""
    return RequestRateScheduler(max_rps=RATE, share=SHARE)


def ask(prompts: list[str]) -> list[float]:
    """A task."""
    return list(scheduler().map_sync(call, prompts))


async def call(prompt: str) -> float:
    """Stands for a request to the provider; returns when it was sent."""
    sent = time.monotonic()
    await asyncio.sleep(0.05)
    return sent


def main() -> None:
    prompts = [f"Question {number}" for number in range(PROMPTS)]
    parts = [prompts[start : start + 25] for start in range(0, PROMPTS, 25)]
    with (
        LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        sent = sorted(at for times in client.gather(client.map(ask, parts)) for at in times)
    most = max(sum(at <= other < at + 0.5 for other in sent) for at in sent)
    took = sent[-1] - sent[0]
    print(f"{len(sent)} calls in {took:.1f} s, at the most {most} in half a second")


if __name__ == "__main__":
    main()
