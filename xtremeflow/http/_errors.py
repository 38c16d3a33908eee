"""The errors of a call. Each says what failed, where and when, and whether a retry is safe."""

from __future__ import annotations

import json
import os
import re
import time
from typing import TYPE_CHECKING, Any

from xtremeflow import _http
from xtremeflow.http._headers import Headers
from xtremeflow.http._url import shown_url

if TYPE_CHECKING:
    from xtremeflow.http._response import Response, StreamResponse


class HTTPError(Exception):
    """The base of all errors of this package."""


class InvalidRequest(HTTPError, ValueError):
    """The request cannot be sent as it is: a header, its JSON, a parameter.

    Attributes:
        method, url: the request.
    """

    method: str = ""
    url: str = ""


class InvalidURL(InvalidRequest):
    """The URL cannot be sent to."""


class InvalidJSON(HTTPError, json.JSONDecodeError):
    """The answer's body, or an event's data, is not JSON.

    Attributes:
        response: the answer; None for an event.
        msg, doc, pos, lineno, colno: of json.JSONDecodeError: the error, the text, and the place.
    """

    def __init__(self, response: Response | None, error: ValueError) -> None:
        self.response = response
        self.error = error
        if not isinstance(error, json.JSONDecodeError):  # not Unicode, nested too deeply
            error = json.JSONDecodeError(str(error), "", 0)
        self.msg, self.doc, self.pos = error.msg, error.doc, error.pos
        self.lineno, self.colno = error.lineno, error.colno
        what = (
            "the event's data"
            if response is None
            else f"{response.method} {shown_url(response.url)} was answered {response.status}: "
            "the body"
        )
        ValueError.__init__(self, f"{what} is not JSON: {error}")

    def __reduce__(self) -> tuple[Any, ...]:
        return InvalidJSON, (self.response, self.error)


