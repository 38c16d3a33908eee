"""The wait that a provider tells, in headers, details or sentences. No function here raises."""

from __future__ import annotations

import re
from collections.abc import Mapping

from xtremeflow.answers.answer import Answer
from xtremeflow.answers.headers import quotas_of
from xtremeflow.answers.verdict import LONGEST
from xtremeflow.values.forms import as_duration, as_number, until

# s; Azure's token limits are counted per minute:
# https://learn.microsoft.com/en-us/azure/ai-services/openai/how-to/quota
_AZURE_WINDOW = 60.0

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_AMOUNT = (
    r"(\d{1,9}(?:\.\d{1,9})?) ?"
    r"(milliseconds?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|h|days?|d)(?![a-z])"
)
# "Please try again in 178ms", "Please retry after 26 seconds", "retry in 1 hour 2 minutes"
_SENTENCE = re.compile(
    r"\b(?:retry|try again|please wait)(?: after| in| for| at least)? "
    rf"((?:{_AMOUNT}[, ]*(?:and )?)+)",
    re.IGNORECASE,
)
_PARTS = re.compile(_AMOUNT, re.IGNORECASE)


def told_wait(answer: Answer) -> float | None:
    """Returns the told wait in seconds, 0 to LONGEST, or None if none is told.

    The first of these counts: the headers `retry-after-ms` and `retry-after`; the reset headers of
    exhausted limits; Google's RetryInfo; a sentence of the error's message. A wait that is
    negative, not finite or not understood counts as not told.
    """
    for source in (_from_headers, _from_retry_info, _from_messages):
        try:
            wait = source(answer)
        except Exception:
            continue
        if wait is not None:
            return min(wait, LONGEST)
    return None


def _from_headers(answer: Answer) -> float | None:
    headers = answer.headers
    milliseconds = as_number(headers.get("retry-after-ms"))
    if milliseconds:
        return milliseconds / 1000
    # 0 ms says nothing: Azure refuses for lack of tokens with 0 ms beside 1 s, while the true wait
    # is up to a window. Without a reset header take the window, since waits of 1 s would only use
    # up the retries.
    told = until(headers.get("retry-after"), answer.date)
    is_placeholder = (
        milliseconds == 0 and told is not None and 0 < told <= 1 and _is_azures(headers)
    )
    if told is not None and not is_placeholder:
        return told
    # The moment at which the last of the exhausted limits is open again. Resets of other limits do
    # not count: Groq's for requests is a day away while its tokens return within the minute.
    seen = quotas_of(answer)
    spent = [q.reset for q in seen if q.remaining == 0 and q.reset is not None]
    if not spent and is_placeholder:
        resets = [q.reset for q in seen if q.name == "tokens" and q.reset]
        return min([_AZURE_WINDOW, *resets])
    return max(spent, default=None)


def _is_azures(headers: Mapping[str, str]) -> bool:
    """Whether the answer has a header that only Azure sends:
    https://github.com/openai/openai-python/issues/937 shows a refusal's."""
    return "apim-request-id" in headers or "x-ms-region" in headers


def _from_retry_info(answer: Answer) -> float | None:
    for thing in answer.errors:
        if str(thing.get("@type")).endswith("google.rpc.RetryInfo"):
            delay = as_duration(thing.get("retryDelay"))
            if delay is not None:
                return delay
    return None


def _from_messages(answer: Answer) -> float | None:
    for message in answer.messages:
        if found := _SENTENCE.search(message):
            parts = _PARTS.findall(found[1].lower())
            return sum(float(amount) * _seconds_of(unit) for amount, unit in parts)
    return None


def _seconds_of(unit: str) -> float:
    if unit == "ms" or unit.startswith("milli"):
        return 1e-3
    return _SECONDS[unit[0]]
