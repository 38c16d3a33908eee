"""One odd line stops no job: one that asks for more than a limit can let pass fails by itself."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from kit.runs import Scripted, answered, by_line, errors_in, go, make, plain, results_in

from xtremeflow import Limit
from xtremeflow.providers import PROVIDERS
from xtremeflow.providers.provider import ANY
from xtremeflow.run.job.oversize import Room, fitted, rooms
from xtremeflow.scheduler import TaskScheduler

OPENAI, MINUTE = PROVIDERS["openai"], [Limit("tokens", 60_000, 60.0, 60_000)]
ODD = [10**6, 10**18, 10**30]


def paid(body: Any = None) -> Any:
    return answered(200, body or {"usage": {"prompt_tokens": 10, "completion_tokens": 10}})


@pytest.mark.parametrize("most", ODD)
@pytest.mark.parametrize("key", ["max_tokens", "max_completion_tokens"])
def test_it_fails_at_once_where_the_provider_charges_it(
    tmp_path: Path, most: int, key: str
) -> None:
    out = tmp_path / "o.jsonl"
    transport = Scripted(lambda request, attempt: paid(), seconds=0.1)
    runner = make(out, transport, limits=MINUTE, provider=OPENAI)
    took = go(runner, [plain(**{key: most if i == 3 else 100}) for i in range(10)])
    assert took < 2
    assert sorted(by_line(results_in(out))) == [1, 2, 3, 5, 6, 7, 8, 9, 10]
    [error] = errors_in(out)
    assert error["error"]["code"] == "too_large"
    assert error["error"]["message"].startswith("line 4 asks for answers of up to")
    assert error["xtremeflow"] == {"line": 4, "attempts": 0}
    assert 4 not in transport.lines
    assert runner.counts.failed == 1


@pytest.mark.parametrize("provider", [ANY, PROVIDERS["anthropic"], PROVIDERS["groq"]])
@pytest.mark.parametrize("passes", [True, False])
def test_where_that_is_not_known_it_is_sent_and_holds_up_nobody(
    tmp_path: Path, provider: Any, passes: bool
) -> None:
    def script(request: Any, attempt: int) -> Any:
        said = {"error": {"message": "Request too large: Limit 60000, Requested 1000000"}}
        odd = request.body["max_tokens"] > 100
        return answered(429, said) if odd and not passes else paid()

    out = tmp_path / "o.jsonl"
    limits = [Limit("tokens", 60_000, 60.0, 60_000), Limit("output_tokens", 60_000, 60.0, 60_000)]
    runner = make(out, Scripted(script, seconds=0.1), limits=limits, provider=provider)
    took = go(runner, [plain(max_tokens=10**6 if i == 3 else 100) for i in range(10)])
    assert took < 5
    unsent = provider.rule.admission in ("max", "sum")
    assert len(results_in(out)) == (10 if passes and not unsent else 9)
    assert runner.stopped is None


def test_a_line_that_is_refused_as_too_large_is_not_paid_off(tmp_path: Path) -> None:
    """Before the limit is known, the line is sent; the lines behind it go on at once."""

    def script(request: Any, attempt: int) -> Any:
        if request.line == 1:
            said = {"error": {"message": "Request too large: Limit 60000, Requested 1000000"}}
            return answered(429, said)
        return paid()

    out = tmp_path / "o.jsonl"
    transport = Scripted(script, seconds=0.1)
    runner = make(out, transport, limits=[Limit("tokens", 60_000, 60.0, 60_000)])
    lines = [plain("x" * 200_000, max_tokens=100), *[plain(max_tokens=100)] * 20]
    took = go(runner, lines)
    assert took < 5
    assert transport.lines.count(1) == 1
    assert errors_in(out)[0]["error"]["code"] == "http_429"
    assert len(results_in(out)) == 20


def test_the_first_line_may_be_the_odd_one_and_its_run_goes_on(tmp_path: Path) -> None:
    """While no limit is known, and the answers tell of one later."""

    def script(request: Any, attempt: int) -> Any:
        told = {"x_ratelimit_limit_tokens": "60000", "x_ratelimit_remaining_tokens": "59000",
                "x_ratelimit_reset_tokens": "1s"}  # fmt: skip
        if request.line == 1:
            said = {"error": {"message": "Request too large: Limit 60000, Requested 1000000"}}
            return answered(429, said, **told)
        return answered(200, {"usage": {"prompt_tokens": 9, "completion_tokens": 9}}, **told)

    out = tmp_path / "o.jsonl"
    runner = make(out, Scripted(script, seconds=0.1), provider=OPENAI)
    runner.scheduler = TaskScheduler(16, adapt="bounded")
    runner.__post_init__()
    took = go(runner, [plain(max_tokens=10**6), *[plain(max_tokens=100)] * 30])
    assert took < 10
    assert len(results_in(out)) == 30


def test_the_most_that_the_limits_let_pass_is_known() -> None:
    limits = [Limit("tokens", 600, 60.0, 0), Limit("tokens", 100, 1.0, 7000)]
    known = rooms(TaskScheduler(limits=limits).stats().limits, bounded=True)
    assert known == {"tokens": Room(600.0, True)}
    assert not rooms(TaskScheduler(limits=limits).stats().limits, bounded=False)["tokens"].surely


def test_an_ordinary_line_is_left_as_it_is() -> None:
    scheduler = TaskScheduler(limits=MINUTE)
    cost = scheduler.estimate({"model": "m", "messages": [], "max_tokens": 60_000})
    assert fitted(cost, rooms(scheduler.stats().limits, bounded=True), OPENAI.rule) is cost


def test_a_stop_says_what_to_mend(tmp_path: Path) -> None:
    from xtremeflow.run.input.keys import Key

    key = Key("sk-secret-0123", "environment variable OPENAI_API_KEY")
    cases = [
        (401, {"error": {"message": "Incorrect API key."}},
         "the key is not accepted (HTTP 401): Incorrect API key (the key came from the environment "
         "variable OPENAI_API_KEY)"),
        (404, {"error": {"message": "The model does not exist", "code": "model_not_found"}},
         "there is no such model (HTTP 404), model gpt-9: The model does not exist"),
        (404, {}, "there is no such model or address (HTTP 404), model gpt-9"),
    ]  # fmt: skip
    for i, (status, body, said) in enumerate(cases):
        transport = Scripted(lambda r, a, s=status, b=body: answered(s, b), seconds=0.1)
        runner = make(tmp_path / f"{i}.jsonl", transport, key=key, provider=OPENAI)
        go(runner, [plain(model="gpt-9")] * 50)
        assert runner.stopped == f"every call would fail: {said}"
        assert runner.to_be_mended
    runner = make(tmp_path / "no.jsonl", Scripted(lambda r, a: answered(401, {})), provider=OPENAI)
    go(runner, [plain()] * 9)
    assert "no key was sent: OPENAI_API_KEY is not set" in (runner.stopped or "")


def test_a_run_that_was_stopped_by_its_user_is_not_to_be_mended(tmp_path: Path) -> None:
    async def stop(runner: Any) -> None:
        await asyncio.sleep(0.5)
        runner.stop("Ctrl-C")

    runner = make(tmp_path / "o.jsonl", Scripted())
    go(runner, [plain()] * 9, stop)
    assert not runner.to_be_mended
