"""The native client."""

from __future__ import annotations

import asyncio
import os
import warnings
from collections.abc import AsyncIterable, Coroutine, Mapping
from functools import partial
from types import EllipsisType, TracebackType
from typing import Any, cast

from xtremeflow import _http
from xtremeflow.http import _options
from xtremeflow.http._admission import (
    Send,
    make_admission,
)
from xtremeflow.http._alone import Alone, make_alone
from xtremeflow.http._errors import invalid_request, transport_error
from xtremeflow.http._json import encode
from xtremeflow.http._options import HeadersInput
from xtremeflow.http._redirects import Step, follow
from xtremeflow.http._response import Response
from xtremeflow.http._streams import (
    RepeatedStreamContext,
    ScheduledStreamContext,
    StreamContext,
)
from xtremeflow.http._terms import USUAL, Terms
from xtremeflow.http._upload import Source, uploading
from xtremeflow.http._url import Params, checked_base, full_url, shown
from xtremeflow.http._usage import Estimating
from xtremeflow.http._verbs import NO_JSON, Content, Seconds, Verbs
from xtremeflow.scheduler import TaskScheduler
from xtremeflow.values.arguments import check_int
from xtremeflow.values.limits import Cost

_MIB = 1 << 20


class Client(Verbs):
    """An HTTP client for many calls at a time, on libcurl.

    Make one and keep it: its connections are reused. It works in several event loops and threads,
    each with its own connections. Close it with ``await client.aclose()`` or use ``async with``.

    Args:
        base_url: put before URLs that name no host: ``Client("https://api.example.com/v1")`` sends
            ``"models"`` and ``"/models"`` to ``https://api.example.com/v1/models``. It must have
            no query.
        headers: sent with each call, unless the call names the same header. Content-Length,
            Transfer-Encoding and Expect are made from the body, and never taken from here.
        timeout: seconds for a whole call; None: no bound.
        connect_timeout: seconds for name lookup, connection and TLS together.
        idle_timeout: seconds in which the server must send something; None: no bound.
        http2: HTTP/2 over TLS. None: if libcurl's version is known to handle it well.
        verify: check the server's certificate. False is for tests only.
        ca: a file of trusted certificates (PEM), instead of the system's or ``SSL_CERT_FILE``.
        cert: a client certificate: a file, or (file, key file), or (file, key file, password).
        proxy: a proxy's URL, for all calls. None: the proxy of ``http_proxy``, ``https_proxy``,
            ``all_proxy`` and ``no_proxy``, unless trust_env is False.
        max_connections: connections at a time; None: no bound. Calls above it wait.
        max_connections_per_host: the same for each host.
        max_idle_connections: connections kept open for reuse.
        follow_redirects: redirects to follow; 0: a redirect is an answer like others. Credentials
            never go to another host.
        compressed: whether to accept gzip and decompress answers. An answer in another content
            encoding, or one whose gzip stream is not whole, raises ProtocolError. False: bodies
            stay as they come.
        max_head: the largest head of an answer in bytes. A larger one raises TooLarge.
        max_body: the same for the body. A streamed body is not bounded.
        max_event: the largest server-sent event in bytes.
        scheduler: admits every call, settles it from the `usage` of its answer, and retries it by
            its rules when it is refused or fails. The call returns the answer to the last attempt.
            Its timeouts begin with its dispatch. A scheduler that has limits or adapts is shown
            each answer: see `TaskScheduler.observe`.
        estimate: a function that returns the likely tokens of a request from its URL and its body;
            by default `TaskScheduler.estimate`, at first with four bytes to a token.
        settle: whether the usage of the answer replaces the estimate. False for providers that
            charge at admission and refund nothing, as OpenAI and Azure do. None: as the scheduler
            learns from the answers, see `TaskScheduler.settle`.
        retries: further attempts of a call that failed (a status of 500 and more, a broken
            connection), if that is safe. Without a scheduler also of a refused call, after the wait
            that the answer asks for, or 0.5 s, doubled each time, all within the call's timeout.
        max_retries: further attempts of a call that was refused. None: with a scheduler until it
            passes, without one as `retries` says.
        max_retry_after: the longest wait in seconds that a refusal may ask for, and the longest
            time without a passed call. Beyond it the refusal is the call's answer.
    """

    def __init__(
        self,
        base_url: str = "",
        *,
        headers: HeadersInput | None = None,
        timeout: Seconds = 600.0,
        connect_timeout: Seconds = 10.0,
        idle_timeout: Seconds = None,
        http2: bool | None = None,
        verify: bool = True,
        ca: str | os.PathLike[str] | None = None,
        cert: str | os.PathLike[str] | tuple[str, str] | tuple[str, str, str] | None = None,
        proxy: str | None = None,
        trust_env: bool = True,
        max_connections: int | None = None,
        max_connections_per_host: int | None = None,
        max_idle_connections: int = 256,
        follow_redirects: int = 0,
        compressed: bool = True,
        max_head: int = 256 * 1024,
        max_body: int = 1024 * _MIB,
        max_event: int = 16 * _MIB,
        scheduler: TaskScheduler | None = None,
        estimate: Estimating | None = None,
        settle: bool | None = None,
        retries: int = 2,
        max_retries: int | None = None,
        max_retry_after: float = 120.0,
    ) -> None:
        base = checked_base(base_url)
        self._admission = make_admission(
            scheduler, estimate, settle, retries, max_retries, max_retry_after
        )
        self._alone: Alone | None = None
        if scheduler is None:
            self._alone = make_alone(retries, max_retries, max_retry_after, timeout)
        environment: Mapping[str, str] = os.environ if _options.flag(trust_env, "trust_env") else {}
        cert_file, key_file, key_password = _certificate(cert)
        proxy_url, no_proxy = _options.proxy_options(proxy, trust_env, environment)
        check_int("follow_redirects", follow_redirects, 0)
        _options.flag(verify, "verify")
        _options.flag(compressed, "compressed")
        if http2 is not None:
            _options.flag(http2, "http2")
        given = _http.check_headers(headers)
        named = {name.lower() for name, _ in given}
        if b"user-agent" not in named:
            given = (*given, (b"User-Agent", b"xtremeflow"))
        if compressed and _http.has_gzip and b"accept-encoding" not in named:
            given = (*given, (b"Accept-Encoding", b"gzip"))
        self._session = _http.Session(
            response_type=Response,
            error_factory=transport_error,
            shown=shown,
            headers=given,
            ca_file=_options.ca_file(ca, environment) if verify else None,
            cert_file=cert_file,
            key_file=key_file,
            key_password=key_password,
            proxy=proxy_url,
            no_proxy=no_proxy,
            verify=verify,
            http2=_options.http2_default() if http2 is None else http2,
            compressed=compressed,
            max_connections=_options.positive(max_connections, "max_connections", none=0),
            max_connections_per_host=_options.positive(
                max_connections_per_host, "max_connections_per_host", none=0
            ),
            max_idle=_options.positive(max_idle_connections, "max_idle_connections", none=256),
            max_head=_options.positive(max_head, "max_head", none=0),
            max_body=_options.positive(max_body, "max_body", none=0),
            high_water=_HIGH_WATER,
            timeout=timeout,
            idle_timeout=idle_timeout,
            connect_timeout=connect_timeout,
        )
        self._call = self._session.call
        self._base_url = base
        self._timeout = timeout
        self._max_event = _options.positive(max_event, "max_event", none=0)
        self._follow = follow_redirects
        self._closed = False

    # ---- calls ----

    def request(
        self,
        method: str,
        url: str,
        *,
        json: Any = NO_JSON,
        content: Content | None = None,
        headers: HeadersInput | None = None,
        params: Params | None = None,
        timeout: Seconds | EllipsisType = ...,
        idle_timeout: Seconds | EllipsisType = ...,
        connect_timeout: Seconds | EllipsisType = ...,
        idempotent: bool | None = None,
        priority: int = 0,
        admission_timeout: Seconds = None,
        estimate: Cost | None = None,
    ) -> Coroutine[Any, Any, Response]:
        """Sends a request. Awaiting it returns the whole answer, whatever its status.

        Args:
            method: the method; the usual ones may be in lower case.
            json: a value to send as JSON, with a content-type header.
            content: another body: bytes, str (sent as UTF-8), or an async iterable of bytes.
            headers: added to the client's, which they override. Content-Length,
                Transfer-Encoding and Expect are made from the body, and never taken from here.
            params: added to the URL's query: names with a str, a number, a bool, or a list of
                them, which repeats the name. None is refused.
            timeout: instead of the client's; ``...`` is the client's.
            idle_timeout: likewise.
            connect_timeout: likewise.
            idempotent: whether the request may be executed twice; by default the method decides
                (POST and PATCH may not). If so, a request whose connection broke before an answer
                is repeated.
            priority: with a scheduler: higher ones are admitted first, -32,768 to 32,767.
            admission_timeout: with a scheduler: seconds that the call may wait for its admission.
            estimate: with a scheduler: the likely tokens of the call, or a mapping of limit names
                to units; by default the client's ``estimate`` of it.

        Raises:
            TransportError: no whole answer came. Its subclasses say why.
            InvalidRequest: the request cannot be sent as it is. Raised at once; also a ValueError.
            TypeError: an argument is of the wrong type. Raised at once.
        """
        return self._send(_method(method), url, json, content, headers, params, timeout,
                          idle_timeout, connect_timeout, idempotent, priority,
                          admission_timeout, estimate)  # fmt: skip

    def _send(
        self,
        method: str,
        url: str,
        json: Any,
        content: Content | None,
        headers: HeadersInput | None,
        params: Params | None,
        timeout: Seconds | EllipsisType,
        idle_timeout: Seconds | EllipsisType,
        connect_timeout: Seconds | EllipsisType,
        idempotent: bool | None,
        priority: int,
        admission_timeout: Seconds,
        estimate: Cost | None,
    ) -> Coroutine[Any, Any, Response]:
        terms = Terms(priority, admission_timeout, estimate)
        transfer, request, source = self._made(
            method, url, json, content, headers, params, timeout, idle_timeout, connect_timeout,
            False, idempotent, terms,
        )  # fmt: skip
        send: Send | None = self._followed if self._follow else None
        if source is not None:
            send = _from_source(source)
        if self._admission is not None:
            again = None if source is not None else self._call
            return self._admission.whole(transfer, again, request, send, terms)
        if self._alone is not None and source is None:
            transfer.entrust()
            return self._alone.whole(transfer, self._call, request, send)
        if send is None:
            return transfer
        transfer.entrust()
        return send(transfer, request)

    def _made(
        self,
        method: str,
        url: str,
        json: Any,
        content: Content | None,
        headers: HeadersInput | None,
        params: Params | None,
        timeout: Seconds | EllipsisType,
        idle_timeout: Seconds | EllipsisType,
        connect_timeout: Seconds | EllipsisType,
        stream: bool,
        idempotent: bool | None,
        terms: Terms,
    ) -> tuple[_http.Transfer, _http.Outgoing, Source | None]:
        """Makes a transfer. Returns it, the arguments that make another one, and the source of the
        body if that is streamed."""
        try:
            request, source = self._request(
                method, url, json, content, headers, params, timeout, idle_timeout,
                connect_timeout, stream, idempotent,
            )  # fmt: skip
            if terms != USUAL:
                terms.check()
            return self._call(request), request, source
        except ValueError as error:
            raise invalid_request(error, method, url) from error

    def _request(
        self,
        method: str,
        url: str,
        json: Any,
        content: Content | None,
        headers: HeadersInput | None,
        params: Params | None,
        timeout: Seconds | EllipsisType,
        idle_timeout: Seconds | EllipsisType,
        connect_timeout: Seconds | EllipsisType,
        stream: bool,
        idempotent: bool | None,
    ) -> tuple[_http.Outgoing, Source | None]:
        if params is not None or self._base_url or (isinstance(url, str) and not url.isascii()):
            url = full_url(self._base_url, url, params)
        source: Source | None = None
        body: Any = content
        is_json = json is not NO_JSON
        if is_json:
            if content is not None:
                raise ValueError("give json or content, not both")
            body = encode(json)
        elif isinstance(content, str):
            body = content.encode()
        elif type(content) is not bytes and isinstance(content, AsyncIterable):
            body, source = None, content
        upload_size = None if source is None else -1
        return _http.Outgoing(
            method, url, headers, body, json=is_json, timeout=timeout, idle_timeout=idle_timeout,
            connect_timeout=connect_timeout, stream=stream, idempotent=idempotent,
            upload_size=upload_size,
        ), source  # fmt: skip

    def stream(
        self,
        method: str,
        url: str,
        *,
        json: Any = NO_JSON,
        content: Content | None = None,
        headers: HeadersInput | None = None,
        params: Params | None = None,
        timeout: Seconds | EllipsisType = ...,
        idle_timeout: Seconds | EllipsisType = ...,
        connect_timeout: Seconds | EllipsisType = ...,
        idempotent: bool | None = None,
        priority: int = 0,
        admission_timeout: Seconds = None,
        estimate: Cost | None = None,
    ) -> StreamContext:
        """As ``request``, for ``async with client.stream("POST", url, json=...) as answer:``.

        The block begins when the answer's head has arrived. With a scheduler it also waits for the
        first event, or for up to 64 KB of the first JSON object or of an error, which may be a
        refusal. At its end the transfer ends, read or not. Redirects are not followed.
        """
        terms = Terms(priority, admission_timeout, estimate)
        transfer, request, source = self._made(
            _method(method), url, json, content, headers, params, timeout, idle_timeout,
            connect_timeout, True, idempotent, terms,
        )  # fmt: skip
        if self._admission is not None:
            again = partial(self._call, request)
            terms = self._admission.priced(terms, request.url, request.body)
            return ScheduledStreamContext(
                transfer, source, self._max_event, again, self._admission, terms
            )
        if self._alone is not None and source is None:
            return RepeatedStreamContext(
                transfer, self._max_event, self._call, self._alone, request
            )
        return StreamContext(transfer, source, self._max_event)

    async def _followed(self, transfer: _http.Transfer, request: _http.Outgoing) -> Response:
        total = request.timeout
        if isinstance(total, EllipsisType):
            total = self._timeout
        clock = asyncio.get_running_loop().time
        deadline = None if total is None else clock() + total

        def send(step: Step) -> _http.Transfer:
            left = None if deadline is None else max(deadline - clock(), 1e-9)
            return self._call(_http.Outgoing(
                step.method, step.url, step.headers, step.body, json=step.json, timeout=left,
                idle_timeout=request.idle_timeout, connect_timeout=request.connect_timeout,
                bare=step.bare, foreign=step.bare,
            ))  # fmt: skip

        first = Step(request.method, request.url, _http.check_headers(request.headers),
                     request.body, request.json, False)  # fmt: skip
        return await follow(send, first, await transfer, self._follow)

    # ---- life ----

    async def aclose(self) -> None:
        """Closes all connections; calls in flight end with ClientClosed."""
        self._close()

    def _close(self) -> None:
        self._closed = True
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        for engine in self._session.close():
            if engine.inherited or engine.loop is running or not engine.loop.is_running():
                engine.close()
            else:  # the loop of another thread
                engine.loop.call_soon_threadsafe(engine.close)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()

    def __del__(self) -> None:
        session = getattr(self, "_session", None)
        if session is None or getattr(self, "_closed", True) or not session.engines():
            return
        warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
        self._close()

    def __repr__(self) -> str:
        of = f" of {shown(self._base_url)}" if self._base_url else ""
        return f"<Client{of}, {'closed' if self._closed else 'open'}>"

    def stats(self) -> dict[str, int]:
        """Returns counters over all loops: calls active, started and finished; open sockets,
        connections made, and requests repeated because a reused connection broke before an
        answer."""
        total: dict[str, int] = {}
        for engine in self._session.engines():
            for name, value in engine.stats().items():
                total[name] = total.get(name, 0) + value
        return total


def _from_source(source: Source) -> Send:
    async def send(transfer: _http.Transfer, _: _http.Outgoing) -> Response:
        async with uploading(transfer, source):
            return cast(Response, await transfer)

    return send


_HIGH_WATER = 256 * 1024

_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY"}


def _method(method: str) -> str:
    """Returns the usual methods in upper case, others as they are, since case counts."""
    if not isinstance(method, str) or method in _METHODS:
        return method
    return upper if (upper := method.upper()) in _METHODS else method


def _certificate(
    cert: str | os.PathLike[str] | tuple[str, ...] | None,
) -> tuple[bytes | None, bytes | None, bytes | None]:
    if cert is None:
        return None, None, None
    parts = cert if isinstance(cert, tuple) else (cert,)
    if not 1 <= len(parts) <= 3:
        raise ValueError(f"cert must be a file, (file, key) or (file, key, password), not {cert!r}")
    files = [_options.existing_file(part, "cert") for part in parts[:2]]
    password = os.fsencode(parts[2]) if len(parts) == 3 else None
    return files[0], files[1] if len(files) == 2 else None, password
