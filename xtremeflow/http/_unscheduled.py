"""Calls without a scheduler: a few attempts each, with waits of their own, as in the SDKs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

from xtremeflow import _http
from xtremeflow._core import current_call
from xtremeflow.answers.answer import Answer, may_name_error
from xtremeflow.answers.attempt import Attempts, Persistence, Sent, after
from xtremeflow.answers.table import judged
from xtremeflow.answers.verdict import Verdict
from xtremeflow.http._admission import Sending, is_safe
from xtremeflow.http._deadline import deadline_of, within
from xtremeflow.http._errors import TransportError
from xtremeflow.http._options import Options
from xtremeflow.http._response import Response
from xtremeflow.http._url import shown_url
from xtremeflow.values.usage import Usage

T = TypeVar("T")


class Unscheduled:
    """How a client without a scheduler makes its calls. timeout: of a call, with all of its
    attempts, in seconds."""

    def __init__(self, persistence: Persistence, timeout: float | None) -> None:
        self.timeout = timeout
        self._attempts = Attempts(self, persistence, is_safe)

    async def whole(
        self,
        first: _http.Transfer,
        call: Callable[[_http.Outgoing], _http.Transfer],
        request: _http.Outgoing,
        send: Sending | None,
    ) -> Response:
        """Awaits the first transfer; after a refusal or a failure another, of `call(request)`.
        send: how to await a transfer."""
        deadline = deadline_of(request, self.timeout)
        outcome: Sent[Response] | TransportError
        try:
            answer: Response = await (first if send is None else send(first, request))
        except TransportError as error:
            outcome = error
        else:
            if answer.status < 400 and not may_name_error(answer.body):
                return answer
            outcome = _sent(answer)
            del answer

        async def attempt() -> Sent[Response]:
            again = within(request, deadline)
            transfer = call(again)
            return _sent(await (transfer if send is None else send(transfer, again)))

        attempts = after(outcome, attempt)
        del outcome
        return await self.made(attempts, request, deadline)

    async def made(
        self,
        attempt: Callable[[], Awaitable[Sent[T]]],
        request: _http.Outgoing,
        deadline: float | None = None,
    ) -> T:
        """Makes attempts until one has an answer for the caller, and returns that."""
        sent = await self._attempts.make(
            attempt, name=lambda: f"{request.method} {shown_url(request.url)}", deadline=deadline
        )
        return sent.result

    # What Attempts wants of it.

    def call(self) -> None:
        return None

    def shown(self, answer: Answer) -> Verdict:
        """Leaves a refusal to the scheduler and its `auto_backoff`, within a call of one."""
        verdict = judged(answer)
        if verdict.is_refusal and current_call() is not None:
            return replace(verdict, is_final=True)
        return verdict

    def settle(self, usage: Usage) -> None:
        return None


def make_unscheduled(options: Options) -> Unscheduled | None:
    """Makes an Unscheduled, or returns None with a scheduler, or if no call would be sent again."""
    if options.scheduler is not None or not (options.retries or options.max_retries):
        return None
    return Unscheduled(options.persistence, options.timeout)


def _sent(response: Response) -> Sent[Response]:
    head = partial(_http.parse_head, response._head)
    return Sent(response, Answer(response.status, head, response.body))
