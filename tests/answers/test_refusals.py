"""Refusals read from exceptions: twins of the SDKs' exceptions, and the SDKs' own."""

from __future__ import annotations

import asyncio
import json
import math
import pickle
from datetime import datetime, timezone
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xtremeflow.refusals import (
    RetryException,
    describe,
    is_refusal,
    is_terminal,
    is_too_large,
    retry_delay,
)

NOW = datetime(2027, 1, 15, 8, tzinfo=timezone.utc).timestamp()


TOO_LARGE = (
    "Request too large for gpt-5 in organization org-x on tokens per min (TPM): Limit 30,000, "
    "Requested 45,000. The input or output tokens must be reduced in order to run successfully."
)


class Refused(Exception):
    """An exception with the given attributes: the twin of any SDK's."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__("refused")
        self.__dict__.update(attributes)


class Response:
    def __init__(self, headers: Any = None, status_code: int = 429, body: Any = None) -> None:
        self.headers = headers or {}
        self.status_code = status_code
        self.body = body

    def json(self) -> Any:
        if self.body is None:
            raise ValueError("no JSON here")
        return self.body


def with_headers(**headers: str) -> Refused:
    return Refused(response=Response({k.replace("_", "-"): v for k, v in headers.items()}))


def http_date(seconds: float) -> str:
    return formatdate(seconds, usegmt=True)


def rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def google_body(*details: dict[str, Any]) -> dict[str, Any]:
    return {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": list(details)}}


def retry_info(delay: Any) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}


def quota_failure(*quota_ids: str) -> dict[str, Any]:
    return {
        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [{"quotaId": quota_id} for quota_id in quota_ids],
    }


PER_DAY = "GenerateRequestsPerDayPerProjectPerModel-FreeTier"
PER_MINUTE = "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"


# The delay.


def test_order_of_the_sources() -> None:
    headers = {
        "retry-after-ms": "2000",
        "retry-after": "3",
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "4s",
    }
    exc = Refused(retry_after=1, response=Response(headers), body=google_body(retry_info("5s")))
    seen = [retry_delay(exc, NOW)]
    exc.retry_after = None
    seen.append(retry_delay(exc, NOW))
    for name in ("retry-after-ms", "retry-after", "x-ratelimit-remaining-tokens"):
        del headers[name]
        seen.append(retry_delay(exc, NOW))
    exc.body = None
    seen.append(retry_delay(exc, NOW))
    assert seen == [1, 2, 3, 4, 5, None]


@pytest.mark.parametrize(
    ("value", "delay"),
    [
        (0, 0.0),
        (0.0, 0.0),
        (1.5, 1.5),
        ("1.5", 1.5),
        ("2m", 120.0),
        (None, None),
        (True, None),
        (-1, None),
        ("-1", None),
        (math.nan, None),
        (math.inf, None),
        ("inf", None),
        (10**400, None),
        ("soon", None),
        ([], None),
    ],
)
def test_the_attribute_retry_after_tells_the_delay(value: Any, delay: float | None) -> None:
    assert retry_delay(Refused(retry_after=value), NOW) == delay
    assert retry_delay(RetryException("slow", retry_after=value), NOW) == delay


@pytest.mark.parametrize(
    ("headers", "delay"),
    [
        ({"retry-after": "37"}, 37.0),
        ({"Retry-After": "0.25"}, 0.25),
        ({"RETRY-AFTER-MS": "250.5", "retry-after": "1"}, 0.2505),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": http_date(NOW + 90)}, 90.0),
        ({"retry-after": "Friday, 15-Jan-27 08:00:07 GMT"}, 7.0),  # RFC 850
        ({"retry-after": "Fri Jan 15 08:00:07 2027"}, 7.0),  # asctime, which is UTC
        ({"retry-after": rfc3339(NOW + 5)}, 5.0),
        ({"retry-after": http_date(NOW + 4000), "date": http_date(NOW + 3990)}, 10.0),
        ({"retry-after": http_date(NOW + 90), "date": "garbage"}, 90.0),
        ({"retry-after": http_date(NOW - 1)}, None),
        ({"retry-after-ms": "nan", "retry-after": "2"}, 2.0),
        ({"retry-after-ms": "-5", "retry-after": "2"}, 2.0),
        ({"retry-after-ms": "1e999", "retry-after": "2"}, 2.0),
        ({"retry-after": ""}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "infinity"}, None),
        ({}, None),
    ],
)
def test_the_headers_tell_the_delay_wherever_an_sdk_keeps_them(
    headers: dict[str, str], delay: float | None
) -> None:
    expected = None if delay is None else pytest.approx(delay)
    assert retry_delay(Refused(response=Response(headers)), NOW) == expected
    assert retry_delay(Refused(headers=headers), NOW) == expected
    botocore = Refused(response={"ResponseMetadata": {"HTTPHeaders": headers}})
    assert retry_delay(botocore, NOW) == expected


def test_headers_of_the_response_come_first() -> None:
    exc = Refused(response=Response({"retry-after": "1"}), headers={"retry-after": "2"})
    assert retry_delay(exc, NOW) == 1.0


@pytest.mark.parametrize(
    ("headers", "delay"),
    [
        # The placeholder of a token limit: 0 ms, 1 s. The true wait is a window.
        ({"retry_after_ms": "0", "retry_after": "1"}, 60.0),
        # A reset header knows better than the guess of a window.
        (
            {
                "retry_after_ms": "0",
                "retry_after": "1",
                "x_ratelimit_remaining_tokens": "0",
                "x_ratelimit_reset_tokens": "17",
            },
            17.0,
        ),
        # 0 ms beside a real wait, or beside nothing, is not believed.
        ({"retry_after_ms": "0", "retry_after": "22"}, 22.0),
        ({"retry_after_ms": "0"}, None),
        # What agrees is.
        ({"retry_after_ms": "0", "retry_after": "0"}, 0.0),
        ({"retry_after_ms": "400", "retry_after": "1"}, 0.4),
    ],
)
def test_azures_retry_after_ms_of_0_is_passed_over(
    headers: dict[str, str], delay: float | None
) -> None:
    azures = with_headers(**headers, apim_request_id="1")
    assert retry_delay(azures, NOW) == delay


@pytest.mark.parametrize("wait", ["1", "0.5"])
def test_no_window_of_azures_is_taken_for_another_servers(wait: str) -> None:
    told = with_headers(retry_after_ms="0", retry_after=wait, x_request_id="1")
    assert retry_delay(told, NOW) == float(wait)


@pytest.mark.parametrize(
    ("requests_left", "tokens_left", "delay"),
    [
        ("14000", "0", pytest.approx(7.66)),  # not the day's
        ("0", "17997", pytest.approx(172.8)),  # the day's, which is the exhausted one
        ("0", "0", pytest.approx(172.8)),  # both must be open
        ("1", "12", None),  # none says which
    ],
)
def test_groqs_delay_is_the_reset_of_the_exhausted_limit(
    requests_left: str, tokens_left: str, delay: Any
) -> None:
    exc = with_headers(
        x_ratelimit_remaining_requests=requests_left,
        x_ratelimit_reset_requests="2m52.8s",
        x_ratelimit_remaining_tokens=tokens_left,
        x_ratelimit_reset_tokens="7.66s",
    )
    assert retry_delay(exc, NOW) == delay


def test_anthropic_resets_are_dates() -> None:
    exc = with_headers(
        anthropic_ratelimit_requests_remaining="49",
        anthropic_ratelimit_requests_reset=rfc3339(NOW + 1),
        anthropic_ratelimit_input_tokens_remaining="0",
        anthropic_ratelimit_input_tokens_reset=rfc3339(NOW + 33),
        anthropic_ratelimit_output_tokens_remaining="0",
        anthropic_ratelimit_output_tokens_reset=rfc3339(NOW + 12),
    )
    assert retry_delay(exc, NOW) == 33.0
    exc.response.headers["date"] = http_date(NOW + 30)
    assert retry_delay(exc, NOW) == 3.0


@pytest.mark.parametrize(
    ("reset", "delay"),
    [
        ("2027-01-15T08:00:01Z", 1.0),
        ("2027-01-15t08:00:01.5z", 1.5),
        ("2027-01-15T08:00:01.123456789Z", 1.123456789),
        ("2027-01-15T10:30:02+02:30", 2.0),
        ("2027-01-15T07:59:59Z", None),
        ("2027-02-30T08:00:00Z", None),
        ("2027-01-15", None),
    ],
)
def test_a_reset_may_be_a_date_of_rfc3339(reset: str, delay: float | None) -> None:
    exc = with_headers(
        anthropic_ratelimit_tokens_remaining="0", anthropic_ratelimit_tokens_reset=reset
    )
    expected = None if delay is None else pytest.approx(delay, abs=1e-6)
    assert retry_delay(exc, NOW) == expected


@pytest.mark.parametrize(
    ("reset", "delay"),
    [
        ("20ms", 0.02),
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("2m52.8s", 172.8),
        ("194ms", 0.194),
        ("1h2m3s", 3723.0),
        ("20h", 72000.0),
        ("1d2h", 86400.0),  # a day stands for all that is longer
        ("250us", 250e-6),
        ("1.5µs", 1.5e-6),
        ("59", 59.0),
        ("0s", 0.0),
        ("5 minutes", None),
        ("1s garbage", None),
        ("-1s", None),
        ("s", None),
    ],
)
def test_a_reset_may_be_a_duration_in_go_notation(reset: str, delay: float | None) -> None:
    exc = with_headers(x_ratelimit_remaining_tokens="0", x_ratelimit_reset_tokens=reset)
    assert retry_delay(exc, NOW) == (None if delay is None else pytest.approx(delay))


def test_limits_without_a_reset_say_nothing() -> None:  # Mistral
    exc = with_headers(x_ratelimit_remaining_tokens_minute="0")
    assert retry_delay(exc, NOW) is None


@pytest.mark.parametrize(
    "where",
    [
        lambda body: Refused(body=body),
        lambda body: Refused(body=json.dumps(body)),
        lambda body: Refused(body=json.dumps(body).encode()),
        lambda body: Refused(body=[body]),
        lambda body: Refused(body=body["error"]),
        lambda body: Refused(details=body),
        lambda body: Refused(response_json=body),
        lambda body: Refused(response=Response(body=body)),
    ],
)
def test_googles_retry_info_is_found_wherever_it_is(where: Any) -> None:
    body = google_body(quota_failure(PER_MINUTE), retry_info("37.5s"))
    assert retry_delay(where(body), NOW) == 37.5


@pytest.mark.parametrize("delay", ["", "soon", None, "-1s", {"seconds": 3}, math.nan])
def test_unreadable_retry_info_is_ignored(delay: Any) -> None:
    assert retry_delay(Refused(body=google_body(retry_info(delay))), NOW) is None


# Refusals.


@pytest.mark.parametrize(
    "exc",
    [
        RetryException(),
        Refused(status_code=429),
        Refused(status=429),
        Refused(code=429, status="RESOURCE_EXHAUSTED"),
        Refused(status_code=529),
        Refused(status_code=503),
        Refused(response=Response(status_code=429)),
        Refused(response={"ResponseMetadata": {"HTTPStatusCode": 429}}),
        Refused(response={"Error": {"Code": "ThrottlingException"}}),
        Refused(status_code=503, code="slow_down"),
        # In the middle of a stream the status is 200, or there is none.
        Refused(code="rate_limit_exceeded"),
        Refused(code="429"),
        Refused(status_code=200, body={"error": {"type": "rate_limit_error"}}),
        Refused(status_code=200, body={"error": {"type": "overloaded_error"}}),
    ],
)
def test_refusals_of_every_sdk_are_known_and_not_terminal(exc: Exception) -> None:
    assert is_refusal(exc)
    assert not is_terminal(exc)


@pytest.mark.parametrize(
    "exc",
    [
        Exception("429"),
        ConnectionError(),
        Refused(status_code=400),
        Refused(status_code=500, response=Response(status_code=500)),
        Refused(code=1008),
        Refused(status_code=413, body={"error": {"code": "rate_limit_exceeded"}}),  # too large
        Refused(
            status_code=429, body={"error": {"message": TOO_LARGE, "code": "rate_limit_exceeded"}}
        ),
        Refused(response=Response(body={"error": {"message": TOO_LARGE}})),
        Refused(response={"Error": {"Code": "ValidationException"}}),
    ],
)
def test_other_errors_are_no_refusals(exc: Exception) -> None:
    assert not is_refusal(exc)
    assert not is_terminal(exc)


@pytest.mark.parametrize(
    "exc",
    [
        Refused(code="insufficient_quota"),
        Refused(type="insufficient_quota"),
        Refused(body={"error": {"code": "insufficient_quota"}}),
        Refused(response=Response(body={"error": {"type": "insufficient_quota"}})),
        Refused(error_code="enforced_spend_limit_reached"),
        Refused(
            body={
                "type": "error",
                "error": {
                    "type": "rate_limit_error",
                    "details": {"error_code": "enforced_spend_limit_reached"},
                },
            }
        ),
        Refused(details=google_body(quota_failure(PER_MINUTE, PER_DAY), retry_info("9s"))),
        Refused(
            body=google_body(
                {
                    "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                    "violations": [{"quotaMetric": "example.com/generate_requests_per_day"}],
                }
            )
        ),
    ],
)
def test_refusals_that_waiting_does_not_cure_are_terminal(exc: Any) -> None:
    exc.status_code = 429
    assert is_refusal(exc)
    assert is_terminal(exc)


def test_a_quota_per_minute_is_not_terminal() -> None:
    exc = Refused(code=429, details=google_body(quota_failure(PER_MINUTE), retry_info("9s")))
    assert is_refusal(exc)
    assert not is_terminal(exc)


def test_describe_never_quotes_the_exception() -> None:
    exc = Refused(status_code=429, message="Incorrect API key sk-secret")
    exc.args = ("https://example.com/?key=sk-secret",)
    assert describe(exc) == "Refused, HTTP 429"
    assert describe(RetryException("sk-secret")) == "RetryException"


def test_a_retry_exception_keeps_its_message_and_delay_when_pickled() -> None:
    assert str(RetryException()) == ""
    assert RetryException().retry_after is None
    exc = pickle.loads(pickle.dumps(RetryException("slow down", 0.5)))
    assert (str(exc), exc.retry_after) == ("slow down", 0.5)


# Odd objects.


class Hostile(Exception):
    """Every attribute but the listed ones raises."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__["known"] = attributes

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("__") or name == "known":
            return super().__getattribute__(name)
        if name in self.known:
            return self.known[name]
        raise RuntimeError(f"no {name} for you")


