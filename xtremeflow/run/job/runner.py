"""The runner: each line of the input becomes a call, and each call a line of the output."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field

from xtremeflow.learning.costs.estimates import Estimator
from xtremeflow.prefixes.groups import Grouped, Seen
from xtremeflow.providers import Provider
from xtremeflow.run.input.keys import Key
from xtremeflow.run.input.requests import RequestLine, fingerprint, parse
from xtremeflow.run.job.ahead import AHEAD, LookAhead, in_its_group
from xtremeflow.run.job.budget import Budget
from xtremeflow.run.job.call import CallFailed, Calls, Left, LineCall
from xtremeflow.run.job.oversize import Room, fitted, rooms
from xtremeflow.run.job.policy import Policy
from xtremeflow.run.output import records
from xtremeflow.run.output.counts import Counts
from xtremeflow.run.output.outbox import Outbox
from xtremeflow.run.output.results import Results
from xtremeflow.run.wire.transport import Transport
from xtremeflow.scheduler import TaskScheduler
from xtremeflow.values.text import printable
from xtremeflow.values.usage import Usage

_PROBE_CALLS = 4
_PROBE_SECONDS = 0.5
_LOOK_INTERVAL = 1.0  # s, between looks at the most that the limits let one call take
TOO_LARGE = "too_large"


@dataclass(eq=False)
class Runner:
    """Sends the lines that are not done, in the order of the input, and writes their outcomes."""

    transport: Transport
    scheduler: TaskScheduler
    results: Results
    provider: Provider
    estimator: Estimator = field(default_factory=Estimator)
    policy: Policy = field(default_factory=Policy)
    budget: Budget = field(default_factory=Budget)
    key: Key | None = None
    on_cooldown: Callable[[float, float], None] = lambda start, end: None
    """Told of every pause, as far as its end is known: from and to on the wall clock."""
    on_begin: Callable[[], None] = lambda: None
    """Called once, when nothing can refuse the run any more."""
    prefixes: bool = False
    """Whether calls whose prompts begin alike follow one that leads."""
    reads_ahead: bool = True
    """Whether the input comes without waiting for anybody."""

    def __post_init__(self) -> None:
        names = dict.fromkeys(self.scheduler.limit_names)
        self.units = tuple(name for name in names if name != "requests")
        self.counts = Counts(done_before=self.results.done.count)
        self.stopped: str | None = None
        """The reason why no more calls are dispatched, or None."""
        self.to_be_mended = False
        self.errors: dict[str, int] = {}
        """Failed calls by their code."""
        self.outbox = Outbox(self.results, self.counts, self.key, self.stop)
        self.scheduler.estimator = self.estimator
        self.scheduler.charge_by(self.provider.rule, until_learned=True)
        self.now: Callable[[], float]
        """Returns seconds on the loop's clock."""
        self.ahead: float
        """The seconds by which `wall` is ahead of `now`."""
        self._is_started = False
        self._calls = Calls(self)
        self._look_ahead = (
            LookAhead(self.provider, lambda: self.now(), self.scheduler) if self.prefixes else None
        )
        self._running: dict[asyncio.Task[None], LineCall] = {}
        self._at_end = self._ended  # the same object each time, which a task finds at once
        self._feeder: asyncio.Task[None] | None = None
        self._changed: asyncio.Event | None = None  # where a change is waited for
        self._over = asyncio.Event()
        self._aborted = False
        self._known_rooms: Mapping[str, Room] = {}
        self._rooms_until = 0.0
        self._begun = False
        self._probing = True
        self._probe: asyncio.TimerHandle | None = None
        self._crash: BaseException | None = None

    # ---- the run ----

    async def run(self, batches: AsyncGenerator[list[bytes], None]) -> None:
        """Returns when all lines are done, or after `stop()` when the calls in flight have ended.

        Raises SourceError and InputChanged, also after the calls in flight have ended.
        """
        self.start_clock()
        self._calls.start()
        self._feeder = asyncio.create_task(self._feed(batches))
        self._feeder.add_done_callback(lambda _: self._wake())
        try:
            while self._running or not self._feeder.done():
                await self._over.wait()
                self._over.clear()
            await self.outbox.wait_for_room(self.policy.patience, lambda: self._aborted)
        finally:
            if self._probe is not None:
                self._probe.cancel()
        if self._crash is not None:
            raise self._crash
        if not self._feeder.cancelled():
            self._feeder.result()

    def start_clock(self) -> float:
        """Starts the clock of `wall`, and returns its time."""
        if not self._is_started:
            self._is_started = True
            self.now = asyncio.get_running_loop().time
            self.ahead = time.time() - self.now()
        return self.wall()

    def wall(self) -> float:
        """Returns seconds since the epoch, by a clock that steps of the system's clock do not
        move."""
        return self.now() + self.ahead

    def stop(self, reason: str, *, mend: bool = False) -> None:
        """Dispatches no more calls. The calls in flight go on.

        The reason may quote the provider. `mend` says that it stays until the user mends it.
        """
        if self.stopped is None:
            self.to_be_mended = mend
            said = reason.encode("utf-8", "replace")
            self.stopped = printable((said if self.key is None else self.key.hidden(said)).decode())
            if self._feeder is not None:
                self._feeder.cancel()
            self._cancel_calls(in_flight=False)

    def abort(self, reason: str) -> None:
        """Ends the calls in flight as well. Their answers are lost."""
        self.stop(reason)
        self._aborted = True
        self._cancel_calls(in_flight=True)

    @property
    def in_flight(self) -> int:
        return sum(call.in_flight for call in self._running.values())

    def _cancel_calls(self, *, in_flight: bool) -> None:
        for task, call in list(self._running.items()):
            if in_flight or not call.in_flight:
                task.cancel()

    # ---- from lines to calls ----

    async def _feed(self, batches: AsyncGenerator[list[bytes], None]) -> None:
        number = 0
        ahead = self._look_ahead  # holds the lines that may share a prefix with others
        async with aclosing(batches):
            async for lines in batches:
                for line in lines:
                    number += 1
                    request = self._read(line.strip(), number)
                    if request is None:
                        continue
                    if ahead is None or not ahead.hold(request):
                        await self._start(request)
                    elif ahead.is_full:
                        await self._start_held()
                if not self.reads_ahead:
                    await self._start_held()
        await self._start_held()
        self.results.done.check_end(number)
        self._begin()

    def _read(self, line: bytes, number: int) -> RequestLine | None:
        """Returns the request of the line, or None if it is not to be sent."""
        if not line:
            return None
        self.counts.read += 1
        mark = fingerprint(line)
        if self.results.done.check(number, mark):
            return None
        item = parse(line, number, mark, self.provider.paths)
        if isinstance(item, RequestLine):
            return item
        self._begin()
        self.outbox.bad(records.bad_line(item))
        return None

    def _begin(self) -> None:
        """Lets the run change files, since the done lines are where they were."""
        if not self._begun:
            self.results.begin()
            self._begun = True
            self.on_begin()

    async def _start_held(self) -> None:
        if self._look_ahead is not None:
            for request, seen in self._look_ahead.taken():
                await self._start(request, seen)

    async def _start(self, request: RequestLine, seen: Seen | None = None) -> None:
        self._begin()
        while self._probing and len(self._running) >= _PROBE_CALLS:
            await self._change()
        cost = self.scheduler.estimate(request.body, most=0 if request.embeds else None)
        if cost.most:
            fit = fitted(cost, self._rooms(), self.provider.rule)
            if isinstance(fit, str):
                self._fail_unsent(request, fit)
                return
            cost = fit
        while exceeded := self.budget.exceeded_by(cost.total):
            if not self._running:
                self.stop(exceeded)
            await self._change()  # calls may use less than their estimates
        call = LineCall(request, cost)
        grouped = None if seen is None else self._grouped(call, seen)
        if grouped is None:
            task = await self.scheduler.start_task(self._calls.make(call), cost)
        else:
            task = await self._queued(call, grouped)
        if self._probe is None:
            loop = asyncio.get_running_loop()
            self._probe = loop.call_later(_PROBE_SECONDS, self._end_probe, False)
        self.own(call, task)

    def _grouped(self, call: LineCall, seen: Seen) -> Grouped | None:
        """Returns the part of a call in a group; None if it shares no prefix."""
        assert self._look_ahead is not None  # which has seen it
        return self._look_ahead.grouped(seen, call.cost.input)

    async def _queued(self, call: LineCall, grouped: Grouped) -> asyncio.Task[None]:
        """Puts a call of a group into the queue. Does not wait for its admission: calls that are
        held must not keep others out."""
        while self.scheduler.waiting >= AHEAD:
            await self._change()
        call.request = in_its_group(call.request, grouped)
        call.in_flight = False
        return self.scheduler.submit(
            self._calls.make(call), call.cost,
            prefix=grouped.key, prefix_tokens=grouped.tokens, prefix_life=grouped.life,
        )  # fmt: skip

    def note_cached(self, grouped: Grouped, usage: Usage) -> None:
        """Notes how much of its prefix a call of a group has read from the cache."""
        assert self._look_ahead is not None  # which has made the groups
        self._look_ahead.answered(grouped, usage)

    def _rooms(self) -> Mapping[str, Room]:
        """Returns the most that the limits let one call take, at most a second old."""
        now = self.now()
        if now >= self._rooms_until:
            limits = self.scheduler.stats().limits
            self._known_rooms = rooms(limits, bounded=self.scheduler.adapt is not True)
            self._rooms_until = now + _LOOK_INTERVAL
        return self._known_rooms

    def _fail_unsent(self, request: RequestLine, reason: str) -> None:
        message = f"line {request.line} {reason}"
        about = records.unsent(request.line)
        self.errors[TOO_LARGE] = self.errors.get(TOO_LARGE, 0) + 1
        self.outbox.failed(records.error_line(request, TOO_LARGE, message, None, None, about))

    def own(self, call: LineCall, task: asyncio.Task[None]) -> None:
        """Notes the task of a call, which may have begun, or even ended, before its start
        returned."""
        if call.task is None:
            call.task = task
            self._running[task] = call
            self.budget.reserve(call.cost.total)
            task.add_done_callback(self._at_end)

    def succeeds(self, call: LineCall) -> None:
        """Ends a call whose task is about to return. For most calls this spares the loop a
        callback."""
        assert call.task is not None  # which is running
        call.task.remove_done_callback(self._at_end)
        self._end(call.task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, (Left, CallFailed)):
            self._crash = self._crash or error
            self.stop("an internal error")
        self._end(task)

    def _end(self, task: asyncio.Task[None]) -> None:
        call = self._running.pop(task)
        estimate = call.cost.total
        used = estimate if call.attempts else 0
        if call.usage is not None:
            used = call.usage.total
        self.budget.settle(estimate, used)
        self._wake()

    # ---- waiting ----

    def has_passed(self) -> None:
        """Notes that a call has passed, so that more may be in flight."""
        if self._probing:
            self._end_probe(True)

    def _end_probe(self, success: bool) -> None:
        """Ends the probe by a few calls: one has succeeded, or none has failed at once."""
        if success or not self._calls.failures:
            self._probing = False
            self._wake()

    def _wake(self) -> None:
        if not self._running and self._feeder is not None and self._feeder.done():
            self._over.set()
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    async def _change(self) -> None:
        """Returns when a call, the probe or the input has ended."""
        if self._changed is None:
            self._changed = asyncio.Event()
        await self._changed.wait()
