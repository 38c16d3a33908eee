"""What an exception says about a provider's refusal: is it one, is waiting any use, how long.

Short names for questions about the one verdict, `xtremeflow.answers.exceptions.verdict_of`. No
function here raises, whatever the exception object does.
"""

from __future__ import annotations

from xtremeflow.answers.exceptions import RetryException, answer_of, verdict_of
from xtremeflow.answers.verdict import Meaning
from xtremeflow.answers.waits import told_wait


def is_refusal(exc: BaseException) -> bool:
    """Whether `exc` says that the provider did not take the call on: for its rate, for want of a
    place, because it is overloaded or something is spent (HTTP 429, 503, 529 and the like).

    True for RetryException and for what the SDKs of OpenAI, Anthropic, Groq, Mistral, Google and
    AWS, and httpx, aiohttp, requests and urllib raise. False for a request that is larger than its
    limit: no wait makes it fit.
    """
    verdict = verdict_of(exc)
    return verdict.is_refusal or verdict.meaning is Meaning.SPENT


def is_too_large(exc: BaseException) -> bool:
    """Whether `exc` says that the request alone is larger than its limit.

    A status of 413, which Groq also calls rate_limit_exceeded; or a message such as OpenAI's with
    a 429: "Request too large ... Limit 30000, Requested 45000".
    """
    return verdict_of(exc).meaning is Meaning.TOO_LARGE


def is_outage(exc: BaseException) -> bool:
    """Whether `exc` says that the provider is out of order, overloaded or out of reach: an HTTP
    status of 500 or more, a connection that failed, or no answer in time."""
    return verdict_of(exc).meaning in (Meaning.DOWN, Meaning.OVERLOADED)


def is_terminal(exc: BaseException) -> bool:
    """Whether `exc` is a refusal that no wait cures: spent credit, a spend limit, a daily quota."""
    return verdict_of(exc).meaning is Meaning.SPENT


def retry_delay(exc: BaseException, now: float) -> float | None:
    """The seconds after which the provider wants `exc`'s call again, or None if it does not say.

    The first that speaks of: the exception's `retry_after`; the headers `retry-after-ms` and
    `retry-after`; the reset headers of the limits that are exhausted; Google's RetryInfo; a
    sentence such as "Please try again in 178ms". What is negative, not finite or not understood
    counts as not said, and what is longer than a day as a day. `now` (seconds since the epoch) is
    what dates are compared with when the response has no `date` of its own.
    """
    answer = answer_of(exc, now)
    return None if answer is None else told_wait(answer)


def describe(exc: BaseException) -> str:
    """The type of `exc` and its HTTP status, for logs: never its text, which may quote a key."""
    answer, name = answer_of(exc), type(exc).__name__
    if answer is None or answer.status == 0 or isinstance(exc, RetryException):
        return name
    return f"{name}, HTTP {answer.status}"
