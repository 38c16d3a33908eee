"""One verdict for every answer: the table, and the perversions that it meets."""

from __future__ import annotations

import gzip
import json
import math
import time
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xtremeflow.answers.answer import Answer
from xtremeflow.answers.table import judged
from xtremeflow.answers.verdict import LONGEST, Meaning, Verdict

NOW = 1_800_000_000.0


def verdict(status: int, body: Any = None, headers: Any = ()) -> Verdict:
    return judged(Answer(status, headers, body, now=NOW))


def error(message: str = "m", **fields: Any) -> bytes:
    return json.dumps({"error": {"message": message, **fields}}).encode()


QUOTA = "You exceeded your current quota, please check your plan and billing details."

TABLE: list[tuple[int, Any, Meaning]] = [
    (200, b'{"choices": []}', Meaning.PASSED),
    (204, b"", Meaning.PASSED),
    (302, b"", Meaning.PASSED),
    (0, None, Meaning.DOWN),
    # Refused for a rate.
    (429, None, Meaning.RATE),
    (429, b"<html>Too Many Requests</html>", Meaning.RATE),
    (429, error("Rate limit reached ... Please try again in 178ms."), Meaning.RATE),
    (429, error(QUOTA + " Please retry in 37.5s.", status="RESOURCE_EXHAUSTED"), Meaning.RATE),
    (429, error(code="slow_down"), Meaning.STEEP),
    (503, error(code="slow_down"), Meaning.STEEP),
    (400, {"__type": "com.amazon.coral#ThrottlingException"}, Meaning.RATE),
    (429, error("Rate limit exceeded: free-models-per-min."), Meaning.RATE),
    # For the number of calls in flight.
    (429, error("request reached organization max concurrency: 3"), Meaning.PLACES),
    (
        429,
        error(
            "Number of concurrent connections has exceeded your rate limit",
            type="rate_limit_error",
        ),
        Meaning.PLACES,
    ),
    (429, error(code="too_many_concurrent_requests"), Meaning.PLACES),
    # For nothing that the caller does.
    (503, None, Meaning.OVERLOADED),
    (529, None, Meaning.OVERLOADED),
    (529, error(type="overloaded_error"), Meaning.OVERLOADED),
    (429, error(type="engine_overloaded_error"), Meaning.OVERLOADED),
    (429, error("Model busy, retry later"), Meaning.OVERLOADED),
    (429, error("x/y is temporarily rate-limited upstream. Please retry."), Meaning.OVERLOADED),
    (498, None, Meaning.OVERLOADED),
    # Failed.
    (500, None, Meaning.DOWN),
    (502, b"<html>", Meaning.DOWN),
    (504, error(type="api_error"), Meaning.DOWN),
    (408, None, Meaning.DOWN),
    (409, None, Meaning.DOWN),
    # Too large.
    (413, error(code="rate_limit_exceeded"), Meaning.TOO_LARGE),
    (429, error("Request too large: Limit 30,000, Requested 45,000."), Meaning.TOO_LARGE),
    (429, error("Limit 30,000, Used 29,999, Requested 30,000."), Meaning.RATE),
    # Spent, in many words.
    (402, None, Meaning.SPENT),
    (429, error(QUOTA, code="insufficient_quota"), Meaning.SPENT),
    (429, error(type="exceeded_current_quota_error"), Meaning.SPENT),
    (429, error("Rate limit exceeded: free-models-per-day."), Meaning.SPENT),
    (
        403,
        error("Your team has either used all available credits or reached its limit"),
        Meaning.SPENT,
    ),
    (400, error("Your credit balance is too low to access the API."), Meaning.SPENT),
    (400, error("You have reached your specified API usage limits. You will ..."), Meaning.SPENT),
    (400, error("Access denied, please ...", code="Arrearage"), Meaning.SPENT),
    (403, error("... due to overdue account", code="AccountOverdueError"), Meaning.SPENT),
    (403, error("You've reached your usage limit for this billing cycle."), Meaning.SPENT),
    (429, error("您的账户已欠费", code="1113"), Meaning.SPENT),
    (
        429,
        {
            "error": {
                "type": "rate_limit_error",
                "details": {"error_code": "enforced_spend_limit_reached"},
            }
        },
        Meaning.SPENT,
    ),
    (429, error("This request would exceed your organization's spend limit"), Meaning.SPENT),
    # The caller's own fault, whatever it quotes.
    (400, error("Invalid prompt: 'insufficient funds, concurrent, overloaded'"), Meaning.FAULT),
    (400, error("No 'You have reached your specified API usage limits'"), Meaning.FAULT),
    (401, error(code="invalid_api_key"), Meaning.FAULT),
    (404, error(code="model_not_found"), Meaning.FAULT),
    (422, {"detail": [{"msg": "bad"}]}, Meaning.FAULT),
]


