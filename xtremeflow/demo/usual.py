"""The same job done the usual way: a semaphore, and the retries of the official SDKs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from random import Random

from xtremeflow.demo.outcome import Outcome, json_lines
from xtremeflow.demo.progress import ProgressLine
from xtremeflow.demo.provider import watched
from xtremeflow.http import Client
from xtremeflow.providers.joined import joined

SDK_RETRIES = 2  # their default
FIRST_DELAY = 0.5  # seconds of the provider's time; doubled with each retry, up to
LONGEST_DELAY = 8.0
LONGEST_RETRY_AFTER = 120.0  # the SDKs ignore a longer one


async def run_usual(
    requests: Path, base_url: str, *, concurrency: int, retries: int, speed: float
) -> Outcome:
    """Starts all calls at once behind an asyncio.Semaphore. Retries each up to `retries` times, on
    its own; after that the call is lost.
    """
    lines = json_lines(requests)
    semaphore = asyncio.Semaphore(concurrency)
    random = Random(0)
    headers = {"Authorization": "Bearer any"}

    async with (
        watched(base_url, ProgressLine(len(lines)).show) as seen,
        Client(headers=headers, timeout=600.0, retries=0) as client,
    ):

        async def one(url: str, body: object) -> tuple[int, float] | None:
            async with semaphore:
                for attempt in range(retries + 1):
                    began = time.monotonic()
                    answer = await client.post(url, json=body)
                    if answer.status != 429:
                        answer.raise_for_status()
                        return attempt, time.monotonic() - began
                    if attempt < retries:
                        await asyncio.sleep(usual_delay(answer.headers, attempt, random, speed))
            return None

        began = time.monotonic()
        calls = (one(joined(base_url, line["url"]), line["body"]) for line in lines)
        answered = [done for done in await asyncio.gather(*calls) if done is not None]
        wall = time.monotonic() - began
    return Outcome(wall, len(lines), [n for n, _ in answered], [s for _, s in answered], seen)


def usual_delay(headers: Mapping[str, str], retries: int, random: Random, speed: float) -> float:
    """Returns the seconds to wait, as the SDKs do: the wait of the headers, else exponential with
    jitter."""
    announced = headers.get("retry-after-ms")
    if announced is not None and 0 < float(announced) / 1000 <= LONGEST_RETRY_AFTER:
        return float(announced) / 1000
    delay = min(FIRST_DELAY * 2.0**retries, LONGEST_DELAY)
    return delay * random.uniform(0.75, 1.0) / speed
