"""A client of the soak: one scheduler, its calls by two doors in turn, and its books."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from bench.learning.calls import Refused, estimate
from bench.soak.provider import Provider
from xtremeflow import TokenRateScheduler, auto_backoff, report_token_usage
from xtremeflow._core import Call, current_call
from xtremeflow.answers.answer import Answer
from xtremeflow.answers.attempt import Attempts, Persistence, Sent
from xtremeflow.answers.verdict import Meaning, Verdict
from xtremeflow.refusals import is_outage, is_refusal
from xtremeflow.testing import CallRequest
from xtremeflow.values.usage import Usage

RETRIES = 10_000  # of `auto_backoff`: a refused call is not given up

Numbered = tuple[int, CallRequest]
"""A call, with its index among all."""


class Client:
    def __init__(self, number: int, provider: Provider) -> None:
        self.number = number
        self.scheduler = TokenRateScheduler(adapt=True)
        self.attempts = 0
        self._provider = provider
        self._asked: list[int] = []
        self._answered: Counter[int] = Counter()
        self._raised: list[str] = []
        self._tokens = 0  # that the scheduler is to have counted: estimates, but what was reported

    async def send(self, calls: Sequence[Numbered], longest: float) -> None:
        """Makes all these calls; `longest` is the longest wait that they consent to, in seconds."""
        self._asked += [index for index, _ in calls]
        decorated = auto_backoff(_may_pass, RETRIES, max_retry_after=longest)(self._as_a_program)
        persistence = Persistence(max_retry_after=longest)
        attempts = Attempts(self, persistence, is_safe=lambda _: False)

        async def make(call: Numbered) -> int:
            if call[0] % 2:
                return await decorated(call)
            return await self._as_the_client(call, attempts)

        results = self.scheduler.map(
            make,
            calls,
            estimated_tokens=lambda call: estimate(self._provider.setting.kind, call[1]),
            ordered=False,
            return_exceptions=True,
        )
        async for result in results:
            if isinstance(result, BaseException):
                self._raised.append(repr(result))
            else:
                self._answered[result] += 1

    async def _as_a_program(self, call: Numbered) -> int:
        """An attempt whose refusal is raised, as the SDKs do; usage is reported."""
        sent = _now()
        self._counted(_estimated())
        try:
            index, answer = await self._provider.ask(self.number, *call)
        except Refused as refused:
            headers = refused.response.headers
            self.scheduler.observe(refused.status_code, headers, refused.body, sent_at=sent)
            raise
        self.scheduler.observe(200, answer.headers, sent_at=sent)
        names = self.scheduler.limit_names
        await report_token_usage({k: v for k, v in answer.usage.items() if k in names})
        self._tokens += answer.usage["tokens"] - _estimated()
        return index

    async def _as_the_client(self, call: Numbered, attempts: Attempts) -> int:
        """As the HTTP client and `xtremeflow run` make calls; settled by what is learned."""

        async def send() -> Sent[int | None]:
            sent_at = _now()
            self._counted(_estimated())
            try:
                index, told = await self._provider.ask(self.number, *call)
            except Refused as refused:
                status, headers, body = refused.status_code, refused.response.headers, refused.body
                return Sent(None, Answer(status, headers, body, sent_at=sent_at))
            request = call[1]
            usage = Usage(request.prompt_tokens, request.completion_tokens)
            return Sent(index, Answer(200, told.headers, sent_at=sent_at), usage)

        sent = await attempts.make(send)
        if sent.result is None or sent.verdict.meaning is not Meaning.PASSED:
            raise ValueError(f"the caller is given {sent.answer.status}, {sent.verdict}")
        return sent.result

    def call(self) -> Call | None:
        """For Attempts: returns the current call."""
        return current_call()

    def shown(self, answer: Answer) -> Verdict:
        """For Attempts: shows the scheduler an answer."""
        status, headers, body = answer.status, answer.headers, answer.body
        return self.scheduler.observe(status, headers, body, sent_at=answer.sent_at)

    def settle(self, usage: Usage) -> None:
        """For Attempts: settles the current call."""
        self._tokens += self.scheduler.settle(usage)["tokens"] - _estimated()

    def _counted(self, estimated: int) -> None:
        self.attempts += 1
        self._tokens += estimated

    @property
    def lost(self) -> int:
        """Calls that have not been answered."""
        return len(self._asked) - len(self._answered)

    def raised(self) -> list[str]:
        """What calls have raised since this was asked last."""
        raised, self._raised = self._raised, []
        return raised

    def differences(self) -> list[str]:
        """Where its books and its scheduler's do not agree, all calls being done."""
        found: list[str] = []
        if Counter(self._asked) != self._answered:
            found.append(f"{len(self._asked)} calls, {self._answered.total()} answers")
        stats, asked = self.scheduler.stats(), len(self._asked)
        expected = {
            "submitted": asked,
            "succeeded": asked,
            "admitted": self.attempts,
            "retries": self.attempts - asked,
            "tokens_used": self._tokens,
        }
        zero = ("failed", "cancelled", "expired", "waiting", "in_flight")
        for name, number in {**expected, **dict.fromkeys(zero, 0)}.items():
            if getattr(stats, name) != number:
                found.append(f"{name} is {getattr(stats, name)} and should be {number}")
        if self.scheduler.active_tasks or self.scheduler.waiting:
            found.append(f"not done: {self.scheduler!r}")
        return [f"client {self.number}: {difference}" for difference in found]

    def idle_differences(self) -> list[str]:
        """What an idle scheduler has lost, long after its last call."""
        stats = self.scheduler.stats()
        found = [
            f"{limit.name}: {limit.level:g} of {limit.capacity:g} are left"
            for limit in stats.limits
            if limit.level < (1 - 1e-9) * limit.capacity - stats.margin * limit.rate
        ]
        if stats.cooldown_left:
            found.append(f"a cooldown of {stats.cooldown_left:g} s is left")
        return [f"client {self.number}, idle: {difference}" for difference in found]


def _may_pass(error: Exception) -> bool:
    return is_refusal(error) or is_outage(error)


def _estimated() -> int:
    """The tokens that the running call was estimated to take."""
    call = current_call()
    assert call is not None
    estimated: dict[str, int] = call.extra["estimated_tokens"]
    return estimated["tokens"]


def _now() -> float:
    return asyncio.get_running_loop().time()
