"""The options of a client: one record of them, and the forms that libcurl takes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from xtremeflow import _http
from xtremeflow.answers.attempt import Persistence
from xtremeflow.http._url import has_scheme, shown_url
from xtremeflow.http._usage import Estimating
from xtremeflow.prefixes.groups import Prefixes
from xtremeflow.scheduler import TaskScheduler
from xtremeflow.values.arguments import check_flag, check_int, check_number

HeadersInput: TypeAlias = Mapping[str, str] | Iterable[tuple[str | bytes, str | bytes]]
Seconds: TypeAlias = float | None
FileInput: TypeAlias = str | os.PathLike[str]
PrefixInput: TypeAlias = Literal["auto"] | Prefixes | None
CertInput: TypeAlias = FileInput | tuple[str, str] | tuple[str, str, str]

_MIB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of a client or a transport; see `Client`.

    Raises TypeError or ValueError for those that mean nothing, by their names and values.
    """

    headers: HeadersInput | None = None
    timeout: Seconds = 600.0
    connect_timeout: Seconds = 10.0
    idle_timeout: Seconds = None
    http2: bool | None = None
    verify: bool = True
    ca: FileInput | None = None
    cert: CertInput | None = None
    proxy: str | None = None
    trust_env: bool = True
    max_connections: int | None = None
    max_connections_per_host: int | None = None
    max_idle_connections: int = 256
    follow_redirects: int = 0
    compressed: bool = True
    max_head: int = 256 * 1024
    max_body: int = 1024 * _MIB
    max_event: int = 16 * _MIB
    scheduler: TaskScheduler | None = None
    estimate: Estimating | None = None
    settle: bool | None = None
    retries: int = 2
    max_retries: int | None = None
    max_retry_after: float = 120.0
    prefix: PrefixInput = None

    def __post_init__(self) -> None:
        if self.prefix is not None and self.prefixes is None:
            raise ValueError(f"prefix must be 'auto', a Prefixes or None, not {self.prefix!r}")
        if self.prefix is not None and self.scheduler is None:
            raise ValueError(f"prefix={self.prefix!r} needs a scheduler, which holds calls back")
        if self.scheduler is not None and not isinstance(self.scheduler, TaskScheduler):
            raise TypeError(
                f"scheduler must be one of xtremeflow's schedulers, not {self.scheduler!r}"
            )
        if self.estimate is not None and not callable(self.estimate):
            raise TypeError(
                f"estimate must be a function of a URL and a body, or None, not {self.estimate!r}"
            )
        check_int("retries", self.retries, 0)
        if self.max_retries is not None:
            check_int("max_retries", self.max_retries, 0)
        check_number("max_retry_after", self.max_retry_after, zero=True)
        check_int("follow_redirects", self.follow_redirects, 0)
        for name in ("verify", "compressed", "trust_env"):
            check_flag(name, getattr(self, name))
        for name in ("settle", "http2"):
            if getattr(self, name) is not None:
                check_flag(name, getattr(self, name))
        for name in ("max_connections", "max_connections_per_host", "max_idle_connections",
                     "max_head", "max_body", "max_event"):  # fmt: skip
            if getattr(self, name) is not None:
                check_int(name, getattr(self, name), 1, sys.maxsize)

    @property
    def prefixes(self) -> Prefixes | None:
        """How prefixes are to be found; None if they are not."""
        if isinstance(self.prefix, Prefixes):
            return self.prefix
        return Prefixes() if self.prefix == "auto" else None

    @property
    def persistence(self) -> Persistence:
        return Persistence(self.retries, self.max_retries, float(self.max_retry_after))


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
    if not isinstance(value, (str, bytes, os.PathLike)):
        raise TypeError(f"{name} must be an existing file, not {value!r}")
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
                f"not {shown_url(proxy)!r}"
            )
        return proxy.encode(), b""
    names = ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
    if trust_env and any(environment.get(name) for name in names):
        return None, None
    return b"", None  # spares libcurl the look-up in every call


def certificate(given: CertInput | None) -> tuple[bytes | None, bytes | None, bytes | None]:
    """Returns the files of a client certificate and its key, and the key's password."""
    if given is None:
        return None, None, None
    parts = given if isinstance(given, tuple) else (given,)
    if not 1 <= len(parts) <= 3:
        raise ValueError(
            f"cert must be a file, (file, key) or (file, key, password), not {given!r}"
        )
    files = [existing_file(part, "cert") for part in parts[:2]]
    password = os.fsencode(parts[2]) if len(parts) == 3 else None
    return files[0], files[1] if len(files) == 2 else None, password
