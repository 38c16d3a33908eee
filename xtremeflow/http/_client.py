"""The native client."""

from __future__ import annotations

from collections.abc import AsyncIterable, Coroutine
from functools import partial
from types import EllipsisType, TracebackType
from typing import Any, cast

from xtremeflow import _http
from xtremeflow.http._admission import Sending, make_admission
from xtremeflow.http._connections import Connections
from xtremeflow.http._deadline import deadline_of, within
from xtremeflow.http._errors import invalid_request
from xtremeflow.http._json import encode
from xtremeflow.http._options import (
    CertInput,
    FileInput,
    HeadersInput,
    Options,
    PrefixInput,
    Seconds,
)
from xtremeflow.http._prefixes import make_auto
from xtremeflow.http._redirects import follow
from xtremeflow.http._response import Response
from xtremeflow.http._streams import (
    PrefixedStreamContext,
    RepeatedStreamContext,
    ScheduledStreamContext,
    StreamContext,
)
from xtremeflow.http._terms import USUAL, CallTerms, terms_of
from xtremeflow.http._unscheduled import make_unscheduled
from xtremeflow.http._upload import BodySource, uploading
from xtremeflow.http._url import Params, checked_base, full_url, shown_url
from xtremeflow.http._usage import Estimating
from xtremeflow.http._verbs import NO_JSON, Content, Verbs
from xtremeflow.scheduler import TaskScheduler
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
        timeout: seconds for an attempt, and without a scheduler for the whole call; None: no bound.
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
            coding raises CodingError, one whose gzip stream is not whole ProtocolError. The body of
            an error that cannot be decoded is left as it came. False: bodies stay as they come.
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
        prefix: ``"auto"``: find the prefixes that calls share in their bodies, and let one call of
            each go ahead until its answer has begun, see docs/prefixes.md. A `Prefixes` says more.
            It needs a scheduler.
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
        ca: FileInput | None = None,
        cert: CertInput | None = None,
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
        prefix: PrefixInput = None,
    ) -> None:
        self._base_url = checked_base(base_url)
        options = Options(
            headers=headers, timeout=timeout, connect_timeout=connect_timeout,
            idle_timeout=idle_timeout, http2=http2, verify=verify, ca=ca, cert=cert, proxy=proxy,
            trust_env=trust_env, max_connections=max_connections,
            max_connections_per_host=max_connections_per_host,
            max_idle_connections=max_idle_connections, follow_redirects=follow_redirects,
            compressed=compressed, max_head=max_head, max_body=max_body, max_event=max_event,
            scheduler=scheduler, estimate=estimate, settle=settle, retries=retries,
            max_retries=max_retries, max_retry_after=max_retry_after, prefix=prefix,
        )  # fmt: skip
        self._options = options
        self._follow = follow_redirects
        self._admission = make_admission(options)
        self._auto = make_auto(options, self._admission)
        self._unscheduled = make_unscheduled(options)
        self._connections = Connections(options, f"client{self._of()}")
        self._call = self._connections.session.call

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
        terms = terms_of(priority, admission_timeout, estimate)
        transfer, request, source = self._made(
            method, url, json, content, headers, params, timeout, idle_timeout, connect_timeout,
            False, idempotent, terms,
        )  # fmt: skip
        send: Sending | None = self._followed if self._follow else None
        if source is not None:
            send = _from_source(source)
        if self._auto is not None and source is None:
            transfer.entrust()
            return self._auto.whole(transfer, self._call, request, send, terms)
        if self._admission is not None:
            again = None if source is not None else self._call
            return self._admission.whole(transfer, again, request, send, terms)
        if self._unscheduled is not None and source is None:
            transfer.entrust()
            return self._unscheduled.whole(transfer, self._call, request, send)
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
        terms: CallTerms,
    ) -> tuple[_http.Transfer, _http.Outgoing, BodySource | None]:
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
    ) -> tuple[_http.Outgoing, BodySource | None]:
        if params is not None or self._base_url or (isinstance(url, str) and not url.isascii()):
            url = full_url(self._base_url, url, params)
        source: BodySource | None = None
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
        terms = terms_of(priority, admission_timeout, estimate)
        transfer, request, source = self._made(
            _method(method), url, json, content, headers, params, timeout, idle_timeout,
            connect_timeout, True, idempotent, terms,
        )  # fmt: skip
        if self._admission is not None:
            if self._auto is not None and source is None:
                return PrefixedStreamContext(
                    transfer, self._options.max_event, self._call, self._admission, self._auto,
                    request, terms,
                )  # fmt: skip
            again = partial(self._call, request)
            terms = self._admission.priced(terms, request.url, request.body)
            return ScheduledStreamContext(
                transfer, source, self._options.max_event, again, self._admission, terms
            )
        if self._unscheduled is not None and source is None:
            return RepeatedStreamContext(
                transfer, self._options.max_event, self._call, self._unscheduled, request
            )
        return StreamContext(transfer, source, self._options.max_event)

    async def _followed(self, transfer: _http.Transfer, request: _http.Outgoing) -> Response:
        deadline = deadline_of(request, self._options.timeout)

        def send(step: _http.Outgoing) -> _http.Transfer:
            return self._call(within(step, deadline))

        return await follow(send, request, await transfer, self._follow)

    # ---- life ----

    async def aclose(self) -> None:
        """Closes all connections; calls in flight end with ClientClosed."""
        self._connections.close()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._connections.close()

    def __repr__(self) -> str:
        return f"<Client{self._of()}, {'closed' if self._connections.is_closed else 'open'}>"

    def _of(self) -> str:
        return f" of {shown_url(self._base_url)}" if self._base_url else ""

    def stats(self) -> dict[str, int]:
        """Returns counters over all loops: calls active, started and finished; open sockets,
        connections made, and requests repeated because a reused connection broke before an
        answer."""
        return self._connections.stats()


def _from_source(source: BodySource) -> Sending:
    async def send(transfer: _http.Transfer, _: _http.Outgoing) -> Response:
        async with uploading(transfer, source):
            return cast(Response, await transfer)

    return send


_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY"}


def _method(method: str) -> str:
    """Returns the usual methods in upper case, others as they are, since case counts."""
    if not isinstance(method, str) or method in _METHODS:
        return method
    return upper if (upper := method.upper()) in _METHODS else method