class HostileDict(dict[str, Any]):
    def get(self, *args: Any) -> Any:
        raise RuntimeError

    items = values = get


def deep(levels: int) -> Any:
    body: Any = []
    for _ in range(levels):
        body = [body]
    return body


def endless() -> Any:
    body: dict[str, Any] = {"error": []}
    body["error"] += [body] * 5000
    return body


@pytest.mark.parametrize(
    "exc",
    [
        Hostile(),
        Hostile(response=Hostile()),
        Hostile(response=object(), headers=3),
        Refused(headers={1: 2, None: None, "retry-after": object()}),
        Refused(headers=["retry-after", "1"]),
        Refused(response=HostileDict(a=1), headers=HostileDict(a=1), body=HostileDict(a=1)),
        Refused(body="[" * 100_000),
        Refused(body="9" * 10_000),
        Refused(body=b"\xff\xfe\x00"),
        Refused(body=deep(100_000)),
        Refused(body=endless()),
        Refused(body=[{"@type": "google.rpc.QuotaFailure", "violations": 3}]),
        Refused(body=[{"@type": "google.rpc.QuotaFailure", "violations": [3, None]}]),
        Refused(code=b"429", status_code="teapot", type=type),
        KeyboardInterrupt(),
        asyncio.CancelledError(),
    ],
    ids=lambda exc: type(exc).__name__,
)
def test_odd_exceptions_never_raise(exc: BaseException) -> None:
    assert retry_delay(exc, NOW) is None
    assert not is_refusal(exc)
    assert not is_terminal(exc)
    assert describe(exc) == type(exc).__name__


