"""Limits as answers tell them: every provider's headers, refusals' bodies, and nonsense."""

from __future__ import annotations

import json
import math
from datetime import datetime, timezone
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xtremeflow.answers.headers import Observation, lowered, observations, quotas
from xtremeflow.learning.told.limits import REPEATED, ToldLimits, kept
from xtremeflow.values.limits import DAY, MINUTE, Limit

NOW = 1_800_000_000.0


def rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def plain(unit: str, limit: object, remaining: object, reset: object) -> dict[str, str]:
    return {
        f"x-ratelimit-limit-{unit}": str(limit),
        f"x-ratelimit-remaining-{unit}": str(remaining),
        f"x-ratelimit-reset-{unit}": str(reset),
    }


def seen(headers: Any, body: Any = None, now: float = NOW) -> dict[str, Observation]:
    return {one.name: one for one in observations(headers, body, now)}


def test_openais_headers_tell_requests_and_tokens_a_minute() -> None:
    headers = plain("requests", 5000, 4999, "12ms") | plain("tokens", 800_000, 799_000, "75ms")
    assert seen(headers) == {
        "requests": Observation("requests", MINUTE, 5000.0, 4999.0),
        "tokens": Observation("tokens", MINUTE, 800_000.0, 799_000.0),
    }


@pytest.mark.parametrize(
    ("limit", "remaining", "reset", "per"),
    [
        (14_400, 14_370, "2m59.56s", DAY),  # Groq's documentation
        (10_000, 9_999, "8.64s", DAY),  # OpenAI's, for accounts with a limit per day
        (500_000, 499_999, "173ms", DAY),
        (1_000, 1, "23h59m4.2s", DAY),
        (60, 59, "1s", MINUTE),
        (30_000_000, 29_999_990, "1ms", MINUTE),  # rounded up
        (1_000, 0, "1m0s", MINUTE),
        (1_000, 1_000, "0s", MINUTE),  # nothing used: the first answer has to do
        (150_000, 149_984, "6m0s", None),  # neither
    ],
)
def test_the_period_of_a_bucket_shows_in_how_long_it_takes_to_refill(
    limit: int, remaining: int, reset: str, per: float | None
) -> None:
    assert seen(plain("requests", limit, remaining, reset))["requests"].per == per


def test_groqs_requests_are_per_day_and_its_tokens_per_minute() -> None:
    headers = plain("requests", 14_400, 14_370, "2m59.56s")
    headers |= plain("tokens", 18_000, 17_997, "10ms")
    assert {name: one.per for name, one in seen(headers).items()} == {
        "requests": DAY,
        "tokens": MINUTE,
    }


def test_azure_counts_windows_and_tells_plain_seconds() -> None:
    headers = plain("requests", 1440, 1439, 10) | plain("tokens", 240_000, 239_000, 60)
    assert seen(headers) == {
        "requests": Observation("requests", MINUTE, 1440.0, 1439.0, window=10.0),
        "tokens": Observation("tokens", MINUTE, 240_000.0, 239_000.0, window=60.0),
    }


@pytest.mark.parametrize("unit", [1, 1000])
@pytest.mark.parametrize(
    ("limit", "used", "reset", "per"),
    [
        (600, 60, 6, MINUTE),
        (1_200_000, 10, 1, MINUTE),  # rounded up
        (10_000, 10, 87, DAY),
    ],
)
def test_a_time_at_which_it_is_full_again_is_no_number_of_seconds(
    limit: int, used: int, reset: int, per: float, unit: int
) -> None:
    told = seen(plain("requests", limit, limit - used, int(NOW + reset) * unit))["requests"]
    assert told == Observation("requests", per, limit, limit - used)
    assert told.reset == pytest.approx(reset, abs=1.0)


def anthropic(what: str, limit: int, remaining: int, reset: str) -> dict[str, str]:
    prefix = f"Anthropic-RateLimit-{what}"
    return {
        f"{prefix}-Limit": str(limit),
        f"{prefix}-Remaining": str(remaining),
        f"{prefix}-Reset": reset,
    }


