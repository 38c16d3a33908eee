"""The lines of the output, in OpenAI's Batch format with one more key: `xtremeflow`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from json.encoder import encode_basestring_ascii

from xtremeflow.run.input.requests import BadLine, RequestLine
from xtremeflow.run.output.strict import Document, encoded, quoted
from xtremeflow.run.wire.transport import Reply
from xtremeflow.values.usage import Usage


def result_line(request: RequestLine, reply: Reply, answer: Document, about: bytes) -> bytes:
    """Returns the line of an answer, with its JSON body as it came."""
    return _line(request, _response(reply, answer.line), b"null", about)


def error_line(
    request: RequestLine,
    code: str,
    message: str,
    reply: Reply | None,
    answer: Document | None,
    about: bytes,
) -> bytes:
    """Returns the line of a failed call, with the answer if there was one."""
    response = b"null"
    if reply is not None:
        response = _response(reply, quoted(reply.body) if answer is None else answer.line)
    return _line(request, response, encoded({"code": code, "message": message}), about)


def bad_line(bad: BadLine) -> bytes:
    error = {"code": "bad_line", "message": f"line {bad.line} {bad.reason}"}
    return _line(bad, b"null", encoded(error), b'{"line": %d}' % bad.line)


def about(
    line: int,
    attempts: int,
    refused: int,
    started: float,
    seconds: float,
    usage: Usage | None,
    charged: Mapping[str, int],
    units: tuple[str, ...],
) -> bytes:
    """Returns what the line of a call that was sent says of it.

    started  the wall clock's time at the last attempt, which took `seconds`
    charged  the amounts of these `units`, and perhaps of more
    """
    # Formatted by hand: an encoder's set-up, or the repr of a dict, takes several times as long.
    again = b', "refused": %d' % refused if refused else b""
    used = taken = b""
    if usage is not None:
        read, output, cached, written = usage
        kept = b', "written": %d' % written if written else b""
        used = b', "usage": {"input_tokens": %d, "output_tokens": %d, "cached": %d%b}' % (
            read, output, cached, kept,
        )  # fmt: skip
    if units:
        taken = _charged(units) % tuple(map(charged.__getitem__, units))
    return b'{"line": %d, "attempts": %d%b, "started": %.3f, "seconds": %.3f%b%b}' % (
        line, attempts, again, started, seconds, used, taken,
    )  # fmt: skip


@lru_cache(maxsize=4)  # a run has the same units throughout
def _charged(units: tuple[str, ...]) -> bytes:
    """Returns the format of the amounts of these units."""
    amounts = ", ".join([f'"{unit}": %d' for unit in units])
    return f', "charged": {{{amounts}}}'.encode()


def unsent(line: int) -> bytes:
    """Returns the same for a call that was not sent."""
    return b'{"line": %d, "attempts": 0}' % line


def _line(of: RequestLine | BadLine, response: bytes, error: bytes, about: bytes) -> bytes:
    # The id comes first and in exactly this form: see results.py.
    return (
        b'{"id": "xf-%d-%016x", "custom_id": %b, "response": %b, "error": %b, "xtremeflow": %b}\n'
        % (of.line, of.fingerprint, _text(of.custom_id), response, error, about)
    )


def _response(reply: Reply, body: bytes) -> bytes:
    return b'{"status_code": %d, "request_id": %b, "body": %b}' % (
        reply.status, _text(reply.request_id), body,
    )  # fmt: skip


def _text(value: str | None) -> bytes:
    if value is None:
        return b"null"
    # The set-up of json.dumps' encoder takes too long for a mere string.
    return encode_basestring_ascii(value).encode() if value.isascii() else encoded(value)
