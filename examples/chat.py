"""Ask many questions within an account's limits, and print the answers in their order.

    python examples/chat.py                                # a simulated provider, no account
    OPENAI_API_KEY=... python examples/chat.py < questions.txt

With a key it needs `pip install openai` and reads one question a line from its input.
OPENAI_BASE_URL points it to any server that speaks OpenAI's protocol; MODEL, MAX_RPM and MAX_TPM
(the account's requests and tokens per minute) are read from the environment too.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from xtremeflow import TokenRateScheduler, auto_backoff
from xtremeflow.testing import SimulatedProvider, TokenBucket

MAX_OUTPUT = 200  # tokens
Ask = Callable[[str], Coroutine[Any, Any, str]]


def estimate(question: str) -> int:
    """What OpenAI charges as the request arrives: the longest answer, or the prompt if longer.

    So there is nothing to report. With a server that charges actual usage, estimate the sum of
    prompt and expected answer, and report `response.usage.total_tokens` in the call.
    """
    return max(prompt_tokens(question), MAX_OUTPUT)


def prompt_tokens(question: str) -> int:
    return len(question) // 4


@asynccontextmanager
async def openai_client() -> AsyncIterator[Ask]:
    from openai import AsyncOpenAI

    model = os.environ.get("MODEL", "gpt-5-mini")
    # The SDK's own retries would hide the 429s, and repeat calls that no limit has admitted.
    async with AsyncOpenAI(max_retries=0) as client:

        @auto_backoff()
        async def ask(question: str) -> str:
            response = await client.chat.completions.create(
                model=model,
                messages=[{"role": "user", "content": question}],
                max_completion_tokens=MAX_OUTPUT,
            )
            return response.choices[0].message.content or ""

        yield ask


@asynccontextmanager
async def simulated_client(max_rpm: float, max_tpm: float) -> AsyncIterator[Ask]:
    limits = [TokenBucket("requests", max_rpm), TokenBucket("tokens", max_tpm)]
    provider = SimulatedProvider(limits, charge="max_tokens")

    @auto_backoff()
    async def ask(question: str) -> str:
        response = await provider.call(
            prompt_tokens=prompt_tokens(question), output_tokens=80, max_tokens=MAX_OUTPUT
        )
        return f"an answer of {response.usage.completion_tokens} tokens"

    yield ask


async def main() -> None:
    max_rpm = float(os.environ.get("MAX_RPM", "600"))
    max_tpm = float(os.environ.get("MAX_TPM", "600000"))
    if os.environ.get("OPENAI_API_KEY"):
        client = openai_client()
        questions = [line.strip() for line in sys.stdin if line.strip()]
    else:
        client = simulated_client(max_rpm, max_tpm)
        questions = [f"What is {n} times {n}?" for n in range(1, 31)]

    scheduler = TokenRateScheduler(
        max_rpm=max_rpm, max_tpm=max_tpm, burst_ratio=1, max_concurrency=100
    )
    failed = 0
    async with client as ask:
        answers = scheduler.map(ask, questions, estimated_tokens=estimate, return_exceptions=True)
        asked = iter(questions)
        async for answer in answers:
            failed += isinstance(answer, BaseException)
            print(f"{next(asked)}  {answer!r}")

    stats = scheduler.stats()
    print(
        f"{len(questions)} questions in {stats.elapsed:.1f} s, {failed} failed, "
        f"{stats.refused} refusals, {stats.tokens_used:,} tokens"
    )


if __name__ == "__main__":
    asyncio.run(main())
