"""Calls through a scheduler: admitted, settled from what they used, retried when refused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from .. import _http
from .._core import current_call
from ..backoff import auto_backoff
from ..learning.rules import BY_USAGE
from ..learning.usage import Usage
from ..limits import Cost
from ..refusals import is_too_large
from ..scheduler import TaskScheduler
from . import _options
from ._errors import StatusError
from ._response import Response, StreamResponse
from ._url import shown
from ._usage import Estimate, Tap, measured, usage_in

T = TypeVar("T")

#: The arguments of Session.call.
Request = tuple[Any, ...]

# Not taken on by the provider, and welcome again later.
REFUSALS = frozenset({429, 503, 529})


def _is_refusal(error: Exception) -> bool:
    return isinstance(error, StatusError) and error.status in REFUSALS and not is_too_large(error)


def refusal(response: Response | StreamResponse, body: bytes) -> StatusError:
    """An answer to be retried, as what is raised for it."""
    error = StatusError(response, body)
    error._xtremeflow_call = f"{response.method} {shown(response.url)}"
    return error


def make_admission(
    scheduler: TaskScheduler | None,
    estimate: Estimate | None,
    settle: bool | None,
    max_retries: int,
    max_retry_after: float,
) -> Admission | None:
    """None without a scheduler. Raises TypeError or ValueError for what is wrong, either way."""
    if scheduler is not None and not isinstance(scheduler, TaskScheduler):
        raise TypeError(f"scheduler must be one of xtremeflow's schedulers, not {scheduler!r}")
    if estimate is not None and not callable(estimate):
        raise TypeError(
            f"estimate must be a function of a URL and a body, or None, not {estimate!r}"
        )
    if settle is not None:
        _options.flag(settle, "settle")
    if scheduler is None:
        auto_backoff(_is_refusal, max_retries, max_retry_after=max_retry_after)  # checks them
        return None
    return Admission(scheduler, estimate, settle, max_retries, max_retry_after)


class Admission:
    """The scheduler of a client, and how its calls use it."""

    def __init__(
        self,
        scheduler: TaskScheduler,
        estimate: Estimate | None,
        settle: bool | None,
        max_retries: int,
        max_retry_after: float,
    ) -> None:
        self.scheduler = scheduler
        self._estimate = estimate
        self._settles = settle
        self._observes = bool(scheduler.limit_names)  # else there is nothing to move
        retrying = auto_backoff(_is_refusal, max_retries, max_retry_after=max_retry_after)
        self._retried = retrying(self._attempt)
        self.retrying = retrying

    def cost(self, url: str, body: Any) -> Cost:
        if body is None:
            body = b""
        if self._estimate is not None:
            return self._estimate(url, body if isinstance(body, bytes) else bytes(body))
        model, size, most = measured(url, body)
        return self.scheduler.estimate(size, model=model, most=most)

    def admitted(self) -> bool:
        """Whether the running code belongs to a call of this scheduler: it has its slot."""
        call = current_call()
        return call is not None and call.scheduler is self.scheduler

    def settle(self, usage: Usage | None) -> None:
        if usage is not None and self._settles is not False:
            self.scheduler.settle(usage, rule=BY_USAGE if self._settles else None)

    def now(self) -> float:
        """Seconds on the scheduler's clock."""
        return self.scheduler._now()

    def observe(
        self, transfer: _http.Transfer, body: bytes | None, sent_at: float, received_at: float
    ) -> None:
        """Shows the scheduler an answer whose head has come; `body` that of a refusal."""
        fields = self._telling(transfer.status, transfer.head)
        if fields is not None:
            self.scheduler.observe(
                transfer.status, fields, body, sent_at=sent_at, received_at=received_at
            )

    def _observe_whole(self, response: Response, sent_at: float) -> None:
        fields = self._telling(response.status, response._head)
        if fields is not None:
            _, _, _, _, first_byte, total, _, _ = response._times
            received_at = self.now() - (total - first_byte) / 1e6
            self.scheduler.observe(
                response.status, fields, response.body, sent_at=sent_at, received_at=received_at
            )

    def _telling(self, status: int, head: bytes) -> list[tuple[str, str]] | None:
        """The header fields that the scheduler is to see; None if it can learn nothing."""
        if not self._observes:
            return None
        if status >= 400:
            return _http.parse_head(head)
        return _http.limit_fields(head) or ([] if self.scheduler.adapt else None)

    async def whole(
        self,
        first: _http.Transfer,
        call: Callable[..., _http.Transfer] | None,
        request: Request,
        send: Callable[[_http.Transfer, Request], Awaitable[Response]] | None,
    ) -> Response:
        """Awaits the first transfer once admitted; after a refusal another, of `call(*request)`.

        The answer to the last attempt is returned, a refusal too. send: how a transfer is awaited.
        """
        run = self._attempt if call is None else self._retried
        attempt = None
        try:
            cost = self.cost(request[1], request[3])
            attempt = run([first], call, request, send, time.perf_counter())
            if self.admitted():
                return await attempt
            task = self.scheduler.submit(attempt, cost)
            attempt = None  # the task's
            return await task
        except StatusError as error:
            if isinstance(error.response, Response):
                return error.response
            raise
        finally:
            first.close()  # if it was never dispatched
            if attempt is not None:
                attempt.close()

    async def _attempt(
        self,
        transfers: list[_http.Transfer],
        call: Callable[..., _http.Transfer] | None,
        request: Request,
        send: Callable[[_http.Transfer, Request], Awaitable[Response]] | None,
        asked: float,
    ) -> Response:
        queued = time.perf_counter() - asked
        if transfers:
            transfer = transfers.pop()
        else:
            assert call is not None
            transfer = call(*request)
        sent_at = self.now()
        response: Response = await (transfer if send is None else send(transfer, request))
        response._queued = queued
        self._observe_whole(response, sent_at)
        if response.status in REFUSALS:
            raise refusal(response, response.body)
        self.settle(usage_in(response.body))
        return response


