"""Azure OpenAI: tokens in windows of a minute, requests in windows of ten seconds.

Source: https://learn.microsoft.com/en-us/azure/ai-services/openai/how-to/quota
"""

from __future__ import annotations

from xtremeflow.providers.provider import CacheRules, Dialect, Provider, UsualLimit
from xtremeflow.values.charges import ChargeRule

DIALECT = Dialect({"requests": ["rpm"], "tokens": ["tpm"]})

AZURE = Provider(
    "azure",
    "Azure OpenAI",
    None,
    "AZURE_OPENAI_API_KEY",
    ("api-key", "{}"),
    quotas={"rpm": UsualLimit(1_440, "window", seconds=10.0), "tpm": UsualLimit(240_000, "window")},
    tells=DIALECT,
    rule=ChargeRule("sum", settles=False, cached_free=False),
    # Source: https://learn.microsoft.com/en-us/azure/ai-foundry/openai/how-to/prompt-caching
    cache=CacheRules(minimum=1024, unit=128, lifetime=300.0, per_minute=15, read_price=0.5),
    domain="openai.azure.com",
    streams="asked",
    cache_key=True,
)
