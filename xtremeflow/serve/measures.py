"""The measures of the simulated provider, for `xtremeflow serve --metrics`: of the counts that
GET /admin/stats tells."""

from __future__ import annotations

from collections.abc import Callable

from xtremeflow.serve.inquiry import Json
from xtremeflow.telemetry.measure import InstrumentKind, Measure, Samples, one


def _count(name: str) -> Callable[[Json], Samples]:
    return one(lambda stats: stats[name])


def _of_limits(name: str) -> Callable[[Json], Samples]:
    return lambda stats: [((limit,), told[name]) for limit, told in stats["limits"].items()]


MEASURES: tuple[Measure[Json], ...] = (
    Measure(
        "xtremeflow.serve.calls",
        InstrumentKind.COUNTER,
        "{call}",
        "Calls to the simulated provider",
        _count("attempts"),
    ),
    Measure(
        "xtremeflow.serve.answers",
        InstrumentKind.COUNTER,
        "{call}",
        "Answers of the simulated provider, by HTTP status",
        lambda stats: [((status,), n) for status, n in stats["statuses"].items()],
        ("status",),
    ),
    Measure(
        "xtremeflow.serve.early",
        InstrumentKind.COUNTER,
        "{call}",
        "Calls that came before the end of a wait that the simulated provider had told",
        _count("early"),
    ),
    Measure(
        "xtremeflow.serve.abandoned",
        InstrumentKind.COUNTER,
        "{call}",
        "Calls that the client left before their answer",
        _count("abandoned"),
    ),
    Measure(
        "xtremeflow.serve.in_flight",
        InstrumentKind.GAUGE,
        "{call}",
        "Calls that the simulated provider works on",
        _count("in_flight"),
    ),
    Measure(
        "xtremeflow.serve.limit.amount",
        InstrumentKind.GAUGE,
        "{unit}",
        "Amount of the simulated limit per period",
        _of_limits("amount"),
        ("limit",),
    ),
    Measure(
        "xtremeflow.serve.limit.remaining",
        InstrumentKind.GAUGE,
        "{unit}",
        "Rest of the simulated limit",
        _of_limits("remaining"),
        ("limit",),
    ),
)
