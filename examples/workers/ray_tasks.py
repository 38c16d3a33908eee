"""Ray tasks that keep one limit together, on whatever nodes they run. No server is needed.

    python examples/workers/ray_tasks.py

An actor of the cluster keeps the account; the first task starts it.
"""

from __future__ import annotations

import asyncio
import time

import ray

from xtremeflow import RequestRateScheduler

RATE = 100  # requests per second, of all tasks together
SHARE = "ray:ray-tasks"
PROMPTS = 200


@ray.remote
def ask(prompts: list[str]) -> list[float]:
    async def main() -> list[float]:
        async with RequestRateScheduler(max_rps=RATE, share=SHARE) as scheduler:
            return [sent async for sent in scheduler.map(call, prompts)]

    return asyncio.run(main())


async def call(prompt: str) -> float:
    """Stands for a request to the provider; returns when it was sent."""
    sent = time.monotonic()
    await asyncio.sleep(0.05)
    return sent


def main() -> None:
    ray.init(num_cpus=2)  # in your program: the address of your cluster
    prompts = [f"Question {number}" for number in range(PROMPTS)]
    tasks = [ask.remote(prompts[start : start + 25]) for start in range(0, PROMPTS, 25)]
    sent = sorted(at for times in ray.get(tasks) for at in times)
    most = max(sum(at <= other < at + 0.5 for other in sent) for at in sent)
    took = sent[-1] - sent[0]
    print(f"{len(sent)} calls in {took:.1f} s, at the most {most} in half a second")
    ray.shutdown()


if __name__ == "__main__":
    main()
