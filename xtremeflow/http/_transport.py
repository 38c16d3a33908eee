"""The transport under the official SDKs, for httpx2.AsyncClient and httpx.AsyncClient."""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator
from functools import partial
from types import EllipsisType, TracebackType
from typing import Any, NamedTuple

from xtremeflow import _http
from xtremeflow.answers.attempt import Sent
from xtremeflow.batches.first_token import report_first_token
from xtremeflow.http._admission import Admission, make_admission
from xtremeflow.http._connections import Connections
from xtremeflow.http._errors import (
    LASTING,
    AdmissionTimeout,
    ConnectError,
    ConnectionLost,
    ConnectTimeout,
    HTTPError,
    IdleTimeout,
    InvalidRequest,
    ProtocolError,
    ProxyError,
    Timeout,
    TransportError,
    UploadAborted,
    invalid_request,
)
from xtremeflow.http._leading import Assembled, of_leader
from xtremeflow.http._options import CertInput, FileInput, Options, PrefixInput
from xtremeflow.http._prefixes import Auto, Prepared, make_auto
from xtremeflow.http._redirects import harmless
from xtremeflow.http._streamed import StreamedCall, Unpassed
from xtremeflow.http._terms import terms_around
from xtremeflow.http._upload import uploading
from xtremeflow.http._usage import Estimating
from xtremeflow.scheduler import TaskScheduler
from xtremeflow.values.usage import Usage

logger = logging.getLogger("xtremeflow")

_RETRIED = "x-stainless-retry-count"  # of the SDKs of OpenAI, Anthropic and others
_RETRIES = (
    "the SDK above the transport sends a call again by itself, which the scheduler has already "
    "tried as often as it may: set max_retries=0 in the SDK's client"
)
_HTTP_VERSIONS = {10: b"HTTP/1.0", 11: b"HTTP/1.1", 20: b"HTTP/2", 30: b"HTTP/3"}


def transport(
    *,
    scheduler: TaskScheduler | None = None,
    estimate: Estimating | None = None,
    settle: bool | None = None,
    retries: int = 2,
    max_retries: int | None = None,
    max_retry_after: float = 120.0,
    http2: bool | None = None,
    verify: bool = True,
    ca: FileInput | None = None,
    cert: CertInput | None = None,
    proxy: str | None = None,
    trust_env: bool = True,
    max_connections: int | None = None,
    max_connections_per_host: int | None = None,
    max_idle_connections: int = 256,
    prefix: PrefixInput = None,
) -> Any:
    """Returns a transport for ``httpx2.AsyncClient`` (openai 3, anthropic 2) or
    ``httpx.AsyncClient``.

        way = transport(scheduler=scheduler)
        AsyncOpenAI(max_retries=0, http_client=httpx2.AsyncClient(transport=way))

    With a scheduler, the scheduler admits every call of the SDK, settles it from the usage of its
    answer (of a stream, from the last event), and retries it by its rules when it is refused. Set
    the SDK's own max_retries to 0. A scheduler that has limits or adapts is shown each answer. It
    learns from the answers whether the provider refunds tokens that were not used; settle=True and
    settle=False state it. A streamed call holds its slot until the stream is closed or read to its
    end. Without a scheduler each request is sent once, as the SDK has retries of its own. The other
    arguments are those of `Client`.

    The client's timeouts connect and read hold. (Read is the time between two receptions while the
    server is due.) The time in the scheduler's queue does not count. Exceptions are the client's
    own.
    """
    return _Transport(Options(
        scheduler=scheduler, estimate=estimate, settle=settle, retries=retries,
        max_retries=max_retries, max_retry_after=max_retry_after, timeout=None,
        connect_timeout=None, http2=http2, verify=verify, ca=ca, cert=cert, proxy=proxy,
        trust_env=trust_env, max_connections=max_connections,
        max_connections_per_host=max_connections_per_host,
        max_idle_connections=max_idle_connections, prefix=prefix,
    ))  # fmt: skip


