"""A profile: the limits and charges of a provider, and the form in which it tells them."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from xtremeflow.providers.provider import UNITS, Provider, period
from xtremeflow.serve.inquiry import Json, ServedAnswer
from xtremeflow.simulation.charge import (
    CallRequest,
    Charge,
    charge_actual,
    charge_later,
    charge_max_tokens,
    charge_prompt_and_max_tokens,
    charge_uncached_input,
    settle_actual,
    settle_uncached,
)
from xtremeflow.simulation.enforcers import (
    NANOSECONDS,
    Concurrency,
    Enforcer,
    FixedWindow,
    SlidingWindow,
    TokenBucket,
)
from xtremeflow.simulation.provider import RateLimitError, RequestTooLargeError
from xtremeflow.values.arguments import check_int

Quotas = Mapping[str, int | None]

_CHARGES: Mapping[str | None, Charge] = {
    "nothing": charge_later,
    "input": charge_uncached_input,
    "max": charge_max_tokens,
    "sum": charge_prompt_and_max_tokens,
}


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
class RefusedCall:
    """A call that the limits refuse, as the provider's answer needs it."""

    account: Account
    model: str
    names: Sequence[str]  # the limits that refuse it
    costs: Mapping[str, int]
    wait: float | None  # seconds until it passes; None is unknown, or never

    @staticmethod
    def of(
        error: RateLimitError | RequestTooLargeError, account: Account, model: str
    ) -> RefusedCall:
        wait = error.retry_after if isinstance(error, RateLimitError) else None
        names = [account.name_of(limit) for limit in error.limits]
        return RefusedCall(account, model, names, error.costs, wait)

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
    """A provider as it answers; stateless.

    Attributes:
        provider: Its record in `xtremeflow.providers`.
        base_path: The path of its SDK's base URL.
        heads: The APIs that it serves, by name, with a pattern of the beginning of their paths.
        models: The models that it lists.
        as_produced: Whether `settle` is applied while the answer is produced, not only at its end.
        overloaded: The status and the code of an overloaded provider.
        keep_alive: Seconds between signs of life while a call waits for its first token.
        usage_always: Whether a stream of chat completions tells its usage unasked.
    """

    provider: ClassVar[Provider]
    base_path: ClassVar[str] = "/v1"
    heads: ClassVar[Mapping[str, str]]
    models: ClassVar[tuple[str, ...]]
    as_produced: ClassVar[bool] = False
    overloaded: ClassVar[int] = 503
    overloaded_code: ClassVar[str | None] = None
    keep_alive: ClassVar[float | None] = None
    usage_always: ClassVar[bool] = False

    @property
    def name(self) -> str:
        return self.provider.name

    @property
    def title(self) -> str:
        return self.provider.title

    @property
    def quotas(self) -> Quotas:
        """Its usual limits; None is a limit that is not set."""
        return {name: quota.amount for name, quota in self.provider.quotas.items()}

    def serves(self, api: str, head: str) -> bool:
        """Whether it serves that API under paths that begin with `head`."""
        pattern = self.heads.get(api)
        return pattern is not None and re.fullmatch(pattern, head) is not None

    def begin(self, account: Account) -> None:  # noqa: B027 - only some go by the wall's clock
        """Sets limits that follow the time of day, before the first call."""

    def enforcer(self, name: str, amount: int, minute: float) -> Enforcer:
        """Returns the limit of that name. `minute` is the length of a minute in seconds."""
        quota, unit, seconds = self.provider.quotas[name], UNITS[name], period(name, minute)
        if quota.counted == "at once":
            return Concurrency(amount)
        if quota.counted == "sliding":
            return SlidingWindow(unit, amount, seconds)
        if quota.counted == "window":
            return FixedWindow(unit, max(1, amount // quota.parts), seconds / quota.parts)
        capacity = None if quota.parts == 1 else max(1.0, amount / quota.parts)
        return TokenBucket(unit, amount, seconds, capacity)

    def charge(self, request: CallRequest) -> Mapping[str, int]:
        """Returns the cost of a call at its admission, by unit."""
        return _CHARGES[self.provider.rule.admission](request)

    def settle(self, request: CallRequest, produced: int) -> Mapping[str, int] | None:
        """Returns its cost once `produced` tokens exist; None if the estimate stays."""
        rule = self.provider.rule
        if not rule.settles:
            return None
        return (settle_uncached if rule.cached_free else settle_actual)(request, produced)

    @abstractmethod
    def error(self, status: int, message: str, code: str | None = None) -> object:
        """Returns the body of any other error. `code` is OpenAI's word for it, if there is one."""

    @abstractmethod
    def refusal(self, refusal: RefusedCall) -> Rejection:
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

    def chat_usage(self, answer: ServedAnswer) -> Json:
        """Returns the fields of a chat completion's usage that tell the cached tokens."""
        details = {"cached_tokens": answer.cached_tokens, "audio_tokens": 0}
        if answer.cache_written_tokens:
            details["cache_write_tokens"] = answer.cache_written_tokens
        return {"prompt_tokens_details": details}

    def amounts(self, overrides: Quotas) -> dict[str, int]:
        """Returns the usual limits with `overrides` in their place; None there is no limit."""
        for name, amount in overrides.items():
            if name not in self.quotas:
                known = ", ".join(self.quotas)
                raise ValueError(f"{self.title} has no limit {name!r}; it has {known}")
            if amount is not None:
                check_int(name, amount, 1)
        amounts = {**self.quotas, **overrides}
        return {name: amount for name, amount in amounts.items() if amount is not None}


class AtOnce(Profile):
    """A provider whose limits count only what is known when a call comes. It charges a call at once
    for all that the call will use."""

    def charge(self, request: CallRequest) -> Mapping[str, int]:
        return charge_actual(request)

    def settle(self, request: CallRequest, produced: int) -> None:
        return None