class StatusError(HTTPError):
    """The server answered with a status of 400 or above.

    Attributes:
        response: the answer, its body read.
        status, status_code: the status.
    """

    _xtremeflow_call: str  # the refused request, for the log of retries

    def __init__(self, response: Response | StreamResponse, body: bytes) -> None:
        self.response = response
        self.body = body
        self.status = self.status_code = response.status
        excerpt = body[:500].decode("utf-8", "replace").strip()
        super().__init__(
            f"{response.method} {shown_url(response.url)} was answered {response.status}"
            + (f": {excerpt}" if excerpt else "")
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return StatusError, (self.response._whole(self.body), self.body)


class RedirectError(HTTPError):
    """The server redirects to an address that must not be followed: from https to http, to another
    scheme, or to an invalid URL."""


class TooManyRedirects(RedirectError):
    """The server redirected more often than ``follow_redirects`` allows."""


class TransportError(HTTPError):
    """No whole answer came.

    Attributes:
        method, url: the request.
        phase: where it failed: ``"queue"`` (before it was sent), ``"resolve"``, ``"connect"``,
            ``"tls"``, ``"send"`` (the request may be under way), ``"wait"`` (for the first byte)
            or ``"read"``.
        elapsed: seconds since the start of the call.
        retry_safe: whether the request may be sent again without being executed twice: the server
            cannot have seen it, or its method (or the caller's ``idempotent=True``) says so.
        status: the status, if the answer had begun, else 0.
        headers: the header fields of the answer that had begun.
        code: libcurl's error number, 0 if the error is not from libcurl.
        os_errno: the operating system's error number, or 0.
    """

    method: str = ""
    url: str = ""
    phase: str = ""
    elapsed: float = 0.0
    retry_safe: bool = False
    status: int = 0
    code: int = 0
    os_errno: int = 0
    _head: bytes = b""

    @property
    def headers(self) -> Headers:
        return Headers(_http.parse_head(self._head) if self._head else ())


class ConnectError(TransportError):
    """No connection could be made."""


class ResolveError(ConnectError):
    """The host's name could not be resolved."""


class ProxyError(ConnectError):
    """The proxy could not be used."""


class ProxyRefused(ProxyError):
    """The proxy refuses the connection to the server: it wants other credentials (407), or forbids
    the address. No other attempt mends that."""


class TLSError(ConnectError):
    """The TLS handshake failed."""


class CertificateError(TLSError):
    """The server's certificate was refused: expired, for another host, or of an unknown issuer."""


class Timeout(TransportError, TimeoutError):
    """A time limit was reached."""


class ConnectTimeout(ConnectError, Timeout):
    """There was no connection within ``connect_timeout``."""


class IdleTimeout(Timeout):
    """Nothing was received for ``idle_timeout``."""


class TotalTimeout(Timeout):
    """The whole call took longer than ``timeout``."""


class AdmissionTimeout(Timeout):
    """The scheduler did not admit the call within its ``admission_timeout``."""


class ConnectionLost(TransportError):
    """The connection broke before the end of the answer."""


class ProtocolError(TransportError):
    """The server sent something other than HTTP, or than it announced."""


class CodingError(ProtocolError):
    """The answer's body comes in a content coding that was not asked for, or not in the one that
    its head names. No other attempt mends that."""


class TooLarge(TransportError):
    """The answer's head or body is above the client's bound."""


class ClientClosed(TransportError, RuntimeError):
    """The client was closed, before the call or during it."""


class ClientForked(TransportError, RuntimeError):
    """The connections belong to the process that this one was forked from."""


class EventTooLarge(TooLarge, ValueError):
    """A server-sent event is larger than ``max_event``."""


class StreamClosed(TransportError):
    """A streamed answer was read after its block had been left, or after its ``aclose()``."""


class UploadAborted(TransportError):
    """The source of a streamed request failed."""


LASTING = (CertificateError, ClientClosed, CodingError, ProxyRefused, TooLarge)
"""The errors that no other attempt mends."""


def invalid_request(error: ValueError, method: str, url: str) -> InvalidRequest:
    """Returns the exception for a value that cannot be sent: `error` itself if it is one of this
    package."""
    if isinstance(error, InvalidRequest):
        return error
    invalid = InvalidRequest(f"{method} {shown_url(url)} cannot be sent: {error}")
    invalid.method, invalid.url = method, url
    return invalid


_QUOTED_URL = re.compile("'(.*(?:://|@).*)'")

# libcurl's numbers
_RESOLVE = {5, 6}
_CONNECT = {7, 45, 96, 97}
_TLS = {35, 53, 54, 58, 59, 64, 66, 77, 80, 82, 83, 90, 91, 98}
_CERTIFICATE = {51, 60}
_PROTOCOL = {1, 8, 16, 34, 61, 92, 95}
_LOST = {18, 52, 55, 56}
_WITH_ERRNO = {7, 55, 56}  # with other codes errno may be an old one

_UNSENT = {-6, -7, -16, -18}  # may come before anything was tried

_OWN: dict[int, tuple[type[TransportError], str]] = {
    -1: (TotalTimeout, "the total timeout was reached"),
    -2: (IdleTimeout, "nothing was received for the idle timeout"),
    -3: (TooLarge, "the body is larger than max_body"),
    -4: (TooLarge, "the head is larger than max_head, or a line of it than the 100 KB of libcurl"),
    -5: (
        ConnectionLost,
        "the reused connection broke before an answer; the request may have been received and "
        "is not repeated",
    ),
    -6: (ClientClosed, "the client is closed"),
    -7: (TransportError, "out of memory"),
    -8: (UploadAborted, "the source of the request's body failed"),
    -9: (ConnectionLost, "the connection ended in the answer's head"),
    -10: (StreamClosed, "the stream was closed before its end"),
    -11: (ProtocolError, "the answer's Content-Length contradicts itself or is not a number"),
    -19: (ProtocolError, "the answer's status has more than three digits"),
    -12: (ProtocolError, "101 (Switching Protocols) was answered, which was not asked for"),
    -13: (
        CodingError,
        "the answer's Content-Encoding is not the one that was asked for, gzip; a Client with "
        "compressed=False takes bodies as they come",
    ),
    -14: (CodingError, "the answer's body is not the gzip stream that was announced"),
    -15: (ProtocolError, "the answer's body ends before its gzip stream does"),
    -20: (ProxyRefused, "the proxy refuses the connection to the server"),
    -17: (EventTooLarge, "an event of the stream is larger than max_event"),
    -18: (
        ClientForked,
        "the connections belong to the process that this one was forked from: make a new client, "
        "in a new event loop",
    ),
    -16: (
        ConnectError,
        "the process is out of file descriptors, and none of them is a connection that may come "
        "free: raise its limit (ulimit -n), or give the client max_connections",
    ),
}


def _classify(code: int, connected: bool) -> type[TransportError]:
    if code == 28:  # libcurl's own timeout is set only for connecting
        return ConnectTimeout if not connected else TotalTimeout
    if code in _CERTIFICATE:
        return CertificateError
    if code in _TLS:
        return TLSError
    if code in _RESOLVE:
        return ProxyError if code == 5 else ResolveError
    if code == 97:
        return ProxyError
    if code in _CONNECT:
        return ConnectError
    if code in _PROTOCOL:
        return ProtocolError
    if code in _LOST:
        return ConnectionLost if connected else ConnectError
    return TransportError


def transport_error(method: str, url: str, ending: _http.Ending) -> Exception:
    """Returns the exception for the ending of a transfer."""
    code, message, times = ending.code, ending.message, ending.times
    if code == 3:
        invalid = InvalidURL(f"url is malformed: {shown_url(url)!r}: {message}")
        invalid.method, invalid.url = method, url
        return invalid
    if code == 27:
        return MemoryError("libcurl is out of memory")
    if code < 0:
        kind, text = _OWN[code]
        text = f"{text}: {message}" if message else text
    else:
        kind, text = _classify(code, ending.connected), message or f"libcurl error {code}"
        text = _QUOTED_URL.sub(lambda found: repr(shown_url(found[1])), text)  # a proxy's URL
    if ending.status:
        phase = "read"
    elif code in _UNSENT and not times.total:
        phase = "queue"
    elif ending.connected:
        phase = "send" if code == 55 and not times.first_byte else "wait"
    elif code in _RESOLVE:
        phase = "resolve"
    elif code in _TLS | _CERTIFICATE or times.connect:
        phase = "tls"
    else:
        phase = "connect" if times.lookup or code in _CONNECT else "resolve"
    if ending.os_errno and code in _WITH_ERRNO:
        text += f" ({os.strerror(ending.os_errno)})"
    error = kind(
        f"{method} {shown_url(url)} failed ({phase}, after {times.total / 1e6:.3f} s): {text}"
    )
    error.method = method
    error.url = url
    error.phase = phase
    error.elapsed = times.total / 1e6
    error.retry_safe = ending.retry_safe
    error.status = ending.status
    error._head = ending.head
    error.code = max(code, 0)
    error.os_errno = ending.os_errno
    return error


def not_admitted(method: str, url: str, asked: float) -> AdmissionTimeout:
    """Returns the error of a call that has waited for its admission in vain since `asked` (seconds
    of time.perf_counter)."""
    waited = time.perf_counter() - asked
    error = AdmissionTimeout(
        f"{method} {shown_url(url)} failed (queue, after {waited:.3f} s): it was not admitted "
        "within its timeout"
    )
    error.method, error.url, error.phase, error.elapsed = method, url, "queue", waited
    error.retry_safe = True
    return error
