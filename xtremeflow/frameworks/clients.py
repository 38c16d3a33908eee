"""The clients that frameworks take, with a scheduler behind them."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import threading
from types import ModuleType
from typing import Any

from xtremeflow import http
from xtremeflow.scheduler import TaskScheduler

__all__ = ["http_client", "openai_client", "sync_http_client"]

_TIMEOUT = 600.0  # s, between two receptions: that of the official SDKs


def http_client(
    scheduler: TaskScheduler,
    *,
    library: str | None = None,
    timeout: float = _TIMEOUT,
    **options: Any,
) -> Any:
    """Returns an ``AsyncClient`` of httpx2 or httpx whose calls the scheduler admits.

    Args:
        scheduler: The scheduler, whose limits may be given or learned.
        library: ``"httpx2"`` or ``"httpx"``, as the framework needs it; by default httpx2, and
            httpx where that is not installed.
        timeout: Seconds that the provider may be silent.
        options: As for `xtremeflow.http.transport`.

    Raises:
        ImportError: The library is not installed.
    """
    module = _library(library)
    return module.AsyncClient(
        transport=http.transport(scheduler=scheduler, **options),
        timeout=module.Timeout(timeout, connect=5.0),
        follow_redirects=True,
    )


def sync_http_client(
    scheduler: TaskScheduler,
    *,
    library: str | None = None,
    timeout: float = _TIMEOUT,
    **options: Any,
) -> Any:
    """As `http_client`, for code without an event loop: a ``Client`` whose threads wait.

    An event loop in a thread of its own makes the calls of all threads. Streams arrive as a whole.
    """
    module = _library(library)
    asynchronous = http.transport(scheduler=scheduler, **options)
    return module.Client(
        transport=_bridge(module)(module, asynchronous),
        timeout=module.Timeout(timeout, connect=5.0),
        follow_redirects=True,
    )


def openai_client(scheduler: TaskScheduler, **options: Any) -> Any:
    """Returns an ``AsyncOpenAI`` whose calls the scheduler admits and tries again. The SDK's own
    retries are off.

    Args:
        scheduler: The scheduler, whose limits may be given or learned.
        options: As for ``AsyncOpenAI``: ``api_key``, ``base_url`` and so on.

    Raises:
        ImportError: openai is not installed.
    """
    openai: Any = importlib.import_module("openai")
    options.setdefault("max_retries", 0)
    options.setdefault("http_client", http_client(scheduler))
    return openai.AsyncOpenAI(**options)


def _library(name: str | None) -> Any:
    if name not in (None, "httpx2", "httpx"):
        raise ValueError(f"library must be 'httpx2' or 'httpx', got {name!r}")
    if name is None:
        name = "httpx" if importlib.util.find_spec("httpx2") is None else "httpx2"
    module: ModuleType = importlib.import_module(name)
    return module


class _Loop:
    """An event loop in a thread of its own, which the first call starts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def run(self, main: Any) -> Any:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._loop.run_forever, name="xtremeflow-sync", daemon=True
                )
                self._thread.start()
            loop = self._loop
        return asyncio.run_coroutine_threadsafe(main, loop).result()

    def close(self) -> None:
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()


def _bridge(module: Any) -> Any:
    class Bridge(module.BaseTransport):
        """A transport for threads, over one for tasks."""

        def __init__(self, library: Any, transport: Any) -> None:
            self._library = library
            self._transport = transport
            self._loop = _Loop()

        def handle_request(self, request: Any) -> Any:
            request.read()
            return self._loop.run(self._whole(request))

        async def _whole(self, request: Any) -> Any:
            answer = await self._transport.handle_async_request(request)
            try:
                body = await answer.aread()
            finally:
                await answer.aclose()
            return self._library.Response(
                answer.status_code,
                headers=answer.headers,
                content=body,
                extensions=answer.extensions,
            )

        def close(self) -> None:
            self._loop.run(self._transport.aclose())
            self._loop.close()

    return Bridge
