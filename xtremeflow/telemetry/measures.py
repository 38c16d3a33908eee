"""The measures of a scheduler. docs/observability.md lists them, and a test compares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from xtremeflow.scheduler import TaskScheduler
from xtremeflow.scheduler.causes import IDLE, causes, named
from xtremeflow.scheduler.stats import LimitStats, PrefixStats, ShareStats, Stats
from xtremeflow.telemetry.measure import InstrumentKind, Measure, Samples, one


class Look(NamedTuple):
    """A scheduler at one moment. `slots` is the configured number of calls at a time."""

    stats: Stats
    slots: int | None


def look(scheduler: TaskScheduler) -> Look:
    return Look(scheduler.stats(), scheduler.max_concurrency)


def named_schedulers(
    schedulers: TaskScheduler | Mapping[str, TaskScheduler],
) -> dict[str, TaskScheduler]:
    """Checks the argument of a public function: a scheduler, or several by name. A single one gets
    the name ``default``. Raises TypeError."""
    if isinstance(schedulers, TaskScheduler):
        return {"default": schedulers}
    if not isinstance(schedulers, Mapping):
        raise TypeError(
            f"schedulers must be a scheduler or a mapping of names to such, got {schedulers!r}"
        )
    for name, scheduler in schedulers.items():
        if not isinstance(name, str) or not isinstance(scheduler, TaskScheduler):
            raise TypeError(
                f"schedulers must map names to schedulers of xtremeflow, got {name!r}: "
                f"{scheduler!r}"
            )
    return dict(schedulers)


def _of_limits(
    read: Callable[[LimitStats], float | None],
) -> Callable[[Look], Samples]:
    return lambda seen: [((name,), read(limit)) for name, limit in named(seen.stats)]


def _ended(seen: Look) -> Samples:
    stats = seen.stats
    return [
        (("succeeded",), stats.succeeded),
        (("failed",), stats.failed),
        (("cancelled",), stats.cancelled),
        (("expired",), stats.expired),
    ]


def _held(seen: Look) -> Samples:
    elapsed = seen.stats.elapsed
    held = {("nothing" if cause == IDLE else cause): s for cause, s in causes(seen.stats).items()}
    for name, _ in named(seen.stats):
        held[f"limit {name}"] = held.pop(name)
    return [((cause,), share * elapsed) for cause, share in held.items()]


def _of_share(read: Callable[[ShareStats], float]) -> Callable[[Look], Samples]:
    return one(lambda seen: None if seen.stats.share is None else read(seen.stats.share))


def _of_prefixes(read: Callable[[PrefixStats], float | None]) -> Callable[[Look], Samples]:
    return one(lambda seen: None if seen.stats.prefixes is None else read(seen.stats.prefixes))


def _prefix_lookups(seen: Look) -> Samples:
    told = seen.stats.prefixes
    if told is None:
        return []
    return [(("hit",), told.found), (("miss",), told.looked_up - told.found)]


def _prefix_tokens(seen: Look) -> Samples:
    told = seen.stats.prefixes
    if told is None:
        return []
    return [(("expected",), told.expected), (("read",), told.read), (("written",), told.written)]


def _counter(
    name: str,
    unit: str,
    meaning: str,
    read: Callable[[Look], Samples],
    *labels: str,
    is_held: bool = False,
) -> Measure[Look]:
    return Measure(
        f"xtremeflow.{name}", InstrumentKind.COUNTER, unit, meaning, read, labels, is_held
    )


def _gauge(
    name: str,
    unit: str,
    meaning: str,
    read: Callable[[Look], Samples],
    *labels: str,
) -> Measure[Look]:
    return Measure(f"xtremeflow.{name}", InstrumentKind.GAUGE, unit, meaning, read, labels)


MEASURES: tuple[Measure[Look], ...] = (
    _counter("calls.submitted", "{call}", "Calls submitted", one(lambda s: s.stats.submitted)),
    _counter("calls.ended", "{call}", "Calls that have ended, by outcome", _ended, "outcome"),
    _gauge("calls.waiting", "{call}", "Calls in the queue", one(lambda s: s.stats.waiting)),
    _gauge("calls.in_flight", "{call}", "Calls in flight", one(lambda s: s.stats.in_flight)),
    _counter(
        "attempts.admitted",
        "{attempt}",
        "Attempts admitted, retries included",
        one(lambda s: s.stats.admitted),
    ),
    _counter(
        "attempts.refused",
        "{attempt}",
        "Refusals of which the scheduler was told",
        one(lambda s: s.stats.refused),
    ),
    _counter("retries", "{attempt}", "Further attempts of calls", one(lambda s: s.stats.retries)),
    _counter("cooldown.episodes", "{cooldown}", "Cooldowns", one(lambda s: s.stats.cooldowns)),
    _counter(
        "cooldown.time",
        "s",
        "Length of all cooldowns together",
        one(lambda s: s.stats.cooldown_seconds),
    ),
    _gauge(
        "cooldown.left",
        "s",
        "Time until the running cooldown ends",
        one(lambda s: s.stats.cooldown_left),
    ),
    _counter(
        "first_token.calls",
        "{call}",
        "Calls whose answer was seen to begin",
        one(lambda s: s.stats.begun),
    ),
    _counter(
        "first_token.time",
        "s",
        "Time from their dispatch until then, added up over the calls",
        one(lambda s: s.stats.first_token_seconds),
    ),
    _counter(
        "queue.time",
        "s",
        "Time by what held the head of the queue back; nothing: no call waited",
        _held,
        "cause",
        is_held=True,
    ),
    _counter(
        "tokens.used",
        "{token}",
        "Tokens of dispatched attempts, estimates replaced by reports",
        one(lambda s: s.stats.tokens_used),
        is_held=True,
    ),
    _counter(
        "tokens.refunded",
        "{token}",
        "Tokens returned by reports below the estimate",
        one(lambda s: s.stats.tokens_refunded),
    ),
    _gauge(
        "limit.rate",
        "{unit}/s",
        "Units per second that the limit allows",
        _of_limits(lambda limit: limit.rate),
        "limit",
    ),
    _gauge(
        "limit.capacity",
        "{unit}",
        "Units of the limit that may be used at once",
        _of_limits(lambda limit: limit.capacity),
        "limit",
    ),
    _gauge(
        "limit.level",
        "{unit}",
        "Units of the limit that may be used now; negative: a debt",
        _of_limits(lambda limit: limit.level),
        "limit",
    ),
    _counter(
        "limit.used",
        "{unit}",
        "Units of admitted calls, estimates replaced by reports",
        _of_limits(lambda limit: limit.used),
        "limit",
        is_held=True,
    ),
    _counter(
        "limit.refunded",
        "{unit}",
        "Units returned by reports below the estimate",
        _of_limits(lambda limit: limit.refunded),
        "limit",
    ),
    _counter(
        "limit.charged",
        "{unit}",
        "Units taken in addition by reports above the estimate",
        _of_limits(lambda limit: limit.charged),
        "limit",
    ),
    _gauge(
        "limit.utilisation",
        "1",
        "Share used of all that the limit has allowed since the first call",
        _of_limits(lambda limit: limit.utilisation),
        "limit",
    ),
    _gauge(
        "limit.confidence",
        "1",
        "Confidence in the rate of a learned limit",
        _of_limits(lambda limit: limit.confidence),
        "limit",
    ),
    _gauge(
        "concurrency.configured",
        "{call}",
        "Calls in flight at a time, as configured",
        one(lambda s: s.slots),
    ),
    _gauge(
        "concurrency.learned",
        "{call}",
        "Calls in flight at a time that the provider takes, as learned",
        one(lambda s: None if s.stats.concurrency is None else s.stats.concurrency.calls),
    ),
    _gauge(
        "margin",
        "s",
        "Time of each limit's rate that is kept in reserve",
        one(lambda s: s.stats.margin),
    ),
    _gauge("share.members", "{member}", "Members of the share", _of_share(lambda s: s.members)),
    _gauge(
        "share.in_flight",
        "{call}",
        "Calls in flight of all members of the share",
        _of_share(lambda s: s.in_flight),
    ),
    _gauge(
        "share.waiting",
        "{member}",
        "Members of the share whose next call waits",
        _of_share(lambda s: s.waiting),
    ),
    _gauge(
        "share.reachable",
        "{server}",
        "1 while the share's server answers, else 0",
        _of_share(lambda s: s.reachable),
    ),
    _counter(
        "share.outages",
        "{outage}",
        "Times that the share's server has not answered",
        _of_share(lambda s: s.outages),
    ),
    _gauge(
        "share.own",
        "1",
        "Part of this scheduler in all that the members of the share have used",
        _of_share(lambda s: s.own),
    ),
    _gauge("prefix.groups", "{group}", "Known prefixes", _of_prefixes(lambda p: p.groups)),
    _counter(
        "prefix.leaders",
        "{call}",
        "Calls that went ahead of those with the same prefix",
        _of_prefixes(lambda p: p.led),
    ),
    _counter(
        "prefix.lapses",
        "{call}",
        "Of these, those whose answer had not begun within the bound, while others waited",
        _of_prefixes(lambda p: p.lapsed),
    ),
    _counter(
        "prefix.lookups",
        "{call}",
        "Calls that followed, by whether they found their prefix in the cache",
        _prefix_lookups,
        "outcome",
    ),
    _counter(
        "prefix.held",
        "s",
        "Time for which prefixes held calls back, added up over the prefixes",
        _of_prefixes(lambda p: p.held_seconds),
    ),
    _counter(
        "prefix.tokens",
        "{token}",
        "Tokens of prefixes: expected in the cache, read from it, written to it",
        _prefix_tokens,
        "kind",
    ),
    _counter(
        "prefix.prompts",
        "{token}",
        "Tokens of the prompts with a prefix whose provider's prices are known",
        _of_prefixes(lambda p: p.prompts or None),
    ),
    _gauge(
        "prefix.saved",
        "{token}",
        "Of these, tokens that cost as much as the cache has saved; negative: writes cost more",
        _of_prefixes(lambda p: p.saved if p.prompts else None),
    ),
)
