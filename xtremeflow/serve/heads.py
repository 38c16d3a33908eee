"""The server's protocol, with the head of a request bounded in size and in time."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LARGEST_HEAD = 64 * 1024  # bytes
LONGEST_HEAD = 20.0  # s, from the start of the connection or the head's first byte


class BoundedHeads(HttpToolsProtocol):
    """Answers a head that is too large with 431, one that is too slow with 408, and closes."""

    _size = 0  # of the head that is being read, in bytes
    _watch: asyncio.TimerHandle | None = None  # while there is one

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._begin()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # The parser keeps a header until it is whole, so its bytes are counted here.
        if self._watch is not None:
            self._size += len(data)
            if self._size > LARGEST_HEAD:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._begin()

    def on_headers_complete(self) -> None:
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > LARGEST_HEAD:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            return
        self._end()
        super().on_headers_complete()

    def _begin(self) -> None:
        self._end()
        self._size = 0
        self._watch = self.loop.call_later(LONGEST_HEAD, self._refuse, HTTPStatus.REQUEST_TIMEOUT)

    def _end(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def _refuse(self, status: HTTPStatus) -> None:
        self._end()
        if not self.transport.is_closing():
            head = f"HTTP/1.1 {status.value} {status.phrase}\r\n"
            self.transport.write(f"{head}content-length: 0\r\nconnection: close\r\n\r\n".encode())
            self.transport.close()
