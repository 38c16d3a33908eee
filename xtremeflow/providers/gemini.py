"""Gemini: requests and input tokens per minute, requests per day; only refusals tell of them.

Source: https://ai.google.dev/gemini-api/docs/rate-limits
"""

from __future__ import annotations

from xtremeflow.providers.provider import CacheRules, Provider, UsualLimit

GEMINI = Provider(
    "gemini",
    "Gemini",
    "https://generativelanguage.googleapis.com/v1beta/openai",
    "GEMINI_API_KEY",
    paths={"messages": "/chat/completions", "embedding": "/embeddings"},
    prefix="/v1",
    quotas={
        "rpm": UsualLimit(1_000, "window"),
        "itpm": UsualLimit(1_000_000, "window"),
        "rpd": UsualLimit(10_000, "window"),
    },
    # Best effort, with no lifetime told. Source: https://ai.google.dev/gemini-api/docs/caching
    cache=CacheRules(minimum=2048, unit=128, lifetime=300.0, read_price=0.25),
    caches={r"gemini-[3-9]": CacheRules(minimum=4096, unit=128, lifetime=300.0, read_price=0.1)},
    streams="asked",
)
