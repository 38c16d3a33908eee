"""An answer of a provider as a value, whatever client it comes from. No function here raises."""

from __future__ import annotations

import json
import re
import time
import zlib
from collections.abc import Iterable
from typing import Any, TypeGuard

from xtremeflow.values.forms import as_instant, is_array, is_object, json_objects

_MOST_READ = 1 << 20  # bytes of a body, decompressed; errors are small
_MOST_TEXT = 10_000  # characters of a message that are read

# A key whose value is neither null nor missing. In a JSON text a quote within a string is \", so
# no text of the model looks like this. A key of the same name deeper in the answer may. Or the name
# of an event.
_NAMES_ERROR = re.compile(rb'"error"\s*:\s*[^\sn]|^event:[ \t]?error\s', re.MULTILINE)
_WIDE = (b"\xff\xfe", b"\xfe\xff")  # the byte order marks of UTF-16 and UTF-32
_MESSAGES = ("message", "Message", "detail", "error", "error_message", "msg")
_UNREAD: Any = object()


class Answer:
    """The answer to one attempt.

    Args:
        status: The HTTP status; 0 if no answer came.
        headers: A mapping, or pairs, of names to values, str or bytes; or a function that returns
            these, called when they are needed.
        body: Bytes or text of JSON, or the decoded value; None if it was not read.
        sent_at, received_at: When the request was sent and when the answer's head came, in seconds
            on the loop's clock; None if that is unknown.
        now: When the answer came, in seconds since the epoch, by default now. Dates in the answer
            are compared with it if the answer has no date of its own.
        quotas: The limits that its head tells, if that has been read: see
            `xtremeflow.answers.headers.quotas_of`.
    """

    __slots__ = ("_body", "_errors", "_given", "_headers", "_now", "_value", "followed", "observed",
                 "quotas", "received_at", "sent_at", "status")  # fmt: skip

    def __init__(
        self,
        status: int,
        headers: Any = (),
        body: Any = None,
        *,
        sent_at: float | None = None,
        received_at: float | None = None,
        now: float | None = None,
        quotas: Any = None,
    ) -> None:
        self.status = status
        self.sent_at = sent_at
        self.received_at = received_at
        self.quotas = quotas
        self.observed: Any = None
        """The result of `xtremeflow.answers.headers.observed`."""
        self.followed: Any = None
        """The result of following that: see `xtremeflow.learning.learner.Learner.told`."""
        self._now = time.time() if now is None else now
        self._given = headers
        self._body = body
        self._headers: dict[str, str] | None = None
        self._value: Any = _UNREAD
        self._errors: list[dict[str, Any]] | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The header fields by their lower-case names. The first of repeated ones counts."""
        if self._headers is None:
            given = self._given
            self._headers = lowered(given() if callable(given) else given)
            self._given = None
        return self._headers

    @property
    def date(self) -> float:
        """The time of the answer in seconds since the epoch, by the provider's own clock if it
        tells that. A wrong clock does no harm then."""
        told = as_instant(self.headers.get("date", ""))
        return self._now if told is None else told

    @property
    def body(self) -> Any:
        """The decoded body: a JSON value; a text if it is not JSON; None if there is no body."""
        if self._value is _UNREAD:
            self._value = _decoded(self._body, self.headers.get("content-encoding", ""))
        return self._value

    def has_come(self, body: bytes | None) -> None:
        """Adds the body, or its beginning, to an answer that was made of its head alone."""
        self._body, self._value, self._errors = body, _UNREAD, None

    @property
    def errors(self) -> list[dict[str, Any]]:
        """The objects that describe the error, outermost first; empty if there is no error.

        In an answer with a status of 400 or more that is the whole body. In any other it is the
        value of `error`, unless that is null; the rest is content. In a stream of server-sent
        events it is the value of `error` in the first, or all of an event named `error`.
        """
        if self._errors is None:
            told = self._told_error()
            # Plain copies, since a caller's decoder may have made objects of any class.
            self._errors = (
                [] if told is None else [dict[str, Any].copy(thing) for thing in json_objects(told)]
            )
        return self._errors

    @property
    def is_error(self) -> bool:
        """Whether there was no answer, a status of 400 or more, or an error in the answer."""
        return not 0 < self.status < 400 or bool(self.errors)

    @property
    def messages(self) -> list[str]:
        """The error's messages in the provider's words, the likeliest first."""
        found = [
            thing[name][:_MOST_TEXT]
            for name in _MESSAGES
            for thing in self.errors
            if isinstance(thing.get(name), str) and thing[name]
        ]
        if not found and self.status >= 400 and isinstance(self.body, str) and self.body:
            found.append(self.body[:_MOST_TEXT])
        return found

    def _told_error(self) -> Any:
        if not 0 < self.status < 400:
            return self.body
        if self._body is None or not may_name_error(self._body):
            return None
        value = self.body
        if is_array(value) and len(value) == 1:
            value = value[0]  # Google's streams
        error = dict[str, Any].get(value, "error") if is_object(value) else None
        return {"message": error} if error and isinstance(error, str) else error or None

    def __repr__(self) -> str:
        return f"<Answer {self.status or 'that did not come'}>"


def lowered(headers: Any) -> dict[str, str]:
    """Returns header fields (a mapping, or pairs, of str or bytes) by their lower-case names. The
    first of repeated ones counts."""
    plain: dict[str, str] = {}
    try:
        pairs: Iterable[Any] = headers.items() if hasattr(headers, "items") else headers
        for name, value in pairs:
            if type(name) is str and type(value) is str:  # the usual case, for every answer
                lower, text = name.lower(), value
            else:
                lower, text = _text(name).lower(), _text(value)
            if lower not in plain:
                plain[lower] = text
    except Exception:
        return plain
    return plain


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _is_bytes(value: Any) -> TypeGuard[bytes | bytearray | memoryview[int]]:
    return isinstance(value, (bytes, bytearray, memoryview))


def may_name_error(body: Any) -> bool:
    """Whether a body may name an error, so that most answers need not be decoded."""
    if isinstance(body, str):
        body = body.encode("utf-8", "replace")
    if not _is_bytes(body):
        return True
    data = bytes(body)
    if data[:2] in _WIDE or b"\0" in data[:4]:
        return True
    # The word is in few bodies, and the search for it takes a tenth of the pattern's time.
    return b"error" in data and _NAMES_ERROR.search(data) is not None


def _decoded(body: Any, encoding: str) -> Any:
    if not isinstance(body, str) and not _is_bytes(body):
        return body
    try:
        if not isinstance(body, str):
            data = _plain(bytes(body[:_MOST_READ]), encoding)
            body = data.decode(json.detect_encoding(data), "replace")
        text = body[:_MOST_READ].removeprefix("\ufeff").strip()
    except Exception:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    if _BEGINS_EVENT.match(text):
        return _of_first_event(text)
    if text[:1] == "{":  # the first of several, one a line
        try:
            return json.JSONDecoder().raw_decode(text)[0]
        except (ValueError, RecursionError):
            pass
    return text or None


_BEGINS_EVENT = re.compile(r"(?:data|event|id|retry)?:")
_LINE_END = re.compile(r"\r\n|\r|\n")


def _of_first_event(text: str) -> Any:
    """Returns the data of a stream's first event that has any, decoded; under `error` if the event
    has that name."""
    name = ""
    data: list[str] = []
    for line in _LINE_END.split(text):
        field, _, value = line.partition(":")
        if field == "data":
            data.append(value.removeprefix(" "))
        elif field == "event":
            name = value.strip()
        elif not line and data:
            break
    told = "\n".join(data)
    try:
        value = json.loads(told)
    except (ValueError, RecursionError):
        value = told or None
    if name == "error" and not (is_object(value) and "error" in value):
        return {"error": value}
    return value


def _plain(data: bytes, encoding: str) -> bytes:
    """Decompresses a body, if the HTTP client has not done so."""
    encoding = encoding.strip().lower()
    if encoding in ("gzip", "x-gzip", "deflate"):
        try:
            return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(data, _MOST_READ)
        except zlib.error:
            pass  # the client has decompressed it
    return data
