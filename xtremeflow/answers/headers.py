"""The provider's limits in an answer's headers, or in a refusal's body.

Every provider has its own names, units and traps; docs/limits.md names their documents. A number
that is negative, not finite, contradicts itself or is not understood counts as not told. No
function here raises.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from xtremeflow.answers.answer import Answer, lowered
from xtremeflow.providers import anthropic, openai
from xtremeflow.providers.azure import AZURE
from xtremeflow.values.forms import EPOCH, as_instant, as_number, json_objects, until
from xtremeflow.values.limits import DAY, MINUTE

_PERIODS = {"second": 1.0, "minute": MINUTE, "hour": 3_600.0, "day": DAY, "month": 30 * DAY}
_NAMES = {"req": "requests", "input-tokens": "input_tokens", "output-tokens": "output_tokens"}

_MOST = 1e15  # per period: beyond any provider
_UNIT_ENDS = frozenset("smhd")  # durations end so, and need not be tried as numbers
# s: shorter resets are mostly rounding, to whole milliseconds; of a time, and of the answer's date,
# to whole seconds.
_SURE, _SURE_TIME = 0.01, 3.0

ToldDefinition = tuple[str, float | None, float, float | None, bool, float | None]


@dataclass(slots=True)
class Observation:
    """One limit in one answer. Do not change it.

    name       "requests", "tokens", "input_tokens" or "output_tokens"
    per        its period in seconds; None if the answer leaves it open
    amount     units per period
    remaining  units left at the time of the answer; None if they are not told
    window     the window over which it is counted, in seconds; None for a continuous bucket
    slides     whether that window slides
    burst      seconds of its rate that a bucket holds; None for the whole period
    grain      the unit to which `remaining` is rounded
    reset      seconds until the limit is full again; None if they are not told
    by_refusal whether only the refusals for it tell of it
    """

    name: str
    per: float | None
    amount: float
    remaining: float | None = None
    window: float | None = None
    slides: bool = False
    burst: float | None = None
    grain: float = 1.0
    reset: float | None = field(default=None, compare=False)
    by_refusal: bool = field(default=False, compare=False)

    @property
    def definition(self) -> ToldDefinition:
        """The limit without the rest that is left."""
        return self.name, self.per, self.amount, self.window, self.slides, self.burst


class Quota(NamedTuple):
    """One limit in a provider's headers. `reset` is in seconds after the answer."""

    name: str
    style: str  # "anthropic", "period" (the header's name has it) or "plain"
    per: float | None
    amount: float | None
    remaining: float | None
    reset: float | None
    reset_text: str


@lru_cache(maxsize=256)  # all answers have the same names
def _meaning(header: str) -> tuple[tuple[str, str, str], str] | None:
    """Returns the style, name and period of a header's limit, and the kind of its value."""
    if match := openai.DIALECT.fields.fullmatch(header):
        period = match["period"] or ""
        return ("period" if period else "plain", match["unit"], period), match["kind"]
    if match := anthropic.DIALECT.fields.fullmatch(header):
        return ("anthropic", match["unit"], "minute"), match["kind"]
    return None


def quotas(headers: Mapping[str, str], server_now: float) -> list[Quota]:
    """Returns the limits in `headers`, which have lower-case names.

    Dates are compared with `server_now`, in seconds since the epoch.
    """
    found: dict[tuple[str, str, str], dict[str, str]] = {}
    for header, value in headers.items():
        meaning = _meaning(header)
        if meaning is not None:
            key, kind = meaning
            found.setdefault(key, {})[kind] = value
    return [
        Quota(
            _NAMES.get(name, name),
            style,
            _PERIODS.get(period),
            as_number(told.get("limit")),
            as_number(told.get("remaining")),
            until(told.get("reset"), server_now),
            told.get("reset", "").strip(),
        )
        for (style, name, period), told in found.items()
    ]


def quotas_of(answer: Answer) -> Sequence[Quota]:
    """Returns the limits in an answer's headers. They are read once; the client reads them in C."""
    if answer.quotas is None:
        answer.quotas = quotas(answer.headers, answer.date)
    told: Sequence[Quota] = answer.quotas
    return told


def observations(headers: Any, body: Any = None, now: float = 0.0) -> list[Observation]:
    """Returns all limits that an answer tells, each at most once.

    headers, body  as any HTTP client has them; only the body of a refusal matters
    now            seconds since the epoch, for dates in answers that have no `date` of their own
    """
    plain = lowered(headers)
    date = as_instant(plain.get("date", ""))
    return _observations(quotas(plain, now if date is None else date), body)


