"""Prefixes that calls share, found by the client itself: see docs/prefixes.md.

Calls that come in one turn of the loop are seen together before any of them is queued. The call
that leads its group is sent as a stream, if that can be done, so that the others follow its first
event; its caller gets the whole answer all the same.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

from xtremeflow import _http
from xtremeflow._core import current_call
from xtremeflow.batches.first_token import report_first_token, reporting
from xtremeflow.http._admission import Admission, Send
from xtremeflow.http._errors import TransportError, transport_error
from xtremeflow.http._json import decode, encode
from xtremeflow.http._options import Options
from xtremeflow.http._response import Response
from xtremeflow.http._terms import Terms
from xtremeflow.http._usage import usage_in
from xtremeflow.learning.estimates import Estimate
from xtremeflow.prefixes.groups import Groups, Member
from xtremeflow.prefixes.streams import Whole, fields_of_stream
from xtremeflow.values.limits import MINUTE
from xtremeflow.values.usage import Usage

_STREAM = re.compile(rb"^content-type:[ \t]*text/event-stream", re.IGNORECASE | re.MULTILINE)
_STATUS_LINE = re.compile(rb"^(HTTP/[\d.]+) \d+[^\r\n]*")
_OF_STREAM = re.compile(
    rb"^(?:content-type|content-length|content-encoding|transfer-encoding):[^\r\n]*\r?\n",
    re.IGNORECASE | re.MULTILINE,
)
_TOO_LARGE, _BROKEN, _NO_STREAM = -3, 18, 8  # see transport_error


def make_auto(options: Options, admission: Admission | None) -> Auto | None:
    """Makes an Auto, or returns None if the client is not to look at prefixes."""
    if options.prefixes is None or admission is None:
        return None
    return Auto(options, admission)


class Prepared:
    """A call of a group, ready for the queue.

    terms    those of its admission
    content  its body
    """

    def __init__(self, member: Member, terms: Terms, content: bytes) -> None:
        self.terms = terms
        self.content = content
        self._member = member
        self._led = False


class Auto:
    """The prefixes of a client's calls."""

    def __init__(self, options: Options, admission: Admission) -> None:
        assert options.prefixes is not None
        self._admission = admission
        self._max_event = options.max_event
        self._max_body = options.max_body
        self._groups = Groups(options.prefixes, decode, admission.now, self._per_minute)

    def _per_minute(self) -> float | None:
        """The calls that the scheduler may let go within a minute."""
        limits = [limit for limit in self._admission.scheduler.limits if limit.name == "requests"]
        allowed = [limit.rate * MINUTE + (limit.capacity or 0.0) for limit in limits]
        return min(allowed, default=None)

    async def prepared(self, terms: Terms, url: str, content: Any) -> Prepared | None:
        """Returns the call's part in a group, once those that have come with it are seen; None if
        it has none."""
        seen = self._groups.see(url, content) if isinstance(content, bytes) else None
        if seen is None:
            return None
        await asyncio.sleep(0)
        terms = self._admission.priced(terms, url, content)
        cost = terms.estimate
        member = self._groups.member(seen, cost.input if isinstance(cost, Estimate) else None)
        if member is None:
            return None
        if member.marked:
            content = encode({**seen.body, **member.fields})
        elif member.fields:
            content = _with(content, seen.body, member.fields)
        terms = terms._replace(prefix=member.key, prefix_tokens=member.tokens)
        return Prepared(member, terms, content)

    # ---- its answer ----

    async def whole(
        self,
        first: _http.Transfer,
        call: Callable[[_http.Outgoing], _http.Transfer],
        request: _http.Outgoing,
        send: Send | None,
        terms: Terms,
    ) -> Response:
        """Does the work of `Admission.whole`, which describes the arguments."""
        prepared = await self.prepared(terms, request.url, request.body)
        if prepared is None:
            return await self._admission.whole(first, call, request, send, terms)
        if prepared.content is not request.body:
            first.close()
            request = request.replace(body=prepared.content)
            first = call(request)

        async def sent(transfer: _http.Transfer, request: _http.Outgoing) -> Response:
            content = self.of_leader(prepared) if send is None else None
            if content is not None:
                transfer.close()
                transfer = call(request.replace(body=content, stream=True))
                await transfer
                response = await self._response(prepared, transfer)
            else:
                response = await (transfer if send is None else send(transfer, request))
            if response.status < 400 and (usage := usage_in(response.body)) is not None:
                self.used(prepared, usage)
            return response

        return await self._admission.whole(first, call, request, sent, prepared.terms)

    def begins(self, prepared: Prepared) -> None:
        """Called when an attempt is dispatched."""
        call = current_call()
        prepared._led = call is not None and call.leads
        if prepared._led and prepared._member.seen.rules.usable == "scheduled":
            report_first_token()  # the server reads it from there as soon as it is computed

    def of_leader(self, prepared: Prepared) -> bytes | None:
        """Does the work of `begins`. Returns the body that asks for a stream, if the
        call leads and has to ask."""
        member = prepared._member
        self.begins(prepared)
        if not prepared._led or member.seen.rules.usable == "scheduled":
            return None
        place, body = member.seen.place, member.seen.body
        if place.provider is None or place.provider.streams is None:
            return None
        asks = place.provider.streams == "asked"
        fields = fields_of_stream(place.api, body, asks_for_usage=asks)
        return None if fields is None else _with(prepared.content, body, fields)

    def used(self, prepared: Prepared, usage: Usage) -> None:
        """Notes the usage of the answer."""
        self._groups.answered(prepared._member, usage, prepared._led)

    async def _response(self, prepared: Prepared, transfer: _http.Transfer) -> Response:
        answer = await self.put_together(prepared, transfer)
        return Response(
            transfer.url, transfer.method, answer.status, answer.head, answer.body,
            transfer.http_version, 0.0, transfer.times,
        )  # fmt: skip

    async def put_together(self, prepared: Prepared, transfer: _http.Transfer) -> Assembled:
        """Reads a stream whose head has come. Returns what the answer would have been without one.

        Raises TransportError if it is not whole.
        """
        if transfer.status >= 400 or not _STREAM.search(transfer.head):
            body = b"".join([piece async for piece in self._bounded(transfer)])
            return Assembled(transfer, transfer.status, transfer.head, body)
        whole, size = Whole(prepared._member.seen.place.api), 0
        try:
            async for event in reporting(transfer.events(self._max_event)):
                size += len(event.data)
                if size > self._max_body:
                    raise _failed(transfer, _TOO_LARGE)
                whole.add(event.data)
            body = whole.body
        except ValueError as error:
            if isinstance(error, TransportError):
                raise
            code = _BROKEN if transfer.done_well else _NO_STREAM
            raise _failed(transfer, code, str(error)) from None
        finally:
            transfer.abort()
        head = _STATUS_LINE.sub(rb"\1 %d" % whole.status, transfer.head) if whole.error else None
        head = _OF_STREAM.sub(b"", transfer.head if head is None else head)
        at = head.index(b"\n") + 1
        head = b"%scontent-type: application/json\r\n%s" % (head[:at], head[at:])
        return Assembled(transfer, whole.status, head, body)

    async def _bounded(self, transfer: _http.Transfer) -> AsyncIterator[bytes]:
        size = 0
        async for piece in transfer.chunks():
            size += len(piece)
            if size > self._max_body:
                transfer.abort()
                raise _failed(transfer, _TOO_LARGE)
            yield piece


class Assembled:
    """An answer put together, with as much of a Transfer as its reader needs."""

    done_well = True

    def __init__(self, transfer: _http.Transfer, status: int, head: bytes, body: bytes) -> None:
        self.http_version = transfer.http_version
        self.status = status
        self.head = head
        self.body = body

    async def chunks(self) -> AsyncIterator[bytes]:
        yield self.body

    def abort(self) -> None:
        """Nothing is left to be ended."""


def _with(content: bytes, body: dict[str, Any], fields: dict[str, Any]) -> bytes:
    """Returns the body with more fields; its own bytes stay as they are, if they can."""
    if not body.keys().isdisjoint(fields):
        return encode({**decode(content), **fields})
    return encode(fields)[:-1] + b"," + content[content.index(b"{") + 1 :]


def _failed(transfer: _http.Transfer, code: int, message: str | None = None) -> Exception:
    return transport_error(
        code, message, transfer.method, transfer.url, 0, False, True, transfer.status,
        transfer.times,
    )  # fmt: skip
