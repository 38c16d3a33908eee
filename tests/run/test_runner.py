"""The runner on a virtual clock, its transport scripted."""

from __future__ import annotations

import asyncio
import errno
import gc
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from kit.runs import (
    Scripted,
    answered,
    batches_of,
    by_line,
    errors_in,
    go,
    make,
    plain,
    results_in,
)

from xtremeflow import Limit
from xtremeflow.providers import PROVIDERS
from xtremeflow.run.input.keys import Key
from xtremeflow.run.job.budget import Budget
from xtremeflow.run.job.call import LineCall
from xtremeflow.run.job.policy import Policy
from xtremeflow.run.job.runner import Runner
from xtremeflow.run.output.results import InputChanged, Results
from xtremeflow.run.wire.transport import NoConnection, NoReply
from xtremeflow.testing import run


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "results.jsonl"


def test_every_line_has_its_result(out: Path) -> None:
    transport = Scripted()
    runner = make(out, transport, concurrency=4)
    go(runner, [plain(f"text {i}") for i in range(20)])
    assert sorted(by_line(results_in(out))) == list(range(1, 21))
    assert runner.counts.succeeded == 20
    assert runner.stopped is None
    assert transport.peak == 4
    first = by_line(results_in(out))[1]
    assert first["custom_id"] == "line-1"
    assert first["response"]["status_code"] == 200
    assert first["error"] is None
    about = first["xtremeflow"]
    assert about["attempts"] == 1
    assert about["seconds"] == 1.0
    assert about["usage"] == {"input_tokens": 3, "output_tokens": 5, "cached": 0}


def test_results_come_in_the_order_of_completion(out: Path) -> None:
    class Slow(Scripted):
        async def send(self, request: Any) -> Any:
            await asyncio.sleep(10 - request.line)
            return answered()

    go(make(out, Slow(), concurrency=3), [plain()] * 3)
    assert [r["xtremeflow"]["line"] for r in results_in(out)] == [3, 2, 1]


def test_the_requests_are_paced_by_their_limit(out: Path) -> None:
    transport = Scripted(seconds=0.1)
    runner = make(out, transport, limits=[Limit("requests", 60, 60.0, 0)])
    go(runner, [plain()] * 10)
    times = [at - transport.sent[0][0] for at, _ in transport.sent]
    assert times == pytest.approx(range(10), abs=0.01)


def test_a_done_line_is_not_sent_again(out: Path) -> None:
    lines = [plain(f"text {i}") for i in range(6)]
    runner = make(out, Scripted(), budget=Budget(max_requests=4))
    go(runner, lines)
    assert runner.stopped == "--max-requests 4 is used up"
    again = Scripted()
    runner = make(out, again)
    go(runner, lines)
    assert again.lines == [5, 6]
    assert runner.counts.done_before == 4
    assert sorted(by_line(results_in(out))) == [1, 2, 3, 4, 5, 6]


def test_done_lines_count_also_where_the_run_stops_before_them(out: Path) -> None:
    lines = [plain(f"text {i}") for i in range(6)]
    go(make(out, Scripted(lambda r, a: answered(400 if r.line <= 2 else 200))), lines)
    runner = make(out, Scripted(), budget=Budget(max_requests=1))
    go(runner, lines)
    assert runner.stopped is not None
    assert (runner.counts.done_before, runner.counts.succeeded, runner.counts.read) == (4, 1, 2)


def test_equal_lines_are_separate_calls(out: Path) -> None:
    go(make(out, Scripted(), budget=Budget(max_requests=2)), [plain()] * 3)
    again = Scripted()
    go(make(out, again), [plain()] * 3)
    assert again.lines == [3]


def test_lines_that_were_done_and_are_not_there_any_more_are_told(out: Path) -> None:
    go(make(out, Scripted()), [plain("a"), plain("b"), plain("c")])
    for lines in ([], [plain("a")], [plain("a"), plain("b")]):
        with pytest.raises(InputChanged, match=f"ends after {len(lines)} lines, but line 3 was"):
            go(make(out, Scripted()), lines)
    go(make(out, Scripted()), [plain("a"), plain("b"), plain("c"), plain("d")])


def test_a_changed_line_that_was_done_is_told(out: Path) -> None:
    go(make(out, Scripted()), [plain("a"), plain("b")])
    with pytest.raises(InputChanged, match="line 2 of the input"):
        go(make(out, Scripted()), [plain("a"), plain("changed")])


