"""The call that leads its group: sent as a stream, and its answer put together."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

from xtremeflow import _http
from xtremeflow._core import current_call
from xtremeflow.batches.first_token import report_first_token, reporting
from xtremeflow.http._errors import TransportError, transport_error
from xtremeflow.http._json import decode, encode
from xtremeflow.prefixes.groups import Grouped
from xtremeflow.prefixes.streams import Whole, fields_of_stream

_STREAM = re.compile(rb"^content-type:[ \t]*text/event-stream", re.IGNORECASE | re.MULTILINE)
_STATUS_LINE = re.compile(rb"^(HTTP/[\d.]+) \d+[^\r\n]*")
_OF_STREAM = re.compile(
    rb"^(?:content-type|content-length|content-encoding|transfer-encoding):[^\r\n]*\r?\n",
    re.IGNORECASE | re.MULTILINE,
)
_TOO_LARGE, _BROKEN, _NO_STREAM = -3, 18, 8  # see transport_error


def begins(grouped: Grouped) -> None:
    """Notes that an attempt of the call is dispatched, and whether it leads."""
    call = current_call()
    grouped.led = call is not None and call.leads
    if grouped.led and grouped.seen.rules.usable == "scheduled":
        report_first_token()  # the server reads it from there as soon as it is computed


def of_leader(grouped: Grouped, content: bytes) -> bytes | None:
    """Does the work of `begins`. Returns the body that asks for a stream, if the call leads and has
    to ask."""
    begins(grouped)
    place, body = grouped.seen.place, grouped.seen.body
    if not grouped.led or grouped.seen.rules.usable == "scheduled":
        return None
    if place.provider is None or place.provider.streams is None:
        return None
    asks = place.provider.streams == "asked"
    fields = fields_of_stream(place.api, body, asks_for_usage=asks)
    return None if fields is None else with_fields(content, body, fields)


def as_grouped(grouped: Grouped, content: bytes) -> bytes:
    """Returns the body of a call as its group wants it: with a key, or a mark. One that cannot be
    written again stays as it is."""
    if grouped.marked:
        try:
            return encode({**grouped.seen.body, **grouped.fields})
        except ValueError:
            return content
    if not grouped.fields:
        return content
    return with_fields(content, grouped.seen.body, grouped.fields) or content


async def put_together(
    api: str, transfer: _http.Transfer, max_event: int, max_body: int
) -> Assembled:
    """Reads a stream whose head has come. Returns what the answer would have been without one.

    Raises TransportError if it is not whole.
    """
    if transfer.status >= 400 or not _STREAM.search(transfer.head):
        body = b"".join([piece async for piece in _bounded(transfer, max_body)])
        return Assembled(transfer, transfer.status, transfer.head, body)
    whole, size = Whole(api), 0
    try:
        async for event in reporting(transfer.events(max_event)):
            size += len(event.data) if event.data.isascii() else len(event.data.encode())
            if size > max_body:
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
    head = _OF_STREAM.sub(b"", transfer.head)
    if whole.error is not None:
        head = _STATUS_LINE.sub(rb"\1 %d" % whole.status, head)
    at = head.index(b"\n") + 1
    head = b"%scontent-type: application/json\r\n%s" % (head[:at], head[at:])
    return Assembled(transfer, whole.status, head, body)


async def _bounded(transfer: _http.Transfer, most: int) -> AsyncIterator[bytes]:
    size = 0
    async for piece in transfer.chunks():
        size += len(piece)
        if size > most:
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
        """Does nothing, because the transfer has ended."""


def with_fields(content: bytes, body: dict[str, Any], fields: dict[str, Any]) -> bytes | None:
    """Returns the body with more fields; its own bytes stay as they are, if they can. Returns None
    if they cannot, and have a number that Python cannot write again, such as 1e999."""
    if not body.keys().isdisjoint(fields):
        try:
            return encode({**decode(content), **fields})
        except ValueError:
            return None
    return encode(fields)[:-1] + b"," + content[content.index(b"{") + 1 :]


def _failed(transfer: _http.Transfer, code: int, message: str | None = None) -> Exception:
    begun = transfer.status, transfer.head, transfer.times
    ending = _http.Ending((code, message, 0, False, True, *begun))
    return transport_error(transfer.method, transfer.url, ending)
