"""Mistral: sliding minutes of actual usage.

Its headers tell what is left but not when it returns, and its refusals tell no wait.
Source: https://docs.mistral.ai/deployment/ai-studio/tier, and its answers' headers.
"""

from __future__ import annotations

from xtremeflow.providers.mistral import DIALECT, MISTRAL
from xtremeflow.serve.profiles.base import Account, Profile, RefusedCall, Rejection

TYPES = {401: "unauthorized", 404: "invalid_model", 429: "rate_limited"}


class Mistral(Profile):
    provider = MISTRAL
    heads = dict.fromkeys(("chat", "embeddings", "models"), "/v1")
    models = ("mistral-large-latest", "mistral-small-latest", "mistral-embed")
    usage_always = True

    def headers(self, account: Account) -> dict[str, str]:
        told: dict[str, str] = {}
        for unit, (name, *_) in DIALECT.units.items():
            if name in account.limits:
                told[f"x-ratelimit-limit-{unit}-minute"] = str(account.amounts[name])
                told[f"x-ratelimit-remaining-{unit}-minute"] = str(account.remaining(name))
        return told

    def identify(self, request_id: str, milliseconds: int) -> dict[str, str]:
        return {"mistral-correlation-id": request_id}

    def error(self, status: int, message: str, code: str | None = None) -> object:
        kind = TYPES.get(status, "internal_server_error" if status >= 500 else "invalid_request")
        return {"object": "error", "message": message, "type": kind, "param": None, "code": code}

    def refusal(self, refusal: RefusedCall) -> Rejection:
        what = "Requests" if "rpm" in refusal.names else "Tokens"
        return Rejection(429, self.error(429, f"{what} rate limit exceeded", "1300"))

    def spent(self) -> Rejection:
        message = "Monthly usage limit reached: add credit or wait for the next month"
        return Rejection(402, self.error(402, message, "1301"))
