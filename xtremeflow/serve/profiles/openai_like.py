"""OpenAI's headers and errors, which other providers have adopted."""

from __future__ import annotations

from collections.abc import Callable

from xtremeflow.providers.provider import Dialect
from xtremeflow.serve.inquiry import Json
from xtremeflow.serve.profiles.base import Account


def openai_headers(
    account: Account, dialect: Dialect, reset: Callable[[float], str]
) -> dict[str, str]:
    """Returns the `x-ratelimit-*` headers; `reset` writes seconds as the provider does."""
    told: dict[str, str] = {}
    for unit, (name, *_) in dialect.units.items():
        if name in account.limits:
            told[f"x-ratelimit-limit-{unit}"] = str(account.amounts[name])
            told[f"x-ratelimit-remaining-{unit}"] = str(account.remaining(name))
            told[f"x-ratelimit-reset-{unit}"] = account.told_reset(name, reset)
    return told


def openai_error(
    message: str, kind: str, code: str | None = None, param: str | None = None
) -> Json:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def openai_kind(status: int) -> str:
    """Returns the type that OpenAI gives errors of that status."""
    return "server_error" if status >= 500 else "invalid_request_error"


def go_duration(seconds: float) -> str:
    """Formats a duration as Go does: `20ms`, `1s`, `7.66s`, `6m0s`, `23h59m4.2s`. Milliseconds are
    rounded up."""
    milliseconds = -int(-(round(seconds * 1e6)) // 1000) if seconds > 0 else 0
    if milliseconds < 1000:
        return f"{milliseconds}ms" if milliseconds else "0s"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text
