"""DeepSeek: a limit on requests in flight, each held until its answer is complete; no rates.

A call that waits for its first token gets signs of life: empty lines, or in a stream comments.
Source: https://api-docs.deepseek.com/quick_start/rate_limit
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from xtremeflow.providers.deepseek import DEEPSEEK
from xtremeflow.serve.inquiry import Json, ServedAnswer
from xtremeflow.serve.profiles.base import AtOnce, RefusedCall, Rejection
from xtremeflow.serve.profiles.openai_like import openai_error, openai_kind


class DeepSeek(AtOnce):
    provider = DEEPSEEK
    base_path = ""
    heads: ClassVar[Mapping[str, str]] = {
        "chat": "|/v1|/beta",
        "messages": "/anthropic/v1",
        "models": "|/v1|/beta|/anthropic/v1",
    }
    models = ("deepseek-chat", "deepseek-reasoner")
    keep_alive = 5.0
    usage_always = True

    def identify(self, request_id: str, milliseconds: int) -> dict[str, str]:
        return {"x-ds-trace-id": request_id}

    def chat_usage(self, answer: ServedAnswer) -> Json:
        return {
            "prompt_tokens_details": {"cached_tokens": answer.cached_tokens},
            "prompt_cache_hit_tokens": answer.cached_tokens,
            "prompt_cache_miss_tokens": answer.prompt_tokens - answer.cached_tokens,
        }

    def error(self, status: int, message: str, code: str | None = None) -> object:
        return openai_error(message, openai_kind(status), code or "invalid_request_error")

    def refusal(self, refusal: RefusedCall) -> Rejection:
        kind = "rate_limit_reached_error"
        return Rejection(429, openai_error("Rate limit reached", kind, kind))

    def spent(self) -> Rejection:
        body = openai_error("Insufficient Balance", "unknown_error", "invalid_request_error")
        return Rejection(402, body)
