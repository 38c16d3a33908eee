"""Jobs on one account over HTTP, in real time: `xtremeflow run` against `xtremeflow serve`, each in
a process of its own, nothing configured.
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
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

from bench.learning.sharing import JOBS
from bench.report import announce, table
from xtremeflow.demo.provider import served
from xtremeflow.http import Client
from xtremeflow.serve.profiles import PROFILES

RPM, TOKENS = 600, 100  # a minute; a call
WARM_UP = 60.0  # s after the last job has begun
LATENCY = ("--round-trip", "0.04", "--first-token", "0.5", "--per-output-token", "0.02")
CALLS = 100_000  # lines of a job's file: more than it can send


def account(profile: str) -> list[str]:
    """The provider, as options of `xtremeflow serve`."""
    tokens = [name for name in ("tpm", "itpm", "otpm") if name in PROFILES[profile].quotas]
    limits = [text for name in tokens for text in (f"--{name}", f"{RPM * TOKENS}")]
    return ["--profile", profile, "--rpm", f"{RPM}", *limits, *LATENCY]


def write(folder: Path) -> Path:
    """A job's folder, with its requests."""
    body = {
        "model": "gpt-5-mini",
        "messages": [{"role": "user", "content": "x" * (4 * TOKENS - 6)}],
        "max_tokens": TOKENS // 4,
    }
    folder.mkdir()
    (folder / "requests.jsonl").write_text((json.dumps(body) + "\n") * CALLS)
    return folder


@contextlib.asynccontextmanager
async def job(folder: Path, profile: str, base_url: str) -> AsyncGenerator[None, None]:
    """`xtremeflow run`, until the block ends."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "xtremeflow", "run", str(folder / "requests.jsonl"), "--quiet"),
        *("-o", str(folder / "results.jsonl"), "--provider", profile, "--base-url", base_url),
        *("--key-env", "ANY_KEY"),
        env={**os.environ, "ANY_KEY": "any"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


async def stats(base_url: str, profile: str) -> dict[str, Any]:
    url = base_url.removesuffix(PROFILES[profile].base_path) + "/admin/stats"
    async with Client(timeout=10.0) as client:
        answer: dict[str, Any] = (await client.get(url)).raise_for_status().json()
        return answer


async def shared(profile: str, jobs: int, apart: float, seconds: float) -> list[str]:
    """A row of the table: what each job got from a minute after the last has begun."""
    with tempfile.TemporaryDirectory() as name, served(account(profile)) as base_url:
        folders = [write(Path(name) / str(number)) for number in range(jobs)]
        async with contextlib.AsyncExitStack() as stack:
            for number, folder in enumerate(folders):
                await asyncio.sleep(apart if number else 0.0)
                await stack.enter_async_context(job(folder, profile, base_url))
            await asyncio.sleep(WARM_UP)
            before = [lines(folder / "results.jsonl") for folder in folders]
            seen = await stats(base_url, profile)
            await asyncio.sleep(seconds)
            after = [lines(folder / "results.jsonl") for folder in folders]
            end = await stats(base_url, profile)
        lost = sum(lines(folder / "results.errors.jsonl") for folder in folders)
    got = [later - earlier for later, earlier in zip(after, before, strict=True)]
    attempts, refused = (end[name] - seen[name] for name in ("attempts", "refused"))
    row = [
        f"{profile}: {jobs} jobs, {apart:g} s apart",
        ", ".join(f"{calls:,}" for calls in got),
        f"{min(got) * jobs / max(1, sum(got)):.2f}",
        f"{sum(got) / (RPM * seconds / 60.0):.2f}",
        f"{refused / max(1, attempts):.1%}",
        f"{lost:,}",
    ]
    announce(row)
    return row


HEADER = ["over HTTP, in real time", "calls", "the least", "together", "refused", "lost"]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="./dev bench learning http",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--profile", choices=PROFILES, default="openai", help="(default: openai)")
    add("--jobs", type=int, choices=(1, *JOBS), default=2, help="on the account (default: 2)")
    add("--apart", type=float, nargs="+", default=[0.0, 6.0], metavar="S", help="(default: 0 6)")
    add("--seconds", type=float, default=60.0, metavar="S", help="measured after a minute of "
        "warming up (default: 60)")  # fmt: skip
    options = parser.parse_args(arguments)
    rows = [
        asyncio.run(shared(options.profile, options.jobs, apart, options.seconds))
        for apart in options.apart
    ]
    print(table(HEADER, rows))
    return 0
