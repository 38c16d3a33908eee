"""The measures of a run beside those of its scheduler, for --metrics."""

from __future__ import annotations

from typing import NamedTuple

from xtremeflow.run.output.counts import Counts
from xtremeflow.telemetry.measure import InstrumentKind, Measure, Samples, one


class RunCounts(NamedTuple):
    """The counts of a run, and its lines in all; None while that is unknown."""

    counts: Counts
    total: int | None


def _done(run: RunCounts) -> Samples:
    counts = run.counts
    return [
        (("succeeded",), counts.succeeded),
        (("failed",), counts.failed),
        (("bad",), counts.bad),
        (("before",), counts.done_before),
    ]


def _tokens(run: RunCounts) -> Samples:
    counts = run.counts
    return [
        (("input",), counts.input_tokens),
        (("output",), counts.output_tokens),
    ]


MEASURES: tuple[Measure[RunCounts], ...] = (
    Measure(
        "xtremeflow.run.lines.done",
        InstrumentKind.COUNTER,
        "{line}",
        "Lines that are done, by outcome; before: in earlier runs",
        _done,
        ("outcome",),
    ),
    Measure(
        "xtremeflow.run.lines.known",
        InstrumentKind.GAUGE,
        "{line}",
        "Lines of the input, once they are counted",
        one(lambda run: run.total),
    ),
    Measure(
        "xtremeflow.run.tokens",
        InstrumentKind.COUNTER,
        "{token}",
        "Tokens that the answers have told as used",
        _tokens,
        ("direction",),
    ),
)