class _Transport:
    """The transport that `transport` returns."""

    def __init__(self, options: Options) -> None:
        self._admission = make_admission(options, _as_the_sdks)
        self._auto = make_auto(options, self._admission)
        self._connections = Connections(options, "transport")
        self._call = self._connections.session.call
        self._has_warned = False

    async def handle_async_request(self, request: Any) -> Any:
        family = _family(type(request))
        body = family.body(request)
        admission = self._admission
        try:
            if admission is None:
                return family.response(await self._open(request, body))
            if not self._has_warned and request.headers.get(_RETRIED, "0") != "0":
                self._has_warned = True
                logger.warning(_RETRIES)
            url, terms, prepared = str(request.url), terms_around(), None
            settle = admission.settle
            if self._auto is not None:
                prepared = await self._auto.prepared(terms, url, body)
            if prepared is None:
                terms = admission.priced(terms, url, body)
            else:
                terms, body = prepared.terms, prepared.content
                settle = partial(self._settle, prepared, admission)
            call: StreamedCall[_Opened] = StreamedCall(admission, request.method, url, settle)
            attempt = partial(self._attempt, request, body, admission, prepared)
            opened = await call.opened(attempt, terms, body is not None)
            if call.is_over:
                return family.response(opened)
            admission.streamed.watch(call)
            return family.response(opened, call)
        except Unpassed as unpassed:
            return family.response(unpassed.sent.result)
        except HTTPError as error:
            raise family.translated(error, request) from error

    def _settle(self, prepared: Prepared, admission: Admission, usage: Usage) -> None:
        assert self._auto is not None
        self._auto.used(prepared, usage)
        admission.settle(usage)

    async def _attempt(
        self, request: Any, body: bytes | None, admission: Admission, prepared: Prepared | None
    ) -> Sent[_Opened]:
        sent_at = admission.now()
        if self._auto is not None and prepared is not None:
            content = of_leader(prepared.grouped, prepared.content)
            if content is not None:
                return await self._led(self._auto, request, content, admission, prepared)
        opened = await self._open(request, body)
        transfer = opened.transfer
        assert isinstance(transfer, _http.Transfer)
        answer = await admission.begun(transfer, sent_at, settles=prepared is None)
        if transfer.status < 400:
            report_first_token()
        if transfer.status >= 400 and opened.upload is not None:
            await opened.upload.__aexit__(None, None, None)
            opened = opened._replace(upload=None)
        return Sent(opened, answer)

    async def _led(
        self,
        auto: Auto,
        request: Any,
        body: bytes,
        admission: Admission,
        prepared: Prepared,
    ) -> Sent[_Opened]:
        """Makes an attempt of a call that leads its group, as a stream."""
        sent_at = admission.now()
        opened = await self._open(request, body)
        assert isinstance(opened.transfer, _http.Transfer)
        received_at = admission.now()
        whole = await auto.put_together(prepared, opened.transfer)
        answer = admission.answer(whole.status, whole.head, whole.body, sent_at, received_at)
        return Sent(_Opened(whole), answer)

    async def _open(self, request: Any, body: bytes | None) -> _Opened:
        """Returns a transfer whose head has arrived."""
        limits: dict[str, float | None] = request.extensions.get("timeout", {})
        source = None
        size = None
        if body is None:
            source = request.stream
            size = int(request.headers.get("content-length", -1))
        headers, foreign = _sendable(request)
        method, url = request.method, str(request.url)
        try:
            transfer = self._call(_http.Outgoing(
                method, url, headers, body or None, timeout=None,
                idle_timeout=_seconds(limits.get("read")),
                connect_timeout=_seconds(limits.get("connect")),
                stream=True, upload_size=size, bare=True, foreign=foreign,
            ))  # fmt: skip
        except ValueError as error:
            raise invalid_request(error, method, url) from error
        if source is None:
            await transfer
            return _Opened(transfer)
        upload = uploading(transfer, source)
        await upload.__aenter__()
        try:
            await transfer
        except BaseException as error:
            await upload.__aexit__(type(error), error, None)
            raise
        return _Opened(transfer, upload)

    async def aclose(self) -> None:
        self._connections.close()

    async def __aenter__(self) -> _Transport:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.aclose()


def _seconds(value: float | None) -> float | EllipsisType | None:
    return None if value is None else max(value, 1e-3)


def _as_the_sdks(error: Exception) -> bool:
    """Whether the SDKs send a request again after this error. They do so even if it may have been
    executed, since paying twice is better than having no answer."""
    passing = (ConnectError, ConnectionLost, IdleTimeout)
    return isinstance(error, passing) and not isinstance(error, LASTING)


class _Opened(NamedTuple):
    transfer: _http.Transfer | Assembled
    upload: uploading | None = None  # goes on while the answer is read


