"""DeepSeek: a limit on requests in flight, each held until its answer is complete; no rates.

Source: https://api-docs.deepseek.com/quick_start/rate_limit
"""

from __future__ import annotations

from xtremeflow.providers.provider import CacheRules, Provider, UsualLimit

DEEPSEEK = Provider(
    "deepseek",
    "DeepSeek",
    "https://api.deepseek.com",
    "DEEPSEEK_API_KEY",
    paths={"messages": "/chat/completions"},
    quotas={"concurrency": UsualLimit(500, "at once")},
    # Source: https://api-docs.deepseek.com/guides/kv_cache
    cache=CacheRules(
        minimum=64, unit=64, lifetime=3600.0, sightings=2, delay=3.0, ends=True, read_price=0.1
    ),
    streams="asked",
)
