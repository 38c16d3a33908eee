"""OpenAI Agents SDK: pip install 'xtremeflow[openai-agents,serve]'"""

import asyncio

from agents import Agent, Runner, set_tracing_disabled

from xtremeflow import TokenRateScheduler
from xtremeflow.frameworks.openai_agents import responses_model
from xtremeflow.serve import serve


async def main() -> None:
    scheduler = TokenRateScheduler(max_tpm=2_000_000, burst_ratio=1, max_concurrency=20)
    set_tracing_disabled(True)  # there is no account here to send traces to
    async with serve("openai", speed=20) as server:  # without it: OpenAI, and your key
        chat = responses_model("gpt-5-mini", scheduler, base_url=server.base_url, api_key="any")
        agent = Agent(name="one", instructions="Answer in one sentence.", model=chat)
        answers = await asyncio.gather(*[Runner.run(agent, f"Question {n}?") for n in range(10)])
    stats = scheduler.stats()
    print(f"{len(answers)} answers, {stats.succeeded} calls, {stats.tokens_used:,} tokens")


asyncio.run(main())
