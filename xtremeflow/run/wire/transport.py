"""The runner's interface to HTTP."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from xtremeflow._http import parse_head, request_id
from xtremeflow.run.input.requests import RequestLine


@dataclass(slots=True)  # frozen, it would take three times as long to make
class Reply:
    """An answer of any status, which never changes. Its head is a mapping of lower-case names to
    values, or the bytes as they came."""

    status: int
    head: Mapping[str, str] | bytes
    body: bytes

    def fields(self) -> Iterable[tuple[str, str]]:
        """Returns the names and values of the head."""
        head = self.head
        return parse_head(head) if isinstance(head, bytes) else head.items()

    @property
    def request_id(self) -> str | None:
        """The provider's name of the request."""
        if isinstance(self.head, bytes):
            return request_id(self.head)  # most results need no other field
        return self.head.get("x-request-id") or self.head.get("request-id")


class NoReply(ConnectionError):
    """There was no whole answer. The message says why and quotes no secret."""


class NoConnection(NoReply):
    """There was no connection: no route, no such name, refused, no TLS."""


class Unfit(Exception):
    """No other attempt of this call mends its fault.

    code       the kind of fault, for the errors file
    is_sent    whether the server may have seen the request
    is_shared  whether other calls are likely to have the same fault; else it is the request's own
    """

    def __init__(self, message: str, code: str, *, is_sent: bool, is_shared: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.is_sent = is_sent
        self.is_shared = is_shared


class Transport(Protocol):
    async def send(self, request: RequestLine) -> Reply:
        """Makes one attempt. Raises NoReply, or Unfit."""
        ...

    async def aclose(self) -> None:
        """Ends the calls in flight and closes all connections."""
        ...