def test_one_broken_source_does_not_hide_the_next() -> None:
    exc = Hostile(response=Response({"retry-after": "3"}), status_code=429)
    assert retry_delay(exc, NOW) == 3.0
    assert is_refusal(exc)


def test_an_async_json_is_not_left_unawaited() -> None:
    class AsyncResponse(Response):
        async def json(self) -> Any:  # type: ignore[override]
            return {}

    exc = Refused(response=AsyncResponse())
    assert retry_delay(exc, NOW) is None  # a RuntimeWarning would be an error
    assert not is_terminal(exc)


texts = st.text(max_size=30) | st.text("0123456789.eE+-:TZ dhmsunµGMT,", max_size=30)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts | st.binary(max_size=9)
keys = st.sampled_from(["code", "type", "error", "details", "@type", "retryDelay", "violations"])
bodies = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4)
)
header_names = st.sampled_from(
    [
        "date",
        "retry-after",
        "retry-after-ms",
        "x-ratelimit-remaining-tokens",
        "x-ratelimit-reset-tokens",
        "anthropic-ratelimit-tokens-remaining",
        "anthropic-ratelimit-tokens-reset",
    ]
)


@given(
    attributes=st.dictionaries(
        st.sampled_from(["retry_after", "code", "status", "status_code", "type", "body"]), bodies
    ),
    headers=st.dictionaries(header_names, texts | st.just("0")),
    body=bodies,
)
def test_garbage_never_raises(
    attributes: dict[str, Any], headers: dict[str, str], body: Any
) -> None:
    exc = Refused(**attributes, response=Response(headers, body=body))
    delay = retry_delay(exc, NOW)
    assert delay is None or 0 <= delay < math.inf
    assert isinstance(is_refusal(exc), bool)
    assert isinstance(is_terminal(exc), bool)
    assert describe(exc).startswith("Refused")


