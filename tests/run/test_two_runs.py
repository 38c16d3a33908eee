"""Two runs on one key: whatever they are refused, no line of either is lost."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from kit.runs import answered, batches_of, by_line, plain, results_in

from xtremeflow.providers import PROVIDERS
from xtremeflow.run.input.requests import RequestLine
from xtremeflow.run.job.runner import Runner
from xtremeflow.run.output.results import Results, errors_path
from xtremeflow.run.wire.transport import Reply
from xtremeflow.scheduler import TaskScheduler
from xtremeflow.testing import run

OPENAI = PROVIDERS["openai"]


class Account:
    """A bucket of requests that all calls of a key share, in OpenAI's words."""

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        self.level = float(per_minute)
        self.at = 0.0
        self.refused = 0

    def take(self, told: bool) -> Reply:
        now = asyncio.get_running_loop().time()
        rate = self.per_minute / 60
        self.level = min(self.per_minute, self.level + (now - self.at) * rate)
        self.at = now
        headers = {}
        if told:
            headers = {
                "x-ratelimit-limit-requests": str(self.per_minute),
                "x-ratelimit-remaining-requests": str(max(0, int(self.level) - 1)),
                "x-ratelimit-reset-requests": f"{(self.per_minute - self.level) / rate:.3f}s",
            }
        if self.level < 1:
            self.refused += 1
            said = {
                "error": {"message": "Please try again in 178ms.", "code": "rate_limit_exceeded"}
            }
            return Reply(429, headers, answered(429, said).body)
        self.level -= 1
        return Reply(200, headers, answered().body)


class Key:
    def __init__(self, account: Account, told: bool) -> None:
        self.account = account
        self.told = told

    async def send(self, request: RequestLine) -> Reply:
        await asyncio.sleep(0.05)
        reply = self.account.take(self.told)
        await asyncio.sleep(0.5 if reply.status == 200 else 0.01)
        return reply

    async def aclose(self) -> None:
        pass


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("apart", [0.0, 3.0])
def test_two_runs_on_one_key_lose_no_line(tmp_path: Path, told: bool, apart: float) -> None:
    account = Account(600)
    lines = [plain(str(i)) for i in range(900)]

    async def one(name: str, wait: float) -> Any:
        await asyncio.sleep(wait)
        results = Results(tmp_path / f"{name}.jsonl")
        scheduler = TaskScheduler(256, adapt="bounded")
        runner = Runner(Key(account, told), scheduler, results, OPENAI)
        await runner.run(batches_of(lines))
        results.close()
        return runner

    async def main() -> list[Any]:
        return list(await asyncio.gather(one("a", 0.0), one("b", apart)))

    for name, runner in zip("ab", run(main()), strict=True):
        assert runner.stopped is None
        assert (runner.counts.succeeded, runner.counts.failed) == (900, 0)
        path = tmp_path / f"{name}.jsonl"
        assert sorted(by_line(results_in(path))) == list(range(1, 901))
        assert errors_path(path).read_bytes() == b""
    assert told or account.refused > 0  # the law of headers may spare all refusals
