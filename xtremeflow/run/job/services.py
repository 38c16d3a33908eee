"""The services that a run offers to others while it goes on."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from typing import Protocol

from xtremeflow.cli.address import Address
from xtremeflow.run.views.measures import MEASURES, Progress
from xtremeflow.scheduler import TaskScheduler

logger = logging.getLogger("xtremeflow.run")


class ServiceError(Exception):
    """A service cannot be offered. The message says why."""


class Served(Protocol):
    """A run, as services see it."""

    scheduler: TaskScheduler

    def progress(self) -> Progress: ...


Service = Callable[[Served], AbstractContextManager[None]]


def metrics(where: Address) -> Service:
    """Returns a service that Prometheus can scrape. It needs prometheus_client."""

    @contextlib.contextmanager
    def service(run: Served) -> Generator[None, None, None]:
        from xtremeflow.telemetry.prometheus import Collector, Measured, serving

        lines = Measured(MEASURES, lambda: {(): run.progress()})
        with contextlib.ExitStack() as stack:
            try:
                url = stack.enter_context(serving(*where, [Collector(run.scheduler), lines]))
            except OSError as error:
                raise ServiceError(f"--metrics {where}: {error.strerror or error}") from None
            logger.info("metrics: %s", url)
            yield

    return service