@given(st.integers(0, 86_400_000))
def test_durations_round_trip(milliseconds: int) -> None:
    seconds, ms = divmod(milliseconds, 1000)
    minutes, s = divmod(seconds, 60)
    hours, m = divmod(minutes, 60)
    expected = pytest.approx(milliseconds / 1000, abs=1e-9)
    for text in (f"{hours}h{m}m{s}.{ms:03}s", f"{minutes}m{s}s{ms}ms", f"{milliseconds}ms"):
        assert retry_delay(Refused(headers={"retry-after": text}), NOW) == expected


@given(st.integers(0, 86_400))
def test_dates_round_trip(seconds: int) -> None:
    for text in (http_date(NOW + seconds), rfc3339(NOW + seconds)):
        assert retry_delay(Refused(headers={"retry-after": text}), NOW) == seconds


# The SDKs' own exceptions.

OPENAI_BODY = {"error": {"message": "m", "type": "tokens", "code": "rate_limit_exceeded"}}
OPENAI_BROKE = {"error": {"message": "m", "type": "x", "code": "insufficient_quota"}}
ANTHROPIC_BODY = {"type": "error", "error": {"type": "rate_limit_error", "message": "m"}}
ANTHROPIC_BROKE = {
    "type": "error",
    "error": {
        "type": "rate_limit_error",
        "message": "m",
        "details": {"error_code": "enforced_spend_limit_reached"},
    },
}
HEADERS = {"Retry-After": "7"}