def test_anthropics_headers_tell_each_limit_and_its_burst() -> None:
    reset = rfc3339(NOW + 3)
    headers = (
        anthropic("requests", 4000, 3999, reset)
        | anthropic("tokens", 2_400_000, 2_399_000, reset)
        | anthropic("input-tokens", 2_000_000, 1_999_000, reset)
        | anthropic("output-tokens", 400_000, 0, reset)
    )
    assert seen(headers) == {
        "requests": Observation("requests", MINUTE, 4000.0, 3999.0, burst=1.0),
        # Rounded to thousands: at least so many. The sum of both is no limit of its own.
        "input_tokens": Observation("input_tokens", MINUTE, 2_000_000.0, 1_998_500.0, grain=1e3),
        "output_tokens": Observation("output_tokens", MINUTE, 400_000.0, 0.0, grain=1e3),
    }


def test_mistral_has_periods_in_the_names_and_no_resets() -> None:
    headers = {
        "x-ratelimit-limit-req-minute": "360",
        "x-ratelimit-remaining-req-minute": "359",
        "x-ratelimit-limit-tokens-minute": "2000000",
        "x-ratelimit-remaining-tokens-minute": "1999000",
        "x-ratelimit-limit-tokens-month": "4000000000",
    }
    told = observations(headers)
    assert told[:2] == [
        Observation("requests", MINUTE, 360.0, 359.0, window=MINUTE, slides=True),
        Observation("tokens", MINUTE, 2_000_000.0, 1_999_000.0, window=MINUTE, slides=True),
    ]
    assert ToldLimits().learn(told[2]) is None  # what one may spend in a month sets no pace


def test_dates_are_read_by_the_servers_clock() -> None:
    headers = lowered(anthropic("tokens", 1000, 0, rfc3339(NOW + 30)))
    assert quotas(headers, NOW)[0].reset == 30.0
    hours_ago = datetime.fromtimestamp(NOW - 7200, timezone.utc)
    skewed = plain("tokens", 60_000, 30_000, format_datetime(hours_ago, usegmt=True))
    skewed["Date"] = format_datetime(datetime.fromtimestamp(NOW - 7230, timezone.utc), usegmt=True)
    assert seen(skewed)["tokens"].per == MINUTE  # 30 s after the server's own date


def test_gemini_names_the_quota_in_the_body() -> None:
    def body(quota: str, metric: str) -> Any:
        violation = {"quotaId": quota, "quotaMetric": metric, "quotaValue": "1000"}
        kind = "type.googleapis.com/google.rpc.QuotaFailure"
        return {"error": {"code": 429, "details": [{"@type": kind, "violations": [violation]}]}}

    minute = body("GenerateRequestsPerMinutePerProjectPerModel-PaidTier", "g.com/requests")
    assert observations({}, json.dumps(minute)) == [
        Observation("requests", MINUTE, 1000.0, 0.0, window=MINUTE)
    ]
    tokens = body("GenerateContentPaidTierInputTokensPerModelPerMinute", "g.com/input_token_count")
    assert observations({}, [tokens])[0].name == "input_tokens"
    day = body("GenerateRequestsPerDayPerProjectPerModel", "g.com/requests")
    assert observations({}, day) == [Observation("requests", DAY, 1000.0, 0.0)]


def test_a_refusals_sentence_names_the_limit() -> None:
    message = (
        "Rate limit reached for model `m` in organization `o` on requests per minute (RPM): "
        "Limit 1,000, Used 990, Requested 11. Please try again in 60ms."
    )
    body = {"error": {"message": message, "type": "requests"}}
    assert observations({}, body) == [Observation("requests", MINUTE, 1000.0, 10.0)]
    too_large = message.replace(", Used 990", "")
    assert observations({}, {"error": {"message": too_large}}) == []


def test_the_headers_of_any_client() -> None:
    class Headers:
        def items(self) -> Any:
            return [("X-RateLimit-Limit-Tokens-Minute", "5")]

    expected = [Observation("tokens", MINUTE, 5.0, window=MINUTE, slides=True)]
    assert observations(Headers()) == expected
    assert observations([(b"x-ratelimit-limit-tokens-minute", b"5")]) == expected
    assert observations([("x-ratelimit-limit-tokens-minute", "5")] * 2) == expected