class _Family:
    """The classes of the client's own library: httpx2 or httpx."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._body = _body_class(library.AsyncByteStream, self)
        self._errors: list[tuple[type[HTTPError], Any]] = [
            (ConnectTimeout, library.ConnectTimeout),
            (AdmissionTimeout, library.PoolTimeout),
            (Timeout, library.ReadTimeout),
            (ProxyError, library.ProxyError),
            (ConnectError, library.ConnectError),
            (UploadAborted, library.WriteError),
            (ProtocolError, library.RemoteProtocolError),
            (ConnectionLost, library.RemoteProtocolError),
            (InvalidRequest, library.LocalProtocolError),
            (TransportError, library.ReadError),
        ]

    def response(self, opened: _Opened, call: StreamedCall[Any] | None = None) -> Any:
        transfer = opened.transfer
        return self._library.Response(
            transfer.status,
            headers=_decoded(transfer.head),
            stream=self._body(opened, call),
            extensions=_extensions(transfer.head, transfer.http_version),
        )

    def body(self, request: Any) -> bytes | None:
        """Returns the body of a request; None if it comes from a source that can be read once."""
        try:
            body: bytes = request.content
        except self._library.RequestNotRead:
            if not isinstance(request.stream, self._library.ByteStream):
                return None
            body = request.read()  # the client has followed a redirect
        return body

    def translated(self, error: HTTPError, request: Any) -> Exception:
        """Returns the library's exception for one of ours."""
        kind = next(theirs for ours, theirs in self._errors if isinstance(error, ours))
        if (
            kind is self._library.RemoteProtocolError
            and isinstance(error, TransportError)
            and error.os_errno
        ):
            kind = self._library.ReadError  # reset, rather than closed
        translated: Exception = kind(str(error), request=request)
        return translated


_Pairs = list[tuple[bytes, bytes]]


_MEANT = "xtremeflow.origin"


def _sendable(request: Any) -> tuple[_Pairs, bool]:
    """Returns a request's headers, and whether it was redirected to a host other than its own.

    Only gzip is left of the accepted codings, because every answer must be readable here, also a
    refusal and a stream. The SDK's own client follows redirects, and of all credentials it removes
    only Authorization. The request's extensions go along with it.
    """
    url = request.url
    origin = url.scheme, url.host, url.port
    foreign: bool = request.extensions.setdefault(_MEANT, origin) != origin
    if foreign:
        request.extensions[_MEANT] = None  # for good
    headers = [
        (name, _accepted(value) if name.lower() == b"accept-encoding" else value)
        for name, value in request.headers.raw
    ]
    return list(harmless(headers)) if foreign else headers, foreign


def _accepted(offered: bytes) -> bytes:
    return b"gzip" if _http.has_gzip and b"gzip" in offered.lower() else b"identity"


def _decoded(head: bytes) -> _Pairs:
    """Returns the headers of a decoded answer, without those of its coding, which no longer
    apply. Errors in other codings are not decoded."""
    pairs = _http.parse_head_bytes(head)
    if not any(
        name.lower() == b"content-encoding" and b"gzip" in value.lower() for name, value in pairs
    ):
        return pairs
    coded = {b"content-encoding", b"content-length"}
    return [(name, value) for name, value in pairs if name.lower() not in coded]


def _extensions(head: bytes, version: int) -> dict[str, bytes]:
    _, _, reason = head[: head.index(b"\n")].partition(b" ")[2].partition(b" ")
    return {
        "http_version": _HTTP_VERSIONS.get(version, b"HTTP/1.1"),
        "reason_phrase": reason.strip(),
    }


def _body_class(base: Any, family: _Family) -> Any:
    class Body(base):  # type: ignore[misc]
        """The body of an answer. Closing it ends the transfer and returns the slot."""

        def __init__(self, opened: _Opened, call: StreamedCall[Any] | None) -> None:
            self._transfer, self._upload = opened
            self._call = call

        def __aiter__(self) -> AsyncIterator[bytes]:
            if self._call is None and self._transfer.done_well:
                return self._transfer.chunks()  # whole, so it raises no error
            return self._pieces()

        async def _pieces(self) -> AsyncIterator[bytes]:
            call = self._call
            try:
                if call is not None:
                    call.reads()
                async for piece in self._transfer.chunks():
                    if call is not None:
                        call.tap.see(piece)
                        call.is_read = False
                    yield piece
                    if call is not None:
                        call.reads()
            except HTTPError as error:
                raise family.translated(error, None) from error
            finally:
                # At the end, and when the reader was cancelled or has left, if that is visible.
                if call is not None:
                    self._transfer.abort()
                    call.close()

        async def aclose(self) -> None:
            self._transfer.abort()
            if self._upload is not None:
                await self._upload.__aexit__(None, None, None)
            if self._call is not None:
                self._call.close()

    return Body


_families: dict[Any, _Family] = {}


def _family(request_type: Any) -> _Family:
    family = _families.get(request_type)
    if family is None:
        for cls in request_type.__mro__:
            name = cls.__module__.partition(".")[0]
            if name in {"httpx2", "httpx"}:
                break
        else:
            raise TypeError(f"request must be one of httpx2 or httpx, not {request_type!r}")
        family = _families[request_type] = _Family(sys.modules[name])
    return family
