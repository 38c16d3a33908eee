"""A whole run: the runner with its view, its history, its signals, and its deadline."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xtremeflow import Limit
from xtremeflow.learning.estimates import Estimator
from xtremeflow.run.budget import Budget
from xtremeflow.run.history import History
from xtremeflow.run.keys import Key
from xtremeflow.run.monitor import Monitor, Snapshot
from xtremeflow.run.providers import Provider
from xtremeflow.run.results import Results
from xtremeflow.run.runner import InputChanged, Policy, Runner
from xtremeflow.run.source import Source, SourceError
from xtremeflow.run.summary import Summary
from xtremeflow.run.transport import Transport
from xtremeflow.run.views import View
from xtremeflow.scheduler import TaskScheduler

logger = logging.getLogger("xtremeflow.run")

_SYNC_INTERVAL = 5.0  # s; what a power failure may cost
_HARDLY_NOTICED = 100  # calls
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Job:
    """All that a run needs; `command` is what to give again to go on."""

    source: Source
    results: Results
    provider: Provider
    limits: list[Limit]
    concurrency: int
    estimator: Estimator
    policy: Policy
    budget: Budget
    deadline: float | None
    key: Key | None
    command: str

    async def run(self, transport: Transport, view: View) -> Summary:
        """Runs it, and closes the transport."""
        scheduler = self._scheduler()
        history = History(self.results.path)
        runner = Runner(
            transport,
            scheduler,
            self.results,
            self.provider,
            estimator=self.estimator,
            policy=self.policy,
            budget=self.budget,
            key=self.key,
            on_cooldown=history.cooldown,
        )
        loop = asyncio.get_running_loop()
        began = loop.time()
        monitor = Monitor(began)
        total = LineCount(self.source)
        wall = runner.start_clock()
        history.start(wall, self.limits, concurrency=self.concurrency, provider=self.provider.name)

        def look() -> Snapshot:
            return monitor.look(
                loop.time(),
                runner.counts,
                scheduler.stats(),
                total=total.value,
                in_flight=runner.in_flight,
                concurrency=self.concurrency,
                stopping=runner.stopped,
            )

        async def keep() -> None:
            while True:
                await asyncio.sleep(_SYNC_INTERVAL)
                with contextlib.suppress(OSError):  # the next write will tell
                    await asyncio.to_thread(self.results.sync)

        async def watch() -> None:
            while True:
                view.update(look())
                await asyncio.sleep(view.interval)

        deadline = None
        if self.deadline is not None:
            deadline = loop.call_later(self.deadline, runner.stop, "the deadline has come")
        unusable: Exception | None = None
        stopped_by: list[int] = []
        view.start()
        beside = [asyncio.create_task(watch()), asyncio.create_task(keep())]
        try:
            with _stops(runner, stopped_by):
                await runner.run(self.source.batches())
        except (SourceError, InputChanged) as error:
            unusable = error
        finally:
            if deadline is not None:
                deadline.cancel()
            for task in beside:
                task.cancel()
            await asyncio.wait(beside)
            view.update(look())
            view.stop()
            await transport.aclose()
            with contextlib.suppress(OSError):  # told already, when it could not be written
                self.results.sync()
        stats = scheduler.stats()
        done = runner.counts.done_before + runner.counts.finished
        left = None if total.value is None else max(0, total.value - runner.blank - done)
        summary = Summary(
            counts=runner.counts,
            seconds=loop.time() - began,
            left=left if runner.stopped or unusable else 0,
            stopped=runner.stopped or (str(unusable) if unusable else None),
            unusable=unusable is not None,
            signal=stopped_by[0] if stopped_by else None,
            results=self.results.path,
            errors_path=self.results.errors_path,
            errors=runner.errors,
            cooldowns=stats.cooldowns,
            cooldown_seconds=stats.cooldown_seconds,
            utilisation={limit.name: limit.utilisation for limit in stats.limits},
            learned=self.estimator.learned(),
            command=self.command,
        )
        history.end(runner.wall(), summary.as_json())
        return summary

    def _scheduler(self) -> TaskScheduler:
        """Its buckets are full, but for a run that goes on with one that has just ended: they hold
        what has been refilled since, as that one may have used all there was.
        """
        if self.results.done.count < _HARDLY_NOTICED:
            return TaskScheduler(self.concurrency, limits=self.limits)
        idle = max(0.0, time.time() - self.results.last_written)
        refilled = [
            replace(limit, capacity=min(limit.capacity or 0.0, limit.rate * idle))
            for limit in self.limits
        ]
        scheduler = TaskScheduler(self.concurrency, limits=refilled)
        for limit in self.limits:
            scheduler.set_limit(limit)  # the level stays
        return scheduler


class LineCount:
    """The number of lines, counted in a thread that nobody has to wait for."""

    def __init__(self, source: Source) -> None:
        self.value: int | None = None
        self._source = source
        if source.repeatable:
            threading.Thread(target=self._count, name="xtremeflow-count", daemon=True).start()

    def _count(self) -> None:
        with contextlib.suppress(SourceError, OSError):  # the reader will meet it as well
            self.value = self._source.count()


@contextlib.contextmanager
def _stops(runner: Runner, came: list[int]) -> Generator[None, None, None]:
    """The first signal stops the run, the second ends it; puts into `came` which have come."""
    loop = asyncio.get_running_loop()

    def handle(number: int) -> None:
        came.append(number)
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        if len(came) == 1:
            runner.stop(name)
            logger.warning(
                "%s: waiting for %d calls in flight; once more stops at once",
                name,
                runner.in_flight,
            )
        else:
            runner.abort(name)

    # What whoever started this (nohup, a script's &) has it ignore stays ignored.
    heard = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    for number in heard:
        loop.add_signal_handler(number, handle, number)
    try:
        yield
    finally:
        for number in heard:
            loop.remove_signal_handler(number)


def same_file(source: Source, *paths: Path) -> Path | None:
    """The one of the paths that is the input itself."""
    for path in paths:
        with contextlib.suppress(OSError):
            status: Any = path.stat()
            if source.is_same(status):
                return path
    return None
