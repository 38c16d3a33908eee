"""A whole run: the runner with its view, its history, its signals, and its deadline."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import signal
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass, replace

from xtremeflow import Limit
from xtremeflow.learning.concurrency.slots import FIRST_CALLS
from xtremeflow.learning.estimates import Estimator
from xtremeflow.learning.saved import Learned, restored, saved
from xtremeflow.run.budget import Budget
from xtremeflow.run.history import History, last_state, past_runs
from xtremeflow.run.keys import Key
from xtremeflow.run.monitor import Monitor, Snapshot
from xtremeflow.run.providers import Provider
from xtremeflow.run.requests import Json
from xtremeflow.run.results import InputChanged, Results, ResultsError
from xtremeflow.run.runner import Policy, Runner
from xtremeflow.run.source import Source, SourceError
from xtremeflow.run.summary import Summary
from xtremeflow.run.transport import Transport
from xtremeflow.run.views import View
from xtremeflow.scheduler import TaskScheduler
from xtremeflow.scheduler.base import Adapt

logger = logging.getLogger("xtremeflow.run")

_SYNC_INTERVAL = 5.0  # s; what a power failure may cost
_HARDLY_NOTICED = 100  # calls
_LOOK_INTERVAL = 0.5  # s, between looks at the limits
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Job:
    """All that a run needs.

    limits       those to begin with
    target       the address that they belong to
    adapt        what may become of them, and of those that only the answers tell of: see
                 `TaskScheduler`
    concurrency  calls at a time, at the most
    command      what to give again to go on
    """

    source: Source
    results: Results
    provider: Provider
    limits: list[Limit]
    target: str
    adapt: Adapt
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
            on_begin=lambda: history.start(
                runner.wall(),
                self.limits,
                concurrency=self.concurrency,
                provider=self.provider.name,
                target=self.target,
            ),
        )
        loop = asyncio.get_running_loop()
        began = loop.time()
        monitor = Monitor(began)
        total = LineCount(self.source)
        runner.start_clock()

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

        async def follow() -> None:
            while True:
                history.limits(runner.wall(), scheduler.stats().limits, scheduler.learned)
                await asyncio.sleep(_LOOK_INTERVAL)

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
        beside = [asyncio.create_task(each()) for each in (watch, keep, follow)]
        try:
            with _stops(runner, stopped_by):
                await runner.run(self.source.batches())
        except (SourceError, InputChanged, ResultsError) as error:
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
            to_be_mended=runner.to_be_mended,
            unusable=unusable is not None,
            signal=stopped_by[0] if stopped_by else None,
            results=self.results.path,
            errors_path=self.results.errors_path,
            errors=runner.errors,
            cooldowns=stats.cooldowns,
            cooldown_seconds=stats.cooldown_seconds,
            limits=stats.limits,
            margin=stats.margin,
            learned_concurrency=stats.learned_concurrency,
            concurrency_learned=stats.concurrency_learned,
            concurrency_confidence=stats.concurrency_confidence,
            learned=self.estimator.learned(),
            command=self.command,
        )
        history.end(runner.wall(), summary.as_json(), scheduler.learned)
        return summary

    def _scheduler(self) -> TaskScheduler:
        """Its buckets are full, but for a run that goes on with one that has just ended: they hold
        what has been refilled since, as that one may have used all there was.
        """
        idle = math.inf
        if self.results.done.count >= _HARDLY_NOTICED:
            idle = max(0.0, time.time() - self.results.last_written)
        refilled = [
            replace(limit, capacity=min(limit.capacity or 0.0, limit.rate * idle))
            for limit in self.limits
        ]
        scheduler = TaskScheduler(
            self.concurrency,
            limits=refilled,
            adapt=self.adapt,
            learned=self._learned(idle) if self.adapt else None,
        )
        for limit, less in zip(self.limits, refilled, strict=True):
            if limit != less:
                scheduler.set_limit(limit)  # the level stays
        return scheduler

    def _learned(self, idle: float) -> Json | None:
        """What the last run has learned of the limits, if there is any use in it."""
        state = last_state(past_runs(self.results.path), self.target)
        try:
            before = restored(state) if state is not None else self._assumed()
        except (TypeError, ValueError) as error:
            logger.warning("nothing is made of what was learned of the limits: %s", error)
            return None
        rates = {
            name: replace(rate, burst=min(rate.burst, rate.rate * idle))
            for name, rate in before.rates.items()
        }
        return saved(replace(before, rates=rates))

    def _assumed(self) -> Learned:
        """Of a provider that limits nothing but the calls in flight: that it does."""
        limits_calls = set(self.provider.amounts) == {"concurrency"}
        return Learned(concurrency=FIRST_CALLS if limits_calls else None)


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
