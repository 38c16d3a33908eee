"""The samples that the page draws: cumulative counts, from which it takes the rates."""

from __future__ import annotations

import math
import time
from dataclasses import asdict
from typing import Any

from xtremeflow.scheduler import TaskScheduler
from xtremeflow.scheduler.causes import causes, named
from xtremeflow.scheduler.stats import Stats
from xtremeflow.web.control import learnable

Json = dict[str, Any]


def sample(scheduler: TaskScheduler) -> Json:
    """Returns the state of a scheduler. Times are in seconds, counts since its first call."""
    stats = scheduler.stats()
    return {
        "elapsed": stats.elapsed,
        "submitted": stats.submitted,
        "admitted": stats.admitted,
        "ended": stats.succeeded + stats.failed + stats.cancelled,
        "succeeded": stats.succeeded,
        "failed": stats.failed,
        "waiting": stats.waiting,
        "in_flight": stats.in_flight,
        "slots": scheduler.max_concurrency,
        "learned_slots": None if stats.concurrency is None else stats.concurrency.calls,
        "begun": stats.begun,
        "first_token_seconds": stats.first_token_seconds,
        "refused": stats.refused,
        "retries": stats.retries,
        "cooldowns": stats.cooldowns,
        "cooldown_seconds": stats.cooldown_seconds,
        "cooldown_left": stats.cooldown_left,
        "tokens_used": stats.tokens_used,
        "margin": stats.margin,
        "held": _held(stats),
        "limits": _limits(stats),
        "configured": [
            {"name": limit.name, "amount": limit.amount, "per": limit.per}
            for limit in scheduler.limits
        ],
        "learnable": [{"name": limit.name, "per": limit.per} for limit in learnable(scheduler)],
        "adapts": bool(scheduler.adapt),
        "share": None if stats.share is None else asdict(stats.share),
        "prefixes": None if stats.prefixes is None else asdict(stats.prefixes),
        "paused": scheduler.is_paused,
    }


def stamped(schedulers: dict[str, TaskScheduler], run: Json | None) -> Json:
    """Returns the sample of all schedulers at this time, in seconds since the epoch."""
    return {
        "time": round(time.time(), 3),
        "schedulers": {name: sample(scheduler) for name, scheduler in schedulers.items()},
        "run": run,
    }


def _held(stats: Stats) -> dict[str, float]:
    return {cause: round(share * stats.elapsed, 6) for cause, share in causes(stats).items()}


def _limits(stats: Stats) -> list[Json]:
    return [
        {
            "name": name,
            "rate": _finite(limit.rate),
            "capacity": _finite(limit.capacity),
            "level": _finite(limit.level),
            "used": limit.used,
            "learned": limit.learned,
            "bound": None if limit.bound is None else limit.bound.rate,
            "confidence": limit.confidence,
        }
        for name, limit in named(stats)
    ]


def _finite(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None
