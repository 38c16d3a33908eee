"""The same verdict at every door: random answers, in all providers' shapes and their perversions,
through observe(), the client, its streams, the transport, a run, and a real SDK."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from kit.answers import Broken, answers, broken
from kit.http import Request, Server, serving
from kit.runs import batches_of, errors_in, make, plain, results_in

from xtremeflow import TokenRateScheduler, auto_backoff
from xtremeflow.answers import attempt
from xtremeflow.answers.answer import Answer
from xtremeflow.answers.exceptions import verdict_of
from xtremeflow.answers.table import judged
from xtremeflow.answers.verdict import Meaning
from xtremeflow.http import Client, ConnectionLost, transport
from xtremeflow.run.job.policy import Policy
from xtremeflow.run.wire.http import HTTPTransport

MAX_RETRY_AFTER = 5.0

# The answers to come; None: a connection that breaks.
Told = list[tuple[int, Any, bytes] | Broken | None]
Ended = tuple[int, int]  # the status that the caller gets, 0 for none, and after how many attempts


class FromSDK(Exception):
    """The twin of what an SDK raises."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        super().__init__("SDK")
        self.status_code = status
        self.response = type("Response", (), {"headers": headers, "status_code": status})()
        self.body = Answer(status, (), body).body


@given(answers)
def test_an_exception_and_observe_mean_what_the_answer_does(answer: Any) -> None:
    status, fields, body = answer
    verdict = judged(Answer(status, fields, body))
    scheduler = TokenRateScheduler(adapt=True)
    assert scheduler.observe(status, fields, body).wait == pytest.approx(verdict.wait, abs=1.0)
    if status >= 400:
        raised = verdict_of(FromSDK(status, fields, body))
        assert raised.meaning is verdict.meaning
        assert raised.wait == pytest.approx(verdict.wait, abs=1.0)


def parts_of(one: tuple[int, Any, bytes] | Broken | None) -> tuple[int, Any, bytes | None]:
    if isinstance(one, Broken):
        return one.status, one.fields, None
    return one or (0, {}, None)


def expected(told: Told, *, failures_too: bool = True) -> Ended:
    """How a call ends. `failures_too`: whether it goes on after failures, not only refusals."""
    failed = 0
    for attempts, one in enumerate(told, 1):
        status, fields, body = parts_of(one)
        verdict = judged(Answer(status, fields, body))
        if not verdict.is_repeatable or (verdict.wait or 0.0) > MAX_RETRY_AFTER:
            return status, attempts
        if not (failures_too or verdict.is_refusal):
            return status, attempts
        if verdict.meaning in (Meaning.DOWN, Meaning.OVERLOADED):
            failed += 1
        if verdict.meaning is Meaning.DOWN and failed > 2:
            return status, attempts
    return 200, len(told) + 1


async def through(door: str, scheduler: TokenRateScheduler, url: str) -> int:
    if door == "transport":
        httpx2 = pytest.importorskip("httpx2")
        way = transport(scheduler=scheduler, max_retry_after=MAX_RETRY_AFTER)
        impatient(way._admission)
        async with httpx2.AsyncClient(transport=way) as client:
            try:
                return int((await client.post(url)).status_code)
            except httpx2.TransportError as error:
                return status_of(error.__cause__)
    async with Client(scheduler=scheduler, max_retry_after=MAX_RETRY_AFTER) as client:
        impatient(client._admission)
        try:
            if door == "call":
                return (await client.post(url, idempotent=True)).status
            async with client.stream("POST", url, idempotent=True) as stream:
                await stream.aread()
                return stream.status
        except ConnectionLost as error:
            return status_of(error)


def status_of(error: BaseException | None) -> int:
    assert isinstance(error, ConnectionLost)
    return error.status


def impatient(admission: Any) -> None:
    admission.attempts.persistence = replace(admission.attempts.persistence, base=0.001)


@asynccontextmanager
async def answering(told: Told) -> AsyncIterator[Server]:
    """A server that tells these answers, and then that all is well."""
    left = list(told)

    async def handler(request: Request) -> None:
        answer = left.pop(0) if left else (200, {}, b"{}")
        if answer is None:
            request.reset()
            raise ConnectionResetError
        if isinstance(answer, Broken):
            await answer.sent_to(request)
        status, fields, body = answer
        # A request on a kept connection that breaks is sent again within the attempt.
        await request.answer(body, status, {**fields, "connection": "close"})

    async with serving(handler) as server:
        yield server


