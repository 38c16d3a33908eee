"""LiteLLM: pip install 'xtremeflow[litellm,serve]'"""

import asyncio

from litellm import acompletion

from xtremeflow import TokenRateScheduler
from xtremeflow.frameworks.litellm import scheduled
from xtremeflow.serve import serve


async def main() -> None:
    scheduler = TokenRateScheduler(max_tpm=2_000_000, burst_ratio=1, max_concurrency=20)
    async with serve("openai", speed=20) as server:  # without it: OpenAI, and your key
        with scheduled(scheduler):
            answers = await asyncio.gather(
                *[
                    acompletion(
                        model="openai/gpt-5-mini",
                        messages=[{"role": "user", "content": f"Question {n}?"}],
                        api_base=server.base_url,
                        api_key="any",
                        max_retries=0,
                    )
                    for n in range(10)
                ]
            )
    stats = scheduler.stats()
    print(f"{len(answers)} answers, {stats.succeeded} calls, {stats.tokens_used:,} tokens")


asyncio.run(main())
