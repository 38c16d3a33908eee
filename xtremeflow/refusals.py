"""What an exception says about a provider's refusal: is it one, is waiting any use, how long.

SDKs are recognised by the shape of their exceptions, so none is imported and any may be missing.
No function here raises, whatever the exception object does: a call must not be lost because the
error that could have saved it was odd.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Iterator
from typing import Any

from xtremeflow._values import as_duration, as_instant, as_number, is_object, json_objects, until
from xtremeflow.learning.headers import lowered, quotas

__all__ = [
    "RetryException",
    "describe",
    "is_outage",
    "is_refusal",
    "is_terminal",
    "is_too_large",
    "retry_delay",
]

# 529 is Anthropic's "overloaded": like 429, the call was not taken on and may come again later.
_REFUSED = {429, 529}
_TOO_LARGE = 413

# Error codes and types, casefolded, that mean 429 where the HTTP status does not say so: errors
# in the middle of a stream (status 200, or none), AWS (status 400), OpenAI's "slow down" (503).
_REFUSED_CODES = {
    "429",
    "overloaded_error",
    "rate_limit_error",
    "rate_limit_exceeded",
    "resource_exhausted",
    "slow_down",
    "throttling",
    "throttlingexception",
    "too_many_requests",
    "toomanyrequestsexception",
}
# Of the official SDKs, of httpx and aiohttp: no answer came. Others are of the built-in classes.
_UNREACHED = {"APIConnectionError", "ClientConnectionError", "TransportError"}
# 429s that end with a payment or a new month, not with a wait.
_TERMINAL_CODES = {
    "billing_not_active",
    "contract_spend_limit_reached",
    "enforced_spend_limit_reached",
    "insufficient_quota",
    "linked_organization_spend_limit_reached",
}

# OpenAI says with a 429, and with no wait, that a request is larger than its limit.
_LIMIT_AND_REQUESTED = re.compile(r"\bLimit:? ([\d,]+)\b.*\bRequested:? ([\d,]+)\b", re.DOTALL)
_MAX_TEXT = 10_000  # characters of a message that are looked at

_AZURE_WINDOW = 60.0  # s; Azure's token limits are counted per minute


class RetryException(Exception):
    """Raised by a program to say: refused, try this call again.

    `retry_after` is the wait in seconds, 0 to try again at once, None when it is not known.
    """

    def __init__(self, message: str = "", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


def is_refusal(exc: BaseException) -> bool:
    """Whether `exc` says that the provider refused the call for its rate (HTTP 429 and the like).

    True for RetryException and for what the SDKs of OpenAI, Anthropic, Groq, Mistral, Google and
    AWS, and httpx, aiohttp, requests and urllib raise. False for a request that is larger than its
    limit: no wait makes it fit.
    """
    try:
        if isinstance(exc, RetryException):
            return True
        if is_too_large(exc):
            return False
        if not _REFUSED.isdisjoint(_statuses(exc)):
            return True
        return not _REFUSED_CODES.isdisjoint(_codes(exc))
    except Exception:
        return False


def is_too_large(exc: BaseException) -> bool:
    """Whether `exc` says that the request alone is larger than its limit.

    A status of 413, which Groq also calls rate_limit_exceeded; or a message such as OpenAI's with
    a 429: "Request too large ... Limit 30000, Requested 45000".
    """
    try:
        return _TOO_LARGE in _statuses(exc) or any(map(_asks_too_much, _messages(exc)))
    except Exception:
        return False


def is_outage(exc: BaseException) -> bool:
    """Whether `exc` says that the provider is out of order or out of reach: an HTTP status of 500
    or more that is no refusal, a connection that failed, or no answer in time."""
    try:
        if is_refusal(exc):
            return False
        status = next(_statuses(exc), None)
        if status is not None:
            return status >= 500
        return isinstance(exc, (OSError, TimeoutError, asyncio.TimeoutError)) or any(
            cls.__name__ in _UNREACHED for cls in type(exc).__mro__
        )
    except Exception:
        return False


def is_terminal(exc: BaseException) -> bool:
    """Whether `exc` is a refusal that no wait cures: spent credit, a spend limit, a daily quota."""
    try:
        return not _TERMINAL_CODES.isdisjoint(_codes(exc)) or any(
            _is_daily(violation)
            for failure in _typed_objects(exc, "google.rpc.QuotaFailure")
            for violation in failure.get("violations", ())
        )
    except Exception:
        return False


def retry_delay(exc: BaseException, now: float) -> float | None:
    """The seconds after which the provider wants `exc`'s call again, or None if it does not say.

    The first that speaks of: the exception's `retry_after`; the headers `retry-after-ms` and
    `retry-after`; the reset headers of the limits that are exhausted; Google's RetryInfo. What is
    negative, not finite or not understood counts as not said. `now` (seconds since the epoch) is
    what dates are compared with when the response has no `date` of its own.
    """
    for source in (_from_attribute, _from_headers, _from_retry_info):
        try:
            delay = source(exc, now)
        except Exception:
            continue
        if delay is not None:
            return delay
    return None


def told_wait(headers: Any, body: Any, now: float) -> float | None:
    """The same, of a refusal's headers, as any HTTP client has them, and its body.

    What only stands for a wait, as Azure's zero `retry-after-ms` does, counts as not said.
    """
    plain = lowered(headers)
    refused = _Refused(plain, body)
    try:
        told = None if _is_placeholder(plain, now) else _from_headers(refused, now)
        return _from_retry_info(refused, now) if told is None else told
    except Exception:
        return None


def is_cured_by_waiting(headers: Any, body: Any) -> bool:
    """The opposite of is_terminal, of a refusal's headers and body."""
    return not is_terminal(_Refused(lowered(headers), body))


