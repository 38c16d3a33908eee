"""The runner without told limits, on a virtual clock."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from kit.runs import Scripted, answered, by_line, go, plain, results_in

from xtremeflow.providers import PROVIDERS, Provider
from xtremeflow.providers.provider import ANY
from xtremeflow.run.input.requests import RequestLine
from xtremeflow.run.job.job import Job
from xtremeflow.run.job.runner import Runner
from xtremeflow.run.output.history import History, last_state, past_runs
from xtremeflow.run.output.results import Results
from xtremeflow.run.wire.transport import Reply
from xtremeflow.scheduler import TaskScheduler


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "results.jsonl"


class Bucket(Scripted):
    """A provider of so many tokens a minute, a full minute's at first, a call costing its
    max_tokens; it tells of it as OpenAI does."""

    def __init__(self, amount: float) -> None:
        super().__init__()
        self.amount = self.left = amount
        self.refused = 0
        self._at: float | None = None

    async def send(self, request: RequestLine) -> Reply:
        now = asyncio.get_running_loop().time()
        rate = self.amount / 60
        self.left = min(self.amount, self.left + rate * (now - (self._at or now)))
        self._at = now
        cost = request.body["max_tokens"]
        fits = cost <= self.left
        self.left -= cost if fits else 0
        self.refused += not fits
        left = self.left
        await super().send(request)
        told = {
            "x_ratelimit_limit_tokens": f"{self.amount:.0f}",
            "x_ratelimit_remaining_tokens": f"{left:.0f}",
            "x_ratelimit_reset_tokens": f"{(self.amount - left) / rate:.3f}s",
        }
        if not fits:
            return answered(429, {}, retry_after=str((cost - left) / rate), **told)
        return answered(**told)


def learner(path: Path, transport: Any, **options: Any) -> Runner:
    scheduler = TaskScheduler(1024, adapt=options.pop("adapt", "bounded"), **options)
    return Runner(transport, scheduler, Results(path), PROVIDERS["openai"])


def test_a_limit_that_the_answers_tell_is_used_up_and_kept(out: Path) -> None:
    transport = Bucket(60_000)
    runner = learner(out, transport)
    seconds = go(runner, [plain(max_tokens=500)] * 300)  # 150,000 tokens, 60,000 of them at once
    assert sorted(by_line(results_in(out))) == list(range(1, 301))
    assert transport.refused == 0
    assert 90 <= seconds <= 93
    (tokens,) = runner.scheduler.stats().limits
    assert (tokens.name, tokens.rate, tokens.used) == ("tokens", 1_000, 150_000)


def test_answers_that_tell_nothing_are_not_waited_for(out: Path) -> None:
    """The start's four calls, and then more and more, although all answers come together."""
    transport = Scripted()
    seconds = go(learner(out, transport), [plain(max_tokens=500)] * 500)
    assert len(results_in(out)) == 500
    assert seconds <= 25
    assert [at for at, _ in transport.sent[:5]] == pytest.approx([transport.sent[0][0]] * 4 + [
        transport.sent[0][0] + 0.5], abs=0.01)  # fmt: skip


def test_a_refusal_at_the_start_is_learned_from(out: Path) -> None:
    transport = Bucket(60_000)
    transport.left = 0.0  # somebody else has used it all
    seconds = go(learner(out, transport), [plain(max_tokens=500)] * 100)
    assert len(results_in(out)) == 100
    assert transport.refused <= 8
    assert 49 <= seconds <= 55


def test_without_adapt_nothing_is_learned(out: Path) -> None:
    runner = Runner(Bucket(60_000), TaskScheduler(8), Results(out), ANY)
    go(runner, [plain(max_tokens=500)] * 20)
    assert runner.scheduler.stats().limits == ()


def test_the_limits_as_they_have_become_are_kept(out: Path) -> None:
    runner = learner(out, Bucket(60_000))
    history = History(out)
    history.start(1.0, [], target="https://h/v1")
    history.limits(1.0, runner.scheduler.stats().limits, runner.scheduler.learned)
    go(runner, [plain(max_tokens=500)] * 10)
    for moment in (2.0, 3.0):  # the second time nothing has changed
        history.limits(moment, runner.scheduler.stats().limits, runner.scheduler.learned)
    (run,) = past_runs(out)
    ((moment, (limit,)),) = run.changes
    assert moment == 2.0
    assert (limit.name, limit.rate, limit.capacity) == ("tokens", 1_000, 60_000)
    assert limit.learned is not None
    assert last_state([run], "https://h/v1") == runner.scheduler.learned
    assert last_state([run], "https://other/v1") is None


def resumed(
    out: Path, done: int, state: Any, target: str = "https://h/v1", provider: Provider = ANY
) -> TaskScheduler:
    """The scheduler of a run that follows one which had learned `state`, a second later."""
    history = History(out)
    history.start(1.0, [], target="https://h/v1")
    history.end(2.0, {}, state)
    results = SimpleNamespace(
        path=out, done=SimpleNamespace(count=done), last_written=time.time() - 1.0
    )
    job = Job(results=results, limits=[], target=target, adapt="bounded", concurrency=500,
              provider=provider, **dict.fromkeys(["source", "estimator", "policy", "budget",
              "deadline", "key", "command"]))  # type: ignore[arg-type] # fmt: skip
    return job.scheduler()


def test_a_run_begins_with_what_the_one_before_has_learned(out: Path) -> None:
    rate = {"rate": 100.0, "doubt": 1.0, "burst": 6_000.0}
    state = {"version": 1, "rates": {"tokens": rate}}
    (tokens,) = resumed(out, 0, state).stats().limits
    assert (tokens.name, tokens.rate) == ("tokens", 100)
    assert tokens.level >= 500
    (tokens,) = resumed(out, 1_000, state).stats().limits  # it may have used all there was
    assert tokens.level <= 150
    assert resumed(out, 0, state, "https://other/v1").stats().limits == ()


class Places(Scripted):
    """A provider that takes so many calls at a time, and refuses others without a word."""

    refused = 0

    async def send(self, request: RequestLine) -> Reply:
        if self.in_flight >= 20:
            self.refused += 1
            return answered(429, {})
        self.seconds = Random(request.line).uniform(0.5, 1.5)
        return await super().send(request)


def test_of_a_provider_that_limits_calls_only_that_is_believed_at_once(out: Path) -> None:
    transport, provider = Places(), PROVIDERS["deepseek"]
    scheduler = resumed(out, 0, None, provider=provider)
    seconds = go(Runner(transport, scheduler, Results(out), provider), [plain()] * 1_000)
    assert len(results_in(out)) == 1_000
    assert seconds <= 60  # 50 at the best, and 3 until there are 20
    assert transport.refused <= 20
    assert scheduler.stats().cooldowns == 0
    concurrency = scheduler.stats().concurrency
    assert concurrency is not None
    assert concurrency.calls in (19, 20, 21)


@pytest.mark.parametrize("state", [None, {}, {"version": 99}, {"version": 1, "rates": {"x": 1}}])
def test_unreadable_knowledge_is_not_used_and_that_is_logged(
    out: Path, state: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert resumed(out, 0, state).stats().limits == ()
    assert ("have learned are not used" in caplog.text) is (state is not None)
