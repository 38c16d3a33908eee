"""Answers: whole ones, and streamed ones."""

from __future__ import annotations

import codecs
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from xtremeflow import _http
from xtremeflow.batches.first_token import is_awaited, reporting
from xtremeflow.http._errors import InvalidJSON, StatusError
from xtremeflow.http._headers import Headers
from xtremeflow.http._json import decode

if TYPE_CHECKING:
    from xtremeflow.http._streamed import StreamedCall

_VERSIONS = {10: "HTTP/1.0", 11: "HTTP/1.1", 20: "HTTP/2", 30: "HTTP/3"}


class Timing(NamedTuple):
    """The times of a call, in seconds.

    Attributes:
        queue: before its dispatch: in the scheduler, or waiting for a free connection.
        connect: making the connection, TLS included; 0.0 on a reused one.
        first_byte: from the start of the call to the first byte of the answer.
        total: from the start of the call to the end of the answer.
    """

    queue: float
    connect: float
    first_byte: float
    total: float


def timing(times: _http.Times, queued: float = 0.0) -> Timing:
    made = max(times.connect, times.tls) / 1e6 if times.connects else 0.0
    waited = queued + (0.0 if times.connects else times.ready / 1e6)
    return Timing(waited, made, queued + times.first_byte / 1e6, queued + times.total / 1e6)


class Request(NamedTuple):
    """The method and URL of a request. Headers and body are not kept, since they may be secret or
    large."""

    method: str
    url: str


class Answered:
    """The attributes of any answer that follow from its status line and the clock."""

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def status(self) -> int: ...
        @property
        def method(self) -> str: ...
        @property
        def url(self) -> str: ...
        @property
        def timing(self) -> Timing: ...
        @property
        def _head(self) -> bytes: ...

    @property
    def status_code(self) -> int:
        return self.status

    @property
    def ok(self) -> bool:
        """Whether the status is below 400."""
        return self.status < 400

    @property
    def is_success(self) -> bool:
        """Whether the status is 200 to 299."""
        return 200 <= self.status < 300

    @property
    def is_error(self) -> bool:
        """Whether the status is 400 or above."""
        return self.status >= 400

    @property
    def reason_phrase(self) -> str:
        """The server's words beside the status; "" over HTTP/2."""
        line = self._head.partition(b"\n")[0]
        return b" ".join(line.split()[2:]).decode("latin-1")

    @property
    def elapsed(self) -> timedelta:
        """The time from the dispatch of the call to the end of its answer: `timing` without its
        queue."""
        return timedelta(seconds=self.timing.total - self.timing.queue)

    @property
    def request(self) -> Request:
        """The method and the URL of the request."""
        return Request(self.method, self.url)


class Response(Answered, _http.Response):
    """A whole answer.

    It can be pickled, and so can the StatusError with it.

    Attributes:
        status: the status code (also as ``status_code``).
        body: the body as bytes, decompressed (also as ``content``).
        url, method: of the request that was answered.
    """

    __slots__ = ()

    @property
    def content(self) -> bytes:
        return self.body

    @property
    def http_version(self) -> str:
        return _VERSIONS.get(self._version, "HTTP/?")

    @property
    def headers(self) -> Headers:
        if self._headers is None:
            self._headers = Headers(_http.parse_head(self._head))
        headers: Headers = self._headers
        return headers

    @property
    def timing(self) -> Timing:
        return timing(self._times, self._queued)

    @property
    def text(self) -> str:
        """The body as text, in the charset that the headers name, else UTF-8."""
        return self.body.decode(_charset(self.headers), "replace")

    def json(self) -> Any:
        """Decodes the body from JSON. Raises InvalidJSON, a ValueError, if it is not JSON."""
        try:
            return decode(self.body)
        except ValueError as error:
            raise InvalidJSON(self, error) from error

    def raise_for_status(self) -> Response:
        """Raises StatusError for a status of 400 or above. Returns the Response otherwise."""
        if self.status >= 400:
            raise StatusError(self, self.body)
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (
            self.url, self.method, self.status, self._head, self.body, self._version,
            self._queued, self._times,
        )  # fmt: skip

    def _whole(self, body: bytes) -> Response:
        return self

    def __repr__(self) -> str:
        return f"<Response {self.status}, {len(self.body)} bytes>"


def _event_json(data: str) -> Any:
    try:
        return decode(data)
    except ValueError as error:
        raise InvalidJSON(None, error) from error


