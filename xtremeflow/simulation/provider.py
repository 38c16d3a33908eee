"""A simulated LLM provider, in process, that enforces its limits strictly and counts all calls.

    provider = SimulatedProvider([TokenBucket("tokens", 60_000, per=60.0)], charge="actual")
    response = await provider.call(prompt_tokens=800, output_tokens=200)

It runs on the clock of the loop of its caller, real or virtual.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple

from xtremeflow.simulation.charge import CHARGES, CallRequest, Charge
from xtremeflow.simulation.clock import Clock, clock_of
from xtremeflow.simulation.enforcers import NANOSECONDS, Enforcer
from xtremeflow.simulation.latency import Latency, LatencyModel, LatencySource
from xtremeflow.simulation.quirks import Door, Quirks, Reason
from xtremeflow.values.arguments import (
    check_callable,
    check_flag,
    check_int,
    check_kind,
    check_list,
)

NO_QUIRKS = Quirks()


@dataclass(frozen=True)
class CompletionUsage:
    prompt_tokens: int
    completion_tokens: int

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True)
class CallResponse:
    """An answer. `finish_reason` is "length" if `max_tokens` cut it, else "stop"."""

    usage: CompletionUsage
    finish_reason: str


@dataclass(frozen=True)
class ErrorResponse:
    """The part of an HTTP response that clients read on an error."""

    status_code: int
    headers: Mapping[str, str]


class ProviderError(Exception):
    """An answer other than 200, shaped like the errors of the official SDKs."""

    def __init__(self, message: str, response: ErrorResponse) -> None:
        super().__init__(message)
        self.response = response
        self.status_code = response.status_code

    def __reduce__(self) -> tuple[Any, ...]:  # a copy, made without __init__ and its arguments
        return Exception.__new__, (type(self), *self.args), vars(self)


class RateLimitError(ProviderError):
    """A refusal, status 429.

    `retry_after` is the exact wait in seconds, which the headers round up. It is None if the wait
    is unknown, or if the provider's quirks falsify the headers; then `wait` has it. `limits` are
    those that refused the call, and `costs` its costs by unit. `reason` is "rate", or the quirk
    that refused it: "growth", "noise" or "blocked". With "growth" the `code` is "slow_down" and the
    status may be 503.
    """

    def __init__(
        self,
        message: str,
        retry_after: float | None,
        limits: Sequence[Enforcer] = (),
        costs: Mapping[str, int] | None = None,
        *,
        reason: Reason = "rate",
        quirks: Quirks = NO_QUIRKS,
    ) -> None:
        headers, said = quirks.told_wait(retry_after, time.time())
        status = quirks.growth_status if reason == "growth" else 429
        super().__init__(message + said, ErrorResponse(status, headers))
        self.wait = retry_after
        self.retry_after = retry_after if quirks.waits == "honest" else None
        self.code = "slow_down" if reason == "growth" else "rate_limit_exceeded"
        self.limits = limits
        self.costs = costs or {}
        self.reason: Reason = reason


class RequestTooLargeError(ProviderError):
    """A call that costs more than a limit ever lets pass, status 413.

    `limits` has that one limit, `costs` the call's costs by unit.
    """

    def __init__(
        self,
        message: str,
        limits: Sequence[Enforcer] = (),
        costs: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(message, ErrorResponse(413, {}))
        self.limits = limits
        self.costs = costs or {}


class Arrival(NamedTuple):
    """The arrival of a call at the provider."""

    time: float  # seconds on the provider's clock
    costs: Mapping[str, int]  # charged, or refused, by unit
    refused: bool


@dataclass
class ProviderStats:
    """The counts of a provider so far."""

    attempts: int = 0  # calls sent
    refused: int = 0  # 429, by a limit or a quirk
    unruly: int = 0  # of these the refusals by quirks, which no limit explains
    too_large: int = 0  # 413
    early: int = 0  # calls sent before the end of a wait that a 429 had announced by then
    succeeded: int = 0
    abandoned: int = 0  # admitted and charged, but cancelled by the client
    failed: int = 0  # admitted and charged, but ended by an error of the provider
    tokens_served: int = 0  # usage of the calls that succeeded
    in_flight: int = 0  # admitted and not yet answered
    peak_concurrency: int = 0
    charged: dict[str, int] = field(default_factory=dict[str, int])  # by unit, settlements included
    first_admission: float | None = None  # seconds on the provider's clock
    last_admission: float | None = None

    @property
    def tokens_charged(self) -> int:
        return self.charged.get("tokens", 0)


class Reservation:
    """An admitted call. It holds its costs until the end of its `with` block.

    If a cancellation ends the block, the call counts as abandoned; if an exception does, as failed.
    """

    def __init__(self, provider: SimulatedProvider, costs: Mapping[str, int], instant: int) -> None:
        self.costs = costs  # charged so far, by unit
        self._provider = provider
        self._instant = instant

    def settle(self, costs: Mapping[str, int]) -> None:
        """Replaces the costs charged so far."""
        if costs != self.costs:
            self._provider._settle(self.costs, costs, self._instant)
            self.costs = costs

    def complete(self, usage: CompletionUsage) -> None:
        """Notes that the call has been answered."""
        self._provider.stats.succeeded += 1
        self._provider.stats.tokens_served += usage.total_tokens

    def fail(self) -> None:
        """Notes that the call has ended by an error of the provider, which the client has
        received."""
        self._provider.stats.failed += 1

    def __enter__(self) -> Reservation:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        stats = self._provider.stats
        if kind is not None and issubclass(kind, Exception):
            stats.failed += 1
        elif kind is not None:
            stats.abandoned += 1
        self._provider._release(self.costs)


class SimulatedProvider:
    """A provider that admits a call if all of its limits let it pass, else charges nothing and
    refuses.

    Any number of clients may call one provider. They share its limits.

    Args:
        limits: The Enforcers, each the state of one limit; two providers may share one.
        latency: Draws each call's duration; a refusal takes the network's part of it.
        charge: "max_tokens", "actual" or a function from a CallRequest to its cost by unit.
        batch: Admitted calls that it works on at a time; the others wait in their order, so that
            answers take longer the more calls there are; None is all of them.
        clock: A function that returns seconds; by default the clock of the caller's loop.
        seed: The seed of the latencies: calls made in the same order, or with the same keys, draw
            the same.
        record: Whether `arrivals` keeps every call's arrival.
        quirks: The ways in which it breaks what it says.

    `call` plays a whole call. Step by step, that is `arrive`, `admit`, `working`, and the
    Reservation's `settle` and `complete`. `announce` notes a wait that a client has been told.
    """

    def __init__(
        self,
        limits: Iterable[Enforcer] = (),
        *,
        latency: LatencySource | None = None,
        charge: str | Charge = "max_tokens",
        batch: int | None = None,
        clock: Clock | None = None,
        seed: int = 0,
        record: bool = True,
        quirks: Quirks = NO_QUIRKS,
    ) -> None:
        if isinstance(charge, str):
            if charge not in CHARGES:
                raise ValueError(f"charge must be one of {', '.join(CHARGES)}, got {charge!r}")
            charge = CHARGES[charge]
        check_callable("charge", charge, "a name or a function of a CallRequest")
        check_kind("quirks", quirks, Quirks)
        if latency is not None and not hasattr(latency, "draw"):
            raise TypeError(f"latency must be a LatencyModel, or draw as one, got {latency!r}")
        self._charge = charge
        self._limits: tuple[Enforcer, ...] = check_list("limits", limits, Enforcer)
        units = charge(CallRequest(0, 0))
        for limit in self._limits:
            if limit.unit not in units:
                raise ValueError(f"{limit!r} counts what is never charged: {', '.join(units)} are")
        if batch is not None:
            check_int("batch", batch, 1)
        if clock is not None:
            check_callable("clock", clock, "a function that returns seconds, or None")
        check_int("seed", seed)
        check_flag("record", record)
        self._quirks = quirks
        self._door = Door(quirks, seed)
        # The enforced limits: each as it is told, and its part if there is a quantum.
        self._enforced = [(limit, limit) for limit in self._limits]
        parts = ((limit, _part(limit, quirks)) for limit in self._limits)
        self._enforced += [(limit, part) for limit, part in parts if part is not None]
        self._places = None if batch is None else asyncio.Semaphore(batch)
        self._latency: LatencySource = LatencyModel() if latency is None else latency
        self._clock = clock
        self._seed = seed
        self._random = Random(seed)
        self._record = record
        self._announced_end = float("-inf")  # the latest end of all waits told so far
        self.arrivals: list[Arrival] = []
        self.stats = ProviderStats()

    def latency_of(self, request: CallRequest, key: int | None = None) -> Latency:
        """Draws a call's latency. With a `key` it is always the same for the same request."""
        random = self._random if key is None else Random(f"{self._seed}/{key}")
        prompt = request.prompt_tokens - request.cached_tokens
        return self._latency.draw(prompt, request.answer_tokens, random)

    async def call(
        self,
        *,
        prompt_tokens: int,
        output_tokens: int,
        max_tokens: int | None = None,
        key: int | None = None,
    ) -> CallResponse:
        """Makes one attempt of a call whose answer would be `output_tokens` long.

        It takes the time of its latency. With a `key` that does not depend on the order of the
        calls.

        Raises RateLimitError if a limit refuses the call, RequestTooLargeError if one would refuse
        it for ever.
        """
        request = CallRequest(prompt_tokens, output_tokens, max_tokens)
        latency = self.latency_of(request, key)
        self.arrive()
        if latency.uplink:
            await asyncio.sleep(latency.uplink)
        now = self.now()
        try:
            reservation = self.admit(request)
        except ProviderError as error:
            await asyncio.sleep(latency.downlink)
            if isinstance(error, RateLimitError) and error.retry_after is not None:
                self.announce(now + error.retry_after)
            raise
        usage = CompletionUsage(prompt_tokens, request.completion_tokens)
        work = latency.first_token + latency.generation
        with reservation:
            if self._places is None:
                await asyncio.sleep(work + latency.downlink)
            else:
                async with self._places:
                    await asyncio.sleep(work)
                await asyncio.sleep(latency.downlink)
            reservation.complete(usage)
        return CallResponse(usage, "length" if request.answer_tokens < output_tokens else "stop")

    def now(self) -> float:
        """Returns the time in seconds on the provider's clock."""
        clock = self._clock or clock_of(asyncio.get_running_loop())
        return clock()

    def arrive(self) -> None:
        """Notes that a call has been sent."""
        self.stats.attempts += 1
        self.stats.early += self.now() < self._announced_end

    def announce(self, end: float) -> None:
        """Notes that a client was told to wait until `end`, in seconds on the provider's clock."""
        self._announced_end = max(self._announced_end, end)

    def admit(self, request: CallRequest) -> Reservation:
        """Charges all limits now, or charges none and raises RateLimitError or
        RequestTooLargeError."""
        now = self.now()
        costs = self._charge(request)
        instant = round(now * NANOSECONDS)
        error = self._refusal(costs, now, instant)
        if self._record:
            self.arrivals.append(Arrival(now, costs, error is not None))
        if error is not None:
            raise error
        for _, enforcer in self._enforced:
            enforcer.take(costs[enforcer.unit], instant)
        stats = self.stats
        for unit, cost in costs.items():
            stats.charged[unit] = stats.charged.get(unit, 0) + cost
        stats.first_admission = now if stats.first_admission is None else stats.first_admission
        stats.last_admission = now
        stats.in_flight += 1
        stats.peak_concurrency = max(stats.peak_concurrency, stats.in_flight)
        return Reservation(self, costs, instant)

    def working(self) -> AbstractAsyncContextManager[None]:
        """Waits for an admitted call's place in the batch, and holds it in an `async with`
        block."""
        return nullcontext() if self._places is None else self._places

    def _refusal(
        self, costs: Mapping[str, int], now: float, instant: int
    ) -> RateLimitError | RequestTooLargeError | None:
        for limit in self._limits:
            cost = costs[limit.unit]
            if cost > limit.largest:
                self.stats.too_large += 1
                message = f"a call of {cost:,} never passes {limit!r}"
                return RequestTooLargeError(message, (limit,), costs)
        error = (
            self._refused_at_the_door(costs, now)
            or self._refused_by_limits(costs, now, instant)
            or self._refused_for_growth(costs, now)
        )
        self.stats.refused += error is not None
        return error

    def _refused_at_the_door(self, costs: Mapping[str, int], now: float) -> RateLimitError | None:
        refusal = self._door.refuses(now)
        if refusal is None:
            return None
        self._count_refused(round(now * NANOSECONDS))
        self.stats.unruly += 1
        reason, wait = refusal
        message = "all calls are refused" if reason == "blocked" else "the model is busy"
        return RateLimitError(message, wait, (), costs, reason=reason, quirks=self._quirks)

    def _refused_for_growth(self, costs: Mapping[str, int], now: float) -> RateLimitError | None:
        if not self._door.too_steep(now):
            return None
        self._count_refused(round(now * NANOSECONDS))
        self.stats.unruly += 1
        message = "slow down: the rate of requests grows too fast"
        return RateLimitError(message, None, (), costs, reason="growth", quirks=self._quirks)

    def _refused_by_limits(
        self, costs: Mapping[str, int], now: float, instant: int
    ) -> RateLimitError | None:
        if not self._refusing(costs, instant):
            return None
        self._count_refused(instant)
        waits = self._refusing(costs, instant)
        refusing = list(dict.fromkeys(limit for limit, _ in waits))
        message = f"rate limit reached: {', '.join(map(repr, refusing))}"
        known = [wait for _, wait in waits if wait is not None]
        # From the float and not from the rounded instant, so that the client's sum of both
        # rounds to the very nanosecond promised.
        wait = (instant + max(known)) / NANOSECONDS - now if len(known) == len(waits) else None
        return RateLimitError(message, wait, refusing, costs, quirks=self._quirks)

    def _refusing(
        self, costs: Mapping[str, int], instant: int
    ) -> list[tuple[Enforcer, int | None]]:
        """Returns the limits (or parts of limits) that refuse a call, and the wait."""
        waits = [
            (limit, enforcer.wait(min(costs[limit.unit], enforcer.largest), instant))
            for limit, enforcer in self._enforced
        ]
        return [(limit, wait) for limit, wait in waits if wait != 0]

    def _count_refused(self, instant: int) -> None:
        if self._quirks.refused_count:
            for _, enforcer in self._enforced:
                if enforcer.unit == "requests" and (enforcer.per or 0.0) <= self._quirks.longest:
                    enforcer.count(1, instant)

    def _settle(self, costs: Mapping[str, int], actual: Mapping[str, int], taken: int) -> None:
        instant = round(self.now() * NANOSECONDS)
        for _, enforcer in self._enforced:
            unit = enforcer.unit
            if costs[unit] != actual[unit]:
                enforcer.settle(costs[unit], actual[unit], taken, instant)
        for unit, cost in costs.items():
            self.stats.charged[unit] += actual[unit] - cost

    def _release(self, costs: Mapping[str, int]) -> None:
        self.stats.in_flight -= 1
        for limit in self._limits:
            limit.release(costs[limit.unit])


def _part(limit: Enforcer, quirks: Quirks) -> Enforcer | None:
    """Returns the part of a limit that is enforced too, if there is a quantum."""
    quantum, per = quirks.quantum, limit.per
    if quantum is None or per is None or not quantum < per <= quirks.longest:
        return None
    return limit.part(quantum)
