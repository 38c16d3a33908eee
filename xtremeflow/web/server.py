"""The dashboard's server: the page, the feed, and the controls, over HTTP/1.1 in the job's own
loop."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import importlib.util
import json
import logging
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from xtremeflow.cli.address import Address
from xtremeflow.web.control import ControlError, Controls
from xtremeflow.web.feed import Feed

logger = logging.getLogger("xtremeflow")

_PAGE = Path(__file__).with_name("page")
_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/app.css": ("app.css", "text/css; charset=utf-8"),
    "/app.js": ("app.js", "text/javascript; charset=utf-8"),
}
_CHARTS = "/plotly.min.js"
_MOST_HEAD, _MOST_BODY = 16_384, 16_384  # bytes
_PATIENCE = 30.0  # s, for a request to arrive
_FAREWELL = 1.0  # s, for the open pages to take the last sample
# Nothing is loaded from elsewhere, and no other page may show this one.
_SAFE = {
    "content-security-policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


class PageError(Exception):
    """The page cannot be served. The message says why."""


def charts() -> Path:
    """Returns the JavaScript of the installed plotly. Raises PageError if there is none."""
    found = importlib.util.find_spec("plotly")
    if found is None or found.origin is None:
        raise PageError("the dashboard needs plotly: pip install 'xtremeflow[web]'")
    script = Path(found.origin).with_name("package_data") / "plotly.min.js"
    if not script.is_file():
        raise PageError(f"the installed plotly has no {script.name}")
    return script


@dataclass(frozen=True)
class _Request:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes

    def token(self) -> str:
        given = self.headers.get("authorization", "").removeprefix("Bearer ")
        return given or "".join(self.query.get("token", [])[:1])


class _Refused(Exception):
    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Server:
    """Serves the page within ``async with``.

    Args:
        where: The address; port 0 is any free one.
        token: The token that every request has to name. By default a random one, except on
            loopback, where none is needed.

    Raises PageError if plotly is missing, and OSError if it cannot listen.
    """

    def __init__(
        self, feed: Feed, controls: Controls, where: Address, token: str | None = None
    ) -> None:
        self._charts = charts()
        self._feed = feed
        self._controls = controls
        self._where = where
        if token is None and not where.is_loopback:
            token = secrets.token_urlsafe(24)
        self.token = token
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._pages: set[asyncio.Task[Any]] = set()  # of the tasks, those that send samples

    @property
    def url(self) -> str:
        """The address of the page, with its token."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        url = f"http://{Address(self._where.host, port)}/"
        return url if self.token is None else f"{url}?token={self.token}"

    async def __aenter__(self) -> Server:
        self._server = await asyncio.start_server(
            self._connected, self._where.host, self._where.port, limit=_MOST_HEAD
        )
        self._begin(self._feed.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self._feed.end()
        if self._pages:
            await asyncio.wait(self._pages, timeout=_FAREWELL)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _begin(self, run: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(run)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._begin(self._serve(reader, writer))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                try:
                    request = await asyncio.wait_for(_read(reader), _PATIENCE)
                    if request is None:
                        return
                    self._check(request)
                    await self._route(request)(request, writer)
                except _Refused as refused:
                    text = json.dumps({"error": str(refused)}).encode()
                    await _answer(writer, refused.status, "application/json", text)
                    if refused.status == 400:
                        return
        except (ConnectionError, asyncio.TimeoutError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, OSError):
                await writer.wait_closed()

    def _check(self, request: _Request) -> None:
        """Refuses what does not name the token. Without one, refuses names of other hosts, by
        which a foreign page could reach this one in the browser of its reader."""
        if request.path in (_CHARTS, "/app.css", "/app.js"):
            return  # they are the same for all
        if self.token is not None:
            if not hmac.compare_digest(request.token().encode(), self.token.encode()):
                raise _Refused(401, "the token is missing or wrong: ?token=... in the address")
            return
        host = urlsplit("//" + request.headers.get("host", "")).hostname or ""
        if not Address(host, 0).is_loopback:
            raise _Refused(403, f"this page is for this machine only, not for {host!r}")

    def _route(
        self, request: _Request
    ) -> Callable[[_Request, asyncio.StreamWriter], Awaitable[None]]:
        routes = {
            "/events": ("GET", self._events),
            "/state": ("GET", self._state),
            "/control": ("POST", self._control),
            _CHARTS: ("GET", self._file),
            **dict.fromkeys(_FILES, ("GET", self._file)),
        }
        if request.path not in routes:
            raise _Refused(404, f"there is no {request.path}")
        method, handler = routes[request.path]
        if request.method != method:
            raise _Refused(405, f"{request.path} takes {method}, not {request.method}")
        return handler

    async def _file(self, request: _Request, writer: asyncio.StreamWriter) -> None:
        if request.path == _CHARTS:
            path, kind, keep = self._charts, "text/javascript", "max-age=86400"
        else:
            name, kind = _FILES[request.path]
            path, keep = _PAGE / name, "no-cache"
        data = await asyncio.to_thread(path.read_bytes)
        await _answer(writer, 200, kind, data, {"cache-control": keep})

    async def _state(self, request: _Request, writer: asyncio.StreamWriter) -> None:
        await _answer(writer, 200, "application/json", self._feed.latest().encode())

    async def _events(self, request: _Request, writer: asyncio.StreamWriter) -> None:
        """Sends the samples as server-sent events: first those kept, in one event."""
        _head(writer, 200, {"content-type": "text/event-stream", "cache-control": "no-store",
                            "connection": "close"})  # fmt: skip
        told = json.dumps({"actions": self._controls.actions})
        writer.write(f"event: about\ndata: {told}\n\n".encode())
        task = asyncio.current_task()
        assert task is not None
        self._pages.add(task)
        try:
            async for samples in self._feed.samples():
                writer.write(f"data: [{','.join(samples)}]\n\n".encode())
                await writer.drain()
            writer.write(b"event: end\ndata: {}\n\n")
            await writer.drain()
        finally:
            self._pages.discard(task)
            writer.close()

    async def _control(self, request: _Request, writer: asyncio.StreamWriter) -> None:
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            raise _Refused(415, "a control is application/json")  # no form of another page is
        try:
            said = self._controls.do(json.loads(request.body))
        except (ControlError, ValueError, RecursionError) as error:
            raise _Refused(422, str(error)) from None
        logger.warning("control: %s", said)
        self._feed.take()
        await _answer(writer, 200, "application/json", json.dumps({"done": said}).encode())


async def _read(reader: asyncio.StreamReader) -> _Request | None:
    """Reads a request; None at the end of the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    except asyncio.LimitOverrunError:
        raise _Refused(400, f"the head has more than {_MOST_HEAD:,} bytes") from None
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    parts = first.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise _Refused(400, "that is no HTTP/1.1")
    headers = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(":") for line in lines)
    }
    length = headers.get("content-length", "0")
    is_length = length.isascii() and length.isdigit()
    if not is_length or int(length) > _MOST_BODY or "transfer-encoding" in headers:
        raise _Refused(400, f"the body must have a length of at most {_MOST_BODY:,} bytes")
    body = await reader.readexactly(int(length))
    try:
        target = urlsplit(parts[1])
        query = parse_qs(target.query)
    except ValueError:
        raise _Refused(400, "that is no path") from None
    return _Request(parts[0], target.path, query, headers, body)


_REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden",
            404: "Not Found", 405: "Method Not Allowed", 415: "Unsupported Media Type",
            422: "Unprocessable Content"}  # fmt: skip


def _head(writer: asyncio.StreamWriter, status: int, headers: dict[str, str]) -> None:
    lines = [f"HTTP/1.1 {status} {_REASONS[status]}"]
    lines += [f"{name}: {value}" for name, value in {**_SAFE, **headers}.items()]
    writer.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")


async def _answer(
    writer: asyncio.StreamWriter,
    status: int,
    kind: str,
    body: bytes,
    headers: dict[str, str] | None = None,
) -> None:
    more = {"content-type": kind, "content-length": str(len(body)), **(headers or {})}
    _head(writer, status, more)
    writer.write(body)
    await writer.drain()
