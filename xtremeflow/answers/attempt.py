"""The attempts of one call, until its answer is for the caller.

An attempt sends the request, judges the answer and settles its usage. The rules of what follows are
the same for the client, its streams, the transport under the SDKs, and the runner.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from xtremeflow._core import Call
from xtremeflow.answers.answer import Answer
from xtremeflow.answers.exceptions import answer_of
from xtremeflow.answers.table import judged
from xtremeflow.answers.verdict import LONGEST, PASSED, Meaning, Verdict
from xtremeflow.values.usage import Usage

logger = logging.getLogger("xtremeflow")

T = TypeVar("T")

MOST_PLACES = 20  # refusals for lack of a place, before a call counts as refused
_OUTAGE = 5  # calls that fail with no passed call between them
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 8.0  # s, after failures: as the official SDKs


@dataclass(frozen=True)
class Persistence:
    """The bounds on the attempts of a call.

    retries          further attempts after failures: a status of 500 and more, a broken connection
    max_retries      further attempts after refusals; None: as long as others pass
    max_retry_after  seconds: a longer wait that the provider asks for ends the call, and so does
                     this time without any passed call
    base             seconds of the first guessed pause after a refusal
    patience         seconds for which a call with no `retries` left goes on while no call passes,
                     that is, the longest outage
    """

    retries: int = 2
    max_retries: int | None = None
    max_retry_after: float = 120.0
    base: float = 2.0
    patience: float = 0.0


@dataclass(slots=True)
class Sent(Generic[T]):
    """The outcome of an attempt: an answer, and the result for the caller. Attempts sets its
    verdict."""

    result: T
    answer: Answer
    usage: Usage | None = None
    verdict: Verdict = PASSED

    @property
    def has_passed(self) -> bool:
        """Whether the limits have let it pass."""
        return not (self.verdict.is_passing or self.verdict.meaning is Meaning.SPENT)


class Followed(Protocol):
    """Follows the waits of the call that runs in a context, for a tracer."""

    def rests(self, call: Call) -> None:
        """Notes that the call has given its slot back and waits for another attempt."""
        ...

    def resumes(self, call: Call) -> None:
        """Notes that the call's next attempt is admitted."""
        ...


FOLLOWED: ContextVar[Followed | None] = ContextVar("xtremeflow_followed", default=None)


class Scheduling(Protocol):
    """What a client's attempts go through: the part of its scheduler that they need."""

    def call(self) -> Call | None:
        """Returns the running call of the scheduler; None if the client has no scheduler."""
        ...

    def shown(self, answer: Answer) -> Verdict:
        """Shows the scheduler an answer and returns the verdict."""
        ...

    def settle(self, usage: Usage) -> None:
        """Settles the current call by its usage."""
        ...


class Attempts:
    """Makes all calls of one client, each within a call of its scheduler if it has one.

    scheduling   see Scheduling
    persistence  the bounds on each call's attempts
    is_safe      a function that says whether a request may be sent again after this error
    """

    def __init__(
        self, scheduling: Scheduling, persistence: Persistence, is_safe: Callable[[Exception], bool]
    ) -> None:
        self.passed_at: float | None = None
        """When an answer has passed last, in seconds on the loop's clock."""
        self.persistence = persistence
        self._down: set[Tries] = set()  # calls that have failed since the last pass, up to _OUTAGE
        self._scheduling = scheduling
        self._is_safe = is_safe

    async def make(
        self,
        send: Callable[[], Awaitable[Sent[T]]],
        *,
        name: Callable[[], str] = lambda: "a call",
        is_repeatable: bool = True,
        deadline: float | None = None,
        ended: Callable[[Answer, Verdict], None] = lambda answer, verdict: None,
    ) -> Sent[T]:
        """Makes attempts with `send` until one has an answer for the caller, and returns that.

        `name` returns the call's name for the log. No attempt begins after `deadline`, in seconds
        on the loop's clock. `ended` is called with the answer to each attempt, of status 0 if
        none came, and its exception ends the call. The answer's verdict may be any: see
        `xtremeflow.answers.table.judged`. A refusal whose body broke off is a refusal. If the last
        attempt has no whole answer, the exception of `send` is raised.
        """
        tries = Tries(self)
        while True:
            sent: Sent[T] | None = None
            failure: Exception | None = None
            try:
                sent = await send()
            except Exception as error:
                told = answer_of(error)
                if told is None:
                    raise
                answer = told
                verdict = self._scheduling.shown(answer) if answer.status else judged(answer)
                if not verdict.is_passing:
                    raise
                failure = error
            else:
                answer = sent.answer
                verdict = sent.verdict = self._scheduling.shown(answer)
                if verdict.meaning is Meaning.PASSED:
                    self.passed()
                if sent.usage is not None:
                    self._scheduling.settle(sent.usage)
            ended(answer, verdict)
            call = self._scheduling.call()
            pause = tries.alone(verdict) if call is None else tries.after(call, verdict)
            is_known = failure is None or verdict.is_refusal or self._is_safe(failure)
            may_go_on = is_repeatable and is_known
            if deadline is not None and _now() + (pause or 0.0) >= deadline:
                pause = None
            if pause is None or not may_go_on:
                if failure is not None:
                    raise failure
                assert sent is not None
                return sent
            what = f"HTTP {answer.status}" if answer.status else type(failure).__name__
            named, said = name(), verdict.meaning.value
            logger.warning(
                "Retrying %s: %s (%s)",
                named,
                said,
                what,
                extra={"xtremeflow": {
                    "event": "retry", "call": named, "verdict": said, "status": answer.status,
                    "pause": pause,
                }},
            )  # fmt: skip
            del sent, failure, answer  # so that no reference keeps them meanwhile
            if call is None:
                await asyncio.sleep(pause)
            else:
                await admitted_again(call, pause)

    def passed(self, now: float | None = None) -> None:
        """Notes that an answer has passed, `now` on the loop's clock, by default at present."""
        self.passed_at = _now() if now is None else now
        if self._down:
            self._down.clear()

    def is_outage(self, failed: Tries) -> bool:
        """Notes that this call has failed. Returns whether it is an outage: several calls have
        failed with no passed call between them."""
        if len(self._down) < _OUTAGE:
            self._down.add(failed)
        return len(self._down) == _OUTAGE


