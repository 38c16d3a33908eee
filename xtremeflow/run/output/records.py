"""The lines of the output, in OpenAI's Batch format with one more key: `xtremeflow`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from json.encoder import encode_basestring_ascii

from xtremeflow.run.input.requests import BadLine, Json, RequestLine
from xtremeflow.run.output.strict import Document, encoded, quoted
from xtremeflow.run.wire.transport import Reply
from xtremeflow.values.usage import Usage


def record_id(line: int, fingerprint: int) -> str:
    """Returns the id by which a later run finds the line."""
    return f"xf-{line}-{fingerprint:016x}"


def result_line(request: RequestLine, reply: Reply, answer: Document, about: bytes) -> bytes:
    """Returns the line of an answer, with its JSON body as it came."""
    return _line(request, (_response(reply), answer.line, b"}"), None, about)


def error_line(
    request: RequestLine,
    code: str,
    message: str,
    reply: Reply | None,
    answer: Document | None,
    about: bytes,
) -> bytes:
    """Returns the line of a failed call, with the answer if there was one."""
    response: tuple[bytes, ...] = (b"null",)
    if reply is not None:
        body = quoted(reply.body) if answer is None else answer.line
        response = (_response(reply), body, b"}")
    return _line(request, response, {"code": code, "message": message}, about)


def bad_line(bad: BadLine) -> bytes:
    error = {"code": "bad_line", "message": f"line {bad.line} {bad.reason}"}
    return _line(bad, (b"null",), error, b'{"line": %d}' % bad.line)


def about(
    line: int,
    attempts: int,
    refused: int,
    started: float,
    seconds: float,
    usage: Usage | None,
    charged: Mapping[str, int],
    units: Iterable[str],
) -> bytes:
    """Returns what the line of a call that was sent says of it.

    started  the wall clock's time at the last attempt, which took `seconds`
    charged  the amounts of these `units`, and perhaps of more
    """
    # Formatted by hand: an encoder's set-up, or the repr of a dict, takes several times as long,
    # and so do floats in an f-string.
    again = b', "refused": %d' % refused if refused else b""
    pieces = [
        b'{"line": %d, "attempts": %d%s, "started": %.3f, "seconds": %.3f'
        % (line, attempts, again, started, seconds)
    ]
    if usage is not None:
        read, output, cached, written = usage
        kept = b', "written": %d' % written if written else b""
        pieces.append(
            b', "usage": {"input_tokens": %d, "output_tokens": %d, "cached": %d%s}'
            % (read, output, cached, kept)
        )
    if units:
        amounts = ", ".join([f'"{unit}": {charged[unit]}' for unit in units])
        pieces.append(f', "charged": {{{amounts}}}'.encode())
    pieces.append(b"}")
    return b"".join(pieces)


def unsent(line: int) -> bytes:
    """Returns the same for a call that was not sent."""
    return b'{"line": %d, "attempts": 0}' % line


def _line(
    of: RequestLine | BadLine, response: tuple[bytes, ...], error: Json | None, about: bytes
) -> bytes:
    # The id comes first and in exactly this form: see results.py.
    begin = (
        f'{{"id": "{record_id(of.line, of.fingerprint)}", "custom_id": {_text(of.custom_id)}, '
        '"response": '
    )
    said = b"null" if error is None else encoded(error)
    pieces = (begin.encode(), *response, b', "error": ', said, b', "xtremeflow": ', about, b"}\n")
    return b"".join(pieces)


def _response(reply: Reply) -> bytes:
    """Returns what comes before the body."""
    name = _text(reply.request_id)
    return f'{{"status_code": {reply.status}, "request_id": {name}, "body": '.encode()


def _text(value: str | None) -> str:
    if value is None:
        return "null"
    # The set-up of json.dumps' encoder takes too long for a mere string.
    return encode_basestring_ascii(value) if value.isascii() else encoded(value).decode()