def test_a_line_that_failed_may_be_mended(out: Path) -> None:
    go(make(out, Scripted()), [plain("a"), b"{oops"])
    assert errors_in(out)[0]["error"]["message"].startswith("line 2 is not JSON")
    again = Scripted()
    go(make(out, again), [plain("a"), plain("b")])
    assert again.lines == [2]
    assert errors_in(out) == []


def test_bad_lines_stop_nothing(out: Path) -> None:
    runner = make(out, Scripted())
    go(runner, [b"nonsense", plain(), b"", b"[1]", plain()])
    assert runner.counts.bad == 2
    assert runner.counts.succeeded == 2
    assert [e["xtremeflow"]["line"] for e in errors_in(out)] == [1, 4]


def test_a_refused_call_comes_again_when_the_provider_says(out: Path) -> None:
    def script(request: Any, attempt: int) -> Any:
        if request.line == 1 and attempt == 1:
            return answered(429, {"error": {"code": "rate_limit_exceeded"}}, retry_after="7")
        return answered()

    transport = Scripted(script)
    pauses: list[tuple[float, float]] = []
    runner = make(out, transport, on_cooldown=lambda a, b: pauses.append((a, b)))
    go(runner, [plain()])
    assert transport.sent[1][0] - transport.sent[0][0] == pytest.approx(8.0)
    assert results_in(out)[0]["xtremeflow"]["refused"] == 1
    assert runner.counts.refused == 1
    assert pauses[0][1] - pauses[0][0] == pytest.approx(7.0)


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (answered(429, {"error": {"code": "insufficient_quota", "message": "pay!"}}), "pay!"),
        (answered(429, {"error": {}}, retry_after="86400"), "86400 s"),
    ],
)
def test_a_refusal_that_no_wait_cures_stops_the_run(out: Path, reply: Any, why: str) -> None:
    transport = Scripted(lambda request, attempt: reply)
    runner = make(out, transport, concurrency=1)
    go(runner, [plain()] * 100)
    assert runner.stopped is not None
    assert why in runner.stopped
    assert len(transport.sent) <= 2


@pytest.mark.parametrize(
    "reply",
    [
        answered(401, {"error": {"message": "bad key"}}),
        answered(403, {}),
        answered(404, {"error": {"code": "model_not_found"}}),
        answered(400, {"error": {"code": "model_not_found"}}),
        answered(302, {}),
        NoConnection("no route"),
    ],
)
def test_a_failure_that_all_calls_share_stops_after_a_few(out: Path, reply: Any) -> None:
    transport = Scripted(lambda request, attempt: reply, seconds=0.1)
    runner = make(out, transport, concurrency=1000)
    go(runner, [plain()] * 1000)
    assert runner.stopped is not None
    assert runner.stopped.startswith("every call would fail")
    assert len(transport.sent) <= 8


def test_a_redirecting_server_is_named_with_the_address_it_points_to(out: Path) -> None:
    answer = answered(308, {}, Location="https://example.com/v1/chat?key=secret")
    runner = make(out, Scripted(lambda request, attempt: answer))
    go(runner, [plain()] * 100)
    assert runner.stopped == (
        "every call would fail: the server answers with status 308 and points to "
        "https://example.com/v1/chat"
    )


def test_a_bad_request_is_its_own_affair(out: Path) -> None:
    def script(request: Any, attempt: int) -> Any:
        return answered(400, {"error": {"message": "too long"}}) if request.line % 2 else answered()

    runner = make(out, Scripted(script))
    go(runner, [plain()] * 50)
    assert runner.stopped is None
    assert (runner.counts.succeeded, runner.counts.failed) == (25, 25)
    error = errors_in(out)[0]
    assert error["error"] == {"code": "http_400", "message": "too long"}
    assert error["response"]["status_code"] == 400


def test_failures_of_some_models_only_stop_nothing(out: Path) -> None:
    def script(request: Any, attempt: int) -> Any:
        return answered(404, {}) if request.model == "absent" else answered()

    runner = make(out, Scripted(script), concurrency=2)
    go(runner, [plain(model="there"), plain(model="absent")] * 30)
    assert runner.stopped is None
    assert runner.counts.failed == 30


def test_trouble_that_passes_is_waited_out_without_a_slot(out: Path) -> None:
    def script(request: Any, attempt: int) -> Any:
        if request.line == 1 and attempt <= 2:
            return answered(500, {}) if attempt == 1 else NoReply("broken")
        return answered()

    transport = Scripted(script)
    runner = make(out, transport, concurrency=1)
    go(runner, [plain()] * 5)
    at = [when - transport.sent[0][0] for when, line in transport.sent if line == 1]
    assert at == sorted(at)
    assert 1.3 <= at[1] <= 3.0  # 1 s, and a pause
    assert 1.3 <= at[2] - at[1] <= 4.0
    assert 2 in transport.lines[1:2]  # another call had the slot meanwhile
    assert runner.counts.succeeded == 5


