"""Groq: OpenAI's names, but `-requests` is per day; a request above the limit is a 413.

Source: https://console.groq.com/docs/rate-limits
"""

from __future__ import annotations

from xtremeflow.providers.groq import DIALECT, GROQ
from xtremeflow.providers.provider import UNITS
from xtremeflow.serve.profiles.base import Account, Profile, RefusedCall, Rejection
from xtremeflow.serve.profiles.openai_like import go_duration, openai_headers, openai_kind

SHORT = {
    "rpm": "requests per minute (RPM)",
    "rpd": "requests per day (RPD)",
    "tpm": "tokens per minute (TPM)",
    "tpd": "tokens per day (TPD)",
}


class Groq(Profile):
    provider = GROQ
    base_path = "/openai/v1"
    heads = dict.fromkeys(("chat", "responses", "models"), "/openai/v1")
    models = ("llama-3.3-70b-versatile", "openai/gpt-oss-120b")

    def headers(self, account: Account) -> dict[str, str]:
        return openai_headers(account, DIALECT, go_duration)

    def error(self, status: int, message: str, code: str | None = None) -> object:
        kind = "internal_server_error" if status >= 500 else openai_kind(status)
        return {"error": {"message": message, "type": kind, **({"code": code} if code else {})}}

    def refusal(self, refusal: RefusedCall) -> Rejection:
        where = (
            f"for model `{refusal.model}` in organization `org_simulated` service tier "
            f"`on_demand` on {SHORT[refusal.name]}: Limit {refusal.limit}, "
        )
        if refusal.wait is None:
            message = (
                f"Request too large {where}Requested {refusal.requested}, please reduce your "
                "message size and try again."
            )
            return Rejection(413, self._limited(refusal, message))
        message = (
            f"Rate limit reached {where}Used {refusal.account.used(refusal.name)}, Requested "
            f"{refusal.requested}. Please try again in {go_duration(refusal.wait)}."
        )
        headers = {"retry-after": f"{refusal.wait:.3f}"}
        return Rejection(429, self._limited(refusal, message), headers, refusal.wait)

    def _limited(self, refusal: RefusedCall, message: str) -> object:
        kind = UNITS[refusal.name]
        return {"error": {"message": message, "type": kind, "code": "rate_limit_exceeded"}}

    def spent(self) -> Rejection:
        message = "Your organization has reached its spend limit; raise it in the console."
        return Rejection(400, self.error(400, message, "blocked_api_access"))
