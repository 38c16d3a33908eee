"""LlamaIndex: pip install 'xtremeflow[llama-index,serve]'"""

import asyncio

from xtremeflow import TokenRateScheduler
from xtremeflow.frameworks.llama_index import llm
from xtremeflow.serve import serve


async def main() -> None:
    scheduler = TokenRateScheduler(max_tpm=2_000_000, burst_ratio=1, max_concurrency=20)
    async with serve("openai", speed=20) as server:  # without it: OpenAI, and your key
        model = llm("gpt-5-mini", scheduler, api_base=server.base_url, api_key="any")
        answers = await asyncio.gather(*[model.acomplete(f"Question {n}?") for n in range(10)])
    stats = scheduler.stats()
    print(f"{len(answers)} answers, {stats.succeeded} calls, {stats.tokens_used:,} tokens")


asyncio.run(main())