_http.set_loads(_event_json)


def _charset(headers: Headers) -> str:
    for part in headers.get("content-type", "").split(";")[1:]:
        name, _, value = part.partition("=")
        if name.strip().lower() == "charset":
            try:
                return codecs.lookup(value.strip().strip('"')).name
            except LookupError:
                break
    return "utf-8"


class StreamResponse(Answered):
    """An answer whose body is read as it arrives, made by ``Client.stream``.

    A reader that does not keep up pauses the transfer, so memory stays bounded. One task reads.
    """

    __slots__ = ("__weakref__", "_call", "_headers", "_max_event", "_queued", "_transfer")

    def __init__(self, transfer: _http.Transfer, max_event: int) -> None:
        self._transfer = transfer
        self._max_event = max_event
        self._queued = 0.0
        self._headers: Headers | None = None
        self._call: StreamedCall[StreamResponse] | None = None

    @property
    def status(self) -> int:
        return self._transfer.status

    @property
    def _head(self) -> bytes:
        return self._transfer.head

    @property
    def url(self) -> str:
        return self._transfer.url

    @property
    def method(self) -> str:
        return self._transfer.method

    @property
    def http_version(self) -> str:
        return _VERSIONS.get(self._transfer.http_version, "HTTP/?")

    @property
    def headers(self) -> Headers:
        if self._headers is None:
            self._headers = Headers(_http.parse_head(self._transfer.head))
        return self._headers

    @property
    def timing(self) -> Timing:
        """The times so far; complete once the body is read."""
        return timing(self._transfer.times, self._queued)

    def aiter_bytes(self) -> AsyncIterator[bytes]:
        """Yields the body in pieces, as they arrive."""
        chunks = self._transfer.chunks()
        if self._call is not None:
            return self._tapped_chunks(chunks, self._call)
        return reporting(chunks) if self.status < 400 and is_awaited() else chunks

    @staticmethod
    async def _tapped_chunks(
        chunks: AsyncIterator[bytes], call: StreamedCall[StreamResponse]
    ) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            call.tap.see(chunk)
            yield chunk
        call.close()

    async def aiter_lines(self) -> AsyncIterator[str]:
        """Yields the body's lines without their ends (LF, CR or CRLF), decoded as UTF-8."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        rest = ""
        async for chunk in self.aiter_bytes():
            rest += decoder.decode(chunk)
            hold = rest.endswith("\r")  # a LF may follow
            lines = (rest[:-1] if hold else rest).replace("\r\n", "\n").replace("\r", "\n")
            *whole, last = lines.split("\n")
            rest = last + "\r" if hold else last
            for line in whole:
                yield line
        rest += decoder.decode(b"", True)
        if rest:
            for line in rest.removesuffix("\r").split("\r"):
                yield line

    def events(self) -> AsyncIterator[_http.Event]:
        """Yields the server-sent events of the body: ``event.event``, ``.data``, ``.id``,
        ``.json()``.

        Drops an event that the end of the stream cuts off. An event larger than the client's
        ``max_event`` raises TooLarge.
        """
        events = self._transfer.events(self._max_event)
        if self._call is not None:
            return self._tapped(events, self._call)
        return reporting(events) if self.status < 400 and is_awaited() else events

    @staticmethod
    async def _tapped(
        events: AsyncIterator[_http.Event], call: StreamedCall[StreamResponse]
    ) -> AsyncIterator[_http.Event]:
        async for event in events:
            call.tap.see_event(event.data)
            yield event
        call.close()

    async def aread(self) -> bytes:
        """Reads and returns the rest of the body."""
        return b"".join([chunk async for chunk in self.aiter_bytes()])

    async def raise_for_status(self) -> StreamResponse:
        """Reads the body and raises StatusError for a status of 400 or above."""
        if self.status >= 400:
            raise StatusError(self, await self.aread())
        return self

    async def aclose(self) -> None:
        """Ends the transfer; ``async with`` does it."""
        self._transfer.abort()
        if self._call is not None:
            self._call.close()

    def _whole(self, body: bytes) -> Response:
        """Returns the answer with its body, as one that does not stream."""
        t = self._transfer
        return Response(
            t.url, t.method, t.status, t.head, body, t.http_version, self._queued, t.times
        )

    def __repr__(self) -> str:
        return f"<StreamResponse {self.status}>"