class Tries:
    """The attempts of one call, from the first failure or refusal on."""

    def __init__(self, attempts: Attempts) -> None:
        self._attempts = attempts
        self._persistence = attempts.persistence
        self._refused = 0
        self._failed = 0
        self._places = 0
        self._since: float | None = None  # the first failure or refusal

    def after(self, call: Call, verdict: Verdict) -> float | None:
        """Returns the seconds to rest before the call returns to the queue, or None if there is no
        further attempt.

        Tells the scheduler of each refusal or failure, also of the last attempt's, because the
        other calls depend on it even if this one gives up.
        """
        if not verdict.is_passing:
            return None
        if self._since is None:
            self._since = _now()
        if verdict.wait is not None and verdict.wait > self._persistence.max_retry_after:
            return None
        if verdict.meaning in (Meaning.RATE, Meaning.STEEP, Meaning.PLACES):
            pause = self._refuse(call, verdict, self._since)
        else:
            pause = self._fail(call, verdict, self._since)
        return None if verdict.is_final else pause

    def _refuse(self, call: Call, verdict: Verdict, since: float) -> float | None:
        persistence = self._persistence
        longest, most = persistence.max_retry_after, persistence.max_retries
        others = call.scheduler.active_tasks - 1
        if verdict.meaning is Meaning.PLACES and others > 0 and self._places < MOST_PLACES:
            self._places += 1
            call.rate_limited(0.0, 0.0, False, 0.0)
            return 0.0
        self._refused += 1
        if verdict.advised is not None:
            call.rate_limited(None, verdict.advised, False, LONGEST)
        else:
            call.rate_limited(verdict.wait, persistence.base, True, longest)
        is_last = self._has_nothing_passed(since) if most is None else self._refused > most
        return None if is_last else 0.0

    def _fail(self, call: Call, verdict: Verdict, since: float) -> float | None:
        persistence = self._persistence
        self._failed += 1
        call.failed(verdict.wait, persistence.base, True, persistence.max_retry_after)
        most = persistence.max_retries
        if verdict.meaning is Meaning.OVERLOADED:
            is_last = self._has_nothing_passed(since) if most is None else self._failed > most
        else:
            is_outage = self._attempts.is_outage(self)
            is_last = self._failed > persistence.retries and (
                not is_outage or _now() - since >= persistence.patience
            )
        if is_last:
            return None
        if verdict.wait is not None:
            return 0.0  # the scheduler's cooldown is the wait
        return self._pause()

    def alone(self, verdict: Verdict) -> float | None:
        """As `after`, for a call without a scheduler: the wait that the provider asks for, or a
        doubled one, and `retries` of them, as the official SDKs do it."""
        persistence = self._persistence
        if not verdict.is_repeatable:
            return None
        if verdict.wait is not None and verdict.wait > persistence.max_retry_after:
            return None
        self._failed += 1
        most = persistence.max_retries if verdict.is_refusal else None
        if self._failed > (persistence.retries if most is None else most):
            return None
        return self._pause() if verdict.wait is None else verdict.wait

    def _pause(self) -> float:
        pause = min(_FIRST_PAUSE * 2.0 ** min(self._failed - 1, 64), _LONGEST_PAUSE)
        return pause * random.uniform(0.75, 1.0)

    def _has_nothing_passed(self, since: float) -> bool:
        """Whether no call has passed for `max_retry_after` seconds."""
        passed_at = max(since, self._attempts.passed_at or since)
        return _now() - passed_at >= self._persistence.max_retry_after


async def admitted_again(call: Call, pause: float = 0.0) -> None:
    """Waits for the call's next attempt without a slot: first for `pause` seconds, then in the
    queue, before all newer calls."""
    followed = FOLLOWED.get()
    if followed is not None:
        followed.rests(call)
    if pause > 0:
        call.rest()
        await asyncio.sleep(pause)
    while True:
        await call.retry()
        if call.resume():
            break
    if followed is not None:
        followed.resumes(call)


def after(
    first: Sent[T] | Exception, send: Callable[[], Awaitable[Sent[T]]]
) -> Callable[[], Awaitable[Sent[T]]]:
    """Returns `send`, for attempts of which the first has been made, with this outcome."""
    known = [first]
    del first

    async def outcome() -> Sent[T]:
        if not known:
            return await send()
        one = known.pop()
        if not isinstance(one, Exception):
            return one
        try:
            raise one
        finally:
            del one  # or the error would keep itself alive through this frame

    return outcome


def _now() -> float:
    return asyncio.get_running_loop().time()
