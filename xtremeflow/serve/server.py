"""The simulated provider on a socket: in the running loop, or in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
import time
from collections.abc import Generator
from concurrent.futures import Future
from dataclasses import dataclass

import uvicorn

from xtremeflow.serve import admin
from xtremeflow.serve.asgi import App
from xtremeflow.serve.heads import BoundedHeads
from xtremeflow.serve.inquiry import Json
from xtremeflow.serve.service import Service
from xtremeflow.serve.settings import Settings
from xtremeflow.values.arguments import check_address

BACKLOG = 2048  # connections that wait to be accepted


class SimulatedServer:
    """A simulated provider that listens on `host` and `port` (0: any free one).

    `async with` runs it in the running loop, `with` in a thread of its own; inside the block:

        url       "http://127.0.0.1:41234"
        base_url  the base URL in the form that the provider's SDK takes
        service   the Service behind it
    """

    def __init__(self, settings: Settings, *, host: str = "127.0.0.1", port: int = 0) -> None:
        check_address(host, port)
        self.service = Service(settings, clock=time.monotonic)
        self._host = host
        self._port = port
        self._running: _Running | None = None
        self._thread: _Thread | None = None

    @property
    def url(self) -> str:
        if self._running is None:
            raise RuntimeError("the server is not running: use it in a `with` or `async with`")
        host, port = self._running.listening.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @property
    def base_url(self) -> str:
        return self.url + self.service.profile.base_path

    def stats(self) -> Json:
        """Returns the counts of calls so far, those of GET /admin/stats."""
        return admin.stats(self.service)

    async def __aenter__(self) -> SimulatedServer:
        """Begins to listen. Raises OSError if it cannot."""
        if self._running is not None:
            raise RuntimeError(f"the server is running already, at {self.url}")
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        address = (self._host, self._port)
        listening = socket.create_server(address, family=family, backlog=BACKLOG)
        server = _Server(App(self.service))
        task = asyncio.create_task(server.serve(sockets=[listening]))
        self._running = _Running(listening, server, task)
        ready = asyncio.create_task(server.ready.wait())
        try:
            await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                raise RuntimeError("the server did not start") from task.exception()
        except BaseException:
            await self.__aexit__()
            raise
        finally:
            ready.cancel()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stops at once. Calls in flight are cut off."""
        assert self._running is not None
        running, self._running = self._running, None
        running.server.should_exit = True
        try:
            await running.task
        finally:
            running.listening.close()

    def __enter__(self) -> SimulatedServer:
        self._thread = _Thread(self)
        self._thread.start_and_wait()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._thread is not None
        self._thread.stop()
        self._thread = None


@dataclass(frozen=True)
class _Running:
    listening: socket.socket
    server: _Server
    task: asyncio.Task[None]


class _Server(uvicorn.Server):
    """uvicorn's server as a guest: takes no signals, writes no logs, and says when it is ready."""

    def __init__(self, app: App) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=BoundedHeads,
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                log_level=logging.CRITICAL + 1,
                access_log=False,
                server_header=False,
                backlog=BACKLOG,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=0,
            )
        )
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


class _Thread(threading.Thread):
    """Runs a server in an event loop of its own."""

    def __init__(self, server: SimulatedServer) -> None:
        super().__init__(name="xtremeflow-serve", daemon=True)
        self._simulated = server
        self._running: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    def run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:
            if self._running.done():
                raise
            self._running.set_exception(error)

    async def _main(self) -> None:
        stop = asyncio.Event()
        async with self._simulated:
            self._running.set_result((asyncio.get_running_loop(), stop))
            await stop.wait()

    def start_and_wait(self) -> None:
        self.start()
        self._running.result()

    def stop(self) -> None:
        loop, stop = self._running.result()
        loop.call_soon_threadsafe(stop.set)
        self.join()
