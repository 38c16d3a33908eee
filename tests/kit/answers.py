"""A grammar of answers: all providers' shapes, and their perversions."""

from __future__ import annotations

import json
from dataclasses import dataclass

from hypothesis import strategies as st

from kit.http import Request

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


@dataclass(frozen=True)
class Broken:
    """The head of an error whose body breaks off, or cannot be decoded."""

    status: int
    fields: dict[str, str]
    way: str

    async def sent_to(self, request: Request) -> None:
        more = {
            "cut": "content-length: 30",
            "foreign": "content-encoding: br",
            "plain": "content-encoding: gzip",
        }
        lines = [f"HTTP/1.1 {self.status} X", more[self.way], "connection: close"]
        lines += [f"{name}: {value}" for name, value in self.fields.items()]
        await request.send("\r\n".join(lines).encode() + b"\r\n\r\nbusy")
        raise ConnectionError


broken = st.builds(
    Broken, statuses.filter(lambda status: status >= 400), headers,
    st.sampled_from(["cut", "foreign", "plain"]),
)  # fmt: skip
