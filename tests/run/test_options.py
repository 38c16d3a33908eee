"""Amounts, addresses, keys and presets."""

from __future__ import annotations

import argparse
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from xtremeflow.cli import amounts
from xtremeflow.providers import PROVIDERS
from xtremeflow.providers.joined import joined
from xtremeflow.run.input.keys import Key, KeyProblem, check_base_url, find_key, is_loopback
from xtremeflow.run.options import limits_of, parser, provider_of
from xtremeflow.values.amounts import shown


@pytest.mark.parametrize(
    ("text", "value"),
    [("5000", 5000), ("5_000", 5000), ("5,000", 5000), ("800k", 800_000), ("1.5M", 1_500_000)],
)
def test_amounts_may_have_a_suffix(text: str, value: float) -> None:
    assert amounts.amount(text) == value


@pytest.mark.parametrize("text", ["", "0", "-5", "1e5", "k", "nan", "inf", "5x", "٣"])
def test_a_bad_amount_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="must be a number above 0"):
        amounts.amount(text)


@pytest.mark.parametrize(
    ("text", "value"), [("90", 90), ("45m", 2700), ("2h30m", 9000), ("1.5h", 5400), ("1d", 86400)]
)
def test_durations_may_be_in_any_unit(text: str, value: float) -> None:
    assert amounts.seconds(text) == value
    assert amounts.deadline(text) == value


def test_a_deadline_may_be_a_moment() -> None:
    moment = datetime.now() + timedelta(hours=2)
    assert amounts.deadline(moment.isoformat()) == pytest.approx(7200, abs=5)
    with pytest.raises(argparse.ArgumentTypeError, match="later than now"):
        amounts.deadline("2001-05-01T06:00")
    with pytest.raises(argparse.ArgumentTypeError, match="a duration such as"):
        amounts.deadline("soon")


def test_amounts_and_durations_are_shown_rounded() -> None:
    amount = [shown(value) for value in (0, 0.25, 5.9, 12, 13_210.4, 456_000, 2e6, -5e4)]
    assert amount == ["0", "0.25", "5.9", "12", "13.2k", "456k", "2M", "-50k"]
    time = [amounts.duration(value) for value in (0, 3.21, 250, 59.99, 7500)]
    assert time == ["0.0 s", "3.2 s", "4 min 10 s", "60.0 s", "2 h 05 min"]


@pytest.mark.parametrize(
    ("base", "url", "whole"),
    [
        ("https://h/v1", "/v1/chat/completions", "https://h/v1/chat/completions"),
        ("https://h/v1/", "/v1/chat/completions", "https://h/v1/chat/completions"),
        ("https://h", "/v1/chat/completions", "https://h/v1/chat/completions"),
        ("https://h/openai/v1", "/v1/responses", "https://h/openai/v1/responses"),
        (
            "https://h/v1beta/openai",
            "/chat/completions",
            "https://h/v1beta/openai/chat/completions",
        ),
        ("https://h:8/api", "/v1/x?y=1", "https://h:8/api/v1/x?y=1"),
        ("https://h/v1", "/v1x/y", "https://h/v1/v1x/y"),
    ],
)
def test_base_and_path_join_to_one_address(base: str, url: str, whole: str) -> None:
    assert joined(base, url) == whole


def test_a_provider_without_the_usual_prefix() -> None:
    gemini = PROVIDERS["gemini"]
    assert gemini.base_url is not None
    for url in ("/v1/chat/completions", "/chat/completions"):
        whole = joined(gemini.base_url, url, gemini.prefix)
        assert whole == f"{gemini.base_url}/chat/completions"


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://localhost:8000/v1", True),
        ("http://127.0.0.1", True),
        ("http://127.9.9.9", True),
        ("http://[::1]:80/v1", True),
        ("http://localhost.example.com", False),
        ("http://127.0.0.1.example.com", False),
        ("http://10.0.0.1", False),
    ],
)
def test_keys_go_in_the_clear_to_this_host_only(url: str, loopback: bool) -> None:
    assert is_loopback(url) is loopback
    if loopback:
        assert check_base_url(url, insecure=False) == url
    else:
        with pytest.raises(KeyProblem, match="https"):
            check_base_url(url, insecure=False)
    assert check_base_url(url + "/", insecure=True) == url


def test_a_key_shows_itself_to_nobody(tmp_path: Path) -> None:
    key = find_key("K", None, required=True, environment={"K": "sk-secret\n"})
    assert key is not None
    assert key.reveal() == "sk-secret"
    assert "secret" not in f"{key} {key!r} {[key]}"
    assert key.hidden(b'{"a": "sk-secret!"}') == b'{"a": "[key]!"}'
    assert Key("x").hidden(b"xtremeflow") == b"xtremeflow"
    with pytest.raises(KeyProblem) as told:
        Key("sk secret")
    assert "secret" not in str(told.value)
    with pytest.raises(KeyProblem, match="environment variable K"):
        find_key("K", None, required=True, environment={})
    assert find_key("K", None, required=False, environment={}) is None
    file = tmp_path / "key"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(KeyProblem, match="it is not text"):
        find_key("K", file, required=False, environment={"K": "other"})


def test_presets_are_complete() -> None:
    for name, provider in PROVIDERS.items():
        assert provider.name == name
        if provider.base_url is not None:
            check_base_url(provider.base_url, insecure=False)
        rates = {k: float(v) for k, v in provider.amounts.items() if k != "concurrency"}
        for limit in provider.limits(rates, None):
            assert limit.capacity is not None
            assert 0 <= limit.capacity < limit.amount


@pytest.mark.parametrize(
    ("arguments", "names", "adapt", "concurrency"),
    [
        ("", [], True, 1024),
        ("--concurrency 7", [], True, 7),
        ("--rpm 60", ["requests"], "bounded", 1024),
        ("--rpm 60 --adapt yes", ["requests"], True, 1024),
        ("--adapt no", [], False, 64),
        ("--provider openai", [], "bounded", 1024),  # the answers tell
        ("--provider openai --tpm 1M", ["tokens"], "bounded", 1024),
        ("--provider openai --tpm 1M --adapt no", ["requests", "tokens"], False, 1024),
        ("--provider openai --rpm none --adapt no", ["tokens"], False, 1024),
        ("--provider gemini", ["requests", "input_tokens"], True, 1024),  # they do not: a guess
        ("--provider gemini --rpm 9", ["requests"], "bounded", 1024),
        ("--provider gemini --adapt no", ["requests", "input_tokens"], False, 1024),
        ("--provider deepseek", [], True, 500),
    ],
)
def test_limits_that_are_not_given_are_learned(
    arguments: str, names: list[str], adapt: object, concurrency: int | None
) -> None:
    given = parser().parse_args(["in.jsonl", "-o", "out.jsonl", *arguments.split()])
    limits, may, calls = limits_of(given, provider_of(given))
    assert [limit.name for limit in limits] == names
    assert (may, calls) == (adapt, concurrency)
