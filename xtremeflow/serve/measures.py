"""The measures of the simulated provider, for `xtremeflow serve --metrics`: of the counts that
GET /admin/stats tells."""

from __future__ import annotations

from collections.abc import Callable

from xtremeflow.serve.asking import Json
from xtremeflow.telemetry.measure import Kind, Measure, Samples, one


def _count(name: str) -> Callable[[Json], Samples]:
    return one(lambda stats: stats[name])


def _of_limits(name: str) -> Callable[[Json], Samples]:
    return lambda stats: [((limit,), told[name]) for limit, told in stats["limits"].items()]


MEASURES: tuple[Measure[Json], ...] = (
    Measure(
        "xtremeflow.serve.calls",
        Kind.COUNTER,
        "{call}",
        "Calls to the simulated provider",
        _count("attempts"),
    ),
    Measure(
        "xtremeflow.serve.answers",
        Kind.COUNTER,
        "{call}",
        "Answers of the simulated provider, by HTTP status",
        lambda stats: [((status,), n) for status, n in stats["statuses"].items()],
        ("status",),
    ),
    Measure(
        "xtremeflow.serve.early",
        Kind.COUNTER,
        "{call}",
        "Calls that came before the end of a wait that the simulated provider had told",
        _count("early"),
    ),
    Measure(
        "xtremeflow.serve.abandoned",
        Kind.COUNTER,
        "{call}",
        "Calls that the client left before their answer",
        _count("abandoned"),
    ),
    Measure(
        "xtremeflow.serve.in_flight",
        Kind.GAUGE,
        "{call}",
        "Calls that the simulated provider works on",
        _count("in_flight"),
    ),
    Measure(
        "xtremeflow.serve.limit.amount",
        Kind.GAUGE,
        "{unit}",
        "Amount of the simulated limit per period",
        _of_limits("amount"),
        ("limit",),
    ),
    Measure(
        "xtremeflow.serve.limit.remaining",
        Kind.GAUGE,
        "{unit}",
        "Rest of the simulated limit",
        _of_limits("remaining"),
        ("limit",),
    ),
)