class Lease(Generic[T]):
    """A streamed call's slot, held until the stream is closed.

    `open` gives the stream once its head is there. A refusal that outlasts the retries is raised
    as StatusError.
    """

    def __init__(
        self, admission: Admission, open: Callable[[], Awaitable[T]], cost: Cost, repeatable: bool
    ) -> None:
        loop = asyncio.get_running_loop()
        self.tap = Tap()
        self._admission = admission
        self._open = admission.retrying(open) if repeatable else open
        self._opened: asyncio.Future[T] = loop.create_future()
        self._closed: asyncio.Future[None] = loop.create_future()
        self._task: asyncio.Task[None] | None = None
        if not admission.admitted():
            hold = self._hold()
            try:
                self._task = admission.scheduler.submit(hold, cost)
            except BaseException:
                hold.close()
                raise

    async def opened(self) -> T:
        if self._task is None:
            return await self._open()
        try:
            # Not the future alone: the task may end without having come to run.
            both: set[asyncio.Future[Any]] = {self._task, self._opened}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._task.cancel()
            raise
        if not self._opened.done():
            self._task.result()
        return self._opened.result()

    async def _hold(self) -> None:
        try:
            stream = await self._open()
        except Exception as error:
            self._opened.set_exception(error)
            return
        self._opened.set_result(stream)
        await self._closed
        self._admission.settle(self.tap.usage())

    async def aclose(self) -> None:
        """Settles the call and gives its slot back."""
        if self._task is None:
            if not self._closed.done():
                self._closed.set_result(None)
                self._admission.settle(self.tap.usage())
            return
        self.close()
        await asyncio.wait({self._task})

    def close(self) -> None:
        """The same, by the loop's next turn."""
        if not self._closed.done() and not self._closed.get_loop().is_closed():
            self._closed.set_result(None)