def test_a_call_that_always_fails_is_given_up(out: Path) -> None:
    transport = Scripted(lambda request, attempt: answered(500, {"oops": 1}))
    runner = make(out, transport)
    go(runner, [plain()])
    assert len(transport.sent) == 6
    assert errors_in(out)[0]["error"]["code"] == "http_500"
    assert errors_in(out)[0]["xtremeflow"]["attempts"] == 6


def test_an_outage_is_waited_out_by_all(out: Path) -> None:
    down = [100.0, 200.0]

    def script(request: Any, attempt: int) -> Any:
        now = asyncio.get_running_loop().time() - begin[0]
        return NoReply("down") if down[0] <= now < down[1] else answered()

    begin: list[float] = []

    class Outage(Scripted):
        async def send(self, request: Any) -> Any:
            begin.append(asyncio.get_running_loop().time())
            return await super().send(request)

    transport = Outage(script)
    runner = make(out, transport, limits=[Limit("requests", 10, 1.0, 0)])
    go(runner, [plain()] * 3000)
    assert runner.counts.succeeded == 3000
    assert runner.counts.failed == 0
    during = [at for at, _ in transport.sent if 103 <= at - begin[0] < 200]
    assert len(during) < 100  # of some 1000


@pytest.mark.parametrize(
    ("failure", "said"),
    [(NoReply("POST https://example: cut off"), "cut off"), (answered(502, {}), "HTTP 502")],
)
def test_an_outage_without_end_stops_the_run_and_fails_no_call(
    out: Path, failure: Any, said: str
) -> None:
    def script(request: Any, attempt: int) -> Any:
        return answered() if request.line <= 5 else failure

    runner = make(out, Scripted(script), concurrency=8, policy=Policy(patience=120))
    go(runner, [plain()] * 1000)
    assert runner.stopped is not None
    assert "nothing has passed for" in runner.stopped
    assert said in runner.stopped
    assert runner.counts.succeeded == 5
    assert runner.counts.failed == 0


def test_stopping_lets_the_calls_in_flight_finish(out: Path) -> None:
    async def stop(runner: Runner) -> None:
        await asyncio.sleep(10.5)
        runner.stop("enough")

    transport = Scripted(seconds=3.0)
    runner = make(out, transport, limits=[Limit("requests", 1, 1.0, 0)])
    took = go(runner, [plain()] * 100, stop)
    assert len(transport.sent) == 11
    assert runner.counts.succeeded == 11
    assert took == pytest.approx(13.0)


def test_aborting_ends_them_at_once(out: Path) -> None:
    async def abort(runner: Runner) -> None:
        await asyncio.sleep(5.5)
        runner.stop("enough")
        await asyncio.sleep(0.1)
        runner.abort("now")

    runner = make(out, Scripted(seconds=100.0), limits=[Limit("requests", 1, 1.0, 0)])
    took = go(runner, [plain()] * 100, abort)
    assert took == pytest.approx(5.6)
    assert runner.counts.succeeded == 0


@pytest.mark.parametrize("when", [0.0, 0.2, 1.0, 1.5, 2.0, 3.7])
def test_a_stop_at_any_moment_loses_nothing(out: Path, when: float) -> None:
    def script(request: Any, attempt: int) -> Any:
        if request.line % 3 == 0 and attempt == 1:
            return answered(429, {}, retry_after="1")
        return answered(500, {}) if request.line % 5 == 0 and attempt == 1 else answered()

    async def stop(runner: Runner) -> None:
        await asyncio.sleep(when)
        runner.stop("enough")

    lines = [plain(str(i)) for i in range(30)]
    first = Scripted(script)
    go(make(out, first, concurrency=5), lines, stop)
    done = by_line(results_in(out))
    assert len(done) < 30
    second = Scripted(script)
    go(make(out, second, concurrency=5), lines)
    assert sorted(by_line(results_in(out))) == list(range(1, 31))
    assert not set(second.lines) & set(done)


def test_tokens_are_budgeted_with_the_calls_in_flight(out: Path) -> None:
    def script(request: Any, attempt: int) -> Any:
        return answered(body={"usage": {"prompt_tokens": 50, "completion_tokens": 50}})

    transport = Scripted(script)
    lines = [plain("x" * 200, max_tokens=50)] * 100
    runner = make(out, transport, concurrency=10, budget=Budget(max_tokens=2_000))
    go(runner, lines)
    assert runner.stopped is not None
    assert "--max-tokens 2000" in runner.stopped
    total = runner.counts.input_tokens + runner.counts.output_tokens
    assert 1_500 <= total <= 2_000


