"""The causes that left quota idle, under one name each, for every view of a scheduler."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from xtremeflow.learning.learner import UNLIMITED

if TYPE_CHECKING:
    from xtremeflow.scheduler.stats import LimitStats, Stats

IDLE = ""  # the cause while no call waited


def named(stats: Stats) -> Iterator[tuple[str, LimitStats]]:
    """Yields the limits under names of their own: the second one of a name has ``#2`` behind it."""
    met: Counter[str] = Counter()
    for limit in stats.limits:
        if limit.rate < UNLIMITED:
            met[limit.name] += 1
            number = met[limit.name]
            yield limit.name if number == 1 else f"{limit.name}#{number}", limit


def causes(stats: Stats) -> dict[str, float]:
    """Returns the causes that left quota idle, and their shares of the time, which add up to 1: the
    limits by the names of `named`, "concurrency", "cooldown", "share", "prefix" and IDLE."""
    return {
        **{name: limit.held_back for name, limit in named(stats)},
        "concurrency": stats.held_by_concurrency,
        "cooldown": stats.held_by_cooldown,
        "share": stats.held_by_share,
        "prefix": stats.held_by_prefix,
        IDLE: stats.idle,
    }
