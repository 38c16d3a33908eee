"""A whole run: the runner with its view, its history, its signals, and its deadline."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import signal
import threading
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from xtremeflow.learning.belief import Adapt
from xtremeflow.learning.concurrency.slots import FIRST_CALLS
from xtremeflow.learning.costs.estimates import Estimator
from xtremeflow.learning.saved import Learned, restored, saved
from xtremeflow.providers import Provider
from xtremeflow.run.input.keys import Key
from xtremeflow.run.input.requests import Json
from xtremeflow.run.input.source import Source, SourceError
from xtremeflow.run.job.budget import Budget
from xtremeflow.run.job.policy import Policy
from xtremeflow.run.job.runner import Runner
from xtremeflow.run.job.services import RunService
from xtremeflow.run.output.history import History, last_state, past_runs
from xtremeflow.run.output.results import InputChanged, Results, ResultsError
from xtremeflow.run.views.measures import RunCounts
from xtremeflow.run.views.monitor import Monitor, Snapshot
from xtremeflow.run.views.summary import Summary
from xtremeflow.run.views.view import View
from xtremeflow.run.wire.transport import Transport
from xtremeflow.scheduler import TaskScheduler
from xtremeflow.values.limits import Limit

logger = logging.getLogger("xtremeflow.run")

_SYNC_INTERVAL = 5.0  # s; a power failure may lose the results of this time
_HARDLY_NOTICED = 100  # calls
_LOOK_INTERVAL = 0.5  # s, between looks at the limits
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Job:
    """The parts and settings of a run.

    limits       those to begin with
    target       the address that they belong to
    adapt        how answers may change them: see `TaskScheduler`
    concurrency  calls at a time, at most
    command      the command that goes on with the run
    share        the account of which the run is a member, or None
    services     what it offers while it goes on
    prefixes     whether calls whose prompts begin alike follow one that leads
    input_price  of a million tokens, in US dollars; None if it is unknown
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
    share: str | None = None
    services: Sequence[RunService] = ()
    prefixes: bool = False
    input_price: float | None = None

    async def run(self, transport: Transport, view: View) -> Summary:
        """Runs the job, closes the transport and returns the summary.

        Raises ServiceError, before anything is sent, if a service cannot be offered.
        """
        async with contextlib.AsyncExitStack() as services:
            try:
                run = _Run(self, transport, view)
                for service in self.services:
                    await services.enter_async_context(service(run))
            except BaseException:
                await transport.aclose()
                raise
            return await run.to_its_end()

    def scheduler(self) -> TaskScheduler:
        """Makes the scheduler. Its buckets are full, unless a run on this output has just ended.
        Then they hold the refill since that end, as that run may have used everything. A share
        knows its own levels.
        """
        idle = math.inf
        if self.results.done.count >= _HARDLY_NOTICED:
            idle = max(0.0, time.time() - self.results.last_written)
        learned = self._learned(idle) if self.adapt else None
        if self.share is not None:
            return TaskScheduler(
                self.concurrency,
                limits=self.limits,
                adapt=self.adapt,
                learned=learned,
                share=self.share,
            )
        refilled = [
            replace(limit, capacity=min(limit.capacity or 0.0, limit.rate * idle))
            for limit in self.limits
        ]
        scheduler = TaskScheduler(
            self.concurrency,
            limits=refilled,
            adapt=self.adapt,
            learned=learned,
        )
        for limit, less in zip(self.limits, refilled, strict=True):
            if limit != less:
                bounded = self.adapt is not True
                scheduler._change_limit(limit, bounded=bounded)  # the level stays
        return scheduler

    def _learned(self, idle: float) -> Json | None:
        """Returns what the last run has learned of the limits, if it is still of use."""
        state = last_state(past_runs(self.results.path), self.target)
        try:
            before = restored(state) if state is not None else self._assumed()
        except (TypeError, ValueError) as error:
            logger.warning("the limits that earlier runs have learned are not used: %s", error)
            return None
        rates = {
            name: replace(rate, burst=min(rate.burst, rate.rate * idle))
            for name, rate in before.rates.items()
        }
        return saved(replace(before, rates=rates))

    def _assumed(self) -> Learned:
        """Returns the assumption for a provider that limits only calls in flight."""
        return Learned(concurrency=FIRST_CALLS if self.provider.limits_calls_only else None)


