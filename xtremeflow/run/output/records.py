"""The lines of the output, in OpenAI's Batch format with one more key: `xtremeflow`."""

from __future__ import annotations

from json.encoder import encode_basestring_ascii

from xtremeflow.run.input.requests import BadLine, Json, RequestLine
from xtremeflow.run.output.strict import Document, encoded, quoted
from xtremeflow.run.wire.transport import Reply


def record_id(line: int, fingerprint: int) -> str:
    """Returns the id by which a later run finds the line."""
    return f"xf-{line}-{fingerprint:016x}"


def result_line(request: RequestLine, reply: Reply, answer: Document, about: Json) -> bytes:
    """Returns the line of an answer, with its JSON body as it came."""
    return _line(request, _response(reply, answer.line), None, about)


def error_line(
    request: RequestLine,
    code: str,
    message: str,
    reply: Reply | None,
    answer: Document | None,
    about: Json,
) -> bytes:
    """Returns the line of a failed call, with the answer if there was one."""
    response = None
    if reply is not None:
        response = _response(reply, quoted(reply.body) if answer is None else answer.line)
    return _line(request, response, {"code": code, "message": message}, about)


def bad_line(bad: BadLine) -> bytes:
    error = {"code": "bad_line", "message": f"line {bad.line} {bad.reason}"}
    return _line(bad, None, error, {"line": bad.line})


def _line(
    of: RequestLine | BadLine, response: bytes | None, error: Json | None, about: Json
) -> bytes:
    # The id comes first and in exactly this form: see results.py.
    return b'{"id": "%s", "custom_id": %s, "response": %s, "error": %s, "xtremeflow": %s}\n' % (
        record_id(of.line, of.fingerprint).encode(),
        _text(of.custom_id),
        b"null" if response is None else response,
        b"null" if error is None else encoded(error),
        _about(about).encode(),
    )


def _about(about: Json) -> str:
    """Encodes numbers, and objects of numbers by plain names, as JSON. Python writes them alike but
    for the quotes. The set-up of json's encoder takes too long for them."""
    return repr(about).replace("'", '"')


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
