"""The meaning of answers: the one table of statuses, codes and words, for all providers.

The first line that fits counts. Codes and types are casefolded. Words count only where a provider
gives no code with the same meaning.

Sources: the error references of OpenAI (https://developers.openai.com/api/docs/guides/error-codes),
Anthropic (https://docs.anthropic.com/en/api/errors), Groq (https://console.groq.com/docs/errors),
Google (https://ai.google.dev/gemini-api/docs/troubleshooting), AWS
(https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html), Moonshot and Mistral.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from xtremeflow.answers.answer import Answer
from xtremeflow.answers.verdict import PASSED, Meaning, Verdict
from xtremeflow.answers.waits import told_wait
from xtremeflow.values.forms import json_objects

_MOST_WORDS = 500  # characters of a message that a verdict keeps

# Codes that count whatever the status: an error in the middle of a stream has none or 200, AWS
# throttles with 400, OpenAI says "slow down" with 503.
_BY_CODE: dict[Meaning, frozenset[str]] = {
    Meaning.SPENT: frozenset({
        "1113",  # Zhipu, with 429
        "accountoverdueerror",  # Volcengine, with 403
        "arrearage",  # Alibaba, with 400
        "billing_hard_limit_reached",
        "billing_not_active",
        "contract_spend_limit_reached",
        "enforced_spend_limit_reached",
        "exceeded_current_quota_error",  # Moonshot
        "insufficient_balance",
        "insufficient_credits",
        "insufficient_quota",
        "linked_organization_spend_limit_reached",
        "payment_required",
    }),
    Meaning.TOO_LARGE: frozenset({
        "request_too_large",
        "tokens_limit_reached",
    }),
    Meaning.PLACES: frozenset({
        "concurrency_limit_exceeded",
        "concurrent_limit_exceeded",
        "too_many_concurrent_requests",
    }),
    Meaning.STEEP: frozenset({"slow_down"}),
    Meaning.OVERLOADED: frozenset({
        "engine_overloaded_error",  # Moonshot, with 429
        "engine_overloaded",
        "model_overloaded",
        "modelnotreadyexception",  # AWS, with 429
        "overloaded",
        "overloaded_error",
        "service_tier_capacity_exceeded",  # Mistral, with 429
        "service_unavailable",
        "serviceunavailableexception",
        "server_overloaded",
        "unavailable",  # Google
    }),
    Meaning.RATE: frozenset({
        "429",
        "rate_limit_error",
        "rate_limit_exceeded",
        "rate_limit_reached_error",
        "rate_limited",
        "resource_exhausted",
        "throttling",
        "throttlingexception",
        "too_many_requests",
        "toomanyrequestsexception",
    }),
    Meaning.DOWN: frozenset({
        "api_error",
        "internal",
        "internal_error",
        "internal_server_error",
        "server_error",
        "timeout",
        "timeout_error",
    }),
}  # fmt: skip

# Words that decide where a refusal's code and status leave the meaning open.
_BY_WORDS: dict[Meaning, re.Pattern[str]] = {
    Meaning.SPENT: re.compile(
        r"insufficient (?:quota|balance|credits?|funds)|(?:out of|no|any|not enough) credits\b|"
        r"credit balance is too low|used all (?:of )?(?:its |your )?available credits|"
        r"\bspend(?:ing)? limit\b|usage limit for this billing cycle|free-models-per-day|"
        r"API calls / month",
        re.IGNORECASE,
    ),
    Meaning.PLACES: re.compile(r"\bconcurren(?:t|cy)\b", re.IGNORECASE),
    Meaning.OVERLOADED: re.compile(
        r"\boverloaded\b|\bmodel (?:is )?(?:currently |too )?busy\b|\bat capacity\b|"
        r"\bcapacity exceeded\b|\brate[- ]limited upstream\b",
        re.IGNORECASE,
    ),
}
# In a caller's error (400) only these words count, at the beginning, as it may quote the request.
_NO_CREDIT = re.compile(  # Anthropic's, the second for a spend limit of the month
    r"\s*(?:your credit balance is too low|you have reached your specified api usage limits)",
    re.IGNORECASE,
)

_BY_STATUS = {
    402: Meaning.SPENT,
    408: Meaning.DOWN,
    409: Meaning.DOWN,  # a lock was not free in time; the SDKs retry this too
    413: Meaning.TOO_LARGE,
    425: Meaning.DOWN,
    429: Meaning.RATE,
    498: Meaning.OVERLOADED,  # Groq's flex tier
    503: Meaning.OVERLOADED,
    529: Meaning.OVERLOADED,
}

# OpenAI refuses a request that is larger than its limit with a 429 without a wait.
_LIMIT_AND_REQUESTED = re.compile(r"\bLimit:? ([\d,]+)\b.*\bRequested:? ([\d,]+)\b", re.DOTALL)

_CODES = ("code", "Code", "type", "__type", "error_code", "error_type", "status")
_LONGEST_CODE = 200  # characters


def judged(answer: Answer) -> Verdict:
    """Returns the verdict on an answer. Never raises."""
    if not answer.is_error:
        return PASSED
    messages = answer.messages
    if answer.status == 0 and answer.body is None:
        meaning = Meaning.DOWN
    elif _is_of_a_day(answer):
        meaning = Meaning.SPENT
    else:
        codes = codes_of(answer)
        meaning = meaning_of(_status(answer, codes), codes, messages)
    # OpenAI and Anthropic send it, and their SDKs obey it.
    again = answer.headers.get("x-should-retry", "").strip().lower()
    if again == "true" and meaning is Meaning.FAULT:
        meaning = Meaning.DOWN
    words = messages[0][:_MOST_WORDS] if messages else ""
    return Verdict(meaning, told_wait(answer), words, is_final=again == "false")


def meaning_of(status: int, codes: Collection[str], messages: Sequence[str]) -> Meaning:
    """Returns the meaning of an error.

    status    400 or more; 0 if it has none
    codes     every code and type that it names, casefolded
    messages  its messages
    """
    named = [meaning for meaning, known in _BY_CODE.items() if not known.isdisjoint(codes)]
    if status == 413 or any(map(_asks_too_much, messages)):
        return Meaning.TOO_LARGE
    if named and named[0] not in (Meaning.RATE, Meaning.DOWN):
        return named[0]
    if status in (0, 403, 429) or Meaning.RATE in named:
        for meaning, words in _BY_WORDS.items():
            if any(map(words.search, messages)):
                return meaning
    if Meaning.RATE in named:
        return Meaning.RATE
    if status == 400 and any(map(_NO_CREDIT.match, messages)):
        return Meaning.SPENT
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return Meaning.DOWN if status >= 500 or named else Meaning.FAULT


def codes_of(answer: Answer) -> list[str]:
    """Returns every code, type and status that the answer's error names, casefolded, outermost
    first."""
    found: list[str] = []
    for thing in answer.errors:
        for name in _CODES:
            code = thing.get(name)
            if isinstance(code, int) and abs(code) < 1_000_000:
                found.append(str(int(code)))
            elif isinstance(code, str) and len(code) <= _LONGEST_CODE:
                found.append(code.rpartition("#")[2].strip().casefold())  # AWS: "namespace#code"
    return found


def _status(answer: Answer, codes: list[str]) -> int:
    """Returns the answer's status, or the one that an error in the middle of an answer names."""
    if answer.status >= 400:
        return answer.status
    return next((int(code) for code in codes if re.fullmatch("[45][0-9][0-9]", code)), 0)


def _asks_too_much(message: str) -> bool:
    found = _LIMIT_AND_REQUESTED.search(message)
    if found is None:
        return False
    limit, requested = (int(number.replace(",", "") or "0") for number in found.groups())
    return requested > limit


def _is_of_a_day(answer: Answer) -> bool:
    """Whether the answer is Google's and says that a quota of the day is used up."""
    return any(
        "perday" in f"{violation.get('quotaId')} {violation.get('quotaMetric')}".replace(
            "_", ""
        ).lower()
        for failure in answer.errors
        if str(failure.get("@type")).endswith("google.rpc.QuotaFailure")
        for violation in json_objects(failure.get("violations"))
    )  # fmt: skip
