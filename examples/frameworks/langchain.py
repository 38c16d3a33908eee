"""LangChain: pip install 'xtremeflow[langchain]'"""

import asyncio
import time

from langchain_core.language_models import FakeListChatModel

from xtremeflow import RequestRateScheduler
from xtremeflow.frameworks.langchain import RateLimiter


async def main() -> None:
    scheduler = RequestRateScheduler(max_rpm=1_200)  # 20 a second
    model = FakeListChatModel(responses=["Hello."], rate_limiter=RateLimiter(scheduler))
    began = time.monotonic()
    answers = await model.abatch([f"Question {n}?" for n in range(10)])
    seconds = time.monotonic() - began
    print(f"{len(answers)} answers, {scheduler.stats().succeeded} calls, {seconds:.1f} s")


asyncio.run(main())
