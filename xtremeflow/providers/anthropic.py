"""Anthropic: continuous buckets of requests, input and output; cache reads are free.

The bucket of requests holds a second's worth, because 60 requests per minute may be enforced as one
per second. Source: https://docs.anthropic.com/en/api/rate-limits
"""

from __future__ import annotations

import re
from dataclasses import replace

from xtremeflow.providers.provider import CacheRules, Dialect, Provider, UsualLimit
from xtremeflow.values.charges import ChargeRule

DIALECT = Dialect(
    {
        "requests": ["rpm"],
        "tokens": ["itpm", "otpm"],
        "input-tokens": ["itpm"],
        "output-tokens": ["otpm"],
    },
    grain=1000,
    fields=re.compile(
        r"anthropic-ratelimit-(?P<unit>requests|tokens|input-tokens|output-tokens)"
        r"-(?P<kind>limit|remaining|reset)"
    ),
)

# Source of both: https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching
TTLS = {"5m": 300.0, "1h": 3600.0}
"""Seconds, by the `ttl` of a `cache_control`."""

_CACHE = CacheRules(
    minimum=1024,
    unit=1,
    lifetime=300.0,
    ttls=TTLS,
    mark="cache_control",
    marked=True,
    look_back=20,
    from_start=True,
    writes=True,
    read_price=0.1,
    write_price=1.25,
)

ANTHROPIC = Provider(
    "anthropic",
    "Anthropic",
    "https://api.anthropic.com",
    "ANTHROPIC_API_KEY",
    ("x-api-key", "{}"),
    headers={"anthropic-version": "2023-06-01"},
    paths={"messages": "/v1/messages"},
    quotas={
        "rpm": UsualLimit(4_000, seconds=1.0),  # enforced by the second
        "itpm": UsualLimit(2_000_000),
        "otpm": UsualLimit(400_000),
    },
    tells=DIALECT,
    rule=ChargeRule("input", settles=True, cached_free=True),
    cache=_CACHE,
    streams="always",
    caches={
        r"haiku-4-5|opus-4-[5-9]": replace(_CACHE, minimum=4096),
        r"haiku": replace(_CACHE, minimum=2048),
        # Source: https://platform.claude.com/docs/en/about-claude/pricing
        r"(opus|sonnet)-5-5": replace(_CACHE, read_price=0.05),
        r"(fable|mythos)-5-1": replace(_CACHE, read_price=0.025),
    },
)
