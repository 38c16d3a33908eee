"""The seam to HTTP: all that the runner knows of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from xtremeflow.run.input.requests import Request


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of any status. The headers are at least those that tell of limits, and of an error
    all; their names are found in any case, or in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    request_id: str | None = None


class NoReply(ConnectionError):
    """There was no whole answer; its text says why and quotes no secret."""


class Unreachable(NoReply):
    """There was not even a connection: no route, no such name, refused, no TLS."""


class Transport(Protocol):
    async def send(self, request: Request) -> Reply:
        """One attempt. Raises NoReply."""
        ...

    async def aclose(self) -> None:
        """Ends what is still under way."""
        ...
