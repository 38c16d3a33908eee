"""Anthropic: continuous buckets of requests, input and output; cache reads are free.

The bucket of requests holds a second's worth, because 60 requests per minute may be enforced as one
per second. Source: https://docs.anthropic.com/en/api/rate-limits
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import ClassVar

from xtremeflow.serve.asking import Json
from xtremeflow.serve.cache import CacheRules
from xtremeflow.serve.profiles.base import UNITS, Account, Profile, Quotas, Refusal, Rejection
from xtremeflow.simulation.charge import CallRequest, charge_uncached_input, settle_uncached
from xtremeflow.simulation.enforcers import Enforcer, TokenBucket

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
    name = "anthropic"
    title = "Anthropic"
    base_path = ""
    heads = dict.fromkeys(("messages", "models"), "/v1")
    models = ("claude-opus-5", "claude-sonnet-5", "claude-haiku-5")
    quotas: ClassVar[Quotas] = {"rpm": 4_000, "itpm": 2_000_000, "otpm": 400_000}
    as_produced = True
    cache = CacheRules(minimum=1024, unit=1, lifetime=300.0, marked=True, usable="answered")
    overloaded = 529

    def enforcer(self, name: str, amount: int, minute: float) -> Enforcer:
        capacity = max(1.0, amount / 60) if name == "rpm" else amount
        return TokenBucket(UNITS[name], amount, minute, capacity)

    def charge(self, request: CallRequest) -> Mapping[str, int]:
        return charge_uncached_input(request)

    def settle(self, request: CallRequest, produced: int) -> Mapping[str, int]:
        return settle_uncached(request, produced)

    def headers(self, account: Account) -> dict[str, str]:
        told: dict[str, str] = {}

        def tell(what: str, *names: str) -> None:
            remaining = sum(account.remaining(name) for name in names)
            if what != "requests":
                remaining = round(remaining, -3)
            reset = max(account.reset(name) for name in names)
            limit = sum(account.amounts[name] for name in names)
            told[f"anthropic-ratelimit-{what}-limit"] = str(limit)
            told[f"anthropic-ratelimit-{what}-remaining"] = str(remaining)
            told[f"anthropic-ratelimit-{what}-reset"] = rfc3339(account.wall() + reset)

        if "rpm" in account.limits:
            tell("requests", "rpm")
        tokens = [name for name in ("itpm", "otpm") if name in account.limits]
        if tokens:
            tell("tokens", *tokens)
        for name in tokens:
            tell("input-tokens" if name == "itpm" else "output-tokens", name)
        return told

    def identify(self, request_id: str, milliseconds: int) -> dict[str, str]:
        return {"request-id": request_id, "anthropic-organization-id": "org-simulated"}

    def error(self, status: int, message: str, code: str | None = None) -> Json:
        kind = KINDS.get(status, "api_error" if status >= 500 else "invalid_request_error")
        return {"type": "error", "error": {"type": kind, "message": message}}

    def refusal(self, refusal: Refusal) -> Rejection:
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
