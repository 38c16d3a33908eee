"""A line that is at fault itself fails by itself: at once, and no other line hears of it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from kit.http import Request, serving
from kit.runs import Scripted, answered, batches_of, by_line, errors_in, go, make, plain, results_in

from xtremeflow import Limit
from xtremeflow.run.wire.transport import Unfit

TOKENS = Limit("tokens", 1_000_000, 60.0)


@pytest.mark.parametrize("is_sent", [False, True])
def test_an_unfit_line_fails_after_one_attempt(tmp_path: Path, is_sent: bool) -> None:
    def script(request: object, attempt: int) -> object:
        if request.line in range(2, 12):  # type: ignore[attr-defined]
            return Unfit("it is odd", "odd", is_sent=is_sent)
        return answered()

    transport = Scripted(script)  # type: ignore[arg-type]
    runner = make(tmp_path / "r.jsonl", transport, limits=[TOKENS], concurrency=4)
    took = go(runner, [plain()] * 20)
    assert took == pytest.approx(5.0, abs=0.1)  # 20 seconds, four at a time
    assert runner.stopped is None
    assert (runner.counts.succeeded, runner.counts.failed) == (10, 10)
    failed = by_line(errors_in(tmp_path / "r.jsonl"))
    assert sorted(failed) == list(range(2, 12))
    assert {line["error"]["code"] for line in failed.values()} == {"odd"}
    assert {line["xtremeflow"]["attempts"] for line in failed.values()} == {1}
    used = sum(line["xtremeflow"]["charged"]["tokens"] for line in failed.values())
    limits = {limit.name: limit for limit in runner.scheduler.stats().limits}
    assert (runner.counts.passed(limits["tokens"]) == 10 * 8) is not is_sent
    assert runner.counts.requests == (20 if is_sent else 10)
    assert used > 0  # the estimate of each


def test_a_request_that_cannot_be_sent_stops_no_other(tmp_path: Path) -> None:
    pytest.importorskip("xtremeflow.http")
    from xtremeflow.run.wire.http import HTTPTransport

    async def handler(request: Request) -> None:
        large = {"x-large": "x" * 300_000} if request.path == "/large" else {}
        await request.answer(b"{}", 200, large)

    async def main() -> None:
        async with serving(handler) as server:
            transport = HTTPTransport(server.url, {}, timeout=60.0, connections=4)
            runner = make(tmp_path / "r.jsonl", transport, concurrency=2)
            long = {"url": "/" + "a" * 2_000_000, "custom_id": "long", "body": plain()}
            large = {"url": "/large", "custom_id": "large", "body": plain()}
            lines = [plain(), *[long] * 5, *[large] * 5, plain()]
            try:
                await runner.run(batches_of(lines))
            finally:
                await transport.aclose()
                runner.results.close()
            assert runner.stopped is None
            assert len(server.requests) == 7

    asyncio.run(asyncio.wait_for(main(), 60))
    assert sorted(by_line(results_in(tmp_path / "r.jsonl"))) == [1, 12]
    codes = {line: told["error"]["code"] for line, told in by_line(
        errors_in(tmp_path / "r.jsonl")).items()}  # fmt: skip
    assert codes == {**dict.fromkeys(range(2, 7), "invalid_request"),
                     **dict.fromkeys(range(7, 12), "answer_too_large")}  # fmt: skip
    errors = (tmp_path / "r.errors.jsonl").read_bytes().splitlines()
    assert max(len(json.loads(line)["error"]["message"]) for line in errors) < 1000


def test_answers_that_cannot_be_decoded_are_not_paid_for_again_and_again(tmp_path: Path) -> None:
    pytest.importorskip("xtremeflow.http")
    from xtremeflow.run.wire.http import HTTPTransport

    async def handler(request: Request) -> None:
        await request.answer(b"?", 200, {"content-encoding": "br"})

    async def main() -> None:
        async with serving(handler) as server:
            transport = HTTPTransport(server.url, {}, timeout=60.0, connections=1)
            runner = make(tmp_path / "r.jsonl", transport, concurrency=1)
            try:
                await runner.run(batches_of([plain()] * 9))
            finally:
                await transport.aclose()
                runner.results.close()
            assert runner.stopped is not None
            assert "(answer_unreadable)" in runner.stopped
            assert "Content-Encoding" in runner.stopped
            assert len(server.requests) == 3

    asyncio.run(asyncio.wait_for(main(), 60))
    codes = [line["error"]["code"] for line in errors_in(tmp_path / "r.jsonl")]
    assert codes == ["answer_unreadable"] * 3