def from_sdk(sdk: str, status: int, body: Any) -> Exception:
    """What the client of an SDK raises for such a response."""
    module = pytest.importorskip(sdk)
    http = pytest.importorskip("httpx" if sdk == "groq" else "httpx2")

    def answer(request: Any) -> Any:
        return http.Response(status, headers=HEADERS, json=body)

    client = module.__dict__[{"openai": "OpenAI", "anthropic": "Anthropic", "groq": "Groq"}[sdk]](
        api_key="none",
        max_retries=0,
        http_client=http.Client(transport=http.MockTransport(answer)),
    )
    with client, pytest.raises(module.APIStatusError) as caught:
        client.post("/v1/anything", cast_to=object, body={})
    return caught.value


@pytest.mark.parametrize(
    ("sdk", "body", "broke"),
    [
        ("openai", OPENAI_BODY, OPENAI_BROKE),
        ("groq", OPENAI_BODY, OPENAI_BROKE),
        ("anthropic", ANTHROPIC_BODY, ANTHROPIC_BROKE),
    ],
)
def test_errors_of_the_openai_anthropic_and_groq_sdks_are_understood(
    sdk: str, body: Any, broke: Any
) -> None:
    exc = from_sdk(sdk, 429, body)
    assert (is_refusal(exc), is_terminal(exc), retry_delay(exc, NOW)) == (True, False, 7.0)
    assert describe(exc) == "RateLimitError, HTTP 429"
    assert is_terminal(from_sdk(sdk, 429, broke))
    assert not is_refusal(from_sdk(sdk, 500, {"error": {"type": "api_error"}}))
    assert not is_refusal(from_sdk(sdk, 413, body if sdk != "anthropic" else {}))