@pytest.mark.parametrize(
    "headers",
    [
        plain("tokens", "-5", "1", "1s"),
        plain("tokens", "NaN", "1", "1s"),
        plain("tokens", "inf", "1", "1s"),
        plain("tokens", "1e300", "1", "1s"),
        plain("tokens", "0", "0", "1s"),
        plain("tokens", "30000", "60000", "30s"),  # the wrong way round
        {"x-ratelimit-remaining-tokens": "5"},
        {"x-ratelimit-limit-bananas": "5"},
        {"retry-after": "5"},
        None,
        17,
        "x-ratelimit-limit-tokens",
        [("one",), object()],
    ],
)
def test_nonsense_is_not_said(headers: Any) -> None:
    assert observations(headers) == []


values = st.one_of(
    st.sampled_from(["", "0", "-1", "1", "60", "nan", "inf", "-inf", "1e309", "٣", "6m0s"]),
    st.floats().map(str),
    st.text(max_size=20),
    st.integers(-(10**20), 10**20).map(str),
)
names = st.sampled_from(
    [
        f"x-ratelimit-{kind}-{unit}"
        for kind in ("limit", "remaining", "reset")
        for unit in ("requests", "tokens", "req-minute", "tokens-day")
    ]
    + [
        f"anthropic-ratelimit-{unit}-{kind}"
        for kind in ("limit", "remaining", "reset")
        for unit in ("requests", "tokens", "input-tokens", "output-tokens")
    ]
    + ["date", "retry-after"]
)
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.floats(), st.text(max_size=10)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["error", "message", "@type", "violations", "quotaId", "quotaValue"]),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=10,
)


@given(st.dictionaries(names, values), st.one_of(json_values, st.binary(), st.text()))
def test_any_headers_are_read_and_make_sense(headers: dict[str, str], body: Any) -> None:
    for one in observations(headers, body, NOW):
        assert 1 <= one.amount <= 1e15
        assert one.remaining is None or 0 <= one.remaining <= one.amount
        assert one.per is None or 1 <= one.per < math.inf


# -- what is believed ----------------------------------------------------------------------------


def test_the_first_word_counts_at_once_and_a_change_when_it_is_repeated() -> None:
    told = ToldLimits()
    first = Observation("tokens", MINUTE, 60.0, 5.0)
    other = Observation("tokens", MINUTE, 90.0, 7.0)
    verdict = told.learn(first)
    assert verdict is not None
    assert (verdict.changed, verdict.remaining) == (True, 5.0)
    for _ in range(5):  # another model's answers, between ours
        assert told.learn(other) is None
        verdict = told.learn(first)
        assert verdict is not None
        assert not verdict.changed
    for _ in range(REPEATED - 1):
        assert told.learn(other) is None
    verdict = told.learn(other)
    assert verdict is not None
    assert (verdict.changed, verdict.limit.amount, verdict.remaining) == (True, 90.0, 7.0)


def test_a_limit_without_a_period_is_the_known_one_of_that_amount() -> None:
    told = ToldLimits()
    open_period = Observation("requests", None, 500.0, 500.0)
    assert told.learn(open_period) is None
    told.learn(Observation("requests", DAY, 500.0, 499.0))
    verdict = told.learn(open_period)
    assert verdict is not None
    assert verdict.key == ("requests", True)
    assert told.learn(Observation("requests", None, 400.0, 400.0)) is None


def test_a_bucket_keeps_within_each_kind_of_limit() -> None:
    assert kept(Observation("tokens", MINUTE, 600.0)) == Limit("tokens", 600.0, 60.0, 600.0)
    assert kept(Observation("r", MINUTE, 600.0, burst=1.0)) == Limit("r", 600.0, 60.0, 10.0)
    window = kept(Observation("r", MINUTE, 600.0, window=10.0))
    assert window.capacity is not None
    assert window.capacity + window.rate * 10 == pytest.approx(100)
