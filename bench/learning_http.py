"""The same over HTTP and in real time: `xtremeflow run` against `xtremeflow serve`, each in a
process of its own. Nothing is configured.

    python -m bench.learning_http                  some minutes
    python -m bench.learning_http openai groq      only these profiles
    python -m bench.learning_http --sdk            OpenAI's SDK as well, which is slow to send

"used" is the share of the tokens that the provider would have allowed from the first admission to
the last. A bucket allows a full one and its rate; a window no more than its rate, for nobody knows
when it begins.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.report import announce, table
from xtremeflow import TokenRateScheduler
from xtremeflow.demo.provider import observed, served
from xtremeflow.http import transport

LIMITS = {
    "openai": {"rpm": 3_000, "tpm": 120_000},
    "azure": {"rpm": 3_000, "tpm": 120_000},
    "anthropic": {"rpm": 3_000, "itpm": 120_000, "otpm": 120_000},
    "groq": {"rpm": 3_000, "rpd": 500_000, "tpm": 120_000},
}
MODELS = {"anthropic": "claude-haiku-5", "groq": "llama-3.3-70b-versatile"}
WINDOWS = {"azure"}
LATENCY = ("--round-trip", "0.04", "--first-token", "0.3", "--per-output-token", "0.002")
PROMPT, MOST = "word " * 320, 200


def options_of(profile: str) -> list[str]:
    options = ["--profile", profile, "--output-tokens", str(MOST), *LATENCY]
    for name, amount in LIMITS[profile].items():
        options += [f"--{name}", str(amount)]
    return options


def body_of(profile: str) -> dict[str, Any]:
    return {
        "model": MODELS.get(profile, "gpt-5-mini"),
        "messages": [{"role": "user", "content": PROMPT}],
        "max_tokens": MOST,
    }


async def by_run(profile: str, base_url: str, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        requests = Path(folder) / "requests.jsonl"
        requests.write_text((json.dumps(body_of(profile)) + "\n") * 3_000)
        command = [
            *(sys.executable, "-m", "xtremeflow", "run", str(requests), "--quiet"),
            *("-o", f"{folder}/results.jsonl", "--provider", profile, "--base-url", base_url),
            *("--key-env", "ANY_KEY", "--deadline", f"{seconds:.0f}s"),
        ]
        process = await asyncio.create_subprocess_exec(
            *command, env={**os.environ, "ANY_KEY": "any"}, stderr=subprocess.DEVNULL
        )
        await process.wait()


async def by_sdk(profile: str, base_url: str, seconds: float) -> None:
    import httpx2
    from openai import AsyncOpenAI

    scheduler = TokenRateScheduler(adapt=True)
    http = httpx2.AsyncClient(transport=transport(scheduler=scheduler))
    async with AsyncOpenAI(
        base_url=base_url, api_key="any", max_retries=0, timeout=600, http_client=http
    ) as client:

        async def ask() -> None:
            await client.chat.completions.create(**body_of(profile))

        tasks = [asyncio.create_task(ask()) for _ in range(900)]
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.gather(*tasks), seconds)
        await asyncio.gather(*tasks, return_exceptions=True)


async def job(profile: str, way: str, seconds: float) -> list[str]:
    with served(options_of(profile)) as base_url:
        where = urlsplit(base_url)
        async with observed(f"{where.scheme}://{where.netloc}/v1") as seen:
            await (by_sdk if way == "sdk" else by_run)(profile, base_url, seconds)
    told = seen.seen
    elapsed = told["seconds_since_first_admission"] - told["seconds_since_last_admission"]
    name = "itpm" if profile == "anthropic" else "tpm"
    limit = told["limits"][name]
    allowed = limit["amount"] * elapsed / 60 + (0 if profile in WINDOWS else limit["amount"])
    used = told["charged"][limit["unit"]] / allowed
    refused = told["refused"] / told["attempts"]
    return [f"{profile}: {way}", f"{used:.3f}", f"{refused:.2%}", str(told["attempts"])]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.learning_http",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("profiles", nargs="*", metavar="PROFILE", help=", ".join(LIMITS))
    parser.add_argument("--seconds", type=float, default=75.0, help="of each (default: 75)")
    parser.add_argument("--sdk", action="store_true", help="OpenAI's SDK as well")
    options = parser.parse_args(argv)
    for profile in options.profiles:
        if profile not in LIMITS:
            parser.error(f"there is no profile {profile!r} here, only {', '.join(LIMITS)}")
    ways = [(profile, "run") for profile in options.profiles or LIMITS]
    ways += [("openai", "sdk")] if options.sdk else []
    rows = []
    for profile, way in ways:
        rows.append(asyncio.run(job(profile, way, options.seconds)))
        announce(rows[-1])
    print(table(["over HTTP, real time", "used", "refused", "attempts"], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
