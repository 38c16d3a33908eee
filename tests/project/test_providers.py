"""Facts about providers are typed once, and the documentation says the same."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import pytest

from xtremeflow.providers import PROVIDERS
from xtremeflow.providers.provider import QUOTAS, UNITS
from xtremeflow.serve.profiles import PROFILES

ROOT = Path(__file__).resolve().parent.parent.parent
ROW = re.compile(r"^\| `(\w+)` \| (.*?) \|", re.MULTILINE)
AMOUNT = re.compile(rf"`({'|'.join(QUOTAS)})`(?: (\d[\d,]*))?")


def test_each_provider_can_be_simulated() -> None:
    assert list(PROFILES) == list(PROVIDERS)
    assert QUOTAS.keys() == UNITS.keys()


@pytest.mark.parametrize("name", PROVIDERS)
def test_the_documentation_tells_the_usual_limits(name: str) -> None:
    page = (ROOT / "docs" / "serve.md").read_text("utf-8")
    rows = dict(ROW.findall(page[page.index("## Profiles") :].split("\n## ")[0]))
    told = {
        quota: int(amount.replace(",", "")) if amount else None
        for quota, amount in AMOUNT.findall(rows[name])
    }
    assert told == {name: quota.amount for name, quota in PROVIDERS[name].quotas.items()}


@pytest.mark.parametrize("name", PROVIDERS)
def test_the_sources_of_limits_and_of_the_cache_are_named(name: str) -> None:
    module = importlib.import_module(f"xtremeflow.providers.{name}")
    assert "https://" in (module.__doc__ or "")
    sources = re.findall(r"https://\S+", inspect.getsource(module))
    assert any("cach" in source for source in sources) == (PROVIDERS[name].cache is not None)


@pytest.mark.parametrize("name", PROVIDERS)
def test_headers_tell_of_limits_that_there_are(name: str) -> None:
    provider = PROVIDERS[name]
    if provider.tells is not None:
        told = {quota for names in provider.tells.units.values() for quota in names}
        assert told <= provider.quotas.keys()


@pytest.mark.parametrize(
    ("provider", "model", "read", "write"),
    [
        ("openai", "gpt-4o-mini", 0.5, 1.0),
        ("openai", "o3-mini", 0.5, 1.0),
        ("openai", "o4-mini", 0.25, 1.0),
        ("openai", "gpt-4.1-nano", 0.25, 1.0),
        ("openai", "gpt-5", 0.1, 1.0),
        ("openai", "gpt-5.4-mini", 0.1, 1.0),
        ("openai", "gpt-5.6", 0.1, 1.25),
        ("anthropic", "claude-sonnet-4-5", 0.1, 1.25),
        ("anthropic", "claude-opus-5-5", 0.05, 1.25),
    ],
)
def test_the_cache_has_the_prices_of_the_model(
    provider: str, model: str, read: float, write: float
) -> None:
    rules = PROVIDERS[provider].cache_of(model)
    assert rules is not None
    assert (rules.read_price, rules.write_price) == (read, write)
    assert rules.paid(1000, 400, 500) == pytest.approx(100 + 400 * read + 500 * write)
    assert rules.saved(400, 500) == pytest.approx(400 * (1 - read) + 500 * (1 - write))