class _Run:
    """A running job: its parts, and the tasks beside its calls."""

    def __init__(self, job: Job, transport: Transport, view: View) -> None:
        self._job = job
        self._transport = transport
        self._view = view
        self.scheduler = job.scheduler()
        self._history = History(job.results.path)
        self._runner = Runner(
            transport,
            self.scheduler,
            job.results,
            job.provider,
            estimator=job.estimator,
            policy=job.policy,
            budget=job.budget,
            key=job.key,
            on_cooldown=self._history.cooldown,
            on_begin=self._begun,
            prefixes=job.prefixes,
            reads_ahead=job.source.repeatable,
        )
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._monitor = Monitor(self._began, job.input_price)
        self._total = LineCount(job.source)
        self._beside: list[asyncio.Task[None]] = []
        self._deadline: asyncio.TimerHandle | None = None

    def counted(self) -> RunCounts:
        return RunCounts(self._runner.counts, self._total.value)

    def stop(self, reason: str) -> None:
        self._runner.stop(reason)

    async def to_its_end(self) -> Summary:
        unusable: Exception | None = None
        stopped_by: list[int] = []
        self._start()
        try:
            with _stops(self._runner, stopped_by):
                await self._runner.run(self._job.source.batches())
        except (SourceError, InputChanged, ResultsError) as error:
            unusable = error
        finally:
            await self._finish()
        summary = self._summary(unusable, stopped_by[0] if stopped_by else None)
        self._history.end(self._runner.wall(), summary.as_json(), self.scheduler.learned)
        return summary

    def _start(self) -> None:
        job = self._job
        self._runner.start_clock()
        if job.deadline is not None:
            stop = partial(self._runner.stop, "the deadline has come")
            self._deadline = self._loop.call_later(job.deadline, stop)
        self._view.start()
        beside = (self._watch(), self._keep(), self._follow())
        self._beside = [asyncio.create_task(each) for each in beside]

    def _begun(self) -> None:
        job = self._job
        self._history.start(
            self._runner.wall(),
            job.limits,
            concurrency=job.concurrency,
            provider=job.provider.name,
            target=job.target,
        )

    async def _watch(self) -> None:
        while True:
            self._view.update(self.look())
            await asyncio.sleep(self._view.interval)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(_SYNC_INTERVAL)
            with contextlib.suppress(OSError):  # the next write raises it again
                await asyncio.to_thread(self._job.results.sync)

    async def _follow(self) -> None:
        while True:
            limits, learned = self.scheduler.stats().limits, self.scheduler.learned
            self._history.limits(self._runner.wall(), limits, learned)
            await asyncio.sleep(_LOOK_INTERVAL)

    def look(self) -> Snapshot:
        return self._monitor.look(
            self._loop.time(),
            self._runner.counts,
            self.scheduler.stats(),
            total=self._total.value,
            in_flight=self._runner.in_flight,
            concurrency=self.scheduler.max_concurrency,
            stopping=self._runner.stopped,
            paused=self.scheduler.is_paused,
        )

    async def _finish(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        for task in self._beside:
            task.cancel()
        await asyncio.wait(self._beside)
        self._view.update(self.look())
        self._view.stop()
        await self._transport.aclose()
        with contextlib.suppress(OSError):  # the failed write has been reported
            self._job.results.sync()

    def _summary(self, unusable: Exception | None, signal: int | None) -> Summary:
        job, runner, stats = self._job, self._runner, self.scheduler.stats()
        total = self._total.value
        done = runner.counts.done_before + runner.counts.finished
        left = None if total is None else max(0, total - done)
        return Summary(
            counts=runner.counts,
            seconds=self._loop.time() - self._began,
            left=left if runner.stopped or unusable else 0,
            stopped=runner.stopped or (str(unusable) if unusable else None),
            to_be_mended=runner.to_be_mended,
            unusable=unusable is not None,
            signal=signal,
            results=job.results.path,
            errors_path=job.results.errors_path,
            errors=runner.errors,
            cooldowns=stats.cooldowns,
            cooldown_seconds=stats.cooldown_seconds,
            limits=stats.limits,
            margin=stats.margin,
            concurrency=stats.concurrency,
            learned=job.estimator.learned(),
            prefixes=stats.prefixes,
            input_price=job.input_price,
            command=job.command,
        )


class LineCount:
    """Counts lines in a daemon thread, which the end of the process does not wait for."""

    def __init__(self, source: Source) -> None:
        self.value: int | None = None
        self._source = source
        if source.repeatable:
            threading.Thread(target=self._count, name="xtremeflow-count", daemon=True).start()

    def _count(self) -> None:
        with contextlib.suppress(SourceError, OSError):  # the reader raises it as well
            self.value = self._source.count()


@contextlib.contextmanager
def _stops(runner: Runner, came: list[int]) -> Generator[None, None, None]:
    """Handles signals: the first stops the run, the second ends it. Appends them to `came`."""
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

    # A signal that the parent (nohup, a script's &) lets us ignore stays ignored.
    heard = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    for number in heard:
        loop.add_signal_handler(number, handle, number)
    try:
        yield
    finally:
        for number in heard:
            loop.remove_signal_handler(number)
