"""HTTP to LLM APIs on libcurl, for many calls at a time.

    async with Client(headers={"Authorization": "Bearer ..."}) as client:
        answer = await client.post("https://api.example.com/v1/chat/completions", json={...})
        print(answer.status, answer.json())

`transport` puts the same under the official SDKs.
"""

from __future__ import annotations

import sys

if sys.platform == "win32":
    raise ImportError("xtremeflow.http needs a POSIX system: it is not built on Windows")

from xtremeflow import _http
from xtremeflow._http import Event
from xtremeflow.http._client import Client
from xtremeflow.http._errors import (
    AdmissionTimeout,
    CertificateError,
    ClientClosed,
    ClientForked,
    CodingError,
    ConnectError,
    ConnectionLost,
    ConnectTimeout,
    HTTPError,
    IdleTimeout,
    InvalidJSON,
    InvalidRequest,
    InvalidURL,
    ProtocolError,
    ProxyError,
    ProxyRefused,
    RedirectError,
    ResolveError,
    StatusError,
    StreamClosed,
    Timeout,
    TLSError,
    TooLarge,
    TooManyRedirects,
    TotalTimeout,
    TransportError,
    UploadAborted,
)
from xtremeflow.http._headers import Headers
from xtremeflow.http._response import Request, Response, StreamResponse, Timing
from xtremeflow.http._streams import StreamContext
from xtremeflow.http._terms import admission
from xtremeflow.http._transport import transport
from xtremeflow.prefixes.groups import Prefixes

#: The version of the libcurl in use, and of its TLS library.
LIBCURL = f"{_http.libcurl_version} ({_http.tls_version})"

__all__ = [
    "LIBCURL",
    "AdmissionTimeout",
    "CertificateError",
    "Client",
    "ClientClosed",
    "ClientForked",
    "CodingError",
    "ConnectError",
    "ConnectTimeout",
    "ConnectionLost",
    "Event",
    "HTTPError",
    "Headers",
    "IdleTimeout",
    "InvalidJSON",
    "InvalidRequest",
    "InvalidURL",
    "Prefixes",
    "ProtocolError",
    "ProxyError",
    "ProxyRefused",
    "RedirectError",
    "Request",
    "ResolveError",
    "Response",
    "StatusError",
    "StreamClosed",
    "StreamContext",
    "StreamResponse",
    "TLSError",
    "Timeout",
    "Timing",
    "TooLarge",
    "TooManyRedirects",
    "TotalTimeout",
    "TransportError",
    "UploadAborted",
    "admission",
    "transport",
]
