"""A measure: one name, unit and meaning for all the tools that metrics are sent to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

S = TypeVar("S")

Labels = tuple[str, ...]
Samples = Iterable[tuple[Labels, float | None]]


class InstrumentKind(Enum):
    COUNTER = "counter"
    """A sum that only grows."""
    GAUGE = "gauge"
    """A value that rises and falls."""


# The units are those of UCUM, https://ucum.org; one in braces says what is counted. Prometheus
# writes units as words behind the name: see "Prometheus and OpenMetrics Compatibility" at
# https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/
_WORDS = {"s": "_seconds", "1": "_ratio"}


@dataclass(frozen=True)
class Measure(Generic[S]):
    """One measure of subjects of type S.

    name     as OpenTelemetry writes it, such as ``xtremeflow.calls.waiting``
    unit     ``s``, ``1`` (a share), or what is counted, such as ``{call}``
    read     returns the labels' values and the value of each series; None is no sample
    is_held  whether a counter shows the highest value that it has had. A refund, or rounding, may
             lower what is read, and Prometheus would take that for a restart.
    """

    name: str
    kind: InstrumentKind
    unit: str
    meaning: str
    read: Callable[[S], Samples]
    labels: Labels = ()
    is_held: bool = False

    @property
    def family(self) -> str:
        """The name as Prometheus writes it, without the ``_total`` of counters."""
        return self.name.replace(".", "_") + _WORDS.get(self.unit, "")

    @property
    def series(self) -> str:
        """The name of its samples in Prometheus."""
        return self.family + ("_total" if self.kind is InstrumentKind.COUNTER else "")


def one(read: Callable[[S], float | None]) -> Callable[[S], Samples]:
    """Returns the samples of a measure without labels."""
    return lambda subject: [((), read(subject))]


class Reader(Generic[S]):
    """Reads the samples of one subject."""

    def __init__(self) -> None:
        self._highest: dict[tuple[str, Labels], float] = {}

    def read(self, measure: Measure[S], subject: S) -> Iterator[tuple[Labels, float]]:
        """Yields the samples of a measure."""
        for labels, value in measure.read(subject):
            if value is None:
                continue
            if measure.is_held:
                key = measure.name, labels
                value = self._highest[key] = max(value, self._highest.get(key, value))
            yield labels, float(value)
