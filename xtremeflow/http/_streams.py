"""Streamed answers as blocks: entered when the answer has begun, left with the transfer."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from types import TracebackType

from xtremeflow import _http
from xtremeflow.answers.answer import Answer
from xtremeflow.answers.attempt import Sent
from xtremeflow.batches.first_token import report_first_token
from xtremeflow.http._admission import Admission
from xtremeflow.http._ahead import body_ahead, is_at_hand
from xtremeflow.http._deadline import deadline_of, within
from xtremeflow.http._leading import begins
from xtremeflow.http._prefixes import Auto, Prepared
from xtremeflow.http._response import StreamResponse
from xtremeflow.http._streamed import StreamedCall, Unpassed
from xtremeflow.http._terms import CallTerms
from xtremeflow.http._unscheduled import Unscheduled
from xtremeflow.http._upload import BodySource, uploading
from xtremeflow.values.usage import Usage


class StreamContext:
    """The stream of ``Client.stream``, to be entered with ``async with``."""

    def __init__(self, transfer: _http.Transfer, source: BodySource | None, max_event: int) -> None:
        self._transfer = transfer
        self._source = source
        self._max_event = max_event

    async def __aenter__(self) -> StreamResponse:
        transfer = self._transfer
        if self._source is None:
            await transfer
        else:
            self._uploading = uploading(transfer, self._source)
            await self._uploading.__aenter__()
            try:
                await transfer
            except BaseException as error:
                await self._uploading.__aexit__(type(error), error, error.__traceback__)
                raise
        return StreamResponse(transfer, self._max_event)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._transfer.abort()
        if self._source is not None:
            await self._uploading.__aexit__(kind, error, traceback)


class RepeatedStreamContext(StreamContext):
    """The same without a scheduler, with a few attempts until an answer has begun."""

    def __init__(
        self,
        first: _http.Transfer,
        max_event: int,
        call: Callable[[_http.Outgoing], _http.Transfer],
        unscheduled: Unscheduled,
        request: _http.Outgoing,
    ) -> None:
        super().__init__(first, None, max_event)
        self._first: _http.Transfer | None = first
        self._call = call
        self._unscheduled = unscheduled
        self._request = request

    async def __aenter__(self) -> StreamResponse:
        deadline = deadline_of(self._request, self._unscheduled.timeout)

        async def attempt() -> Sent[StreamResponse]:
            if self._first is None:
                self._transfer = self._call(within(self._request, deadline))
            self._first = None
            transfer = self._transfer
            stream = await super(RepeatedStreamContext, self).__aenter__()
            head = partial(_http.parse_head, transfer.head)
            body = await body_ahead(transfer) if is_at_hand(transfer) else None
            return Sent(stream, Answer(transfer.status, head, body))

        return await self._unscheduled.made(attempt, self._request, deadline)


class ScheduledStreamContext(StreamContext):
    """The same through a scheduler. It holds its slot until the block or the body ends."""

    def __init__(
        self,
        first: _http.Transfer,
        source: BodySource | None,
        max_event: int,
        again: Callable[[], _http.Transfer],
        admission: Admission,
        terms: CallTerms,
    ) -> None:
        super().__init__(first, source, max_event)
        self._unused = True
        self._again = again
        self._admission = admission
        self._terms = terms
        self._settle = admission.settle
        self._open: StreamedCall[StreamResponse] | None = None

    async def _attempt(self) -> Sent[StreamResponse]:
        if not self._unused:
            self._transfer = self._again()
        self._unused = False
        transfer = self._transfer
        sent_at = self._admission.now()
        stream = await super().__aenter__()
        stream._queued = time.perf_counter() - self._asked - stream.timing.first_byte
        answer = await self._admission.begun(transfer, sent_at, settles=False)
        if transfer.status < 400:
            report_first_token()
        return Sent(stream, answer)

    async def __aenter__(self) -> StreamResponse:
        self._asked = time.perf_counter()
        transfer = self._transfer
        call: StreamedCall[StreamResponse] = StreamedCall(
            self._admission, transfer.method, transfer.url, self._settle
        )
        try:
            stream = await call.opened(self._attempt, self._terms, self._source is None)
        except Unpassed as unpassed:
            refused: StreamResponse = unpassed.sent.result
            return refused
        except BaseException:
            self._transfer.close()
            raise
        stream._call = self._open = call
        return stream

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await super().__aexit__(kind, error, traceback)
        finally:
            if self._open is not None:
                self._open.close()


class PrefixedStreamContext(ScheduledStreamContext):
    """The same, with an eye to the prefix that its call shares with others."""

    def __init__(
        self,
        first: _http.Transfer,
        max_event: int,
        call: Callable[[_http.Outgoing], _http.Transfer],
        admission: Admission,
        auto: Auto,
        request: _http.Outgoing,
        terms: CallTerms,
    ) -> None:
        super().__init__(first, None, max_event, partial(call, request), admission, terms)
        self._call = call
        self._auto = auto
        self._request = request
        self._prepared: Prepared | None = None

    async def __aenter__(self) -> StreamResponse:
        request = self._request
        try:
            prepared = await self._auto.prepared(self._terms, request.url, request.body)
        except BaseException:
            self._transfer.close()
            raise
        if prepared is None:
            self._terms = self._admission.priced(self._terms, request.url, request.body)
            return await super().__aenter__()
        self._prepared = prepared
        self._terms = prepared.terms
        self._settle = self._settled
        if prepared.content is not request.body:
            self._transfer.close()
            self._again = partial(self._call, request.replace(body=prepared.content))
            self._transfer = self._again()
        return await super().__aenter__()

    async def _attempt(self) -> Sent[StreamResponse]:
        if self._prepared is not None:
            begins(self._prepared.grouped)
        return await super()._attempt()

    def _settled(self, usage: Usage) -> None:
        assert self._prepared is not None
        self._auto.used(self._prepared, usage)
        self._admission.settle(usage)
