"""Shows a job while it runs: a live bar in a terminal (with rich), log lines elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator

from xtremeflow.testing import ProviderStats, SimulatedProvider

logger = logging.getLogger(__name__)

Show = Callable[[ProviderStats, float], None]
"""Shows what a provider has seen so far, and after how many seconds."""

LIVE_INTERVAL = 0.1  # seconds
LOG_INTERVAL = 5.0


@contextlib.asynccontextmanager
async def progress(label: str, provider: SimulatedProvider, total: int) -> AsyncIterator[None]:
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
def _log_lines(label: str, total: int) -> Iterator[Show]:
    def show(stats: ProviderStats, seconds: float) -> None:
        logger.info("%s: %5.1f s, %s", label, seconds, _counts(stats, total))

    yield show


@contextlib.contextmanager
def _live_bar(label: str, total: int) -> Iterator[Show]:
    try:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    except ImportError:
        with _log_lines(label, total) as show:
            yield show
        return

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[counts]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, expand=True) as bar:
        task = bar.add_task(label, total=total, counts="")

        def show(stats: ProviderStats, _: float) -> None:
            bar.update(task, completed=stats.completed, counts=_counts(stats, total))

        yield show


def _counts(stats: ProviderStats, total: int) -> str:
    done = f"{stats.completed:,}/{total:,} done"
    return f"{done}, {stats.in_flight} in flight, {stats.refused:,} refused"
