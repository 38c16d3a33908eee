"""Metrics for Prometheus: a collector for prometheus_client, and a page for it to scrape."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from threading import Lock
from typing import Any, Generic, TypeVar

from xtremeflow.scheduler import TaskScheduler
from xtremeflow.telemetry.measure import InstrumentKind, Labels, Measure, Reader
from xtremeflow.telemetry.measures import MEASURES, Look, look, named_schedulers
from xtremeflow.values.extras import extra

with extra("metrics"):
    from prometheus_client import start_http_server
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
    from prometheus_client.registry import Collector as BaseCollector
    from prometheus_client.registry import CollectorRegistry

S = TypeVar("S")
Family = CounterMetricFamily | GaugeMetricFamily


class Measured(BaseCollector, Generic[S]):
    """Collects measures of the subjects that `look` returns at each scrape, by the values of the
    labels `first`."""

    def __init__(
        self,
        measures: Sequence[Measure[S]],
        look: Callable[[], Mapping[Labels, S]],
        first: Labels = (),
    ) -> None:
        self._measures = measures
        self._look = look
        self._first = first
        self._readers: dict[Labels, Reader[S]] = {}
        self._scraped = Lock()

    def describe(self) -> Iterator[Family]:
        """Yields the families without samples. A registry finds by them names that are used
        twice."""
        for measure in self._measures:
            yield _family(measure, self._first, ())

    def collect(self) -> Iterator[Family]:
        """Yields the families with their samples."""
        with self._scraped:
            subjects = self._look()
            families = [
                _family(measure, self._first, self._samples(measure, subjects))
                for measure in self._measures
            ]
        return (family for family in families if family.samples)

    def _samples(
        self, measure: Measure[S], subjects: Mapping[Labels, S]
    ) -> Iterator[tuple[Labels, float]]:
        for first, subject in subjects.items():
            reader = self._readers.setdefault(first, Reader())
            for labels, value in reader.read(measure, subject):
                yield (*first, *labels), value


def _family(
    measure: Measure[Any], first: Labels, samples: Iterable[tuple[Labels, float]]
) -> Family:
    labels = (*first, *measure.labels)
    family: Family
    if measure.kind is InstrumentKind.COUNTER:
        family = CounterMetricFamily(measure.family, measure.meaning, labels=labels)
    else:
        family = GaugeMetricFamily(measure.family, measure.meaning, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


class Collector(Measured[Look]):
    """Collects the measures of one or several schedulers, for a registry of prometheus_client.

        registry.register(xtremeflow.metrics.Collector(scheduler))

    The schedulers do nothing for it except at a scrape, which may happen in any thread.
    docs/observability.md lists the names.

    Args:
        schedulers: A scheduler, or several by the names that they get in the label ``scheduler``.
            A single one is named ``default``. A registry takes one collector only, so give it all
            schedulers.

    Raises:
        TypeError: An argument is no scheduler.
    """

    def __init__(self, schedulers: TaskScheduler | Mapping[str, TaskScheduler]) -> None:
        by_name = named_schedulers(schedulers)
        super().__init__(
            MEASURES,
            lambda: {(name,): look(scheduler) for name, scheduler in by_name.items()},
            ("scheduler",),
        )


@contextlib.contextmanager
def serving(
    host: str, port: int, collectors: Iterable[BaseCollector]
) -> Generator[str, None, None]:
    """Serves these collectors' metrics within the block, from a thread of its own. Yields the URL.

    Raises OSError if it cannot listen there.
    """
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    server, thread = start_http_server(port, host, registry)
    shown = f"[{host}]" if ":" in host else host
    try:
        yield f"http://{shown}:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
