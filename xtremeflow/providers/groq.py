"""Groq: continuous buckets; its headers on requests tell those of the day.

Source: https://console.groq.com/docs/rate-limits
"""

from __future__ import annotations

from xtremeflow.providers.provider import CacheRules, Dialect, Provider, UsualLimit
from xtremeflow.values.charges import ChargeRule

DIALECT = Dialect({"requests": ["rpd"], "tokens": ["tpm"]})

GROQ = Provider(
    "groq",
    "Groq",
    "https://api.groq.com/openai/v1",
    "GROQ_API_KEY",
    quotas={
        "rpm": UsualLimit(1_000),
        "rpd": UsualLimit(500_000),
        "tpm": UsualLimit(300_000),
        "tpd": UsualLimit(None),
    },
    tells=DIALECT,
    # It takes cached tokens off once a call has ended.
    # Source: https://console.groq.com/docs/prompt-caching
    rule=ChargeRule("sum", settles=True, cached_free=True),
    cache=CacheRules(minimum=1024, unit=128, lifetime=7200.0, read_price=0.5),
    streams="asked",
)
