"""A look at the begin of a streamed answer, before its reader has it: it may be an error, whatever
its status and its type say."""

from __future__ import annotations

import json
import re

from xtremeflow import _http
from xtremeflow.http._errors import TransportError

_MOST = 64 * 1024  # bytes of a body: what tells of an error is smaller

_LENGTH = re.compile(rb"^content-length:[ \t]*(\d+)", re.IGNORECASE | re.MULTILINE)
_EVENT = re.compile(rb"(?:data|event|id|retry)?:|(?:d(?:a(?:t|ta)?)?|e(?:v|ve|ven|vent)?)$")
_DATA = re.compile(rb"^data:", re.MULTILINE)
_BLANK_LINE = re.compile(rb"\r\n\r\n|\n\n|\r\r")


async def body_ahead(transfer: _http.Transfer) -> bytes | None:
    """Returns the begin of a body that may tell of an error, to be judged; None for any other.

    It stays in the transfer, to be read. It may tell of one if the status is 400 or more. Else its
    first event, or its first JSON value, is awaited: of what comes piece by piece no more, and of
    anything else nothing.
    """
    is_error = transfer.status >= 400
    if not is_error and (_length(transfer) or 0) > _MOST:
        return None
    body = b""
    try:
        async for body in transfer.ahead():
            if len(body) >= _MOST or not (is_error or _goes_on(body)):
                break
    except TransportError:
        pass  # the next read raises it
    except BaseException:
        transfer.abort()
        raise
    return body


def is_at_hand(transfer: _http.Transfer) -> bool:
    """Whether a body is to come at once, as it seems: to look ahead costs its reader no time."""
    length = _length(transfer)
    return transfer.status >= 400 or (length is not None and length <= _MOST)


def _length(transfer: _http.Transfer) -> int | None:
    found = _LENGTH.search(transfer.head)
    return None if found is None else int(found[1])


def _goes_on(body: bytes) -> bool:
    """Whether the first thing in it that may be an error has begun, and is not whole."""
    text = body.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text or (text[:1] == b"{" and text.rstrip()[-1:] != b"}"):
        return True
    if text[:1] == b"{":
        return not _begins_with_json(text)
    if not _EVENT.match(text):
        return False
    data = _DATA.search(text)
    return data is None or not _BLANK_LINE.search(text, data.start())


def _begins_with_json(text: bytes) -> bool:
    try:
        json.JSONDecoder().raw_decode(text.decode("utf-8", "replace"))
    except RecursionError:
        return True
    except ValueError:
        return False
    return True