def _observations(told: Sequence[Quota], body: Any) -> list[Observation]:
    names = {quota.name for quota in told}
    if {"input_tokens", "output_tokens"} & names:
        told = [quota for quota in told if quota.name != "tokens"]  # Anthropic's sum of these
    seen = {
        (observation.name, observation.per): observation
        for observation in (*_from_body(body), *map(_observed, told))
        if observation is not None
    }
    return list(seen.values())


def observed(answer: Answer) -> list[Observation]:
    """Returns the same for an Answer. It is read once; only the error in its body matters."""
    if answer.observed is None:
        errors = answer.errors[:1] if answer.is_error else None
        answer.observed = _observations(quotas_of(answer), errors)
    seen: list[Observation] = answer.observed
    return seen


def _observed(quota: Quota) -> Observation | None:
    amount, remaining = quota.amount, quota.remaining
    if amount is None or not 1 <= amount <= _MOST:
        return None
    if remaining is not None and remaining > amount:
        return None  # of another limit, or more left than the amount
    per, window, slides, burst, grain = quota.per, None, False, None, 1.0
    if quota.style == "anthropic":
        if quota.name == "requests":
            burst = anthropic.ANTHROPIC.quotas["rpm"].seconds
        elif remaining is not None:
            grain = float(anthropic.DIALECT.grain)
            remaining = max(0.0, remaining - grain / 2)
    elif quota.style == "period":
        window, slides = per, True  # Mistral's
    elif _is_plain_seconds(quota.reset_text):  # Azure
        per = MINUTE
        window = AZURE.quotas["rpm"].seconds if quota.name == "requests" else MINUTE
    else:
        per = _period(quota)
    return Observation(
        quota.name, per, amount, remaining, window, slides, burst, grain, quota.reset
    )


def _is_plain_seconds(text: str) -> bool:
    number = None if text[-1:] in _UNIT_ENDS else as_number(text)
    return number is not None and number < EPOCH


def _period(quota: Quota) -> float | None:
    """Returns the period of a bucket, from the time in which its used part refills. Groq's
    requests, and OpenAI's of some accounts, are per day and do not say so."""
    amount, remaining, reset = quota.amount, quota.remaining, quota.reset
    if reset is None or amount is None or remaining is None:
        return None if quota.style == "plain" and quota.reset_text else MINUTE
    used = amount - remaining
    sure = _SURE if quota.reset_text[-1:] in _UNIT_ENDS else _SURE_TIME
    if used > 0 and reset >= sure and DAY / 2 < reset * amount / used < DAY * 2:
        return DAY
    if reset <= 1.1 * MINUTE:
        return (
            MINUTE  # also for a full bucket, since the first answer may be the only one for a while
        )
    return None


def _from_body(body: Any) -> Iterator[Observation]:
    """Returns the limits that a refusal's text or Google's QuotaFailure names as used up."""
    if body is None:
        return
    for thing in json_objects(body):
        message = thing.get("message")
        if isinstance(message, str) and (match := openai.REFUSAL.search(message[:2000])):
            name, period, limit, used = match.group("unit", "period", "limit", "used")
            per = _PERIODS["minute" if period == "min" else period]
            amount, taken = as_number(limit.replace(",", "")), as_number(used.replace(",", ""))
            if amount is not None and 1 <= amount <= _MOST and taken is not None:
                yield Observation(name, per, amount, max(0.0, amount - taken), by_refusal=True)
        if str(thing.get("@type")).endswith("google.rpc.QuotaFailure"):
            for violation in json_objects(thing.get("violations")):
                yield from _violated(violation)


def _violated(violation: dict[str, Any]) -> Iterator[Observation]:
    names = f"{violation.get('quotaId')} {violation.get('quotaMetric')}".lower().replace("_", "")
    name = "input_tokens" if "inputtoken" in names else "requests" if "request" in names else None
    per = MINUTE if "perminute" in names else DAY if "perday" in names else None
    amount = as_number(violation.get("quotaValue"))
    if name is None or per is None or amount is None or not 1 <= amount <= _MOST:
        return
    yield Observation(name, per, amount, 0.0, MINUTE if per == MINUTE else None)
