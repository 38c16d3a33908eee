"""The headers and refusals that tell of the limits, by the profile and its quirks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from xtremeflow.serve.profiles import Account, Profile, RefusedCall, Rejection
from xtremeflow.simulation.provider import RateLimitError, RequestTooLargeError
from xtremeflow.simulation.quirks import Quirks

_MESSAGES = {
    "growth": "Slow down: your rate of requests has grown too fast. Reduce it, keep it stable for "
    "a while, and then increase it gradually.",
    "noise": "The model is busy, please try again later.",
}


class Disclosure:
    """The headers of a provider's answers, and its refusals."""

    def __init__(self, profile: Profile, account: Account, quirks: Quirks) -> None:
        self._profile = profile
        self._account = replace(account, dated=quirks.headers == "unix")
        self._quirks = quirks
        self._first: dict[str, str] | None = None  # the headers that the quirk "static" repeats

    def headers(self) -> Mapping[str, str]:
        """Returns the headers of any answer on the limits as they are now."""
        if self._quirks.headers == "none":
            return {}
        if self._quirks.headers == "static" and self._first is not None:
            return self._first
        self._first = self._profile.headers(self._account)
        return self._first

    def refusal(self, error: RateLimitError | RequestTooLargeError, model: str) -> Rejection:
        """Returns the answer to a refused call."""
        quirks = self._quirks
        rejection = self._rejection(error, model)
        if quirks.refused_in_200 and isinstance(error, RateLimitError):
            body = {"error": {"code": rejection.status, "message": str(error)}}
            return Rejection(200, body, told=False)
        return rejection

    def _rejection(self, error: RateLimitError | RequestTooLargeError, model: str) -> Rejection:
        if isinstance(error, RequestTooLargeError) or (
            error.reason == "rate" and self._quirks.waits == "honest"
        ):
            return self._profile.refusal(RefusedCall.of(error, self._account, model))
        headers, said = self._quirks.told_wait(error.wait, self._account.wall())
        noise = error.reason == "noise"
        message, code = _MESSAGES.get(error.reason, "Rate limit reached.") + said, error.code
        body = self._profile.error(error.status_code, message, None if noise else code)
        return Rejection(error.status_code, body, headers, error.retry_after, told=not noise)
