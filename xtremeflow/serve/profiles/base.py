"""A profile: the limits and charges of a provider, and the form in which it tells them."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from xtremeflow.serve.asking import Json
from xtremeflow.serve.cache import CacheRules
from xtremeflow.simulation.charge import CallRequest
from xtremeflow.simulation.enforcers import NANOSECONDS, Enforcer
from xtremeflow.simulation.provider import RateLimitError, RequestTooLargeError

QUOTAS: Mapping[str, str] = {
    "rpm": "requests per minute",
    "rpd": "requests per day",
    "tpm": "tokens per minute",
    "tpd": "tokens per day",
    "itpm": "input tokens per minute",
    "otpm": "output tokens per minute",
    "concurrency": "requests at once",
}
UNITS: Mapping[str, str] = {
    "rpm": "requests",
    "rpd": "requests",
    "tpm": "tokens",
    "tpd": "tokens",
    "itpm": "input_tokens",
    "otpm": "output_tokens",
    "concurrency": "requests",
}

Quotas = Mapping[str, int | None]


def period(name: str, minute: float) -> float:
    """Returns the period of the limit of that name, in seconds."""
    return 1440 * minute if name.endswith("pd") else minute


class Rejection(Exception):
    """An answer that rejects the request. `wait` is the told wait in seconds, and `told` says
    whether its headers tell of the limits too.
    """

    def __init__(
        self,
        status: int,
        body: object,
        headers: Mapping[str, str] | None = None,
        wait: float | None = None,
        *,
        told: bool = True,
    ) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.body = body
        self.headers = headers or {}
        self.wait = wait
        self.told = told


@dataclass(frozen=True)
class Account:
    """The part of a client's limits that the provider's headers tell.

    limits  by their names in QUOTAS
    amounts those that the headers tell; an enforcer may hold less at once
    clock   seconds on the clock of the limits
    wall    seconds since the epoch
    dated   whether headers tell resets as a Unix time instead of a delay
    """

    limits: Mapping[str, Enforcer]
    amounts: Mapping[str, int]
    clock: Callable[[], float]
    wall: Callable[[], float]
    dated: bool = False

    def now(self) -> int:
        return round(self.clock() * NANOSECONDS)

    def used(self, name: str) -> int:
        limit = self.limits[name]
        return limit.largest - limit.remaining(self.now())

    def remaining(self, name: str) -> int:
        return max(0, self.amounts[name] - self.used(name))

    def reset(self, name: str) -> float:
        """Returns the seconds until the limit is full again; 0 if that is unknown."""
        return (self.limits[name].reset(self.now()) or 0) / NANOSECONDS

    def told_reset(self, name: str, write: Callable[[float], str]) -> str:
        """Returns the reset as a header tells it. `write` formats a delay in the provider's way."""
        seconds = self.reset(name)
        return str(math.ceil(self.wall() + seconds)) if self.dated else write(seconds)

    def name_of(self, limit: Enforcer) -> str:
        return next(name for name, known in self.limits.items() if known is limit)


@dataclass(frozen=True)
class Refusal:
    """A call that the limits refuse, as the provider's answer needs it."""

    account: Account
    model: str
    names: Sequence[str]  # the limits that refuse it
    costs: Mapping[str, int]
    wait: float | None  # seconds until it passes; None is unknown, or never

    @staticmethod
    def of(error: RateLimitError | RequestTooLargeError, account: Account, model: str) -> Refusal:
        wait = error.retry_after if isinstance(error, RateLimitError) else None
        names = [account.name_of(limit) for limit in error.limits]
        return Refusal(account, model, names, error.costs, wait)

    @property
    def name(self) -> str:
        """The limit that the answer names."""
        return self.names[0]

    @property
    def limit(self) -> int:
        return self.account.amounts[self.name]

    @property
    def requested(self) -> int:
        return self.costs[UNITS[self.name]]


class Profile(ABC):
    """A provider; stateless.

    base_path      the path of its SDK's base URL
    heads          the APIs that it serves, by name, with a pattern of the beginning of their paths
    models         those that it lists
    quotas         its usual limits, by their names in QUOTAS; None is a limit that is not set
    as_produced    whether `settle` is applied while the answer is produced, not only at its end
    cache          the rules of its prefix cache
    overloaded     the status and the code of an overloaded provider
    batch          calls that it works on at a time, the others waiting; None is all of them
    keep_alive     seconds between signs of life while a call waits for its first token
    refused_count  whether a refused call takes a request from the limits on requests
    usage_always   whether a stream of chat completions tells its usage unasked
    """

    name: ClassVar[str]
    title: ClassVar[str]
    base_path: ClassVar[str] = "/v1"
    heads: ClassVar[Mapping[str, str]]
    models: ClassVar[tuple[str, ...]]
    quotas: ClassVar[Quotas]
    as_produced: ClassVar[bool] = False
    cache: ClassVar[CacheRules | None] = None
    overloaded: ClassVar[int] = 503
    overloaded_code: ClassVar[str | None] = None
    batch: ClassVar[int | None] = None
    keep_alive: ClassVar[float | None] = None
    refused_count: ClassVar[bool] = False
    usage_always: ClassVar[bool] = False

    def serves(self, api: str, head: str) -> bool:
        """Whether it serves that API under paths that begin with `head`."""
        pattern = self.heads.get(api)
        return pattern is not None and re.fullmatch(pattern, head) is not None

    def begin(self, account: Account) -> None:  # noqa: B027 - only some go by the wall's clock
        """Called before the first call, for limits that follow the time of day."""

    @abstractmethod
    def enforcer(self, name: str, amount: int, minute: float) -> Enforcer:
        """Returns the limit of that name. `minute` is the length of a minute in seconds."""

    @abstractmethod
    def charge(self, request: CallRequest) -> Mapping[str, int]:
        """Returns the cost of a call at its admission, by unit."""

    def settle(self, request: CallRequest, produced: int) -> Mapping[str, int] | None:
        """Returns the cost once `produced` tokens exist, by unit; None keeps the estimate."""
        return None

    @abstractmethod
    def error(self, status: int, message: str, code: str | None = None) -> object:
        """Returns the body of any other error. `code` is OpenAI's word for it, if there is one."""

    @abstractmethod
    def refusal(self, refusal: Refusal) -> Rejection:
        """Returns the answer to a call that the limits refuse."""

    @abstractmethod
    def spent(self) -> Rejection:
        """Returns the refusal that no wait cures."""

    def headers(self, account: Account) -> dict[str, str]:
        """Returns the headers that tell the limits."""
        return {}

    def identify(self, request_id: str, milliseconds: int) -> dict[str, str]:
        """Returns the other headers of each answer."""
        return {"x-request-id": request_id}

    def chat_usage(self, cached_tokens: int, prompt_tokens: int) -> Json:
        """Returns the fields of a chat completion's usage that tell the cached tokens."""
        return {"prompt_tokens_details": {"cached_tokens": cached_tokens, "audio_tokens": 0}}

    def amounts(self, overrides: Quotas) -> dict[str, int]:
        """Returns the usual limits with `overrides` in their place; None there is no limit."""
        for name, amount in overrides.items():
            if name not in self.quotas:
                known = ", ".join(self.quotas)
                raise ValueError(f"{self.title} has no limit {name!r}; it has {known}")
            if amount is not None and amount < 1:
                raise ValueError(f"{name} must be at least 1, got {amount!r}")
        amounts = {**self.quotas, **overrides}
        return {name: amount for name, amount in amounts.items() if amount is not None}
