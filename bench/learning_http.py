"""The same over HTTP and in real time: the official SDK of OpenAI, and `xtremeflow serve` with the
limits of three providers. Nothing is configured.

    python -m bench.learning_http        four minutes
"""

from __future__ import annotations

import asyncio
import sys
import time

from openai import APIStatusError, AsyncOpenAI

from bench.report import table
from xtremeflow import TokenRateScheduler, auto_backoff
from xtremeflow.serve import Settings
from xtremeflow.serve.server import SimulatedServer
from xtremeflow.testing import LatencyModel

SECONDS = 75.0
LIMITS = {
    "openai": {"rpm": 3_000, "tpm": 120_000},
    "azure": {"rpm": 3_000, "tpm": 120_000},
    "groq": {"rpm": 3_000, "rpd": 500_000, "tpm": 120_000},
}
PROMPT, MOST = "x" * 1_594, 200  # 400 tokens with the role's line


async def job(profile: str) -> list[str]:
    cost = MOST + (0 if profile == "openai" else 400)  # OpenAI charges the larger of the two
    cost = max(cost, 400)
    latency = LatencyModel(uplink_jitter=0.02, first_token=0.3, per_output_token=0.002)
    settings = Settings(profile, limits=LIMITS[profile], latency=latency, output_tokens=MOST)
    scheduler = TokenRateScheduler(adapt=True)
    done = 0
    with SimulatedServer(settings) as server:
        async with AsyncOpenAI(base_url=server.base_url, api_key="any", max_retries=0) as client:

            @auto_backoff(max_retries=10)
            async def ask() -> None:
                nonlocal done
                try:
                    raw = await client.chat.completions.with_raw_response.create(
                        model="m", messages=[{"role": "user", "content": PROMPT}], max_tokens=MOST
                    )
                except APIStatusError as error:
                    scheduler.observe(error.status_code, error.response.headers, error.body)
                    raise
                scheduler.observe(200, raw.headers)
                done += 1

            began = time.monotonic()
            for _ in range(int(3 * LIMITS[profile]["tpm"] / cost)):
                scheduler.submit(ask(), cost)
            await asyncio.sleep(SECONDS)
            elapsed = time.monotonic() - began
            tasks = scheduler.pending_tasks
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        stats = server.service.provider.stats
    windows = profile == "azure"
    amount = LIMITS[profile]["tpm"]
    allowed = amount * 2 if windows else amount * (1 + elapsed / 60)
    if windows:  # at a window's pace, not knowing where it begins
        allowed = amount * elapsed / 60
    return [
        profile,
        f"{stats.charged['tokens'] / allowed:.3f}",
        f"{stats.refused / stats.attempts:.2%}",
        str(done),
    ]


def main() -> int:
    rows = [asyncio.run(job(profile)) for profile in LIMITS]
    print(table(["over HTTP, real time", "of the tokens allowed", "refused", "answers"], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
