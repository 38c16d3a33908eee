"""Mistral: sliding minutes of actual usage.

Source: https://docs.mistral.ai/deployment/ai-studio/tier, and its answers' headers.
"""

from __future__ import annotations

from xtremeflow.providers.provider import CacheRules, Dialect, Provider, UsualLimit

DIALECT = Dialect({"req": ["rpm"], "tokens": ["tpm"]})

MISTRAL = Provider(
    "mistral",
    "Mistral",
    "https://api.mistral.ai/v1",
    "MISTRAL_API_KEY",
    paths={"messages": "/v1/chat/completions", "embedding": "/v1/embeddings"},
    quotas={"rpm": UsualLimit(360, "sliding"), "tpm": UsualLimit(2_000_000, "sliding")},
    tells=DIALECT,
    # With no lifetime told. Source:
    # https://docs.mistral.ai/studio-api/conversations/advanced/prompt-caching
    cache=CacheRules(minimum=64, unit=64, lifetime=300.0, keyed=True, read_price=0.1),
    streams="always",
    cache_key=True,
)
