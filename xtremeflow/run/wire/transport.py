"""The runner's interface to HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from xtremeflow.run.input.requests import Request


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of any status. `headers` has at least those that tell of limits, and all those of
    an error. Their names are in lower case, or are found in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    request_id: str | None = None


class NoReply(ConnectionError):
    """There was no whole answer. The message says why and quotes no secret."""


class Unreachable(NoReply):
    """There was no connection: no route, no such name, refused, no TLS."""


class Unfit(Exception):
    """The fault is the request's own, and no other attempt mends it. It tells nothing of the
    server.

    code     the kind of fault, for the errors file
    is_sent  whether the server may have seen the request
    """

    def __init__(self, message: str, code: str, *, is_sent: bool) -> None:
        super().__init__(message)
        self.code = code
        self.is_sent = is_sent


class Transport(Protocol):
    async def send(self, request: Request) -> Reply:
        """Makes one attempt. Raises NoReply, or Unfit."""
        ...

    async def aclose(self) -> None:
        """Ends the calls in flight and closes all connections."""
        ...
