"""The views of a run while it goes on: none, log lines, or a live view."""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
from typing import Any, Protocol

from xtremeflow.cli.amounts import counted, duration
from xtremeflow.learning.learner import UNLIMITED
from xtremeflow.run.views import prefixes
from xtremeflow.run.views.monitor import Snapshot
from xtremeflow.scheduler.stats import LearnedConcurrency, LimitStats, ShareStats
from xtremeflow.values.amounts import shown
from xtremeflow.values.limits import DAY, MINUTE

logger = logging.getLogger("xtremeflow.run")

_LOG_INTERVAL = 10.0  # s
_PLENTY = 3600.0  # s: a limit that holds an hour of its rate is one per day


class View(Protocol):
    interval: float
    """Seconds between two updates."""

    def start(self) -> None: ...
    def update(self, now: Snapshot) -> None: ...
    def stop(self) -> None: ...


class Quiet:
    interval = 1.0

    def start(self) -> None:
        pass

    def update(self, now: Snapshot) -> None:
        pass

    def stop(self) -> None:
        pass


class LogLines(Quiet):
    """Logs a line every ten seconds, for files and for terminals that cannot do more."""

    def __init__(self) -> None:
        self._next = _LOG_INTERVAL

    def update(self, now: Snapshot) -> None:
        if now.elapsed >= self._next:
            self._next = now.elapsed + _LOG_INTERVAL
            logger.info("%s", progress_line(now), extra={"xtremeflow": progress_event(now)})


def progress_line(now: Snapshot) -> str:
    """Formats a snapshot in one line."""
    counts = now.counts
    parts = [f"{now.done:,} done" if now.total is None else _progress(now.done, now.total)]
    if counts.failed or counts.bad:
        parts.append(f"{counts.failed + counts.bad:,} of them failed")
    for meter in now.meters:
        name = meter.name.replace("_", " ")
        if meter.limit:
            limit = shown(MINUTE * meter.limit)
            parts.append(f"{shown(MINUTE * meter.rate)} of {limit} {name}/min ({meter.share})")
        else:
            parts.append(f"{shown(MINUTE * meter.rate)} {name}/min")
    of_all = "" if now.learned is None else f" of {now.learned.calls:,}"
    parts.append(f"{now.in_flight:,}{of_all} in flight")
    if counts.refused:
        lately = shown(MINUTE * now.refusals)
        parts.append(f"{counts.refused:,} refused ({lately}/min)")
    if now.margin:
        parts.append(f"margin {briefly(now.margin)}")
    if now.prefixes is not None and now.prefixes.hits is not None:
        parts.append(f"{now.prefixes.hits:.0%} of prefixes found")
    if now.cooldown:
        parts.append(f"cooldown for {duration(now.cooldown)}")
    if now.held_back_by:
        parts.append(f"held back by {now.held_back_by}")
    if now.stopping:
        parts.append(f"stopping: {now.stopping}")
    elif now.left is not None:
        parts.append(f"{duration(now.left)} left")
    return ", ".join(parts)


def progress_event(now: Snapshot) -> dict[str, Any]:
    """Returns a snapshot as the fields of an event. Rates are per second, times in seconds."""
    counts = now.counts
    return {
        "event": "progress",
        "elapsed": round(now.elapsed, 3),
        "done": now.done,
        "total": now.total,
        "failed": counts.failed,
        "bad_lines": counts.bad,
        "attempts": counts.attempts,
        "refused": counts.refused,
        "in_flight": now.in_flight,
        "waiting": now.waiting,
        "cooldown_left": round(now.cooldown, 3),
        "held_back_by": now.held_back_by or None,
        "left": None if now.left is None else round(now.left, 3),
        "stopping": now.stopping,
        "rates": [
            {"name": meter.name, "rate": round(meter.rate, 6), "limit": meter.limit}
            for meter in now.meters
        ],
        "prefixes": None
        if now.prefixes is None
        else prefixes.as_json(now.prefixes, now.input_price),
    }


def explained(limit: LimitStats) -> str:
    """Returns the figures of a limit and their reason."""
    if limit.rate >= UNLIMITED:
        return "none"
    per, unit = (DAY, "day") if limit.capacity >= _PLENTY * limit.rate else (MINUTE, "min")
    parts = [f"{shown(per * limit.rate)}/{unit}, {shown(limit.capacity)} at once"]
    if limit.configured is not None:
        given = shown(per * limit.configured.rate)
        parts.append("as given" if limit.learned is None else f"given {given}/{unit}")
    if limit.bound is not None:
        parts.append(f"set to at most {shown(per * limit.bound.rate)}/{unit}")
    if limit.learned is not None:
        parts.append(limit.learned)
        if limit.confidence is not None and limit.confidence < 1.0:
            parts.append(f"{limit.confidence:.0%} sure")
    return "; ".join(parts)


def explained_concurrency(learned: LearnedConcurrency, given: int | None = None) -> str:
    """Returns the number of calls that the provider takes at a time, and its reason."""
    parts = [f"{learned.calls:,} calls at a time"]
    if given is not None:
        parts.append(f"given {given:,}")
    parts.append(learned.learned)
    if learned.confidence is not None and learned.confidence < 1.0:
        parts.append(f"{learned.confidence:.0%} sure")
    return "; ".join(parts)


def explained_share(share: ShareStats, waited: float) -> str:
    """Returns the figures of a share for whose other members the queue has waited so many
    seconds."""
    parts = [
        f"{share.name}: {counted(share.members, 'member')}",
        f"{share.own:.0%} of all that was used",
        f"{duration(waited)} waited for the others",
    ]
    if share.outages:
        parts.append(counted(share.outages, "outage"))
    if not share.reachable:
        parts.append("no answer now")
    return "; ".join(parts)


def briefly(seconds: float) -> str:
    """Formats a duration in seconds: `12 ms`, `2.0 s`."""
    return duration(seconds) if seconds >= 0.9995 else f"{shown(1000 * seconds)} ms"


def _progress(done: int, total: int) -> str:
    share = done / total if total else 1.0
    return f"{done:,} of {total:,} done ({share:.0%})"


def choose(*, quiet: bool, plain: bool, title: str) -> View:
    """Returns the live view, if there is a terminal and rich is installed, else log lines."""
    if quiet:
        return Quiet()
    dumb = os.environ.get("TERM", "dumb") in ("dumb", "unknown", "")
    if plain or dumb or not sys.stderr.isatty():
        return LogLines()
    if importlib.util.find_spec("rich") is None:
        logger.info("log lines, as the live view needs rich: pip install 'xtremeflow[run]'")
        return LogLines()
    from xtremeflow.run.views.live import Live

    return Live(title)
