"""The calls of all the worlds: what is known of one beforehand, and what may come of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace

from xtremeflow.serve.profiles import Profile
from xtremeflow.testing import CallRequest


@dataclass(frozen=True)
class Answer:
    headers: Mapping[str, str]
    usage: Mapping[str, int]


class Refused(Exception):
    """An error response, as the SDKs raise it."""

    def __init__(self, status: int, headers: Mapping[str, str], body: object) -> None:
        super().__init__(f"HTTP {status}")
        self.status_code = status
        self.body = body
        self.response = SimpleNamespace(status_code=status, headers=headers)


def estimate(profile: Profile, request: CallRequest) -> dict[str, int]:
    """Returns the cost that a user can know beforehand: the prompt, and max_tokens of output."""
    costs = dict(profile.charge(request))
    if profile.name == "mistral":
        costs = {"tokens": request.prompt_tokens + request.answer_tokens}
    if profile.name == "anthropic":
        costs["output_tokens"] = request.max_tokens or 0
    costs.pop("requests", None)
    return costs
