"""An API: the form of its requests, answers and events of a stream."""

from __future__ import annotations

from typing import Protocol

from xtremeflow.serve.inquiry import Inquiry, Json, ServedAnswer, dumps
from xtremeflow.serve.profiles import Profile


class Stream(Protocol):
    """Writes the events of one answer, as bytes: `begin`, each piece of the text, `end` or
    `fail`."""

    def begin(self) -> bytes: ...

    def piece(self, text: str) -> bytes: ...

    def end(self) -> bytes: ...

    def fail(self, body: object) -> bytes:
        """Returns the event that breaks the answer off. `body` is that of the provider's errors."""
        ...


class Api(Protocol):
    def inquiry(self, body: Json, path: str) -> Inquiry:
        """Reads a request. Raises BadRequestError."""
        ...

    def body(self, inquiry: Inquiry, answer: ServedAnswer, profile: Profile) -> Json: ...

    def stream(self, inquiry: Inquiry, answer: ServedAnswer, profile: Profile) -> Stream: ...


def event(data: object, name: str | None = None) -> bytes:
    """Encodes a server-sent event."""
    line = b"data: " + dumps(data) + b"\n\n"
    return line if name is None else b"event: " + name.encode() + b"\n" + line
