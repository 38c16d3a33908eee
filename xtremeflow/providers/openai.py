"""OpenAI: continuous buckets, charged the larger of max_tokens and the prompt, without refunds.

Source: https://developers.openai.com/api/docs/guides/rate-limits
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from xtremeflow.providers.provider import CacheRules, Dialect, Provider, UsualLimit
from xtremeflow.values.charges import ChargeRule
from xtremeflow.values.forms import is_object

DIALECT = Dialect({"requests": ["rpm"], "tokens": ["tpm"]})

REFUSAL = re.compile(
    r"\bon (?P<unit>requests|tokens) per (?P<period>min|minute|day|hour) \([A-Z]{3}\): "
    r"Limit (?P<limit>[\d,]+), Used (?P<used>[\d,]+)"
)
"""The limit in the text of a refusal."""

# Source of all four: https://developers.openai.com/api/docs/guides/prompt-caching
TTLS = {"30m": 1800.0, "12h": 43_200.0}
"""Seconds, by the `ttl` of `prompt_cache_options`."""

BREAKPOINT = "prompt_cache_breakpoint"
"""The field of a content part at whose end a prefix ends."""

FROM_5_6 = CacheRules(
    minimum=1024,
    unit=1,
    lifetime=1800.0,
    ttls=TTLS,
    mark=BREAKPOINT,
    latest=4,
    per_minute=15,
    writes=True,
    read_price=0.1,
    write_price=1.25,
)
"""The cache of the models from gpt-5.6 on: boundaries are not rounded, and writes have a price."""

_BEFORE = CacheRules(minimum=1024, unit=128, lifetime=300.0, per_minute=15, read_price=0.5)

OPENAI = Provider(
    "openai",
    "OpenAI",
    "https://api.openai.com/v1",
    "OPENAI_API_KEY",
    quotas={
        "rpm": UsualLimit(5_000),
        "tpm": UsualLimit(800_000),
        "rpd": UsualLimit(None),
        "tpd": UsualLimit(None),
    },
    tells=DIALECT,
    rule=ChargeRule("max", settles=False, cached_free=False),
    cache=_BEFORE,
    # Source of the prices: https://developers.openai.com/api/docs/pricing
    caches={
        r"^gpt-(5\.([6-9]|\d\d)|[6-9])": FROM_5_6,
        r"^gpt-5": replace(_BEFORE, read_price=0.1),
        r"^(gpt-4\.1|o3(?!-mini)|o4)": replace(_BEFORE, read_price=0.25),
    },
    streams="asked",
    cache_key=True,
    refused_count=True,  # see https://help.openai.com/en/articles/5955604
)


def only_marked(body: Mapping[str, Any]) -> bool:
    """Whether a request asks that only what has a breakpoint is cached."""
    options = body.get("prompt_cache_options")
    return is_object(options) and options.get("mode") == "explicit"