whole = st.lists(st.one_of(answers, st.none()), min_size=1, max_size=6)
tellings = st.lists(st.one_of(answers, broken, st.none()), min_size=1, max_size=6)
some = settings(max_examples=25, suppress_health_check=list(HealthCheck))


def meanwhile(main: Coroutine[Any, Any, None]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attempt, "_FIRST_PAUSE", 0.001)
        asyncio.run(asyncio.wait_for(main, 60))


@some
@given(tellings)
def test_every_door_goes_on_and_ends_alike(told: Told) -> None:
    async def main() -> None:
        for door in ("call", "stream", "transport"):
            scheduler = TokenRateScheduler(max_rpm=1e6, max_concurrency=1)
            async with answering(told) as server:
                status = await through(door, scheduler, server.url)
                assert (status, len(server.requests)) == expected(told), door
            assert (scheduler.active_tasks, scheduler.waiting) == (0, 0)

    meanwhile(main())


@some
@given(tellings)
@example([(200, {}, json.dumps({"error": {"code": 429}}).encode("utf-16"))])
def test_a_client_without_a_scheduler_ends_alike_but_sooner(told: Told) -> None:
    async def main() -> None:
        async with answering(told) as server, Client(max_retry_after=MAX_RETRY_AFTER) as client:
            try:
                status = (await client.post(server.url, idempotent=True)).status
            except ConnectionLost as error:
                status = status_of(error)
            assert (status, len(server.requests)) == expected_alone(told)

    meanwhile(main())


def expected_alone(told: Told) -> Ended:
    """How a call ends that makes two further attempts, after failures and refusals together."""
    for attempts, one in enumerate(told[:3], 1):
        status, fields, body = parts_of(one)
        verdict = judged(Answer(status, fields, body))
        if not verdict.is_repeatable or (verdict.wait or 0.0) > MAX_RETRY_AFTER or attempts == 3:
            return status, attempts
    return 200, len(told) + 1


@some
@given(tellings)
def test_a_run_goes_on_and_ends_alike_and_loses_no_line(told: Told) -> None:
    async def main(out: Path) -> None:
        async with answering(told) as server:
            way = HTTPTransport(server.url, {}, timeout=60.0, connections=1)
            policy = Policy(retries=2, max_wait=MAX_RETRY_AFTER)
            runner = make(out, way, concurrency=1, policy=policy)
            impatient(SimpleNamespace(attempts=runner._calls._attempts))
            try:
                await runner.run(batches_of([plain()]))
            finally:
                await way.aclose()
                runner.results.close()
            status, attempts = expected(told)
            assert len(server.requests) == attempts
            results, errors = results_in(out), errors_in(out)
            if runner.stopped is None:
                (line,) = results + errors
                answered = line["response"]["status_code"] if line["response"] else 0
                assert answered == status
                assert line["xtremeflow"]["attempts"] == attempts
            else:  # for a refusal of all calls: the next run does the line
                assert not results
                assert judged(Answer(*parts_of(told[attempts - 1]))).meaning is not Meaning.PASSED
            scheduler = runner.scheduler
            assert (scheduler.active_tasks, scheduler.waiting) == (0, 0)

    with TemporaryDirectory() as folder:
        meanwhile(main(Path(folder, "r.jsonl")))


@some
@given(whole)  # the SDKs have no answer where a body breaks off
def test_an_sdk_goes_on_after_refusals_and_loses_no_slot(told: Told) -> None:
    openai = pytest.importorskip("openai")

    async def main() -> None:
        scheduler = TokenRateScheduler(max_rpm=1e6, max_concurrency=1)
        async with (
            answering(told) as server,
            openai.AsyncOpenAI(api_key="k", base_url=server.url, max_retries=0) as client,
        ):

            @auto_backoff(max_retries=6, base_retry_after=0.001, max_retry_after=MAX_RETRY_AFTER)
            async def ask() -> int:
                await client.chat.completions.create(
                    model="m", messages=[{"role": "user", "content": "Hello"}]
                )
                return 200

            try:
                status = await scheduler.submit(ask(), 1)
            except openai.APIStatusError as error:
                status = error.status_code
            except openai.APIConnectionError:
                status = 0
            raised = list(takewhile(is_raised, told))
            assert (status, len(server.requests)) == expected(raised, failures_too=False)
        assert (scheduler.active_tasks, scheduler.waiting) == (0, 0)

    meanwhile(main())


def is_raised(one: tuple[int, Any, bytes] | Broken | None) -> bool:
    """Whether an SDK raises an exception for the answer. It returns an error within a 200."""
    return one is None or parts_of(one)[0] >= 400
