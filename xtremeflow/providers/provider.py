"""The address, the limits, the charges, the headers and the cache of a provider."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from xtremeflow.values.charges import ChargeRule
from xtremeflow.values.limits import MINUTE, Limit

QUOTAS: Mapping[str, str] = {
    "rpm": "requests per minute",
    "rpd": "requests per day",
    "tpm": "tokens per minute",
    "tpd": "tokens per day",
    "itpm": "input tokens per minute",
    "otpm": "output tokens per minute",
    "concurrency": "requests at once",
}
"""The limits of providers, by the names that people use."""

UNITS: Mapping[str, str] = {
    "rpm": "requests",
    "rpd": "requests",
    "tpm": "tokens",
    "tpd": "tokens",
    "itpm": "input_tokens",
    "otpm": "output_tokens",
    "concurrency": "requests",
}
"""The unit that each of them counts."""

PER_MINUTE: Mapping[str, str] = {n: unit for n, unit in UNITS.items() if n.endswith("pm")}

# This part of a bucket stays free, because the network may deliver a call early.
_JITTER = 1.0  # s
_HEADROOM = 0.98  # of a window's amount, since its edge is not hit exactly
_OPENAI_PATHS = {
    "messages": "/v1/chat/completions",
    "input": "/v1/responses",
    "embedding": "/v1/embeddings",
    "prompt": "/v1/completions",
}

# OpenAI's, and those of all that follow it; the period is Mistral's, Cerebras' and SambaNova's.
_OPENAI_FIELDS = re.compile(
    r"x-ratelimit-(?P<kind>limit|remaining|reset)-(?P<unit>requests|tokens|req)"
    r"(?:-(?P<period>second|minute|hour|day|month))?"
)


def period(name: str, minute: float) -> float:
    """Returns the period of the limit of that name, in seconds."""
    return 1440 * minute if name.endswith("pd") else minute


@dataclass(frozen=True)
class UsualLimit:
    """One limit of a provider.

    amount   that of a middle tier; None: the limit exists, but is not usual
    counted  "bucket" (refills continuously), "window" (fixed), "sliding" or "at once" (calls in
             flight)
    seconds  of its rate that a bucket holds, or the length of a window; None: the whole period
    """

    amount: int | None
    counted: Literal["bucket", "window", "sliding", "at once"] = "bucket"
    seconds: float | None = None

    @property
    def parts(self) -> int:
        """The number of windows, or full buckets, in its period."""
        return 1 if self.seconds is None else round(MINUTE / self.seconds)


@dataclass(frozen=True)
class Dialect:
    """The headers in which answers tell of limits.

    units   the names of the quotas whose sum a header's unit tells
    grain   the unit to which the remaining tokens are rounded
    fields  the headers' names in lower case: the `kind` of the value ("limit", "remaining" or
            "reset"), its `unit`, and the `period` if the name has it
    """

    units: Mapping[str, Sequence[str]]
    grain: int = 1
    fields: re.Pattern[str] = _OPENAI_FIELDS


@dataclass(frozen=True)
class CacheRules:
    """How a provider's cache works. Lengths are in tokens, times in seconds.

    minimum     the shortest prefix that is cached
    unit        every hit is a multiple of this
    lifetime    after the last use; None is until there is no more room
    ttls        the lifetimes that a request may ask for, by their names in its `ttl`
    usable      "scheduled" if a prefix can be read once its call is scheduled, "answered" if only
                once an answer to it has begun
    delay       the time after that until it can be read
    sightings   calls with the prefix before it can be read
    mark        the field of a part of a prompt that marks a prefix up to there; "" is none
    marked      whether only marked prefixes are cached
    latest      marks of a request that are written, if it asks that only marked prefixes are
                cached (`mode` "explicit" of OpenAI's prompt_cache_options); 0: it cannot ask
    look_back   parts of a prompt before a mark at which it also ends a prefix, if that was written
    per_minute  calls of one prompt_cache_key above this rate meet a machine with a cold cache
    keyed       whether only prompts with a prompt_cache_key are cached
    ends        whether the end of a prompt can be read after one call, whatever `sightings` is
    from_start  whether the lifetime counts from the start of the call, not of its answer
    room        tokens that the cache holds; None is no bound
    writes      whether answers tell the tokens written
    read_price, write_price  of a token, as parts of the price of an input token
    """

    minimum: int
    unit: int
    lifetime: float | None = None
    ttls: Mapping[str, float] = field(default_factory=dict[str, float])
    usable: Literal["scheduled", "answered"] = "answered"
    delay: float = 0.0
    sightings: int = 1
    mark: str = ""
    marked: bool = False
    latest: int = 0
    look_back: int = 0
    per_minute: int | None = None
    keyed: bool = False
    ends: bool = False
    from_start: bool = False
    room: int | None = None
    writes: bool = False
    read_price: float = 1.0
    write_price: float = 1.0

    def lifetime_of(self, ttl: object) -> float | None:
        """Returns the lifetime of a prefix whose request has that `ttl`, None being none."""
        return self.ttls.get(ttl, self.lifetime) if isinstance(ttl, str) else self.lifetime

    def paid(self, prompt: int, read: int, written: int) -> float:
        """Returns the price of a prompt, in tokens of input that the cache does not know."""
        return prompt - self.saved(read, written)

    def saved(self, read: int, written: int) -> float:
        """Returns what the cache takes off the price of a prompt, in the same unit. It is below 0
        where the writes cost more than the reads have saved."""
        return (1.0 - self.read_price) * read + (1.0 - self.write_price) * written


@dataclass(frozen=True)
class Provider:
    """A provider. Its module names the sources.

    base_url      its address; None if each user has one of their own
    key_variable  the environment variable with the key; None if it needs no key
    key_header    the header with the key; "{}" stands for the key
    headers       other headers of every call
    paths         paths for bodies without a url, by their fields: see `requests.parse`
    prefix        the beginning of OpenAI's paths that this provider's do not have
    quotas        its limits, by their names in QUOTAS
    tells         the headers that tell of limits; None if answers tell of none until they refuse
    rule          the rule by which it charges tokens
    cache         the rules of its prefix cache
    caches        those of some models, by patterns of their names; the first that matches counts
    batch         calls that it works on at a time, the others waiting; None is all of them
    refused_count whether a refused call takes a request from the limits on requests
    domain        where its users' hosts lie, if each has one of their own
    streams       whether a stream of chat completions tells its usage if "asked" for it, or
                  "always"; None if that is not known
    cache_key     whether a request may have a `prompt_cache_key`
    """

    name: str
    title: str
    base_url: str | None = None
    key_variable: str | None = None
    key_header: tuple[str, str] = ("Authorization", "Bearer {}")
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    paths: Mapping[str, str] = field(default_factory=lambda: _OPENAI_PATHS)
    prefix: str = ""
    quotas: Mapping[str, UsualLimit] = field(default_factory=dict[str, UsualLimit])
    tells: Dialect | None = None
    rule: ChargeRule = ChargeRule("nothing", settles=True, cached_free=False)  # noqa: RUF009
    cache: CacheRules | None = None
    caches: Mapping[str, CacheRules] = field(default_factory=dict[str, CacheRules])
    batch: int | None = None
    refused_count: bool = False
    domain: str = ""
    streams: Literal["asked", "always"] | None = None
    cache_key: bool = False

    def cache_of(self, model: str) -> CacheRules | None:
        """Returns the rules of the prefix cache of a model."""
        for pattern, rules in self.caches.items():
            if re.search(pattern, model):
                return rules
        return self.cache

    @property
    def amounts(self) -> Mapping[str, int]:
        """The usual amounts per minute."""
        return {
            name: quota.amount
            for name, quota in self.quotas.items()
            if quota.amount is not None and name in PER_MINUTE
        }

    @property
    def concurrency(self) -> int | None:
        """The calls that it takes at a time; None if it does not limit them."""
        quota = self.quotas.get("concurrency")
        return self.batch if quota is None or quota.amount is None else quota.amount

    @property
    def limits_calls_only(self) -> bool:
        """Whether it limits only the calls at a time."""
        return set(self.quotas) == {"concurrency"}

    def limits(self, amounts: Mapping[str, float], burst: float | None) -> list[Limit]:
        """Returns the scheduler's limits for amounts per minute. `burst` (s) replaces the
        provider's."""
        windows = any(quota.counted in ("window", "sliding") for quota in self.quotas.values())
        found: list[Limit] = []
        for name, amount in amounts.items():
            seconds = self._burst(name) if burst is None else burst
            usable = amount * (_HEADROOM if windows else 1.0)
            found.append(Limit(UNITS[name], usable, MINUTE, usable / MINUTE * seconds))
        return found

    def _burst(self, name: str) -> float:
        """Returns the seconds of its rate that a limit allows at once."""
        quota = self.quotas.get(name)
        if quota is None or quota.counted != "bucket":
            return 0.0
        return (MINUTE if quota.seconds is None else quota.seconds) - _JITTER


ANY = Provider("any", "any OpenAI-compatible server", None, "XTREMEFLOW_API_KEY")
"""The assumptions about a server of which only the address is given."""
