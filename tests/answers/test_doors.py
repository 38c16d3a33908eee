"""The same verdict at every door: random answers, in all providers' shapes and their perversions,
through the SDKs' exceptions, observe(), the client, its streams and the transport."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kit.http import Request, serving

from xtremeflow import TokenRateScheduler
from xtremeflow.answers import attempt
from xtremeflow.answers.answer import Answer
from xtremeflow.answers.exceptions import verdict_of
from xtremeflow.answers.table import judged
from xtremeflow.answers.verdict import Meaning
from xtremeflow.http import Client, ConnectionLost, transport

MAX_RETRY_AFTER = 5.0

statuses = st.sampled_from(
    [200, 400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 429, 429, 498, 500, 502, 503, 529]
)
messages = st.sampled_from(
    [
        "m",
        "",
        "Please try again in 2ms.",
        "Please retry after 26 seconds.",
        "Request too large: Limit 30,000, Requested 45,000",
        "request reached organization max concurrency: 3",
        "Your credit balance is too low",
        "used all available credits",
        "Rate limit exceeded: free-models-per-day",
        "The model is overloaded",
        "\ud800 \x1b]0;title\x07",
    ]
)
codes = st.sampled_from(
    [None, 429, "429", 503, 502, 402, "rate_limit_exceeded", "insufficient_quota", "slow_down",
     "overloaded_error", "server_error", "too_many_concurrent_requests", "x" * 5000, 10**40,
     float("nan"), [], {}]
)  # fmt: skip
details = st.sampled_from(
    [
        [],
        [{"@type": "google.rpc.RetryInfo", "retryDelay": "0.002s"}],
        [{"@type": "google.rpc.RetryInfo", "retryDelay": "37s"}],
        [{"@type": "google.rpc.QuotaFailure", "violations": [{"quotaId": "PerDay"}]}],
        [{"@type": "google.rpc.QuotaFailure", "violations": 3}],
    ]
)
errors = st.builds(
    lambda message, code, kind, more: {
        "message": message, "code": code, "type": kind, "details": more
    },
    messages, codes, codes, details,
)  # fmt: skip
values = st.one_of(
    errors.map(lambda error: {"error": error}),
    errors.map(lambda error: [{"error": error}]),
    errors,
    messages.map(lambda message: {"error": message}),
    st.sampled_from([{"error": None}, {"choices": [{"message": {"content": '{"error": 1}'}}]}, []]),
)
encodings = st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])
bodies = st.one_of(
    st.builds(lambda value, form: json.dumps(value).encode(form), values, encodings),
    st.sampled_from([b"", b"<html>busy</html>", b"\xff\xfe\x00", b"[" * 10_000, b'{"error":']),
)
headers = st.one_of(
    st.just({}),
    st.sampled_from(["0", "0.002", "1, 0.001", "-1", "90000", "4000000000", "junk", "nan",
                     "Fri, 31 Feb 2027 00:00:00 GMT"]).map(lambda wait: {"retry-after": wait}),
    st.sampled_from(["0", "2", "-5", "1e999"]).map(lambda wait: {"retry-after-ms": wait}),
    st.sampled_from(["true", "false", "maybe"]).map(lambda word: {"x-should-retry": word}),
    st.sampled_from(["2ms", "1700000000", "9d"]).map(
        lambda reset: {
            "x-ratelimit-limit-requests": "60",
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-reset-requests": reset,
        }
    ),
)  # fmt: skip
answers = st.tuples(statuses, headers, bodies)


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


def expected(told: list[tuple[int, Any, bytes] | None]) -> tuple[int, int]:
    """The status that the caller gets, and after how many attempts; None and 0: a connection that
    broke."""
    failed = 0
    for attempts, one in enumerate(told, 1):
        status, fields, body = one or (0, {}, None)
        verdict = judged(Answer(status, fields, body))
        if not verdict.is_repeatable or (verdict.wait or 0.0) > MAX_RETRY_AFTER:
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
            except httpx2.TransportError:
                return 0
    async with Client(scheduler=scheduler, max_retry_after=MAX_RETRY_AFTER) as client:
        impatient(client._admission)
        try:
            if door == "call":
                return (await client.post(url, idempotent=True)).status
            async with client.stream("POST", url, idempotent=True) as stream:
                await stream.aread()
                return stream.status
        except ConnectionLost:
            return 0


def impatient(admission: Any) -> None:
    admission.attempts.persistence = replace(admission.attempts.persistence, base=0.001)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.one_of(answers, st.none()), min_size=1, max_size=6))
def test_every_door_goes_on_and_ends_alike(told: list[tuple[int, Any, bytes] | None]) -> None:
    async def main() -> None:
        for door in ("call", "stream", "transport"):
            left = list(told)

            async def handler(request: Request, left: Any = left) -> None:
                answer = left.pop(0) if left else (200, {}, b"{}")
                if answer is None:
                    request.reset()
                    raise ConnectionResetError
                status, fields, body = answer
                # A request on a kept connection that breaks is sent again within the attempt.
                await request.answer(body, status, {**fields, "connection": "close"})

            scheduler = TokenRateScheduler(max_rpm=1e6, max_concurrency=1)
            async with serving(handler) as server:
                status = await through(door, scheduler, server.url)
                assert (status, len(server.requests)) == expected(told), door
            assert (scheduler.active_tasks, scheduler.waiting) == (0, 0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attempt, "_FIRST_PAUSE", 0.001)
        asyncio.run(asyncio.wait_for(main(), 60))
