"""The service as an ASGI application. It uses no framework: routes are few and calls are many."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from xtremeflow.serve.responder import ConnectionCut, Incoming
from xtremeflow.serve.service import Service

logger = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

LARGEST_BODY = 64 * 2**20  # bytes


class App:
    """Serves HTTP requests. When a client disconnects, its call is cancelled."""

    def __init__(self, service: Service) -> None:
        self.service = service

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"only HTTP is served, not {scope['type']}")
        sink = _Sink(send)
        body = await _read(receive)
        if body is None:
            await sink.start(413, {"content-length": "0", "connection": "close"})
            await sink.write(b"", more=False)
            return
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        request = Incoming(scope["method"], scope["path"], headers, body)

        this: Any = asyncio.current_task()
        watch = asyncio.ensure_future(receive())  # done once the client is gone
        watch.add_done_callback(lambda watch: watch.cancelled() or this.cancel())
        try:
            await self.service.handle(request, sink)
        except ConnectionCut:
            pass  # returning without the rest makes the server close the connection
        except asyncio.CancelledError:
            if not watch.done() or watch.cancelled():
                raise
            if sys.version_info >= (3, 11):
                this.uncancel()
        except Exception:
            logger.exception("an error of the simulator itself at %s", scope["path"])
            raise
        finally:
            watch.cancel()


class _Sink:
    def __init__(self, send: Send) -> None:
        self._send = send

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        pairs = [
            (name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()
        ]
        await self._send({"type": "http.response.start", "status": status, "headers": pairs})

    async def write(self, data: bytes, *, more: bool) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": more})


async def _read(receive: Receive) -> bytes | None:
    """Reads the body of a request. Returns None if it is too large."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        part = message.get("body", b"")
        size += len(part)
        if size > LARGEST_BODY:
            return None
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)
