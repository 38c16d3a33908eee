"""Azure OpenAI: tokens in windows of a minute, requests in windows of ten seconds.

Its trap: a refusal for lack of tokens says `retry-after: 1` and `retry-after-ms: 0`, while the call
truly has to wait for the next window.

Source: https://learn.microsoft.com/en-us/azure/ai-services/openai/how-to/quota
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

from xtremeflow.providers.azure import AZURE, DIALECT
from xtremeflow.serve.profiles.base import Account, Profile, RefusedCall, Rejection
from xtremeflow.serve.profiles.openai_like import openai_error, openai_headers, openai_kind

REQUEST_WINDOWS = 6  # windows of requests in a minute


class Azure(Profile):
    provider = AZURE
    base_path = "/openai/v1"
    heads: ClassVar[Mapping[str, str]] = {
        "chat": "/openai/v1|/openai/deployments/[^/]+",
        "responses": "/openai/v1|/openai",
        "embeddings": "/openai/v1|/openai/deployments/[^/]+",
        "models": "/openai/v1|/openai",
    }
    models = ("gpt-5.6", "gpt-5.6-mini", "text-embedding-3-small")

    def headers(self, account: Account) -> dict[str, str]:
        return openai_headers(account, DIALECT, _whole_seconds)

    def identify(self, request_id: str, milliseconds: int) -> dict[str, str]:
        return {"apim-request-id": request_id, "x-ms-region": "Simulated"}

    def error(self, status: int, message: str, code: str | None = None) -> object:
        return openai_error(message, openai_kind(status), code or str(status))

    def refusal(self, refusal: RefusedCall) -> Rejection:
        tokens = "tpm" in refusal.names
        wait = 1.0 if tokens or refusal.wait is None else refusal.wait
        message = (
            "Requests to the ChatCompletions_Create Operation under Azure OpenAI API have "
            f"exceeded {'token' if tokens else 'call'} rate limit of your current OpenAI S0 "
            f"pricing tier. Please retry after {math.ceil(wait)} seconds."
        )
        headers = {
            "retry-after": str(math.ceil(wait)),
            "retry-after-ms": "0" if tokens else str(math.ceil(wait * 1000)),
        }
        return Rejection(429, {"error": {"code": "429", "message": message}}, headers, wait)

    def spent(self) -> Rejection:
        message = "You exceeded your current quota, please check your plan and billing details."
        return Rejection(429, openai_error(message, "insufficient_quota", "insufficient_quota"))


def _whole_seconds(seconds: float) -> str:
    return str(math.ceil(seconds))
