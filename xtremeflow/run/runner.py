"""The runner: each line of the input becomes a call, and each call a line of the output."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial

from xtremeflow import RetryException, auto_backoff, report_token_usage
from xtremeflow.learning.estimates import Estimate, Estimator
from xtremeflow.learning.usage import Usage, usage_of
from xtremeflow.refusals import is_refusal, is_terminal, is_too_large, retry_delay
from xtremeflow.run import records
from xtremeflow.run.budget import Budget
from xtremeflow.run.failures import (
    BadReply,
    Failure,
    Meaning,
    StatusFailure,
    Watch,
    code_of,
    concerns_model,
    failure_in,
    likeness,
    meaning,
    message_of,
)
from xtremeflow.run.keys import Key
from xtremeflow.run.oversize import Room, fitted, rooms
from xtremeflow.run.providers import Provider
from xtremeflow.run.requests import Json, Request, fingerprint, parse
from xtremeflow.run.results import Results
from xtremeflow.run.strict import Document, document
from xtremeflow.run.text import printable
from xtremeflow.run.transport import NoReply, Reply, Transport, Unreachable
from xtremeflow.scheduler import TaskScheduler

logger = logging.getLogger("xtremeflow.run")

_PROBE_CALLS = 4
_PROBE_SECONDS = 0.5
_MOST_REFUSALS = 30  # of one call: one that is larger than its limit is refused for ever
_LOOK_INTERVAL = 1.0  # s, between looks at what the limits can let pass of one call
TOO_LARGE = "too_large"
_ROOM_INTERVAL = 1.0  # s, between looks whether the disk has room again
_LONGEST_PAUSE = 30.0  # s, between the tries of a call that failed


@dataclass(frozen=True)
class Policy:
    """How long to go on trying.

    retries      further tries of a call after failures that may pass
    max_wait     the longest pause after a refusal, in seconds; a longer one stops the run
    patience     seconds without any answer, after which an outage stops the run; and for which
                 answers are kept that cannot be written
    keep_going   whether failures that every call shares stop nothing
    """

    retries: int = 5
    max_wait: float = 600.0
    patience: float = 600.0
    keep_going: bool = False


@dataclass
class Counts:
    """What has become of the lines so far; tokens are those used in this run."""

    read: int = 0
    done_before: int = 0
    bad: int = 0
    succeeded: int = 0
    failed: int = 0
    attempts: int = 0
    refused: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reported: int = 0  # answers that told their usage
    seconds: float = 0.0  # of the last attempts of those that succeeded
    passed: dict[str, int] = field(default_factory=dict[str, int])
    """What attempts that were not refused have cost of each limit; "requests" is their number."""
    unsaved: int = 0  # calls that ended, and whose lines could not be written

    @property
    def finished(self) -> int:
        return self.succeeded + self.failed + self.bad


@dataclass(eq=False, slots=True)
class _Job:
    request: Request
    cost: Estimate
    charged: Mapping[str, int]  # what the last attempt has cost of each limit
    task: asyncio.Task[None] | None = None
    in_flight: bool = True  # from its admission on; False while it waits for another
    attempts: int = 0
    refusals: int = 0
    tries: int = 0  # that failed for a reason that may pass
    began: float = 0.0  # the last attempt, on the wall clock
    seconds: float = 0.0
    usage: Usage | None = None


class _Left(Exception):
    """The run was stopped before this call was done."""


class _Outage(RetryException):
    """All calls fail: all are to wait, as after a refusal."""

    def __init__(self, failure: Failure, retry_after: float | None) -> None:
        super().__init__(str(failure), retry_after)
        self.failure = failure


@dataclass(eq=False)
class Runner:
    """Sends what is not done yet, in the order of the input, and writes down what comes of it."""

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

    def __post_init__(self) -> None:
        self.counts = Counts()
        self.stopped: str | None = None
        """Why nothing is dispatched any more, if so."""
        self.to_be_mended = False
        self.errors: dict[str, int] = {}
        """How many calls failed of what."""
        self.blank = 0  # lines
        self._clock: Callable[[], float] | None = None
        self._jobs: set[_Job] = set()
        self._feeder: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._watch = Watch()
        self._aborted = False
        self._known_rooms: Mapping[str, Room] = {}
        self._rooms_until = 0.0
        self._begun = False
        self._probing = True
        self._probe: asyncio.TimerHandle | None = None
        self._failures = 0
        self._unsaved: list[tuple[Callable[[bytes], None], bytes]] = []
        self._crash: BaseException | None = None
        self.scheduler.estimator = self.estimator
        self.scheduler.charge_by(self.provider.rule, until_learned=True)
        self._units = frozenset(self.scheduler.limit_names) - {"requests"}
        self._attempt = auto_backoff(
            max_retries=_MOST_REFUSALS, base_retry_after=1.0, max_retry_after=self.policy.max_wait
        )(self._attempt_once)

    # ---- the run ----

    async def run(self, batches: AsyncGenerator[list[bytes], None]) -> None:
        """Returns when all lines are done, or when the calls in flight are after `stop()`.

        Raises SourceError and InputChanged, the calls in flight then being done as well.
        """
        self.start_clock()
        self._last_answer = self._now()
        self._feeder = asyncio.create_task(self._feed(batches))
        self._feeder.add_done_callback(lambda _: self._wake())
        try:
            while self._jobs or not self._feeder.done():
                await self._change()
            await self._wait_for_room()
        finally:
            if self._probe is not None:
                self._probe.cancel()
        if self._crash is not None:
            raise self._crash
        if not self._feeder.cancelled():
            self._feeder.result()

    def start_clock(self) -> float:
        """From now on `wall` tells the time; returns it."""
        if self._clock is None:
            self._clock = asyncio.get_running_loop().time
            self._ahead = time.time() - self._clock()
        return self.wall()

    def wall(self) -> float:
        """Seconds since the epoch, by a clock that no step of the system's clock disturbs."""
        return self._now() + self._ahead

    def _now(self) -> float:
        assert self._clock is not None
        return self._clock()

    def stop(self, reason: str, *, mend: bool = False) -> None:
        """Dispatches nothing more; the calls in flight go on.

        The reason may quote anybody. `mend`: it will be the same again, unless somebody does
        something about it.
        """
        if self.stopped is None:
            self.to_be_mended = mend
            self.stopped = printable(self._hidden(reason.encode("utf-8", "replace")).decode())
            if self._feeder is not None:
                self._feeder.cancel()
            self._cancel_jobs(in_flight=False)

    def abort(self, reason: str) -> None:
        """Ends the calls in flight as well; what they would have answered is lost."""
        self.stop(reason)
        self._aborted = True
        self._cancel_jobs(in_flight=True)

    @property
    def in_flight(self) -> int:
        return sum(job.in_flight for job in self._jobs)

    def _cancel_jobs(self, *, in_flight: bool) -> None:
        for job in list(self._jobs):
            if job.task is not None and (in_flight or not job.in_flight):
                job.task.cancel()

    # ---- from lines to calls ----

    async def _feed(self, batches: AsyncGenerator[list[bytes], None]) -> None:
        number = 0
        async with aclosing(batches):
            async for lines in batches:
                for line in lines:
                    number += 1
                    request = self._read(line.strip(), number)
                    if request is not None:
                        await self._start(request)
        self.results.done.check_end(number)
        self._begin()

    def _read(self, line: bytes, number: int) -> Request | None:
        """The request that the line asks for, if it is still to be sent."""
        if not line:
            self.blank += 1
            return None
        self.counts.read += 1
        mark = fingerprint(line)
        if self.results.done.check(number, mark):
            self.counts.done_before += 1
            return None
        item = parse(line, number, mark, self.provider.paths)
        if isinstance(item, Request):
            return item
        self._begin()
        self.counts.bad += self._save(self.results.add_error, records.bad_line(item))
        return None

    def _begin(self) -> None:
        """From now on the run changes files: the lines that were done are where they were."""
        if not self._begun:
            self.results.begin()
            self._begun = True
            self.on_begin()

    async def _start(self, request: Request) -> None:
        self._begin()
        while self._probing and len(self._jobs) >= _PROBE_CALLS:
            await self._change()
        estimate = self.scheduler.estimate(request.body, most=0 if request.embeds else None)
        cost = fitted(estimate, self._rooms(), self.provider.rule) if estimate.most else estimate
        if isinstance(cost, str):
            self._fail_unsent(request, cost)
            return
        while exceeded := self.budget.exceeded_by(cost.total):
            if not self._jobs:
                self.stop(exceeded)
            await self._change()  # they may use less than was thought
        job = _Job(request, cost, {unit: cost[unit] for unit in self._units})
        task = await self.scheduler.start_task(self._call(job), cost)
        if self._probe is None:
            loop = asyncio.get_running_loop()
            self._probe = loop.call_later(_PROBE_SECONDS, self._end_probe, False)
        if job.task is None:  # else the call has begun, and may have gone on to another task
            self._own(job, task)

    def _rooms(self) -> Mapping[str, Room]:
        """What the limits can let pass of one call, as of a second ago at the most."""
        now = self._now()
        if now >= self._rooms_until:
            limits = self.scheduler.stats().limits
            self._known_rooms = rooms(limits, bounded=self.scheduler.adapt is not True)
            self._rooms_until = now + _LOOK_INTERVAL
        return self._known_rooms

    def _fail_unsent(self, request: Request, reason: str) -> None:
        message = f"line {request.line} {reason}"
        about: Json = {"line": request.line, "attempts": 0}
        line = records.error_line(request, TOO_LARGE, message, None, None, about)
        self.errors[TOO_LARGE] = self.errors.get(TOO_LARGE, 0) + 1
        self.counts.failed += self._save(self.results.add_error, line)

    def _own(self, job: _Job, task: asyncio.Task[None]) -> None:
        """From now on the task is what the job is at."""
        if job.task is None:
            self._jobs.add(job)
            self.budget.reserve(job.cost.total)
        if job.task is not task:
            job.task = task
            task.add_done_callback(partial(self._ended, job))

    def _ended(self, job: _Job, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._crash = self._crash or error
            self.stop("an internal error")
        if job.task is not task:
            return
        self._jobs.discard(job)
        used = job.usage.total if job.usage is not None else job.cost.total if job.attempts else 0
        self.budget.settle(job.cost.total, used)
        self._wake()

    # ---- a call ----

    async def _call(self, job: _Job) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._own(job, task)
        try:
            reply, answer = await self._attempt(job)
        except _Left:
            return
        except _Outage as outage:
            self._failed(job, outage.failure)
        except (StatusFailure, BadReply, NoReply) as failure:
            if isinstance(failure, Unreachable) or is_too_large(failure):
                await report_token_usage(dict.fromkeys(self._units, 0))  # it cannot be charged
                self._count(job.cost, -1)
            self._failed(job, failure)
        else:
            line = records.result_line(job.request, reply, answer, self._about(job))
            self.counts.succeeded += self._save(self.results.add, line)
            self.counts.seconds += job.seconds

    async def _attempt_once(self, job: _Job) -> tuple[Reply, Document]:
        if self.stopped and job.attempts:
            raise _Left
        job.attempts += 1
        self.counts.attempts += 1
        began = self._now()
        job.began = self.wall()
        job.in_flight = True
        self._count(job.cost)
        try:
            reply = await self.transport.send(job.request)
        except NoReply as no_reply:
            raise self._consider(job, no_reply) from None
        finally:
            job.in_flight = False
            job.seconds = self._now() - began
        if self.scheduler.adapt:
            self.scheduler.observe(reply.status, reply.headers, reply.body)
        answer = document(reply.body)
        failure = failure_in(reply, answer)
        if failure is not None:
            raise self._consider(job, failure)
        assert answer is not None  # else that were the failure
        self._watch.success()
        self._last_answer = self._now()
        if self._probing:
            self._end_probe(True)
        usage = usage_of(answer.value)
        if usage is not None:
            self._learn(job, usage)
        return reply, answer

    def _consider(self, job: _Job, failure: Failure) -> Exception:
        """What to raise for a failed attempt: auto_backoff takes care of refusals and outages."""
        if is_refusal(failure):
            job.refusals += 1
            self.counts.refused += 1
            self._count(job.cost, -1)
            self._watch.refusal()
            self._last_answer = self._now()
            return self._paused(failure)
        self._failures += 1
        cause = self._watch.failure(failure, job.request.line)
        if cause and not self.policy.keep_going:
            self.stop(f"every call would fail: {cause}{self._more_of(job, failure)}", mend=True)
            return failure
        if meaning(failure) is not Meaning.PASSING:
            self._last_answer = self._now()
        elif self._watch.outage and not isinstance(failure, BadReply):
            silence = self._now() - self._last_answer
            if silence > self.policy.patience:
                self.stop(f"there was no answer for {silence:.0f} s: {likeness(failure)}")
            return self._paused(_Outage(failure, self._told(failure)))
        return failure

    def _count(self, cost: Estimate, sign: int = 1) -> None:
        """That an attempt has begun, or that it was refused."""
        passed = self.counts.passed
        passed["requests"] = passed.get("requests", 0) + sign
        for unit in self._units:
            passed[unit] = passed.get(unit, 0) + sign * cost[unit]

    def _more_of(self, job: _Job, failure: Failure) -> str:
        """What helps to mend a failure that all calls share."""
        if not isinstance(failure, StatusFailure):
            return ""
        more = f", model {job.request.model}" if concerns_model(failure) else ""
        said = message_of(failure)
        more += "" if said == str(failure) else f": {said}"
        if failure.status_code in (401, 403):
            if self.key is not None:
                more += f" (it came from the {self.key.source})"
            else:
                more += f" (no key was sent: {self.provider.key_variable} is not set)"
        return more

    def _paused(self, refusal: Exception) -> Exception:
        if self.stopped and not is_terminal(refusal):
            return _Left()
        # Once auto_backoff has told the scheduler, it knows how long.
        asyncio.get_running_loop().call_soon(self._note_cooldown)
        return refusal

    def _note_cooldown(self) -> None:
        left = self.scheduler.stats().cooldown_left
        if left > 0:
            now = self.wall()
            self.on_cooldown(now, now + left)

    def _learn(self, job: _Job, usage: Usage) -> None:
        job.usage = usage
        counts = self.counts
        counts.reported += 1
        counts.input_tokens += usage.input
        counts.output_tokens += usage.output
        counts.cached_tokens += usage.cached
        settled = self.scheduler.settle(usage)
        job.charged = {unit: settled[unit] for unit in self._units}
        for unit in self._units:
            counts.passed[unit] += settled[unit] - job.cost[unit]

    def _failed(self, job: _Job, failure: Failure) -> None:
        """An attempt has failed, and not for the provider's limits only."""
        if is_refusal(failure):
            told = retry_delay(failure, time.time())
            if is_terminal(failure):
                said = message_of(failure)
                self.stop(f"the provider refuses, and waiting is no use: {said}", mend=True)
            elif told is not None and told > self.policy.max_wait:
                self.stop(f"the provider wants no call for {told:.0f} s (--max-wait allows less)")
        elif meaning(failure) is Meaning.PASSING:
            if self.stopped:
                return  # left to the next run
            if job.tries < self.policy.retries:
                job.tries += 1
                pause = min(2.0 ** (job.tries - 1), _LONGEST_PAUSE)
                pause = max(pause, min(self._told(failure) or 0.0, self.policy.max_wait))
                self._own(job, asyncio.create_task(self._again(job, pause)))
                return
        code = code_of(failure)
        self.errors[code] = self.errors.get(code, 0) + 1
        reply = answer = None
        if not isinstance(failure, NoReply):
            reply, answer = failure.reply, failure.answer
        message = message_of(failure)
        line = records.error_line(job.request, code, message, reply, answer, self._about(job))
        self.counts.failed += self._save(self.results.add_error, line)

    def _told(self, failure: Failure) -> float | None:
        return retry_delay(failure, time.time())

    async def _again(self, job: _Job, pause: float) -> None:
        """Holds no slot meanwhile, and then goes before new calls."""
        await asyncio.sleep(pause)
        self._own(job, self.scheduler.submit(self._call(job), job.cost, priority=1))

    def _about(self, job: _Job) -> Json:
        about: Json = {"line": job.request.line, "attempts": job.attempts}
        if job.refusals:
            about["refused"] = job.refusals
        about["started"] = round(job.began, 3)
        about["seconds"] = round(job.seconds, 3)
        if job.usage is not None:
            about["usage"] = job.usage.as_json()
        if job.charged:
            about["charged"] = job.charged
        return about

    # ---- lines to the disk ----

    def _hidden(self, text: bytes) -> bytes:
        """Without the key, which some providers quote."""
        return text if self.key is None else self.key.hidden(text)

    def _save(self, add: Callable[[bytes], None], line: bytes) -> bool:
        start = line.index(b",")  # behind the id, by which a later run knows the line
        line = line[:start] + self._hidden(line[start:])
        try:
            add(line)
        except OSError as error:
            self._unsaved.append((add, line))
            self.counts.unsaved += 1
            self.stop(f"the results cannot be written: {error.strerror}")
            return False
        return True

    async def _wait_for_room(self) -> None:
        """Answers that could not be written are kept for a while: they are paid for."""
        self._save_again()
        if self._unsaved:
            logger.warning(
                "%s; %d answers are kept for %g s: make room",
                self.stopped,
                len(self._unsaved),
                self.policy.patience,
            )
        end = self._now() + self.policy.patience
        while self._unsaved and not self._aborted and self._now() < end:
            await asyncio.sleep(_ROOM_INTERVAL)
            self._save_again()

    def _save_again(self) -> None:
        unsaved, self._unsaved = self._unsaved, []
        self.counts.unsaved = 0
        for add, line in unsaved:
            saved = self._save(add, line)
            if add == self.results.add:
                self.counts.succeeded += saved
            else:
                self.counts.failed += saved

    # ---- waiting ----

    def _end_probe(self, success: bool) -> None:
        """A few calls at first; more once one has succeeded, or as none fails at once."""
        if success or not self._failures:
            self._probing = False
            self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _change(self) -> None:
        """Returns when a call has ended, the probe has, or the input."""
        await self._changed.wait()