def test_estimates_are_settled(out: Path) -> None:
    """60 tokens/s; each call uses 8 and is estimated at hundreds, so that only refunds explain
    how fast it goes."""
    transport = Scripted(seconds=0.5)
    runner = make(out, transport, limits=[Limit("tokens", 60, 1.0, 600)])
    took = go(runner, [plain()] * 200)
    assert took < 30


def test_a_provider_that_charges_max_tokens_refunds_nothing(out: Path) -> None:
    transport = Scripted(seconds=0.5)
    runner = make(
        out,
        transport,
        limits=[Limit("tokens", 100, 1.0, 0)],
        provider=PROVIDERS["openai"],
    )
    took = go(runner, [plain(max_tokens=100)] * 20)
    assert took == pytest.approx(19.5, abs=0.01)


def test_results_that_cannot_be_written_stop_the_run(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = make(out, Scripted(), concurrency=2)
    full = [3]  # results still fit
    add = runner.results.add

    def limited(lines: bytes) -> None:
        count = lines.count(b"\n")
        if count > full[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        full[0] -= count
        add(lines)

    monkeypatch.setattr(runner.results, "add", limited)
    go(runner, [plain(str(i)) for i in range(50)])
    assert runner.stopped == "the results cannot be written: No space left on device"
    assert runner.counts.succeeded == 3
    assert 1 <= runner.counts.unsaved <= 2


def test_results_are_written_once_there_is_room_again(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = make(out, Scripted(), concurrency=2)
    add = runner.results.add
    full_until: list[float] = []

    def limited(line: bytes) -> None:
        now = asyncio.get_running_loop().time()
        if not full_until:
            full_until.append(now + 30)
        if now < full_until[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        add(line)

    monkeypatch.setattr(runner.results, "add", limited)
    took = go(runner, [plain(str(i)) for i in range(50)])
    assert 30 <= took <= 35
    assert runner.stopped == "the results cannot be written: No space left on device"
    assert runner.counts.unsaved == 0
    assert runner.counts.succeeded == len(results_in(out)) == 2


def test_no_key_gets_into_the_output(out: Path) -> None:
    key = "sk-very-secret-0123456789"

    def script(request: Any, attempt: int) -> Any:
        said = {"error": {"message": f"Incorrect API key provided: {key}"}}
        return answered(body={"echo": key}) if request.line % 2 else answered(400, said)

    go(make(out, Scripted(script), key=Key(key)), [plain()] * 4)
    text = out.read_text() + out.with_name("results.errors.jsonl").read_text()
    assert key not in text
    assert text.count("[key]") >= 4
    assert key not in repr(Key(key))


def test_pretty_printed_answers_become_one_line(out: Path) -> None:
    from xtremeflow.run.wire.transport import Reply

    pretty = json.dumps({"a": "x\ny", "n": 1.0}, indent=2).replace("\n", "\r\n").encode()
    go(make(out, Scripted(lambda r, a: Reply(200, {}, pretty))), [plain()])
    assert out.read_bytes().count(b"\n") == 1
    assert results_in(out)[0]["response"]["body"] == {"a": "x\ny", "n": 1.0}


def test_a_call_that_is_refused_for_ever_while_others_pass_fails_by_itself(out: Path) -> None:
    """As one that is larger than its limit, of which the provider does not say so."""

    def script(request: Any, attempt: int) -> Any:
        said = {"error": {"message": "no room for this one"}}
        return answered(429, said, retry_after="1") if request.line == 1 else answered()

    runner = make(out, Scripted(script), concurrency=4, policy=Policy(max_wait=100, patience=100))
    took = go(runner, [plain()] * 200)
    assert runner.stopped is None
    assert runner.counts.succeeded == 199
    [error] = errors_in(out)
    assert error["error"] == {"code": "http_429", "message": "no room for this one"}
    assert took < 400


def test_where_nothing_passes_the_run_stops_in_the_providers_words_and_fails_no_line(
    out: Path,
) -> None:
    def script(request: Any, attempt: int) -> Any:
        said = {"error": {"message": "the tap is off"}}
        return answered() if request.line <= 20 else answered(429, said, retry_after="1")

    runner = make(out, Scripted(script), concurrency=4, policy=Policy(patience=120))
    took = go(runner, [plain()] * 200)
    assert runner.stopped is not None
    assert runner.stopped.startswith("nothing has passed for 12")
    assert "the tap is off" in runner.stopped
    assert (runner.counts.succeeded, runner.counts.failed) == (20, 0)
    assert 120 < took < 180


@pytest.mark.parametrize("status", [503, 529])
def test_503_and_529_mean_the_same(out: Path, status: int) -> None:
    """Overloaded: the call comes again for as long as that lasts, and is not lost."""

    def script(request: Any, attempt: int) -> Any:
        return answered() if attempt > 12 else answered(status, {"error": {"message": "busy"}})

    runner = make(out, Scripted(script), concurrency=2)
    go(runner, [plain()] * 4)
    assert runner.counts.succeeded == 4
    assert runner.counts.refused == 48


def test_a_refused_call_is_not_bounded_by_attempts(out: Path) -> None:
    def script(request: Any, attempt: int) -> Any:
        refused = request.line % 7 == 0 and attempt < 80
        return answered(429, {}, retry_after="0") if refused else answered()

    runner = make(out, Scripted(script, seconds=0.5), concurrency=8)
    go(runner, [plain()] * 400)
    assert (runner.counts.succeeded, runner.counts.failed) == (400, 0)


def test_a_bug_is_raised_and_not_swallowed(out: Path) -> None:
    transport = Scripted(lambda request, attempt: ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError):
        go(make(out, transport), [plain()] * 5)


def test_few_calls_go_out_before_one_has_succeeded(out: Path) -> None:
    transport = Scripted(seconds=0.3)
    go(make(out, transport, concurrency=100), [plain()] * 50)
    start = transport.sent[0][0]
    assert sum(at - start < 0.25 for at, _ in transport.sent) == 4
    slow = Scripted(seconds=20.0)
    go(make(out.with_name("other.jsonl"), slow, concurrency=100), [plain()] * 50)
    start = slow.sent[0][0]
    assert sum(at - start < 0.6 for at, _ in slow.sent) == 50


def test_an_input_that_breaks_off_finishes_what_it_had(out: Path) -> None:
    async def breaks() -> Any:
        yield [json.dumps(plain()).encode()] * 3
        raise ValueError("torn")

    runner = make(out, Scripted())

    async def main() -> None:
        with pytest.raises(ValueError, match="torn"):
            await runner.run(breaks())
        runner.results.close()

    run(main())
    assert len(results_in(out)) == 3


def test_failed_calls_may_be_left_alone(out: Path) -> None:
    go(make(out, Scripted(lambda r, a: answered(400, {}))), [plain("a"), plain("b")])
    transport = Scripted()
    runner = Runner(
        transport,
        make(out.with_name("x.jsonl"), transport).scheduler,
        Results(out, skip_failed=True),
        PROVIDERS["vllm"],
    )

    async def main() -> None:
        await runner.run(batches_of([plain("a"), plain("b"), plain("c")]))
        runner.results.close()

    run(main())
    assert transport.lines == [3]
    assert len(errors_in(out)) == 2


def test_a_step_of_the_systems_clock_disturbs_nothing(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    true = time.time

    async def step(runner: Runner) -> None:
        await asyncio.sleep(2.5)
        monkeypatch.setattr(time, "time", lambda: true() - 86_400)
        await asyncio.sleep(2.0)
        monkeypatch.setattr(time, "time", lambda: true() + 86_400)

    transport = Scripted()
    runner = make(out, transport, limits=[Limit("requests", 60, 60.0, 0)])
    took = go(runner, [plain()] * 10, step)
    assert took == pytest.approx(10.0, abs=0.01)
    started = sorted(record["xtremeflow"]["started"] for record in results_in(out))
    gaps = [b - a for a, b in pairwise(started)]
    assert gaps == pytest.approx([1.0] * 9, abs=0.01)


def test_the_probe_begins_with_the_first_call(out: Path) -> None:
    async def slow_input() -> Any:
        await asyncio.sleep(5)  # as passing over many lines that are done takes
        for i in range(50):
            yield [json.dumps(plain(str(i))).encode()]

    transport = Scripted(lambda r, a: answered(401, {}), seconds=0.3)
    runner = make(out, transport, concurrency=50)

    async def main() -> None:
        await runner.run(slow_input())
        runner.results.close()

    run(main())
    assert len(transport.sent) <= 8


def test_a_call_that_has_ended_needs_no_garbage_collection(out: Path) -> None:
    def is_left(each: object) -> bool:
        return isinstance(each, LineCall) and each.request.model == "freed"

    gc.disable()
    try:
        go(make(out, Scripted(), concurrency=4), [plain(model="freed")] * 20)
        assert not any(map(is_left, gc.get_objects()))
    finally:
        gc.enable()
