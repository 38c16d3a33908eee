"""Questions about an exception: is it a refusal, does waiting help, and how long.

All are answered by the one verdict, `xtremeflow.answers.exceptions.verdict_of`. No function here
raises, whatever the exception object does.
"""

from __future__ import annotations

from xtremeflow.answers.exceptions import RetryException, answer_of, verdict_of
from xtremeflow.answers.verdict import Meaning
from xtremeflow.answers.waits import told_wait


def is_refusal(exc: BaseException) -> bool:
    """Whether `exc` is a refusal: the provider did not accept the call, for its rate, for lack of a
    place, for overload or for spent credit (HTTP 429, 503, 529 and the like).

    It knows RetryException and the exceptions of the SDKs of OpenAI, Anthropic, Groq, Mistral,
    Google and AWS, and of httpx, aiohttp, requests and urllib. False for a request that is larger
    than its limit, since no wait makes that fit.
    """
    verdict = verdict_of(exc)
    return verdict.is_refusal or verdict.meaning is Meaning.SPENT


def is_too_large(exc: BaseException) -> bool:
    """Whether `exc` says that the request alone is larger than its limit.

    That is a status of 413 (Groq calls it rate_limit_exceeded too), or a message such as OpenAI's
    with a 429: "Request too large ... Limit 30000, Requested 45000".
    """
    return verdict_of(exc).meaning is Meaning.TOO_LARGE


def is_outage(exc: BaseException) -> bool:
    """Whether `exc` says that the provider fails, is overloaded or cannot be reached: an HTTP
    status of 500 or more, a connection that failed, or no answer in time."""
    return verdict_of(exc).meaning in (Meaning.DOWN, Meaning.OVERLOADED)


def is_terminal(exc: BaseException) -> bool:
    """Whether `exc` is a refusal that no wait cures: spent credit, a spend limit, a daily quota."""
    return verdict_of(exc).meaning is Meaning.SPENT


def retry_delay(exc: BaseException, now: float) -> float | None:
    """Returns the wait in seconds that the provider tells in `exc`, or None if it tells none.

    The first of these counts: the exception's `retry_after`; the headers `retry-after-ms` and
    `retry-after`; the reset headers of exhausted limits; Google's RetryInfo; a sentence such as
    "Please try again in 178ms". A wait that is negative, not finite or not understood counts as not
    told, and a wait of more than a day as a day. Dates are compared with the response's `date`,
    else with `now` (seconds since the epoch).
    """
    answer = answer_of(exc, now)
    return None if answer is None else told_wait(answer)


def describe(exc: BaseException) -> str:
    """Returns the type and HTTP status of `exc`, for logs, without its text, which may quote a
    key."""
    answer, name = answer_of(exc), type(exc).__name__
    if answer is None or answer.status == 0 or isinstance(exc, RetryException):
        return name
    return f"{name}, HTTP {answer.status}"
