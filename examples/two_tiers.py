"""Summarise documents with one model and embed the summaries with another: two tiers, two limits.

    python examples/two_tiers.py

Each tier has its own scheduler and works at its own limit. A tier that falls behind slows down the
one before it: its queue is bounded.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from xtremeflow import (
    RequestRateScheduler,
    TokenRateScheduler,
    async_pipeline,
    auto_backoff,
    report_token_usage,
)
from xtremeflow.testing import LatencyModel, SimulatedProvider, TokenBucket

DOCUMENTS = [f"document {number}" for number in range(40)]

chat = SimulatedProvider([TokenBucket("tokens", 20_000, per=1.0)], charge="actual")
embedding = SimulatedProvider(
    [TokenBucket("requests", 20, per=1.0, capacity=10)],
    latency=LatencyModel(first_token=0.05, per_output_token=0),
)
# Both with a little less at once than what the provider's buckets hold.
chat_scheduler = TokenRateScheduler(max_tps=20_000, burst_ratio=0.9)
embedding_scheduler = RequestRateScheduler(max_rps=20, burst_ratio=0.4)


@auto_backoff()
async def summarise(document: str) -> str:
    response = await chat.call(prompt_tokens=1_200, output_tokens=100)
    await report_token_usage(response.usage.total_tokens)
    return f"summary of {document}"


@auto_backoff()
async def embed(summary: str) -> tuple[str, float]:
    await embedding.call(prompt_tokens=100, output_tokens=0)
    return summary, len(summary) / 100


async def summaries(queue: asyncio.Queue[asyncio.Task[str]]) -> None:
    """First tier: starts calls as its limit allows, and hands the running tasks on."""
    for document in DOCUMENTS:
        task = await chat_scheduler.start_task(summarise(document), estimated_tokens=1_400)
        await queue.put(task)


async def embed_summary(task: asyncio.Task[str]) -> tuple[str, float]:
    """Second tier: takes a summary when it is there, and embeds it as its own limit allows."""
    return await embedding_scheduler.submit(embed(await task))


async def main() -> None:
    done = 0
    pipeline = async_pipeline(summaries, embed_summary, workers=50, maxsize=10)
    async with aclosing(pipeline) as vectors:
        async for summary, vector in vectors:
            done += 1
            print(f"{summary}: {vector:.2f}")
    print(
        f"{done} documents, {chat.stats.refused + embedding.stats.refused} refused, "
        f"{chat_scheduler.stats().elapsed:.1f} s"
    )


if __name__ == "__main__":
    asyncio.run(main())
