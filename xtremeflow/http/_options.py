"""The options of a client in the form that libcurl takes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from xtremeflow import _http
from xtremeflow.http._url import has_scheme, shown

HeadersInput: TypeAlias = Mapping[str, str] | Iterable[tuple[str | bytes, str | bytes]]

# The places of certificate authorities in distributions and macOS.
_CA_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/var/lib/ca-certificates/ca-bundle.pem",
)

# 8.23.0. 7.88 fails a multiplexed request that is answered before its body was read, as a 429 may
# be; versions between were not tested.
_HTTP2_SINCE = 0x081700


def http2_default() -> bool:
    """Whether HTTP/2 over TLS is on by default."""
    return _http.has_http2 and _http.libcurl_number >= _HTTP2_SINCE


def existing_file(value: str | os.PathLike[str], name: str) -> bytes:
    path = os.fsencode(value)
    if b"\0" in path or not os.path.isfile(path):
        raise ValueError(f"{name} must be an existing file, not {value!r}")
    return path


def ca_file(given: str | os.PathLike[str] | None, environment: Mapping[str, str]) -> bytes | None:
    """Returns the bundle to trust: the given one, SSL_CERT_FILE, the system's, certifi's, in this
    order.

    None leaves the choice to libcurl, whose built-in path is right unless it was built elsewhere.
    """
    if given is not None:
        return existing_file(given, "ca")
    if environment.get("SSL_CERT_FILE"):
        return existing_file(environment["SSL_CERT_FILE"], "SSL_CERT_FILE")
    for path in _CA_BUNDLES:
        if os.path.isfile(path):
            return path.encode()
    if sys.platform == "darwin":
        return None
    try:
        import certifi
    except ImportError:
        return None
    return os.fsencode(certifi.where())


def proxy_options(
    proxy: str | None, trust_env: bool, environment: Mapping[str, str]
) -> tuple[bytes | None, bytes | None]:
    """Returns CURLOPT_PROXY and CURLOPT_NOPROXY. A `proxy` of None leaves both to the
    environment."""
    if proxy is not None:
        if not isinstance(proxy, str):
            raise TypeError(f"proxy must be a str or None, not a {type(proxy).__name__}")
        if not has_scheme(proxy, {"http", "https", "socks5", "socks5h", "socks4", "socks4a"}):
            raise ValueError(
                f"proxy must be a URL such as 'http://host:3128' or 'socks5h://host:1080', "
                f"not {shown(proxy)!r}"
            )
        return proxy.encode(), b""
    names = ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
    if trust_env and any(environment.get(name) for name in names):
        return None, None
    return b"", None  # spares libcurl the look-up in every call


def flag(value: bool, name: str) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {value!r}")
    return value


def positive(value: int | None, name: str, *, none: int) -> int:
    if value is None:
        return none
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be a whole number above 0, or None, not {value!r}")
    return value
