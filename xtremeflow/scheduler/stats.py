"""Snapshots of a scheduler's work, as plain dataclasses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from xtremeflow.learning.charges import Belief
from xtremeflow.learning.concurrency.slots import Slots
from xtremeflow.values.limits import Limit

_NONE: Mapping[int, str] = MappingProxyType({})


@dataclass(frozen=True)
class LimitStats:
    """A snapshot of one limit. Amounts are in its own unit (requests, tokens), times in seconds."""

    name: str
    rate: float
    """Units per second."""
    capacity: float
    level: float
    """What may be used now; negative when calls used more than was there."""
    used: int
    """Admitted so far, estimates replaced by what was reported."""
    refunded: int
    """Given back by reports below the estimate."""
    charged: int
    """Taken in addition by reports above the estimate."""
    utilisation: float
    """``used`` as a share of all that the limit has allowed since the first call:
    capacity + rate * elapsed."""
    held_back: float
    """Share of the time in which this limit was what the head of the queue waited for."""
    configured: Limit | None = None
    """As it was given; None for one that was learned."""
    learned: str | None = None
    """Why it is as it is, where the provider's answers have told or shown; see `observe`."""
    confidence: float | None = None
    """Of a limit that was learned: 1 less the doubt of its rate, relative to it. 0.98 says that
    the rate is right to within 2 %; 1 that the provider's answers tell it."""


@dataclass(frozen=True)
class Stats:
    """A snapshot of a scheduler. Counts are of calls, times in seconds, shares from 0 to 1.

    ``idle``, ``held_by_concurrency``, ``held_by_cooldown`` and the ``held_back`` of all limits add
    up to 1. They say why quota was idle since the first call.
    """

    elapsed: float
    """Since the first call was submitted."""
    submitted: int
    admitted: int
    """Attempts admitted, repeated ones included."""
    finished: int
    """Ended with a result."""
    failed: int
    """Ended with an exception."""
    cancelled: int
    timed_out: int
    """Not admitted within their timeout."""
    waiting: int
    in_flight: int
    tokens_used: int
    """Estimates of dispatched attempts, replaced by what was reported."""
    tokens_refunded: int
    rate_limited: int
    """429s, as told by auto_backoff or notify_rate_limit_exceeded()."""
    retries: int
    cooldowns: int
    """Episodes: cooldowns, however many 429s arrived in each."""
    cooldown_seconds: float
    """How long they lasted in all."""
    cooldown_left: float
    """What is left of the running one."""
    limits: tuple[LimitStats, ...]
    idle: float
    """Share of the time in which nothing waited."""
    held_by_concurrency: float
    """Share of the time in which the head of the queue waited for a free slot."""
    held_by_cooldown: float
    """Share of the time in which it waited for the end of a cooldown."""
    learned_concurrency: int | None = None
    """Calls at a time that the provider takes, as its answers show; None where none have."""
    concurrency_learned: str | None = None
    """Why it is so many."""
    concurrency_confidence: float | None = None
    """How well refusals agree that it is the number of calls in flight that is limited, from 0 to
    1; None where none was for that."""
    margin: float = 0.0
    """Seconds of each limit's rate that are kept in reserve of its capacity, as measured: by so
    much the way to the provider seems to vary."""
    charges: Mapping[str, Belief] = field(default_factory=dict[str, Belief])
    """By model what is believed of how its calls are charged, where the answers tell."""


def stats_from(
    snapshot: dict[str, Any],
    configured: Sequence[Limit] = (),
    learned: Mapping[int, str] = _NONE,
    confidence: Callable[[int], float | None] = lambda _: None,
    slots: Slots | None = None,
    charges: Mapping[str, Belief] | None = None,
) -> Stats:
    """Builds Stats from the C core's counters.

    `configured` are the first limits. `learned` has, by index, the reason for a limit's figures,
    and `confidence` how sure they are. Limits without either are places not taken yet. `slots`
    learns the concurrency.
    """
    if slots is not None and slots.known is None:
        slots = None
    elapsed = snapshot["elapsed"]

    def share(seconds: float) -> float:
        return seconds / elapsed if elapsed > 0 else 0.0

    def limit_stats(index: int, limit: dict[str, Any]) -> LimitStats:
        allowed = limit["capacity"] + limit["rate"] * elapsed
        return LimitStats(
            name=limit["name"],
            rate=limit["rate"],
            capacity=limit["capacity"],
            level=limit["level"],
            used=limit["used"],
            refunded=limit["refunded"],
            charged=limit["charged"],
            utilisation=limit["used"] / allowed if allowed > 0 else 0.0,
            held_back=share(limit["held"]),
            configured=configured[index] if index < len(configured) else None,
            learned=learned.get(index),
            confidence=confidence(index),
        )

    return Stats(
        elapsed=elapsed,
        submitted=snapshot["submitted"],
        admitted=snapshot["admitted"],
        finished=snapshot["succeeded"],
        failed=snapshot["failed"],
        cancelled=snapshot["cancelled"],
        timed_out=snapshot["expired"],
        waiting=snapshot["waiting"],
        in_flight=snapshot["in_flight"],
        tokens_used=snapshot["tokens_used"],
        tokens_refunded=snapshot["tokens_refunded"],
        rate_limited=snapshot["refused"],
        retries=snapshot["retries"],
        cooldowns=snapshot["episodes"],
        cooldown_seconds=snapshot["cooldown"],
        cooldown_left=snapshot["cooldown_left"],
        limits=tuple(
            limit_stats(index, limit)
            for index, limit in enumerate(snapshot["limits"])
            if index < len(configured) or index in learned
        ),
        idle=share(snapshot["idle"]),
        held_by_concurrency=share(snapshot["no_slot"]),
        held_by_cooldown=share(snapshot["held_cooldown"]),
        learned_concurrency=None if slots is None else slots.known,
        concurrency_learned=None if slots is None else slots.reason,
        concurrency_confidence=None if slots is None else slots.confidence,
        margin=snapshot["margin"],
        charges=charges or {},
    )
