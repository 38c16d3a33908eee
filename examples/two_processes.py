"""Several processes on one account: together they keep its limit, and use all of it.

    python examples/two_processes.py

Each process has a scheduler of its own, and the argument `share` makes their limits one. One
process has four times as many calls as the other, and no call waits while there is quota left.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import time

from xtremeflow import RequestRateScheduler

RATE = 100  # requests per second, of both processes together
CALLS = (160, 40)


async def call() -> float:
    """Stands for a request to the provider; returns when it was sent."""
    sent = time.monotonic()
    await asyncio.sleep(0.05)
    return sent


async def send(share: str, calls: int) -> list[float]:
    scheduler = RequestRateScheduler(max_rps=RATE, share=share)
    return [sent async for sent in scheduler.map(lambda _: call(), range(calls))]


def work(share: str, calls: int) -> list[float]:
    return asyncio.run(send(share, calls))


def main() -> None:
    share = f"shm:two-processes-{os.getpid()}"  # in your program: a name for the account
    context = multiprocessing.get_context("spawn")
    with context.Pool(len(CALLS)) as pool:
        times = pool.starmap(work, [(share, calls) for calls in CALLS])
    sent = sorted(instant for each in times for instant in each)
    took = sent[-1] - sent[0]
    most = max(sum(at <= other < at + 0.5 for other in sent) for at in sent)
    print(f"{len(sent)} calls in {took:.1f} s, at the most {most} in half a second")


if __name__ == "__main__":
    main()