@pytest.mark.parametrize(("status", "body", "meaning"), TABLE)
def test_status_and_body_give_the_meaning(status: int, body: Any, meaning: Meaning) -> None:
    assert verdict(status, body).meaning is meaning


@pytest.mark.parametrize(
    ("body", "meaning"),
    [
        ('{"error": {"code": 429, "message": "slow"}}', Meaning.RATE),
        ('{"error": {"code": "502", "message": "bad gateway"}}', Meaning.DOWN),
        ('{"error": {"code": 402}}', Meaning.SPENT),
        ('{"error": {"code": "rate_limit_exceeded"}, "status": "failed"}', Meaning.RATE),
        ('{"error": {"type": "overloaded_error"}}', Meaning.OVERLOADED),
        ('{"error": "the model is overloaded"}', Meaning.OVERLOADED),
        ('{"error": {"message": "no"}}', Meaning.FAULT),
        ('[{"error": {"code": 503}}]', Meaning.OVERLOADED),
        ('{"error":null}', Meaning.PASSED),
        ('{"error" : null, "output": []}', Meaning.PASSED),
        ('{"error": false}', Meaning.PASSED),
        ('{"error": {}}', Meaning.PASSED),
        # Content is no error.
        ('{"choices": [{"message": {"content": "{\\"error\\": {\\"code\\": 429}}"}}]}', None),
        ('{"output": [{"input": {"error": {"code": 429}}}]}', None),
        ('{"output": [{"input": {"error": {"code": 429}}}], "error": null}', None),
    ],
)
def test_an_error_within_a_success(body: str, meaning: Meaning | None) -> None:
    for form in (body, body.encode(), "\ufeff" + body, ("\ufeff" + body).encode(),
                  body.encode("utf-16"), body.encode("utf-16-le"), json.loads(body)):  # fmt: skip
        assert verdict(200, form).meaning is (meaning or Meaning.PASSED), form


def test_a_compressed_error_is_read() -> None:
    body = gzip.compress(error(code="insufficient_quota"))
    assert verdict(429, body, {"Content-Encoding": "gzip"}).meaning is Meaning.SPENT
    plain = error(code="insufficient_quota")  # decompressed, and the header has stayed
    assert verdict(429, plain, {"Content-Encoding": "gzip"}).meaning is Meaning.SPENT


def test_a_verdict_has_the_provider_s_words() -> None:
    assert verdict(429, error("Credit is spent.", code="x")).words == "Credit is spent."
    assert verdict(503, b"<html>no server</html>").words == "<html>no server</html>"
    assert verdict(429).words == ""
    assert len(verdict(429, error("x" * 100_000)).words) == 500


@pytest.mark.parametrize(
    ("retry_after", "wait"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("-3", None),
        ("1, 2", 2.0),
        ("2,garbage", 2.0),
        ("90000", LONGEST),
        ("1e30", None),  # a time in a unit that nobody knows: past or not, it says nothing
        (str(int(NOW) + 9), 9.0),  # Unix times
        (str((int(NOW) + 9) * 1000), 9.0),
        (str(int(NOW) - 9), None),
        (formatdate(NOW + 9, usegmt=True), 9.0),
        ("Fri, 31 Feb 2027 00:00:00 GMT", None),
        ("Fri, 26 Feb 2027 24:00:00 GMT", None),
        ("Fri, 26 Feb 2027 23:60:00 GMT", None),
        ("Fri, 26 Feb 2027 23:59:61 GMT", None),
        ("Fri, 00 Foo 0000 00:00:00 GMT", None),
        ("9" * 400, None),
        ("nan", None),
        ("infinity", None),
    ],
)
def test_waits_are_bounded(retry_after: str, wait: float | None) -> None:
    assert verdict(429, None, {"Retry-After": retry_after}).wait == wait


