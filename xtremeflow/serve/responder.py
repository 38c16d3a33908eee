"""A request as any server passes it on, and its one answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from xtremeflow.serve.inquiry import dumps
from xtremeflow.serve.profiles import Rejection

if TYPE_CHECKING:
    from xtremeflow.serve.service import Service


@dataclass(frozen=True)
class Incoming:
    """A request. `headers` have lower-case names; `path` has no query."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Sink(Protocol):
    """The receiver of an answer: `start` is called once, then `write` for each part."""

    async def start(self, status: int, headers: Mapping[str, str]) -> None: ...

    async def write(self, data: bytes, *, more: bool) -> None: ...


class ConnectionCut(Exception):
    """The server must close the connection in the middle of the answer."""


JSON = "application/json"
EVENTS = "text/event-stream; charset=utf-8"


class Responder:
    """The answer to one request. Its headers are sent with its first byte."""

    def __init__(self, service: Service, sink: Sink) -> None:
        self._service = service
        self._sink = sink
        self._began = service.provider.now()
        self._pending: list[bytes] = []
        self._content: str | None = None  # its type, once the headers are sent
        self.streams = False  # whether a stream was asked for

    async def _start(
        self,
        content: str,
        status: int = 200,
        more: Mapping[str, str] | None = None,
        *,
        told: bool = True,
    ) -> None:
        if self._content is not None:
            return
        service = self._service
        service.statuses[status] += 1
        took = round((service.provider.now() - self._began) * 1000)
        self._content = content
        await self._sink.start(
            status,
            {
                "content-type": content,
                **service.profile.identify(f"req_{next(service.ids):024d}", took),
                **(service.disclosure.headers() if told else {}),
                **(more or {}),
            },
        )

    async def plain(self, status: int, value: object) -> None:
        """Answers with JSON that has not the form of a provider."""
        data = dumps(value)
        await self._sink.start(status, {"content-type": JSON, "content-length": str(len(data))})
        await self._sink.write(data, more=False)

    async def whole(self, value: object) -> None:
        """Answers with all of an answer that is no stream."""
        data = dumps(value)
        await self._start(JSON, more={"content-length": str(len(data))})
        await self._sink.write(data, more=False)

    async def half(self, value: object) -> None:
        """Answers with the first half, before the connection is cut."""
        data = dumps(value)
        await self._start(JSON, more={"content-length": str(len(data))})
        await self._sink.write(data[: len(data) // 2], more=True)

    async def reject(self, rejection: Rejection) -> None:
        """Answers with a rejection. After a sign of life the status is sent already, so only its
        body follows. In a stream it is an event.
        """
        data = dumps(rejection.body)
        headers = dict(rejection.headers)
        content = EVENTS if self.streams and rejection.status == 200 else JSON
        if content == JSON:
            headers["content-length"] = str(len(data))
        await self._start(content, rejection.status, headers, told=rejection.told)
        if self._content == EVENTS:
            data = b"data: " + data + b"\n\n"
        await self._sink.write(data, more=False)

    async def keep_alive(self, *, stream: bool) -> None:
        """Sends a sign of life before the first token."""
        await self._start(EVENTS if stream else JSON)
        await self._sink.write(b": keep-alive\n\n" if stream else b"\n", more=True)

    def event(self, data: bytes) -> None:
        """Adds an event to a stream. The next `flush` sends it."""
        self._pending.append(data)

    async def flush(self, *, more: bool = True) -> None:
        await self._start(EVENTS, more={"cache-control": "no-cache"})
        data = b"".join(self._pending)
        self._pending.clear()
        if data or not more:
            await self._sink.write(data, more=more)
