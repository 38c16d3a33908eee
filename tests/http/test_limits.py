"""The limits that heads tell of, read in C: where it reads one, the reader in Python agrees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from xtremeflow import _http
from xtremeflow.answers.headers import Quota, lowered, quotas
from xtremeflow.values.forms import as_instant

CORPUS = Path(__file__).resolve().parent.parent / "fuzz" / "corpus" / "limits"
NOW = 1_750_000_000.5
DATE = "Sun, 15 Jun 2025 15:06:39 GMT"


def by_reference(head: bytes, now: float) -> list[Quota]:
    headers = lowered(_http.parse_head(head))
    date = as_instant(headers.get("date", ""))
    return quotas(headers, now if date is None else date)


def head_of(fields: dict[str, str] | list[tuple[str, str]]) -> bytes:
    pairs = fields.items() if isinstance(fields, dict) else fields
    lines = [f"{name}: {value}" for name, value in pairs]
    return "\r\n".join(["HTTP/1.1 200 OK", *lines, ""]).encode("latin-1")


def agree(head: bytes, now: float = NOW) -> list[Quota] | None:
    """What C reads of a head, None: it leaves it to Python. Nothing else but that differs."""
    read = _http.quotas(head, now)
    if read is None:
        return None
    told = [Quota(*fields) for fields in read]
    assert told == by_reference(head, now)
    return told


def plain(amount: str, left: str, reset: str, unit: str = "tokens") -> dict[str, str]:
    return {f"x-ratelimit-limit-{unit}": amount, f"x-ratelimit-remaining-{unit}": left,
            f"x-ratelimit-reset-{unit}": reset}  # fmt: skip


def anthropic(unit: str, amount: int, left: int, reset: str) -> dict[str, str]:
    return {f"anthropic-ratelimit-{unit}-limit": str(amount),
            f"anthropic-ratelimit-{unit}-remaining": str(left),
            f"anthropic-ratelimit-{unit}-reset": reset}  # fmt: skip


OTHERS = {"content-type": "application/json", "x-request-id": "req_1", "server": "cloudflare",
          "openai-processing-ms": "305", "x-ratelimit": "1", "ratelimit-limit": "5"}  # fmt: skip
PROVIDERS = {
    "openai": {"date": DATE, **plain("10000", "9999", "6ms", "requests"),
               **plain("30000000", "29999979", "0s")},
    "openai, minutes": {"date": DATE, **plain("500", "499", "120ms", "requests"),
                        **plain("30000", "4", "59.992s"), **OTHERS},
    "openai, a day": plain("200", "199", "7m12s", "requests"),
    "azure": plain("100", "99", "10", "requests") | plain("50000", "12", "60"),
    "anthropic": {"Date": DATE, **anthropic("requests", 50, 49, "2025-06-15T15:06:40Z"),
                  **anthropic("input-tokens", 50_000, 49_000, "2025-06-15T15:06:40.25Z"),
                  **anthropic("output-tokens", 10_000, 10_000, "2025-06-15T15:06:38Z"),
                  **anthropic("tokens", 60_000, 59_000, "2025-06-15T17:06:40+02:00")},
    "mistral": {"x-ratelimit-limit-req-minute": "60", "x-ratelimit-remaining-req-minute": "59",
                "x-ratelimit-limit-tokens-minute": "500000",
                "x-ratelimit-remaining-tokens-minute": "499000",
                "x-ratelimit-limit-tokens-month": "1000000000",
                "x-ratelimit-remaining-tokens-month": "999999999"},
    "cerebras": {f"x-ratelimit-{kind}-{unit}-{period}": "30"
                 for kind in ("limit", "remaining", "reset")
                 for unit in ("requests", "tokens")
                 for period in ("second", "minute", "hour", "day")},
    "cerebras, as it comes": plain("14400", "14399", "33011.382867097855", "requests-day")
                             | plain("60000", "59000", "11.382867097855", "tokens-minute"),
    "groq": {"retry-after": "2", **plain("14400", "14370", "2m59.56s", "requests"),
             **plain("18000", "17997", "7.66s")},
    "groq, hours": plain("1000", "0", "23h59m2.5s", "requests"),
    "http dates": {"date": DATE, **plain("5", "4", "Sun, 15 Jun 2025 15:07:39 GMT")},
    "unlimited": plain("-1", "-1", ""),
    "without a number": plain("none", "unlimited", ""),
    "twice": [*plain("5", "4", "1s").items(), *plain("7", "6", "2s").items()],
    "in any case": {"X-RateLimit-Limit-Tokens": "5", "X-RATELIMIT-REMAINING-TOKENS": "4"},
    "joined": plain("5, 7", "4", "1s"),
    "nothing": OTHERS,
}  # fmt: skip


@pytest.mark.parametrize("fields", PROVIDERS.values(), ids=PROVIDERS)
def test_headers_as_providers_write_them_are_read(fields: Any) -> None:
    told = agree(head_of(fields))
    assert told is not None
    assert len(told) == len({(quota.style, quota.name, quota.per) for quota in told})


@pytest.mark.parametrize("path", sorted(CORPUS.iterdir()), ids=lambda path: path.name)
def test_the_corpus_of_the_fuzzer_is_read_alike(path: Path) -> None:
    agree(path.read_bytes(), 1_750_000_000.5)


def test_the_values_are_those() -> None:
    assert agree(head_of(PROVIDERS["openai, minutes"])) == [
        Quota("requests", "plain", None, 500, 499, 0.12, "120ms"),
        Quota("tokens", "plain", None, 30_000, 4, 59.992, "59.992s"),
    ]
    told = agree(head_of(PROVIDERS["anthropic"]))
    assert told is not None
    assert [(quota.name, quota.remaining, quota.reset) for quota in told] == [
        ("requests", 49, 1), ("input_tokens", 49_000, 1.25), ("output_tokens", 10_000, None),
        ("tokens", 59_000, 1),
    ]  # fmt: skip
    told = agree(head_of(PROVIDERS["mistral"]))
    assert told is not None
    assert [(quota.name, quota.per, quota.amount) for quota in told] == [
        ("requests", 60, 60), ("tokens", 60, 500_000), ("tokens", 30 * 86_400, 1e9)
    ]  # fmt: skip


@pytest.mark.parametrize(
    "value",
    ["1_000", "1e3", "+5", "0x10", "1.2.3", "--1", "-0", "-", ".", "1 2", "9" * 16, "1" * 400,
     "1.0000000000000001s", "1.5s3ms", "0.1s0.2s", "1ms1s", "5µs", "\xa05", "5\x1c", "٣",
     "2025-02-30T00:00:00Z", "2025-06-15", "2025-06-15T24:00:00Z", "2025-06-15T00:00:60Z",
     "1969-12-31T23:59:59Z", "Sunday, 15-Jun-25 15:07:39 GMT", "Sun Jun 15 15:07:39 2025",
     "Sun, 31 Feb 2025 15:07:39 GMT", "Sun, 15 Jun 2025 15:07:39 +0000", "1750000000",
     "1750000000123", "1s, 2s", "never", "nan", "inf", "1e400", "5 s", "5S", "5x", "1h2"],
)  # fmt: skip
def test_headers_in_other_forms_are_never_read_otherwise(value: str) -> None:
    if not value.isascii():
        value = value.encode("utf-8").decode("latin-1")
    for kind in ("limit", "remaining", "reset"):
        agree(head_of({f"x-ratelimit-{kind}-tokens": value, "date": DATE}))
    agree(head_of({"date": value, **plain("5", "4", "2025-06-15T15:06:40Z")}))


def test_folded_lines_are_left_to_the_other_reader() -> None:
    name = b"x-ratelimit-limit-tokens: 5\r\n"
    assert _http.quotas(name + b" 6\r\n", NOW) is None
    assert agree(name + b"x: 1\r\n 6\r\n") is not None


def test_more_limits_than_any_provider_has_are_left_to_the_other_reader() -> None:
    units, periods = ("requests", "tokens", "req"), ("second", "minute", "hour", "day", "month")
    names = [f"x-ratelimit-limit-{unit}-{period}" for unit in units for period in periods]
    names += [f"x-ratelimit-limit-{unit}" for unit in units]
    assert agree(head_of(dict.fromkeys(names[:16], "5"))) is not None
    assert _http.quotas(head_of(dict.fromkeys(names, "5")), NOW) is None


def test_bad_arguments_are_refused() -> None:
    for arguments in ((b"",), ("text", 1.0), (b"", "now")):
        with pytest.raises(TypeError):
            _http.quotas(*arguments)


# ---- any head ----

names = st.sampled_from(
    [f"{start}-{kind}-{unit}{period}" for start in ("x-ratelimit", "X-RateLimit")
     for kind in ("limit", "remaining", "reset", "resets") for unit in ("requests", "tokens", "req")
     for period in ("", "-minute", "-day", "-week")]
    + [f"anthropic-ratelimit-{unit}-{kind}" for kind in ("limit", "remaining", "reset")
       for unit in ("requests", "tokens", "input-tokens", "output-tokens", "req")]
    + ["date", "Date", "x-ratelimit-limit", "retry-after", "x"]
)  # fmt: skip
numbers = st.from_regex(r"-?[0-9]{0,12}(\.[0-9]{0,18})?", fullmatch=True)
durations = st.from_regex(r"([0-9]{1,3}(\.[0-9]{1,4})?(ms|us|ns|[dhms])){1,3}", fullmatch=True)
instants = st.from_regex(
    r"(19[6-9]|20[0-9]|99)[0-9]?-[01][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-6][0-9]:[0-6][0-9]"
    r"(\.[0-9]{1,9})?([Zz]|[+-][0-2][0-9]:[0-6][0-9])",
    fullmatch=True,
)
dates = st.from_regex(
    r"(Mon|Sun|sun), [0-3][0-9] (Jan|Feb|Dec|Foo) (19[67]|20[0-9])[0-9] "
    r"[0-2][0-9]:[0-6][0-9]:[0-6][0-9] (GMT|UTC)",
    fullmatch=True,
)
texts = st.text(st.characters(max_codepoint=255, blacklist_characters="\r\n"), max_size=8)
fields = st.tuples(names, st.one_of(numbers, durations, instants, dates, texts))


@settings(max_examples=400)
@given(st.lists(fields, max_size=8), st.floats(0, 4e9))
@example([("x-ratelimit-reset-tokens", "2024-02-29T23:59:59.999999999Z")], 1.7e9)
def test_both_readers_read_the_same_from_any_fields(
    fields: list[tuple[str, str]], now: float
) -> None:
    agree(head_of(fields), now)


@given(st.binary(max_size=200))
def test_both_readers_read_the_same_from_any_bytes(head: bytes) -> None:
    agree(head)
    agree(b"x-ratelimit-limit-tokens:" + head)
