"""Calls without a scheduler: a few attempts each, with waits of their own, as in the SDKs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from types import EllipsisType
from typing import TypeVar

from xtremeflow import _http
from xtremeflow._core import current_call
from xtremeflow.answers.answer import Answer
from xtremeflow.answers.attempt import Attempts, Persistence, Sent
from xtremeflow.answers.table import judged
from xtremeflow.answers.verdict import Verdict
from xtremeflow.http._admission import Send, is_safe
from xtremeflow.http._errors import TransportError
from xtremeflow.http._response import Response
from xtremeflow.http._url import shown
from xtremeflow.values.usage import Usage

T = TypeVar("T")


class Alone:
    """How a client without a scheduler makes its calls. timeout: of a call, with all of its
    attempts, in seconds."""

    def __init__(self, persistence: Persistence, timeout: float | None) -> None:
        self._attempts = Attempts(self, persistence, is_safe)
        self._timeout = timeout

    async def whole(
        self,
        first: _http.Transfer,
        call: Callable[[_http.Outgoing], _http.Transfer],
        request: _http.Outgoing,
        send: Send | None,
    ) -> Response:
        """Awaits the first transfer; after a refusal or a failure another, of `call(request)`.
        send: how to await a transfer."""
        deadline = self.deadline(request)
        known: list[Response | TransportError] = []
        try:
            answer: Response = await (first if send is None else send(first, request))
        except TransportError as error:
            known.append(error)
        else:
            if answer.status < 400 and b"error" not in answer.body:
                return answer
            known.append(answer)
            del answer

        async def attempt() -> Sent[Response]:
            if known:
                response = known.pop()
                if isinstance(response, TransportError):
                    raise response
            else:
                again = self.within(request, deadline)
                response = await (call(again) if send is None else send(call(again), again))
            head = partial(_http.parse_head, response._head)
            return Sent(response, Answer(response.status, head, response.body))

        return await self.made(attempt, request, deadline)

    def deadline(self, request: _http.Outgoing) -> float | None:
        """When a call that begins now has to be over, in seconds on the loop's clock."""
        total = request.timeout
        if isinstance(total, EllipsisType):
            total = self._timeout
        return None if total is None else asyncio.get_running_loop().time() + total

    def within(self, request: _http.Outgoing, deadline: float | None) -> _http.Outgoing:
        """The same request with the time that is left for it."""
        left = deadline
        if deadline is not None:
            left = max(deadline - asyncio.get_running_loop().time(), 1e-9)
        return _http.Outgoing(
            request.method, request.url, request.headers, request.body, json=request.json,
            timeout=left, idle_timeout=request.idle_timeout,
            connect_timeout=request.connect_timeout, stream=request.stream,
            idempotent=request.idempotent,
        )  # fmt: skip

    async def made(
        self,
        attempt: Callable[[], Awaitable[Sent[T]]],
        request: _http.Outgoing,
        deadline: float | None = None,
    ) -> T:
        """Makes attempts until one has an answer for the caller, and returns that."""
        sent = await self._attempts.make(
            attempt, name=lambda: f"{request.method} {shown(request.url)}", deadline=deadline
        )
        return sent.result

    # What Attempts wants of it.

    def call(self) -> None:
        return None

    def shown(self, answer: Answer) -> Verdict:
        """Within a call of somebody's scheduler a refusal is for that, and its `auto_backoff`."""
        verdict = judged(answer)
        if verdict.is_refusal and current_call() is not None:
            return replace(verdict, is_final=True)
        return verdict

    def settle(self, usage: Usage) -> None:
        return None


def make_alone(
    retries: int, max_retries: int | None, max_retry_after: float, timeout: float | None
) -> Alone | None:
    """Makes an Alone, or returns None if no call would be sent again. Checks nothing."""
    if not retries and not max_retries:
        return None
    return Alone(Persistence(retries, max_retries, float(max_retry_after)), timeout)
