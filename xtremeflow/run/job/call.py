"""A call of the runner: its attempts, and the result of its line by the last verdict."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from xtremeflow import _core
from xtremeflow._core import current_call, report_token_usage
from xtremeflow.answers.answer import Answer
from xtremeflow.answers.attempt import Attempts, Persistence, Sent, after
from xtremeflow.answers.table import judged
from xtremeflow.answers.verdict import PASSED, Meaning, Verdict
from xtremeflow.http._usage import usage_in
from xtremeflow.learning.costs.estimates import Estimate
from xtremeflow.run.input.requests import RequestLine
from xtremeflow.run.job.failures import (
    BadReply,
    Failure,
    FailureWatch,
    StatusFailure,
    code_of,
    concerns_model,
    failure_in,
    likeness,
    message_of,
)
from xtremeflow.run.output import records
from xtremeflow.run.output.strict import Document, document
from xtremeflow.run.wire.transport import NoConnection, NoReply, Reply, Unfit
from xtremeflow.values.usage import Usage

if TYPE_CHECKING:
    from xtremeflow.run.job.runner import Runner

_FIRST_PAUSE = 1.0  # s, after a refusal that tells no wait


class Left(Exception):
    """The run was stopped before this call was done. The next run does it."""


class CallFailed(Exception):
    """Raised by a failed call, so that its scheduler does not count it as a success."""


@dataclass(eq=False, slots=True)
class LineCall:
    """A request on its way, and its outcome so far. Times are in seconds."""

    request: RequestLine
    cost: Estimate
    task: asyncio.Task[None] | None = None
    in_flight: bool = True  # from its admission on; False while it waits for another attempt
    attempts: int = 0
    refusals: int = 0
    since: float | None = None  # the first attempt that did not pass, on the loop's clock
    failure: Failure | None = None  # of the last attempt that had one
    began: float = 0.0  # the last attempt, on the wall clock
    seconds: float = 0.0
    usage: Usage | None = None
    charged: Mapping[str, int] | None = None  # for its usage, of each limit and perhaps more

    def about(self, units: tuple[str, ...]) -> bytes:
        """Returns what its line says of it; see `records.about`."""
        return records.about(
            self.request.line,
            self.attempts,
            self.refusals,
            self.began,
            self.seconds,
            self.usage,
            self.cost.amounts if self.charged is None else self.charged,
            units,
        )


_NOTHING_NEW = Answer(200)  # stands for those that the scheduler has foreseen
_BY_RULE = 1  # see Scheduler._foreseen

#: An answer as it came, its decoded body, and the failure in it.
Read = tuple[Reply, Document | None, StatusFailure | BadReply | None]


class Calls:
    """Makes the calls of a run, by the Attempts that the whole package uses."""

    def __init__(self, runner: Runner) -> None:
        self.failures = 0
        """Attempts that failed, other than by a refusal."""
        self._runner = runner
        self._scheduler = runner.scheduler
        self._watch = FailureWatch()
        policy = runner.policy
        self._attempts = Attempts(
            self,
            Persistence(
                policy.retries, None, policy.max_wait, base=_FIRST_PAUSE, patience=policy.patience
            ),
            is_safe=lambda error: isinstance(error, NoReply),
        )

    def start(self) -> None:
        """Begins the run: the policy's patience counts from now on."""
        self._attempts.passed(self._runner.now())

    @property
    def _silence(self) -> float:
        """The seconds since an answer has passed, or the run began."""
        return self._runner.now() - self._passed_at

    @property
    def _passed_at(self) -> float:
        passed_at = self._attempts.passed_at
        assert passed_at is not None  # since start()
        return passed_at

    # The interface of a client that Attempts needs.

    def call(self) -> _core.Call | None:
        return current_call()

    def shown(self, answer: Answer) -> Verdict:
        if answer is _NOTHING_NEW:
            return PASSED
        return self._scheduler._answered(answer) if self._scheduler.adapt else judged(answer)

    def settle(self, usage: Usage) -> None:
        raise AssertionError("a call is settled by itself")

    # ---- a call ----

    async def make(self, call: LineCall) -> None:
        """Makes the attempts of a call and writes its line. Raises Left or CallFailed without a
        result."""
        if call.task is None:
            task = asyncio.current_task()
            assert task is not None
            self._runner.own(call, task)
        try:
            sent = await self._attempted(call)
        except NoReply as no_reply:
            if isinstance(no_reply, NoConnection):
                await self._uncharge()
            self._failed(call, no_reply, Meaning.DOWN)
            raise CallFailed from None
        except Unfit as unfit:
            self._consider(call, unfit)
            if not unfit.is_sent:
                await self._uncharge()
            self._failed(call, unfit, Meaning.FAULT)
            raise CallFailed from None
        reply, read, failure = sent.result
        if failure is None:
            self._watch.success()
            self._runner.has_passed()
            assert read is not None  # or failure_in() had returned a failure
            self._settle(call, read.line, is_settled=sent.answer is _NOTHING_NEW)
            self._succeeded(call, reply, read)
            self._runner.succeeds(call)
            return
        meaning = sent.verdict.meaning
        self._consider(call, failure)
        if meaning is Meaning.TOO_LARGE:
            await self._uncharge()
        is_refused = sent.verdict.is_refusal and sent.verdict.is_repeatable
        if is_refused and not self._is_alone(call, sent.verdict):
            self._give_up(sent.verdict, failure)
            raise Left
        if meaning is Meaning.SPENT:
            said = sent.verdict.words or message_of(failure)
            self._runner.stop(f"the provider refuses, and waiting is no use: {said}", mend=True)
        self._failed(call, failure, meaning)
        raise CallFailed

    async def _attempted(self, call: LineCall) -> Sent[Read]:
        """Makes the attempts of a call. One whose first answer tells nothing new is over with it,
        as Attempts has nothing to decide then."""
        first: Sent[Read] | Exception
        try:
            first = await self._send(call)
            if first.answer is _NOTHING_NEW:
                return first
        except NoReply as no_reply:
            first = no_reply
        return await self._attempts.make(
            after(first, partial(self._send, call)),
            name=lambda: f"line {call.request.line}",
            ended=partial(self.ended, call),
        )

    async def _send(self, call: LineCall) -> Sent[Read]:
        runner = self._runner
        if call.attempts and runner.stopped is not None:
            raise Left
        call.attempts += 1
        runner.counts.attempts += 1
        began = runner.now()
        call.began = began + runner.ahead
        call.in_flight = True
        try:
            reply = await runner.transport.send(call.request)
        except NoReply as no_reply:
            call.failure = no_reply
            self._consider(call, no_reply)
            raise
        finally:
            call.in_flight = False
            now = runner.now()
            call.seconds = now - began
        read = document(reply.body)
        failure = failure_in(reply, read)
        if failure is not None:
            call.failure = failure
        elif read is not None:
            foreseen = self._scheduler._foreseen(
                None, reply.status, reply.head, read.line, began, now, _BY_RULE
            )
            if foreseen is not None:
                self._attempts.passed(now)
                call.usage = Usage(*foreseen) if foreseen else None
                return Sent((reply, read, None), _NOTHING_NEW)
        body = reply.body if read is None else read.value
        answer = Answer(reply.status, reply.fields, body, sent_at=began, received_at=now)
        return Sent((reply, read, failure), answer)

    def _settle(self, call: LineCall, body: bytes, *, is_settled: bool) -> None:
        """Counts the usage of a call that has passed, by which the scheduler has settled it, or
        does so now."""
        if not is_settled:
            call.usage = usage_in(body)
        usage = call.usage
        if usage is None:
            return
        self._runner.counts.use(usage)
        if call.request.grouped is not None:
            self._runner.note_cached(call.request.grouped, usage)
        if is_settled:
            scheduled = current_call()
            assert scheduled is not None
            call.charged = scheduled.held
        else:
            call.charged = self._scheduler.settle(usage)

    def _succeeded(self, call: LineCall, reply: Reply, read: Document) -> None:
        runner = self._runner
        about = call.about(runner.units)
        runner.outbox.succeeded(records.result_line(call.request, reply, read, about))
        runner.counts.timed += 1
        runner.counts.seconds += call.seconds

    async def _uncharge(self) -> None:
        """Returns the cost of a call that the provider cannot have charged."""
        await report_token_usage(dict.fromkeys(self._runner.units, 0))
        self._runner.counts.waste("requests", 1)

    # ---- what an answer means for the other calls ----

    def ended(self, call: LineCall, answer: Answer, verdict: Verdict) -> None:
        """Notes the answer to an attempt. Raises Left if no other attempt may follow."""
        runner = self._runner
        if verdict.meaning is Meaning.PASSED:
            return
        if verdict.is_refusal:
            call.refusals += 1
            runner.counts.refused += 1
            runner.counts.waste("requests", 1)
            for unit, cost in call.cost.amounts.items():
                runner.counts.waste(unit, cost)
            asyncio.get_running_loop().call_soon(self._note_cooldown)
        else:
            self.failures += 1
        if not verdict.is_passing:
            return
        if runner.stopped:
            raise Left
        if call.since is None:
            call.since = runner.now()
        silence = self._silence
        if silence > runner.policy.patience and not self._is_alone(call, verdict):
            said = verdict.words or (call.failure and message_of(call.failure))
            runner.stop(f"nothing has passed for {silence:.0f} s: {said}")
            raise Left

    def _is_alone(self, call: LineCall, verdict: Verdict) -> bool:
        """Whether others have passed while this call did not. Then the failure is its own."""
        is_told = verdict.wait is not None and verdict.wait > self._runner.policy.max_wait
        return not is_told and call.since is not None and call.since < self._passed_at

    def _note_cooldown(self) -> None:
        # By now the scheduler knows of the refusal, and the length of the cooldown.
        left = self._scheduler.stats().cooldown_left
        if left > 0:
            now = self._runner.wall()
            self._runner.on_cooldown(now, now + left)

    def _consider(self, call: LineCall, failure: Failure) -> None:
        """Stops the run for a failure that all calls share."""
        cause = self._watch.failure(failure)
        if cause and not self._runner.policy.keep_going:
            more = self._more_of(call, failure)
            self._runner.stop(f"every call would fail: {cause}{more}", mend=True)

    def _more_of(self, call: LineCall, failure: Failure) -> str:
        """Returns the details that help to mend a failure."""
        if isinstance(failure, Unfit):
            return f": {failure}"
        if not isinstance(failure, StatusFailure):
            return ""
        more = f", model {call.request.model}" if concerns_model(failure) else ""
        said = message_of(failure).removesuffix(".")
        more += "" if said == str(failure) else f": {said}"
        if failure.status_code in (401, 403):
            key, variable = self._runner.key, self._runner.provider.key_variable
            more += (
                f" (no key was sent: {variable} is not set)"
                if key is None
                else f" (the key came from the {key.source})"
            )
        return more

    def _give_up(self, verdict: Verdict, failure: Failure) -> None:
        """Stops the run after the last refusal of a call, which is not the call's own fault."""
        runner = self._runner
        said = verdict.words or message_of(failure)
        if verdict.wait is not None and verdict.wait > runner.policy.max_wait:
            runner.stop(
                f"the provider wants no call for {verdict.wait:.0f} s (--max-wait allows less): "
                f"{said}"
            )
        else:
            runner.stop(f"nothing has passed for {self._silence:.0f} s: {said}")

    def _failed(self, call: LineCall, failure: Failure, meaning: Meaning) -> None:
        """Writes the line of a call that has failed for good."""
        runner = self._runner
        silence = self._silence
        if meaning is Meaning.DOWN and silence >= runner.policy.max_wait:
            runner.stop(f"nothing has passed for {silence:.0f} s: {likeness(failure)}")
            raise Left
        code = code_of(failure)
        runner.errors[code] = runner.errors.get(code, 0) + 1
        reply = answer = None
        if not isinstance(failure, (NoReply, Unfit)):
            reply, answer = failure.reply, failure.answer
        about = call.about(runner.units)
        message = message_of(failure)
        runner.outbox.failed(records.error_line(call.request, code, message, reply, answer, about))
