"""instructor: pip install 'xtremeflow[instructor,serve]'"""

import asyncio

from pydantic import BaseModel

from xtremeflow import TokenRateScheduler
from xtremeflow.frameworks.instructor import client
from xtremeflow.serve import serve


class Person(BaseModel):
    name: str
    age: int


async def main() -> None:
    scheduler = TokenRateScheduler(max_tpm=2_000_000, burst_ratio=1, max_concurrency=20)
    async with serve("openai", speed=20) as server:  # without it: OpenAI, and your key
        chat = client(scheduler, base_url=server.base_url, api_key="any")
        people = await asyncio.gather(
            *[
                chat.create(
                    model="gpt-5-mini",
                    messages=[{"role": "user", "content": f"Who is number {n}?"}],
                    response_model=Person,
                )
                for n in range(10)
            ]
        )
    stats = scheduler.stats()
    print(f"{len(people)} people, {stats.succeeded} calls, {stats.tokens_used:,} tokens")


asyncio.run(main())
