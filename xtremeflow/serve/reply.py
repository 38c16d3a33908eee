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


class Reply:
    """The answer to one request; its headers leave with its first byte."""

    def __init__(self, service: Service, sink: Sink) -> None:
        self._service = service
        self._sink = sink
        self._began = service.provider.now()
        self._pending: list[bytes] = []
        self.started = False

    async def _start(self, status: int, content: str, more: Mapping[str, str]) -> None:
        service = self._service
        service.statuses[status] += 1
        took = round((service.provider.now() - self._began) * 1000)
        headers = {
            "content-type": content,
            **service.profile.identify(f"req_{next(service.ids):024d}", took),
            **service.profile.headers(service.account),
            **more,
        }
        self.started = True
        await self._sink.start(status, headers)

    async def plain(self, status: int, value: object) -> None:
        """JSON that is no provider's."""
        data = dumps(value)
        headers = {"content-type": "application/json", "content-length": str(len(data))}
        await self._sink.start(status, headers)
        await self._sink.write(data, more=False)

    async def whole(self, value: object) -> None:
        """All of an answer that is no stream."""
        await self._json(200, value, {})

    async def half(self, value: object) -> None:
        """As much of it as comes before the connection is cut."""
        data = dumps(value)
        if not self.started:
            await self._start(200, "application/json", {"content-length": str(len(data))})
        await self._sink.write(data[: len(data) // 2], more=True)

    async def reject(self, rejection: Rejection) -> None:
        """An answer other than 200, or its body only where 200 is said already."""
        await self._json(rejection.status, rejection.body, rejection.headers)

    async def _json(self, status: int, value: object, headers: Mapping[str, str]) -> None:
        data = dumps(value)
        if not self.started:
            length = {"content-length": str(len(data))}
            await self._start(status, "application/json", {**headers, **length})
        await self._sink.write(data, more=False)

    async def keep_alive(self, *, stream: bool) -> None:
        """A sign of life while there is nothing yet."""
        if not self.started:
            await self._start(200, "text/event-stream" if stream else "application/json", {})
        await self._sink.write(b": keep-alive\n\n" if stream else b"\n", more=True)

    def event(self, data: bytes) -> None:
        """Adds to a stream; it leaves with the next `flush`."""
        self._pending.append(data)

    async def flush(self, *, more: bool = True) -> None:
        if not self.started:
            await self._start(
                200, "text/event-stream; charset=utf-8", {"cache-control": "no-cache"}
            )
        data = b"".join(self._pending)
        self._pending.clear()
        if data or not more:
            await self._sink.write(data, more=more)
