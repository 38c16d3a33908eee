"""OpenAI: continuous buckets, charged the larger of max_tokens and the prompt's estimate.

Source: https://developers.openai.com/api/docs/guides/rate-limits
"""

from __future__ import annotations

import math

from xtremeflow.providers.openai import DIALECT, OPENAI
from xtremeflow.providers.provider import UNITS
from xtremeflow.serve.profiles.base import Account, Profile, RefusedCall, Rejection
from xtremeflow.serve.profiles.openai_like import (
    go_duration,
    openai_error,
    openai_headers,
    openai_kind,
)

SHORT = {"rpm": "min (RPM)", "rpd": "day (RPD)", "tpm": "min (TPM)", "tpd": "day (TPD)"}


class OpenAI(Profile):
    provider = OPENAI
    heads = dict.fromkeys(("chat", "responses", "embeddings", "models"), "/v1")
    models = ("gpt-5.6", "gpt-5.6-mini", "text-embedding-3-small")
    overloaded_code = "slow_down"

    def headers(self, account: Account) -> dict[str, str]:
        return openai_headers(account, DIALECT, go_duration)

    def identify(self, request_id: str, milliseconds: int) -> dict[str, str]:
        return {
            "x-request-id": request_id,
            "openai-organization": "org-simulated",
            "openai-processing-ms": str(milliseconds),
            "openai-version": "2020-10-01",
        }

    def error(self, status: int, message: str, code: str | None = None) -> object:
        return openai_error(message, openai_kind(status), code)

    def refusal(self, refusal: RefusedCall) -> Rejection:
        unit = UNITS[refusal.name]
        where = (
            f"for {refusal.model} in organization org-simulated on {unit} per "
            f"{SHORT[refusal.name]}: Limit {refusal.limit}, "
        )
        if refusal.wait is None:
            message = (
                f"Request too large {where}Requested {refusal.requested}. The input or output "
                "tokens must be reduced in order to run successfully."
            )
            return Rejection(429, openai_error(message, unit, "rate_limit_exceeded"))
        message = (
            f"Rate limit reached {where}Used {refusal.account.used(refusal.name)}, Requested "
            f"{refusal.requested}. Please try again in {go_duration(refusal.wait)}. Visit "
            "https://platform.openai.com/account/rate-limits to learn more."
        )
        headers = {
            "retry-after": str(math.ceil(refusal.wait)),
            "retry-after-ms": str(math.ceil(refusal.wait * 1000)),
        }
        body = openai_error(message, unit, "rate_limit_exceeded")
        return Rejection(429, body, headers, refusal.wait)

    def spent(self) -> Rejection:
        message = (
            "You exceeded your current quota, please check your plan and billing details. For "
            "more information on this error, read the docs: "
            "https://platform.openai.com/docs/guides/error-codes/api-errors."
        )
        return Rejection(429, openai_error(message, "insufficient_quota", "insufficient_quota"))
