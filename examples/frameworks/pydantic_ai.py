"""pydantic-ai: pip install 'xtremeflow[pydantic-ai,serve]'"""

import asyncio

from pydantic_ai import Agent

from xtremeflow import TokenRateScheduler
from xtremeflow.frameworks.pydantic_ai import model
from xtremeflow.serve import serve


async def main() -> None:
    scheduler = TokenRateScheduler(max_tpm=2_000_000, burst_ratio=1, max_concurrency=20)
    async with serve("openai", speed=20) as server:  # without it: OpenAI, and your key
        chat = model("gpt-5-mini", scheduler, base_url=server.base_url, api_key="any")
        agent = Agent(chat, instructions="Answer in one sentence.")
        answers = await asyncio.gather(*[agent.run(f"Question {n}?") for n in range(10)])
    stats = scheduler.stats()
    print(f"{len(answers)} answers, {stats.succeeded} calls, {stats.tokens_used:,} tokens")


asyncio.run(main())
