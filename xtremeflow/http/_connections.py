"""The connections of a client or a transport, in all of its event loops."""

from __future__ import annotations

import asyncio
import os
import warnings
from collections.abc import Mapping

from xtremeflow import _http
from xtremeflow.http import _options
from xtremeflow.http._errors import transport_error
from xtremeflow.http._options import Options
from xtremeflow.http._response import Response
from xtremeflow.http._url import shown_url

_HIGH_WATER = 256 * 1024  # bytes of a stream that are read ahead of its reader
_MOST_IDLE = 256


class Connections:
    """Opened as requests need them, and kept until they are closed.

    `owner` is named by the ResourceWarning of connections that were dropped before that.
    """

    def __init__(self, options: Options, owner: str) -> None:
        self.is_closed = False
        self.session = _session(options)
        self._owner = owner

    def close(self) -> None:
        """Closes all connections. Calls in flight end with ClientClosed."""
        self.is_closed = True
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        for engine in self.session.close():
            if engine.inherited or engine.loop is running or not engine.loop.is_running():
                engine.close()
            else:  # the loop of another thread
                engine.loop.call_soon_threadsafe(engine.close)

    def __del__(self) -> None:
        session = getattr(self, "session", None)
        if session is None or self.is_closed or not session.engines():
            return
        warnings.warn(f"unclosed {self._owner}", ResourceWarning, source=self, stacklevel=2)
        self.close()

    def stats(self) -> dict[str, int]:
        """Returns the counters of all loops."""
        total: dict[str, int] = {}
        for engine in self.session.engines():
            for name, value in engine.stats().items():
                total[name] = total.get(name, 0) + value
        return total


def _session(options: Options) -> _http.Session:
    environment: Mapping[str, str] = os.environ if options.trust_env else {}
    cert_file, key_file, key_password = _options.certificate(options.cert)
    proxy, no_proxy = _options.proxy_options(options.proxy, options.trust_env, environment)
    headers = _http.check_headers(options.headers)
    named = {name.lower() for name, _ in headers}
    if b"user-agent" not in named:
        headers = (*headers, (b"User-Agent", b"xtremeflow"))
    if options.compressed and _http.has_gzip and b"accept-encoding" not in named:
        headers = (*headers, (b"Accept-Encoding", b"gzip"))
    return _http.Session(
        response_type=Response,
        error_factory=transport_error,
        shown=shown_url,
        headers=headers,
        ca_file=_options.ca_file(options.ca, environment) if options.verify else None,
        cert_file=cert_file,
        key_file=key_file,
        key_password=key_password,
        proxy=proxy,
        no_proxy=no_proxy,
        verify=options.verify,
        http2=_options.http2_default() if options.http2 is None else options.http2,
        compressed=options.compressed,
        max_connections=options.max_connections or 0,
        max_connections_per_host=options.max_connections_per_host or 0,
        max_idle=options.max_idle_connections or _MOST_IDLE,
        max_head=options.max_head or 0,
        max_body=options.max_body or 0,
        high_water=_HIGH_WATER,
        timeout=options.timeout,
        idle_timeout=options.idle_timeout,
        connect_timeout=options.connect_timeout,
    )
