"""The lines of the output, in OpenAI's Batch format with one more key: `xtremeflow`."""

from __future__ import annotations

from collections.abc import Mapping
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
    return _line(request, _response(reply, answer.line), None, about)


def error_line(
    request: RequestLine,
    code: str,
    message: str,
    reply: Reply | None,
    answer: Document | None,
    about: bytes,
) -> bytes:
    """Returns the line of a failed call, with the answer if there was one."""
    response = None
    if reply is not None:
        response = _response(reply, quoted(reply.body) if answer is None else answer.line)
    return _line(request, response, {"code": code, "message": message}, about)


def bad_line(bad: BadLine) -> bytes:
    error = {"code": "bad_line", "message": f"line {bad.line} {bad.reason}"}
    return _line(bad, None, error, b'{"line": %d}' % bad.line)


def about(
    line: int,
    attempts: int,
    refused: int,
    started: float,
    seconds: float,
    usage: Usage | None,
    charged: Mapping[str, int],
) -> bytes:
    """Returns what the line of a call that was sent says of it.

    started  the wall clock's time at the last attempt, which took `seconds`
    charged  its amounts by the limits' names
    """
    # Formatted by hand: an encoder's set-up, or the repr of a dict, takes several times as long.
    text = f'{{"line": {line}, "attempts": {attempts}'
    if refused:
        text += f', "refused": {refused}'
    text += f', "started": {started:.3f}, "seconds": {seconds:.3f}'
    if usage is not None:
        text += (
            f', "usage": {{"input_tokens": {usage.input}, "output_tokens": {usage.output}, '
            f'"cached": {usage.cached}'
        )
        text += f', "written": {usage.written}}}' if usage.written else "}"
    if charged:
        amounts = ", ".join([f'"{name}": {amount}' for name, amount in charged.items()])
        text += f', "charged": {{{amounts}}}'
    return (text + "}").encode()


def unsent(line: int) -> bytes:
    """Returns the same for a call that was not sent."""
    return b'{"line": %d, "attempts": 0}' % line


def _line(
    of: RequestLine | BadLine, response: bytes | None, error: Json | None, about: bytes
) -> bytes:
    # The id comes first and in exactly this form: see results.py.
    return b'{"id": "%s", "custom_id": %s, "response": %s, "error": %s, "xtremeflow": %s}\n' % (
        record_id(of.line, of.fingerprint).encode(),
        _text(of.custom_id),
        b"null" if response is None else response,
        b"null" if error is None else encoded(error),
        about,
    )


def _response(reply: Reply, body: bytes) -> bytes:
    head = b'{"status_code": %d, "request_id": %s, "body": ' % (
        reply.status,
        _text(reply.request_id),
    )
    return head + body + b"}"


def _text(value: str | None) -> bytes:
    if value is None:
        return b"null"
    # The set-up of json.dumps' encoder takes too long for a mere string.
    return encode_basestring_ascii(value).encode() if value.isascii() else encoded(value)
