"""Calls through a scheduler: admitted, attempted until their answer is for the caller, settled."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Hashable
from functools import partial
from typing import Any, NamedTuple

from xtremeflow import _http
from xtremeflow._core import Call, current_call
from xtremeflow.answers.answer import Answer
from xtremeflow.answers.attempt import Attempts, Sent, after
from xtremeflow.answers.verdict import PASSED, Verdict
from xtremeflow.http._ahead import body_ahead
from xtremeflow.http._errors import LASTING, TransportError, not_admitted
from xtremeflow.http._options import Options
from xtremeflow.http._response import Response
from xtremeflow.http._streamed import StreamedCalls
from xtremeflow.http._terms import CallTerms
from xtremeflow.http._url import shown_url
from xtremeflow.http._usage import usage_in
from xtremeflow.learning.costs.estimates import Estimate, embeds
from xtremeflow.scheduler import TaskScheduler
from xtremeflow.values.charges import BY_USAGE
from xtremeflow.values.limits import Cost
from xtremeflow.values.usage import Usage

#: Awaits a transfer.
Sending = Callable[[_http.Transfer, _http.Outgoing], Coroutine[Any, Any, Response]]


class _Wanted(NamedTuple):
    """The request of a call. `call` makes another transfer of it; None if there can be only one."""

    call: Callable[[_http.Outgoing], _http.Transfer] | None
    request: _http.Outgoing
    send: Sending | None
    terms: CallTerms


def is_safe(error: Exception) -> bool:
    """Whether a request may be sent again after this error, and that is of use."""
    return isinstance(error, TransportError) and error.retry_safe and not isinstance(error, LASTING)


def make_admission(
    options: Options, is_safe: Callable[[Exception], bool] = is_safe
) -> Admission | None:
    """Makes an Admission, or returns None without a scheduler."""
    return None if options.scheduler is None else Admission(options.scheduler, options, is_safe)


_NOTHING_NEW = Answer(200)  # stands for those that the scheduler has foreseen
_SETTLED = Answer(200)  # for those that have come to their end, so that it has settled the call
_NOT_SETTLED = 0  # see Scheduler._foreseen


class Admission:
    """The scheduler of a client, and the way in which calls use it."""

    def __init__(
        self,
        scheduler: TaskScheduler,
        options: Options,
        is_safe: Callable[[Exception], bool],
    ) -> None:
        self.scheduler = scheduler
        self._estimate = options.estimate
        self._settles = options.settle
        self._observes = bool(scheduler.limit_names)  # without limits nothing can be learned
        self._settling = {False: 0, None: 1, True: 2}[options.settle]  # for _foreseen
        self.attempts = Attempts(self, options.persistence, is_safe)
        self.streamed = StreamedCalls(scheduler)

    def priced(self, terms: CallTerms, url: str, body: Any) -> CallTerms:
        """Returns the terms with the likely cost of the request, if they do not state one."""
        if terms.estimate is not None:
            return terms
        return terms._replace(estimate=self._cost(url, body))

    def _cost(self, url: str, body: Any) -> Cost:
        """Returns the likely cost of a request."""
        if body is None:
            body = b""
        if self._estimate is not None:
            return self._estimate(url, body if isinstance(body, bytes) else bytes(body))
        model, most = _http.asked(body)
        if most is None and embeds(url):
            most = 0
        size = len(body)
        cost = self.scheduler._estimate(Estimate, model, size, most)
        return self.scheduler.estimate(size, model=model, most=most) if cost is None else cost

    def admitted(self) -> bool:
        """Whether the running code belongs to a call of this scheduler, which has a slot
        already."""
        call = current_call()
        return call is not None and call.scheduler is self.scheduler

    def now(self) -> float:
        """Returns seconds on the scheduler's clock."""
        return self.scheduler._now()

    def answer(
        self, status: int, head: bytes, body: bytes | None, sent_at: float, received_at: float
    ) -> Answer:
        """Makes an Answer. The limits in its head are read in C; all other fields only on
        demand."""
        now = time.time()
        return Answer(
            status,
            partial(_http.parse_head, head),
            body,
            sent_at=sent_at,
            received_at=received_at,
            now=now,
            quotas=_http.quotas(head, now),
        )

    # The interface that Attempts needs.

    def call(self) -> Call | None:
        return current_call()

    def shown(self, answer: Answer) -> Verdict:
        is_foreseen = answer is _NOTHING_NEW or answer is _SETTLED
        return PASSED if is_foreseen else self.scheduler._shown(answer)

    def settle(self, usage: Usage) -> None:
        how = self._settling
        if how == _NOT_SETTLED:
            return
        if not self.scheduler._settled(usage.input, usage.output, usage.cached, how):
            self.scheduler.settle(usage, rule=BY_USAGE if self._settles else None)

    # ---- whole answers ----

    def whole(
        self,
        first: _http.Transfer,
        call: Callable[[_http.Outgoing], _http.Transfer] | None,
        request: _http.Outgoing,
        send: Sending | None,
        terms: CallTerms,
    ) -> Coroutine[Any, Any, Response]:
        """Awaits the transfer `first` once the call is admitted, and after a refusal another one of
        `call(request)`.

        Returns the answer to the last attempt, which may be a refusal. `send` awaits a transfer.
        """
        wanted = _Wanted(call, request, send, terms)
        if send is None:
            return self.scheduler._exchange(first, self._terms_of, self._answered, wanted)
        first.entrust()
        return self.scheduler._exchange(
            send(first, request), self._terms_of, self._answered, wanted
        )

    def _terms_of(
        self, wanted: _Wanted
    ) -> tuple[int, float | None, Cost, Hashable, int, float | None]:
        """Returns the fields of the priced terms: a plain tuple, which costs a tenth of one with
        names."""
        priority, timeout, cost, prefix, tokens, life = wanted.terms
        if cost is None:
            cost = self._cost(wanted.request.url, wanted.request.body)
        return priority, timeout, cost, prefix, tokens, life

    def _answered(
        self,
        wanted: _Wanted,
        call: Call,
        asked_at: float,
        sent_at: float | None,
        came_at: float,
        response: Response | None,
        error: Exception | None,
    ) -> Coroutine[Any, Any, tuple[Response, bool]] | None:
        """Takes the answer to an attempt, or its error; see
        `xtremeflow._core.Scheduler._exchange`."""
        if sent_at is None:
            asked = time.perf_counter() - (came_at - asked_at)
            raise not_admitted(wanted.request.method, wanted.request.url, asked) from None
        if response is None:
            assert error is not None
            return self._go_on(wanted, asked_at, error)
        received_at = came_at - response._lag
        foreseen = self.scheduler._foreseen(
            call, response.status, response._head, response.body, sent_at, received_at,
            self._settling,
        )  # fmt: skip
        if foreseen is None:
            return self._go_on(wanted, asked_at, self._sent(response, asked_at, sent_at))
        response._queued = sent_at - asked_at
        self.attempts.passed(came_at)
        return None

    async def _go_on(
        self, wanted: _Wanted, asked_at: float, first: Exception | Sent[Response]
    ) -> tuple[Response, bool]:
        """Goes on with a call after its first attempt. Returns the last one's answer, and whether
        the limits have let it pass."""

        async def attempt() -> Sent[Response]:
            assert wanted.call is not None
            transfer = wanted.call(wanted.request)
            sent_at = self.now()
            if wanted.send is None:
                response: Response = await transfer
            else:
                response = await wanted.send(transfer, wanted.request)
            return self._sent(response, asked_at, sent_at)

        sent = await self.attempts.make(
            after(first, attempt),
            name=lambda: f"{wanted.request.method} {shown_url(wanted.request.url)}",
            is_repeatable=wanted.call is not None,
        )
        return sent.result, sent.has_passed

    def _sent(self, response: Response, asked_at: float, sent_at: float) -> Sent[Response]:
        response._queued = sent_at - asked_at
        received_at = self.now() - response._lag
        body = response.body
        answer = self.answer(response.status, response._head, body, sent_at, received_at)
        return Sent(response, answer, usage_in(body) if response.status < 400 else None)

    # ---- streams ----

    def has_settled(self, answer: Answer) -> bool:
        """Whether an answer that `begun` has returned has settled its call."""
        return answer is _SETTLED

    async def begun(self, transfer: _http.Transfer, sent_at: float, *, settles: bool) -> Answer:
        """Returns the answer of a stream whose head has come, once the begin of its body has.

        A head that tells anything new is shown to the scheduler at once, because the body may take
        its time. An answer that is whole by then also settles the call, with `settles`.
        """
        scheduler, status, head = self.scheduler, transfer.status, transfer.head
        received_at = self.now()
        answer = None
        if not scheduler._foresees(status, head):
            answer = self.answer(status, head, None, sent_at, received_at)
            if self._observes and answer.quotas != []:
                scheduler._learn_head(answer)
        body = await body_ahead(transfer)
        if answer is None:
            is_whole = settles and transfer.done_well
            how = self._settling if is_whole else _NOT_SETTLED
            foreseen = scheduler._foreseen(None, status, head, body, sent_at, received_at, how)
            if foreseen is not None:
                return _SETTLED if is_whole else _NOTHING_NEW
            answer = self.answer(status, head, None, sent_at, received_at)
        answer.has_come(body)
        return answer