def test_errors_of_google_genai_are_understood() -> None:
    errors = pytest.importorskip("google.genai.errors")
    exc = errors.ClientError(429, google_body(quota_failure(PER_MINUTE), retry_info("37s")), None)
    assert (is_refusal(exc), is_terminal(exc), retry_delay(exc, NOW)) == (True, False, 37.0)
    assert is_terminal(errors.ClientError(429, google_body(quota_failure(PER_DAY)), None))
    assert not is_refusal(errors.ClientError(404, {"error": {"status": "NOT_FOUND"}}, None))


def test_errors_of_mistralai_are_understood() -> None:
    errors = pytest.importorskip("mistralai.client.errors")
    http = pytest.importorskip("httpx2")
    request = http.Request("POST", "https://example.com")
    for status, refused in ((429, True), (422, False)):
        response = http.Response(status, headers=HEADERS, json={}, request=request)
        exc = errors.SDKError("m", response)
        assert is_refusal(exc) is refused
        assert retry_delay(exc, NOW) == 7.0


def test_errors_of_botocore_are_understood() -> None:
    exceptions = pytest.importorskip("botocore.exceptions")

    def error(code: str, status: int) -> Exception:
        metadata = {"HTTPStatusCode": status, "HTTPHeaders": {"retry-after": "7"}}
        response = {"Error": {"Code": code}, "ResponseMetadata": metadata}
        exc: Exception = exceptions.ClientError(response, "InvokeModel")
        return exc

    assert is_refusal(error("ThrottlingException", 429))
    assert is_refusal(error("ThrottlingException", 400))
    assert not is_refusal(error("ValidationException", 400))
    assert retry_delay(error("ThrottlingException", 429), NOW) == 7.0


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
def test_errors_of_httpx_are_understood(library: str) -> None:
    http = pytest.importorskip(library)
    request = http.Request("POST", "https://example.com/?key=secret")
    response = http.Response(429, headers=HEADERS, json=OPENAI_BROKE, request=request)
    with pytest.raises(http.HTTPStatusError) as caught:
        response.raise_for_status()
    exc = caught.value
    assert (is_refusal(exc), is_terminal(exc), retry_delay(exc, NOW)) == (True, True, 7.0)
    unread = http.Response(429, stream=http.ByteStream(b"{}"), request=request)
    exc = http.HTTPStatusError("m", request=request, response=unread)
    assert (is_refusal(exc), is_terminal(exc), retry_delay(exc, NOW)) == (True, False, None)


def test_errors_of_aiohttp_are_understood() -> None:
    aiohttp = pytest.importorskip("aiohttp")
    multidict = pytest.importorskip("multidict")
    for status, refused in ((429, True), (500, False)):
        exc = aiohttp.ClientResponseError(
            None, (), status=status, headers=multidict.CIMultiDict(HEADERS)
        )
        # Without its deprecation warning of `code`, which would be an error here.
        assert is_refusal(exc) is refused
        assert not is_terminal(exc)
        assert retry_delay(exc, NOW) == 7.0


def test_errors_of_urllib_are_understood() -> None:
    from email.message import Message
    from urllib.error import HTTPError

    headers = Message()
    headers["Retry-After"] = "7"
    with HTTPError("https://example.com", 429, "Too Many Requests", headers, None) as exc:
        assert is_refusal(exc)
        assert retry_delay(exc, NOW) == 7.0


def test_a_request_is_too_large_only_where_it_asks_for_more_than_the_limit() -> None:
    fits = TOO_LARGE.replace("Requested 45,000", "Used 29,990, Requested 30,000")
    for status, message, too_large in (
        (429, TOO_LARGE, True),
        (429, fits, False),
        (429, "Limit of the Requested 5", False),
        (413, "", True),
    ):
        exc = Refused(status_code=status, body={"error": {"message": message}})
        assert is_too_large(exc) is too_large
        assert is_refusal(exc) is not too_large