class _Refused(Exception):
    """A refusal as an SDK would raise it."""

    def __init__(self, headers: dict[str, str], body: Any) -> None:
        super().__init__()
        self.headers = headers
        self.body = body


def describe(exc: BaseException) -> str:
    """The type of `exc` and its HTTP status, for logs: never its text, which may quote a key."""
    status = next(_statuses(exc), None)
    name = type(exc).__name__
    return name if status is None else f"{name}, HTTP {status}"


# The sources of a delay, in order.


def _from_attribute(exc: BaseException, now: float) -> float | None:
    return as_duration(_get(exc, "retry_after"))


def _from_headers(exc: BaseException, now: float) -> float | None:
    headers = _headers(exc)
    date = as_instant(headers.get("date", ""))
    server_now = now if date is None else date  # its own clock, so that skew does not matter

    milliseconds = as_number(headers.get("retry-after-ms"))
    if milliseconds:
        return milliseconds / 1000
    # 0 ms says nothing, for Azure refuses for want of tokens with 0 ms beside 1 s, where the true
    # wait is up to a window. Unless a reset header knows better, take the window: a wait of 1 s
    # would only use up the retries.
    told = until(headers.get("retry-after"), server_now)
    placeholder = _is_placeholder(headers, server_now)
    if told is not None and not placeholder:
        return told
    reset = _reset(headers, server_now)
    if reset is None and placeholder:
        resets = [q.reset for q in quotas(headers, server_now) if q.name == "tokens" and q.reset]
        return min([_AZURE_WINDOW, *resets])
    return reset


def _is_placeholder(headers: dict[str, str], server_now: float) -> bool:
    told = until(headers.get("retry-after"), server_now)
    return as_number(headers.get("retry-after-ms")) == 0 and told is not None and 0 < told <= 1


def _from_retry_info(exc: BaseException, now: float) -> float | None:
    for info in _typed_objects(exc, "google.rpc.RetryInfo"):
        delay = as_duration(info.get("retryDelay"))
        if delay is not None:
            return delay
    return None


def _reset(headers: dict[str, str], server_now: float) -> float | None:
    """When the last of the exhausted limits is open again. The others' resets are no matter:
    Groq's for requests is a day away while its tokens come back within the minute."""
    spent = [quota.reset for quota in quotas(headers, server_now) if quota.remaining == 0]
    return max((reset for reset in spent if reset is not None), default=None)


# Where exceptions keep things.


def _get(thing: Any, name: str) -> Any:
    """The attribute, of a dict the item; None where there is none or it cannot be had."""
    try:
        return thing.get(name) if is_object(thing) else getattr(thing, name, None)
    except Exception:
        return None


def _code(exc: BaseException) -> Any:
    # aiohttp keeps the number in `status`, and its `code` warns that it is deprecated.
    return None if isinstance(_get(exc, "status"), int) else _get(exc, "code")


def _aws(exc: BaseException) -> Any:
    return _get(_get(exc, "response"), "ResponseMetadata")  # botocore's response is a dict


def _statuses(exc: BaseException) -> Iterator[int]:
    """What may be the HTTP status, the likeliest first."""
    response = _get(exc, "response")
    for status in (
        _get(exc, "status_code"),
        _get(exc, "status"),
        _code(exc),
        _get(response, "status_code"),
        _get(response, "status"),
        _get(_aws(exc), "HTTPStatusCode"),
    ):
        if isinstance(status, int) and 100 <= status <= 599:
            yield int(status)


def _headers(exc: BaseException) -> dict[str, str]:
    """All headers, by their lower-case names."""
    headers: dict[str, str] = {}
    for source in (
        _get(_get(exc, "response"), "headers"),
        _get(exc, "headers"),
        _get(_aws(exc), "HTTPHeaders"),
    ):
        for name, value in lowered(source).items():
            headers.setdefault(name, value)
    return headers


def _codes(exc: BaseException) -> Iterator[str]:
    """Every error code, type and status that the exception or its body names, casefolded."""
    values = [_code(exc), *(_get(exc, name) for name in ("type", "error_code", "status"))]
    for thing in _objects(exc):
        values += [thing.get(key) for key in ("code", "Code", "type", "error_code", "status")]
    for value in values:
        if isinstance(value, (str, int)):
            yield str(value).casefold()


def _messages(exc: BaseException) -> Iterator[str]:
    for thing in _objects(exc):
        message = thing.get("message")
        if isinstance(message, str):
            yield message[:_MAX_TEXT]


def _asks_too_much(message: str) -> bool:
    found = _LIMIT_AND_REQUESTED.search(message)
    if found is None:
        return False
    limit, requested = (int(number.replace(",", "")) for number in found.groups())
    return requested > limit


def _typed_objects(exc: BaseException, type_name: str) -> Iterator[dict[str, Any]]:
    for thing in _objects(exc):
        if str(thing.get("@type")).endswith(type_name):
            yield thing


def _objects(exc: BaseException) -> Iterator[dict[str, Any]]:
    """Every JSON object in the error's body, however deep, outermost first."""
    return json_objects(*_bodies(exc))


def _bodies(exc: BaseException) -> Iterator[Any]:
    response = _get(exc, "response")
    for body in (_get(exc, "body"), _get(exc, "details"), _get(exc, "response_json"), response):
        yield body
    try:
        body = response.json()
    except Exception:
        return
    if inspect.iscoroutine(body):  # aiohttp: cannot be awaited here, must not be forgotten
        body.close()
    yield body


def _is_daily(violation: Any) -> bool:
    names = f"{_get(violation, 'quotaId')} {_get(violation, 'quotaMetric')}"
    return "perday" in names.replace("_", "").lower()