def test_resets_may_be_unix_times() -> None:
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-limit-requests": "60",
               "x-ratelimit-reset-requests": str(int(NOW) + 30)}  # fmt: skip
    assert verdict(429, None, headers).wait == 30.0


@pytest.mark.parametrize(
    ("message", "wait"),
    [
        ("Please try again in 178ms. Visit ...", 0.178),
        ("Please try again in 6m0s.", 360.0),
        ("Please retry after 26 seconds.", 26.0),
        ("Please retry in 37.5s.", 37.5),
        ("try again after 1 minute and 5 seconds", 65.0),
        ("please wait for 2 hours", 7200.0),
        ("Retry after 30 days.", LONGEST),
        ("please try again later", None),
        ("timed out after 30 seconds", None),
    ],
)
def test_a_wait_is_read_from_the_message_if_no_header_tells_it(
    message: str, wait: float | None
) -> None:
    assert verdict(429, error(message)).wait == (None if wait is None else pytest.approx(wait))
    told = verdict(429, error(message), {"retry-after": "3"})
    assert told.wait == 3.0


texts = st.text(max_size=40) | st.text("0123456789.eE+-:, TZdhmsnµGMTJan", max_size=40)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
keys = st.sampled_from(
    ["error", "code", "type", "status", "message", "details", "@type", "retryDelay", "violations"]
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4)
)
names = st.sampled_from(
    ["date", "retry-after", "retry-after-ms", "x-ratelimit-remaining-tokens",
     "x-ratelimit-reset-tokens", "x-ratelimit-limit-tokens", "content-encoding"]
)  # fmt: skip
bodies = values | st.binary(max_size=60) | values.map(lambda v: json.dumps(v).encode())


@given(st.integers(0, 599), st.dictionaries(names, texts) | scalars, bodies)
def test_no_answer_makes_it_raise(status: int, headers: Any, body: Any) -> None:
    answer = Answer(status, headers, body, now=time.time())
    told = judged(answer)
    assert told.wait is None or (0 <= told.wait <= LONGEST and math.isfinite(told.wait))
    assert isinstance(told.words, str)
    assert (told.meaning is Meaning.PASSED) == (not answer.is_error)


@pytest.mark.parametrize(
    "body",
    [b"[" * 100_000, b'{"error":' * 100_000, b"9" * 10_000, b"\xff\xfe\x00", b"\0" * 10,
     b'{"error": NaN}', b'{"error": "\\ud800"}', b'{"error": {"code": ' + b"9" * 5000 + b"}}",
     {"error": {"code": 10**5000}}, {1: 2}, memoryview(b'{"error": 1}')],
)  # fmt: skip
@pytest.mark.parametrize("status", [200, 429])
def test_odd_bodies_change_no_meaning(status: int, body: Any) -> None:
    assert judged(Answer(status, (), body)).meaning in (
        (Meaning.PASSED, Meaning.FAULT) if status == 200 else (Meaning.RATE,)
    )


@pytest.mark.parametrize(
    ("status", "word", "meaning", "is_repeatable"),
    [
        (429, "false", Meaning.RATE, False),
        (429, "true", Meaning.RATE, True),
        (503, "False ", Meaning.OVERLOADED, False),
        (500, "false", Meaning.DOWN, False),
        (500, "no", Meaning.DOWN, True),
        (400, "true", Meaning.DOWN, True),
        (400, "false", Meaning.FAULT, False),
        (402, "true", Meaning.SPENT, False),
        (413, "true", Meaning.TOO_LARGE, False),
        (200, "false", Meaning.PASSED, False),
    ],
)
def test_the_provider_has_the_last_word_on_another_attempt(
    status: int, word: str, meaning: Meaning, is_repeatable: bool
) -> None:
    verdict = judged(Answer(status, {"X-Should-Retry": word}, b"{}"))
    assert (verdict.meaning, verdict.is_repeatable) == (meaning, is_repeatable)
