"""Shows a job while it runs: a live bar in a terminal (with rich), log lines elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
from collections.abc import AsyncGenerator, Callable, Generator

from xtremeflow.testing import ProviderStats, SimulatedProvider

logger = logging.getLogger(__name__)

Show = Callable[[ProviderStats, float], None]
"""Shows what a provider has seen so far, and after how many seconds."""

LIVE_INTERVAL = 0.1  # seconds
LOG_INTERVAL = 5.0


@contextlib.asynccontextmanager
async def progress(
    label: str, provider: SimulatedProvider, total: int
) -> AsyncGenerator[None, None]:
    """Shows the way of `total` calls through `provider` for as long as the block lasts."""
    live = sys.stdout.isatty()
    with _live_bar(label, total) if live else _log_lines(label, total) as show:
        began = time.monotonic()

        async def refresh() -> None:
            while True:
                show(provider.stats, time.monotonic() - began)
                await asyncio.sleep(LIVE_INTERVAL if live else LOG_INTERVAL)

        refreshing = asyncio.create_task(refresh())
        try:
            yield
        finally:
            refreshing.cancel()
            show(provider.stats, time.monotonic() - began)


@contextlib.contextmanager
def _log_lines(label: str, total: int) -> Generator[Show, None, None]:
    def show(stats: ProviderStats, seconds: float) -> None:
        logger.info("%s: %s", label, _counts(stats, total, seconds))

    yield show


@contextlib.contextmanager
def _live_bar(label: str, total: int) -> Generator[Show, None, None]:
    try:
        from rich.progress import BarColumn, Progress, TextColumn
    except ImportError:
        with _log_lines(label, total) as log:
            yield log
        return

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[counts]}"),
    )
    with Progress(*columns, expand=True) as bar:
        task = bar.add_task(label, total=total, counts="")

        def show(stats: ProviderStats, seconds: float) -> None:
            bar.update(task, completed=stats.completed, counts=_counts(stats, total, seconds))

        yield show


def _counts(stats: ProviderStats, total: int, seconds: float) -> str:
    done = f"{stats.completed:,}/{total:,} done"
    return f"{done}, {stats.in_flight} in flight, {stats.refused:,} refused, {seconds:.0f} s"
