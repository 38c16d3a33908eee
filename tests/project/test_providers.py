"""Facts about providers are typed once, and the documentation says the same."""

from __future__ import annotations

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
def test_headers_tell_of_limits_that_there_are(name: str) -> None:
    provider = PROVIDERS[name]
    if provider.tells is not None:
        told = {quota for names in provider.tells.units.values() for quota in names}
        assert told <= provider.quotas.keys()
