"""Transfers by libcurl on an event loop, and the parsers of what they carry."""

from asyncio import AbstractEventLoop, Future
from collections.abc import (
    AsyncIterator,
    Callable,
    Coroutine,
    Generator,
)
from types import EllipsisType
from typing import Any, final

from typing_extensions import Self, disjoint_base

from xtremeflow.http._options import HeadersInput

libcurl_version: str
libcurl_number: int
tls_version: str
has_http2: bool
has_gzip: bool

def parse_head(head: bytes, /) -> list[tuple[str, str]]: ...
def parse_head_bytes(head: bytes, /) -> list[tuple[bytes, bytes]]: ...
def limit_fields(head: bytes, /) -> list[tuple[str, str]]: ...
def quotas(
    head: bytes, now: float, /
) -> list[tuple[str, str, float | None, float | None, float | None, float | None, str]] | None: ...
def usage_in(body: bytes, /) -> tuple[int, int, int] | None: ...  # input, output, cached
def asked(body: bytes, /) -> tuple[str, int | None]: ...  # model, tokens allowed
def check_headers(headers: HeadersInput | None, /) -> tuple[tuple[bytes, bytes], ...]: ...
def set_loads(loads: Callable[[str], Any], /) -> None: ...

@disjoint_base
class Response:
    _headers: Any
    _queued: float
    def __new__(
        cls,
        url: str,
        method: str,
        status: int,
        head: bytes,
        body: bytes,
        version: int,
        queued: float,
        times: tuple[int, int, int, int, int, int, int, int],
        /,
    ) -> Self: ...
    @property
    def url(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def status(self) -> int: ...
    @property
    def body(self) -> bytes: ...
    @property
    def _head(self) -> bytes: ...
    @property
    def _version(self) -> int: ...
    @property
    def _times(self) -> tuple[int, int, int, int, int, int, int, int]: ...

@disjoint_base
class Tap:
    def __new__(cls) -> Self: ...
    def see(self, piece: bytes, /) -> None: ...
    def see_event(self, data: str, /) -> None: ...
    def used(self) -> tuple[int, int, int] | None: ...

@final
class Event:
    @property
    def data(self) -> str: ...
    @property
    def event(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def retry(self) -> int | None: ...
    def json(self) -> Any: ...

@final
class Transfer(Coroutine[Any, Any, Any]):
    @property
    def url(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def status(self) -> int: ...
    @property
    def http_version(self) -> int: ...
    @property
    def head(self) -> bytes: ...
    @property
    def times(self) -> tuple[int, int, int, int, int, int, int, int]: ...
    @property
    def done(self) -> bool: ...
    @property
    def done_well(self) -> bool: ...
    def __await__(self) -> Generator[Any, Any, Any]: ...
    def send(self, value: Any, /) -> Any: ...
    def throw(self, typ: Any, val: Any = None, tb: Any = None, /) -> Any: ...
    def close(self) -> None: ...
    def entrust(self) -> None: ...
    def abort(self) -> None: ...
    def chunks(self) -> AsyncIterator[bytes]: ...
    def ahead(self) -> AsyncIterator[bytes]: ...
    def events(self, limit: int, /) -> AsyncIterator[Event]: ...
    def feed(self, data: bytes, /) -> int: ...
    def feed_end(self, aborted: bool, /) -> None: ...
    def set_room(self, future: Future[None], /) -> None: ...

@final
class Engine:
    @property
    def loop(self) -> AbstractEventLoop: ...
    @property
    def inherited(self) -> bool: ...
    def close(self) -> None: ...
    def stats(self) -> dict[str, int]: ...

@final
class Session:
    def __new__(
        cls,
        *,
        response_type: type[Response],
        error_factory: Callable[..., BaseException],
        shown: Callable[[str], str],
        headers: HeadersInput | None,
        ca_file: bytes | None,
        cert_file: bytes | None,
        key_file: bytes | None,
        key_password: bytes | None,
        proxy: bytes | None,
        no_proxy: bytes | None,
        verify: bool,
        http2: bool,
        compressed: bool,
        max_connections: int,
        max_connections_per_host: int,
        max_idle: int,
        max_head: int,
        max_body: int,
        high_water: int,
        timeout: float | None,
        idle_timeout: float | None,
        connect_timeout: float | None,
    ) -> Self: ...
    def call(
        self,
        method: str,
        url: str,
        headers: HeadersInput | None,
        body: Any,
        json: bool,
        total: float | EllipsisType | None,
        idle: float | EllipsisType | None,
        connect: float | EllipsisType | None,
        stream: bool,
        repeatable: bool | None,
        upload_size: int | None,
        bare: bool,
        foreign: bool = False,
        /,
    ) -> Transfer: ...
    def close(self) -> list[Engine]: ...
    def engines(self) -> list[Engine]: ...
