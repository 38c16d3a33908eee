"""A request as it comes from whatever server there is, and the one answer that it gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from xtremeflow.serve.asking import dumps
from xtremeflow.serve.profiles import Rejection

if TYPE_CHECKING:
    from xtremeflow.serve.service import Service


@dataclass(frozen=True)
class Request:
    """`headers` by their lower-case names; `path` without its query."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Sink(Protocol):
    """Where an answer goes: `start` once, then `write` until there is no more."""

    async def start(self, status: int, headers: Mapping[str, str]) -> None: ...

    async def write(self, data: bytes, *, more: bool) -> None: ...


class ConnectionCut(Exception):
    """The connection is to be closed in the middle of the answer that has been begun."""


JSON = "application/json"
EVENTS = "text/event-stream; charset=utf-8"


class Reply:
    """The answer to one request; its headers leave with its first byte."""

    def __init__(self, service: Service, sink: Sink) -> None:
        self._service = service
        self._sink = sink
        self._began = service.provider.now()
        self._pending: list[bytes] = []
        self._content: str | None = None  # its type, once the headers have left
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
                **(service.telling.headers() if told else {}),
                **(more or {}),
            },
        )

    async def plain(self, status: int, value: object) -> None:
        """JSON that is no provider's."""
        data = dumps(value)
        await self._sink.start(status, {"content-type": JSON, "content-length": str(len(data))})
        await self._sink.write(data, more=False)

    async def whole(self, value: object) -> None:
        """All of an answer that is no stream."""
        data = dumps(value)
        await self._start(JSON, more={"content-length": str(len(data))})
        await self._sink.write(data, more=False)

    async def half(self, value: object) -> None:
        """As much of it as comes before the connection is cut."""
        data = dumps(value)
        await self._start(JSON, more={"content-length": str(len(data))})
        await self._sink.write(data[: len(data) // 2], more=True)

    async def reject(self, rejection: Rejection) -> None:
        """An answer other than what was asked for; after a sign of life only its body is left to
        say, and in a stream it is an event.
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
        """A sign of life while there is nothing yet."""
        await self._start(EVENTS if stream else JSON)
        await self._sink.write(b": keep-alive\n\n" if stream else b"\n", more=True)

    def event(self, data: bytes) -> None:
        """Adds to a stream; it leaves with the next `flush`."""
        self._pending.append(data)

    async def flush(self, *, more: bool = True) -> None:
        await self._start(EVENTS, more={"cache-control": "no-cache"})
        data = b"".join(self._pending)
        self._pending.clear()
        if data or not more:
            await self._sink.write(data, more=more)
