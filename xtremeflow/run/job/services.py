"""The services that a run offers to others while it goes on."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from xtremeflow.cli.address import Address
from xtremeflow.run.views.measures import MEASURES, RunCounts
from xtremeflow.run.views.monitor import Snapshot
from xtremeflow.scheduler import TaskScheduler
from xtremeflow.web.control import Controls
from xtremeflow.web.feed import Feed
from xtremeflow.web.sample import stamped
from xtremeflow.web.server import Server

logger = logging.getLogger("xtremeflow.run")


class ServiceError(Exception):
    """A service cannot be offered. The message says why."""


class Served(Protocol):
    """A run, as services see it."""

    scheduler: TaskScheduler

    def counted(self) -> RunCounts: ...
    def look(self) -> Snapshot: ...
    def stop(self, reason: str) -> None:
        """Dispatches no more calls."""
        ...


RunService = Callable[[Served], AbstractAsyncContextManager[None]]


def metrics(where: Address) -> RunService:
    """Returns a service that Prometheus can scrape. It needs prometheus_client."""

    @contextlib.asynccontextmanager
    async def service(run: Served) -> AsyncGenerator[None, None]:
        from xtremeflow.telemetry.prometheus import Collector, Measured, serving

        lines = Measured(MEASURES, lambda: {(): run.counted()})
        with contextlib.ExitStack() as stack:
            try:
                url = stack.enter_context(serving(*where, [Collector(run.scheduler), lines]))
            except OSError as error:
                raise ServiceError(f"--metrics {where}: {error.strerror or error}") from None
            logger.info("metrics: %s", url)
            yield

    return service


def web(where: Address, token: str | None, title: str) -> RunService:
    """Returns a service that shows the run as a page, and controls it. It needs plotly."""

    @contextlib.asynccontextmanager
    async def service(run: Served) -> AsyncGenerator[None, None]:
        schedulers = {"run": run.scheduler}
        feed = Feed(lambda: stamped(schedulers, _shown(run.look(), title)))
        controls = Controls(schedulers, lambda: run.stop("drained by a control"))
        async with contextlib.AsyncExitStack() as stack:
            try:
                server = await stack.enter_async_context(Server(feed, controls, where, token))
            except OSError as error:
                raise ServiceError(f"--web {where}: {error.strerror or error}") from None
            logger.info("page: %s", server.url)
            yield

    return service


def _shown(now: Snapshot, title: str) -> dict[str, object]:
    return {
        "title": title,
        "done": now.done,
        "total": now.total,
        "left": now.left,
        "stopping": now.stopping,
        "input_price": now.input_price,
    }
