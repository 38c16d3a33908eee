"""Anthropic: continuous buckets of requests, input and output; cache reads are free.

The bucket of requests holds a second's worth, because 60 requests per minute may be enforced as one
per second. Source: https://docs.anthropic.com/en/api/rate-limits
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timezone

from xtremeflow.providers.anthropic import ANTHROPIC, DIALECT
from xtremeflow.serve.inquiry import Json
from xtremeflow.serve.profiles.base import Account, Profile, RefusedCall, Rejection

KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
WORDS = {
    "rpm": "requests per minute",
    "itpm": "input tokens per minute",
    "otpm": "output tokens per minute",
}


class Anthropic(Profile):
    provider = ANTHROPIC
    base_path = ""
    heads = dict.fromkeys(("messages", "models"), "/v1")
    models = ("claude-opus-5", "claude-sonnet-5", "claude-haiku-5")
    as_produced = True
    overloaded = 529

    def headers(self, account: Account) -> dict[str, str]:
        told: dict[str, str] = {}

        def tell(what: str, names: Sequence[str]) -> None:
            remaining = sum(account.remaining(name) for name in names)
            if what != "requests":
                remaining = round(remaining / DIALECT.grain) * DIALECT.grain
            reset = max(account.reset(name) for name in names)
            limit = sum(account.amounts[name] for name in names)
            told[f"anthropic-ratelimit-{what}-limit"] = str(limit)
            told[f"anthropic-ratelimit-{what}-remaining"] = str(remaining)
            told[f"anthropic-ratelimit-{what}-reset"] = rfc3339(account.wall() + reset)

        for what, names in DIALECT.units.items():
            if limited := [name for name in names if name in account.limits]:
                tell(what, limited)
        return told

    def identify(self, request_id: str, milliseconds: int) -> dict[str, str]:
        return {"request-id": request_id, "anthropic-organization-id": "org-simulated"}

    def error(self, status: int, message: str, code: str | None = None) -> Json:
        kind = KINDS.get(status, "api_error" if status >= 500 else "invalid_request_error")
        return {"type": "error", "error": {"type": kind, "message": message}}

    def refusal(self, refusal: RefusedCall) -> Rejection:
        message = (
            "This request would exceed the rate limit for your organization (org-simulated) of "
            f"{refusal.limit:,} {WORDS[refusal.name]}. For details, refer to: "
            "https://docs.anthropic.com/en/api/rate-limits."
        )
        body = self.error(429, message)
        if refusal.wait is None:
            return Rejection(429, body)
        seconds = math.ceil(refusal.wait)
        return Rejection(429, body, {"retry-after": str(seconds)}, seconds)

    def spent(self) -> Rejection:
        body = self.error(429, "You have reached your organization's enforced spend limit.")
        body["error"]["details"] = {"error_code": "enforced_spend_limit_reached"}
        return Rejection(429, body, {"x-should-retry": "false"})


def rfc3339(seconds: float) -> str:
    """Formats a time, rounded up to a whole second."""
    moment = datetime.fromtimestamp(math.ceil(seconds), timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
