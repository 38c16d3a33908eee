"""vLLM: a self-hosted server. It works on a batch of calls and lets the others wait, so answers
take longer the more calls there are. Its only limit is on all of these at once, and only if it is
set.
"""

from __future__ import annotations

from xtremeflow.providers.vllm import VLLM
from xtremeflow.serve.profiles.base import AtOnce, RefusedCall, Rejection

TYPES = {
    400: "BadRequestError",
    401: "AuthenticationError",
    404: "NotFoundError",
    500: "InternalServerError",
    503: "ServiceUnavailableError",
}


class VLLMServer(AtOnce):
    provider = VLLM
    heads = dict.fromkeys(("chat", "responses", "embeddings", "messages", "models"), "/v1")
    models = ("Qwen/Qwen3-32B",)

    def error(self, status: int, message: str, code: str | None = None) -> object:
        kind = TYPES.get(status, "InternalServerError" if status >= 500 else "BadRequestError")
        return {"error": {"message": message, "type": kind, "param": None, "code": status}}

    def refusal(self, refusal: RefusedCall) -> Rejection:
        return Rejection(503, self.error(503, "The request queue is full, please try again later"))

    def spent(self) -> Rejection:
        return Rejection(429, self.error(429, "This server's quota is used up"))
