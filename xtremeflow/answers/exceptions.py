"""The answer that an exception of an SDK carries.

It recognises SDKs by the shape of their exceptions, so it imports none and any may be missing.
No function here raises, whatever the exception object does: a call must not be lost because the
error that could have saved it was odd.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from typing import Any

from xtremeflow.answers.answer import Answer, lowered
from xtremeflow.answers.table import judged
from xtremeflow.answers.verdict import Meaning, Verdict
from xtremeflow.values.forms import as_duration, is_object

# Exceptions of the official SDKs, httpx and aiohttp without an answer. Others are built-in classes.
_UNREACHED = {"APIConnectionError", "ClientConnectionError", "TransportError"}
# Attributes of exceptions of grpc, botocore and others that name the error.
_SAYING = ("code", "type", "error_code", "status")

_NOT_OURS = Verdict(Meaning.FAULT)


class RetryException(Exception):
    """Raised by a program whose call was refused, so that `auto_backoff` retries the call.

    `retry_after` is the wait in seconds; 0 to retry at once, None if it is unknown.
    """

    def __init__(self, message: str = "", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


def answer_of(exc: BaseException, now: float | None = None) -> Answer | None:
    """Returns the answer that `exc` carries, or None if it carries none.

    Its status is 0 if no answer came. A wait that the exception itself names becomes its
    `retry-after`. now: as for Answer.
    """
    try:
        return _answer_of(exc, now)
    except Exception:
        return None


def verdict_of(exc: BaseException) -> Verdict:
    """Returns the verdict on the answer that `exc` carries; the caller's fault if it carries
    none."""
    answer = answer_of(exc)
    return _NOT_OURS if answer is None else judged(answer)


def _answer_of(exc: BaseException, now: float | None) -> Answer | None:
    headers = _headers(exc)
    if isinstance(exc, RetryException):
        return Answer(429, headers, now=now)
    status = _status(exc)
    if status < 400 and _is_unreached(exc):  # also in the middle of an answer
        return Answer(0, headers, now=now)
    said = {name: value for name in _SAYING if isinstance(value := _said(exc, name), (str, int))}
    told = [body if not isinstance(body, str) else {"message": body} for body in _bodies(exc)]
    told = [body for body in (said, *told) if body]
    if not (status or headers or told):
        return None
    return Answer(status, headers, {"error": told}, now=now)


def _status(exc: BaseException) -> int:
    """Returns the likeliest HTTP status of an exception, or 0. In the middle of a stream that is
    200, and the error has its own."""
    response = _response(exc)
    found = [
        int(status)
        for status in (
            _get(exc, "status_code"),
            _get(exc, "status"),
            _code(exc),
            _get(response, "status_code"),
            _get(response, "status"),
            _get(_aws(exc), "HTTPStatusCode"),
        )
        if isinstance(status, int) and 100 <= status <= 599
    ]
    return next((status for status in found if status >= 400), found[0] if found else 0)


def _headers(exc: BaseException) -> dict[str, str]:
    headers: dict[str, str] = {}
    for source in (
        _get(_response(exc), "headers"),
        _get(exc, "headers"),
        _get(_aws(exc), "HTTPHeaders"),
    ):
        headers = lowered(source) | headers
    own = _get(exc, "retry_after")
    if as_duration(own) is not None:
        headers.pop("retry-after-ms", None)
        headers["retry-after"] = str(own)
    return headers


def _bodies(exc: BaseException) -> Iterator[Any]:
    response = _response(exc)
    for name in ("body", "details", "response_json"):
        yield Answer(0, (), _get(exc, name)).body
    yield response if is_object(response) else None  # botocore's
    try:
        body: Any = _get(response, "json")()
    except Exception:
        return
    if inspect.iscoroutine(body):  # aiohttp: it cannot be awaited here, so close it
        body.close()
        return
    yield body


def _is_unreached(exc: BaseException) -> bool:
    return isinstance(exc, (OSError, TimeoutError, asyncio.TimeoutError)) or any(
        cls.__name__ in _UNREACHED for cls in type(exc).__mro__
    )


def _get(thing: Any, name: str) -> Any:
    """Returns the attribute, or the item of a dict; None if there is none or reading it fails."""
    try:
        return thing.get(name) if is_object(thing) else getattr(thing, name, None)
    except Exception:
        return None


def _response(exc: BaseException) -> Any:
    response = _get(exc, "response")
    return _get(exc, "raw_response") if response is None else response  # Mistral's name of it


def _code(exc: BaseException) -> Any:
    # aiohttp has the number in `status`; its `code` warns that it is deprecated.
    return None if isinstance(_get(exc, "status"), int) else _get(exc, "code")


def _aws(exc: BaseException) -> Any:
    return _get(_response(exc), "ResponseMetadata")  # botocore's response is a dict


def _said(exc: BaseException, name: str) -> Any:
    return _code(exc) if name == "code" else _get(exc, name)
