"""The lines of the output, in OpenAI's Batch format with one more key: `xtremeflow`."""

from __future__ import annotations

import json
from json.encoder import encode_basestring_ascii
from typing import Any

from xtremeflow.run.requests import BadLine, Json, Request
from xtremeflow.run.transport import Reply


def record_id(line: int, fingerprint: int) -> str:
    """What a later run knows the line by."""
    return f"xf-{line}-{fingerprint:016x}"


def result_line(request: Request, reply: Reply, about: Json) -> bytes:
    """The line of an answer, its JSON body passed on as it came."""
    return _line(request, _response(reply, _one_line(reply.body)), None, about)


def error_line(
    request: Request, code: str, message: str, reply: Reply | None, about: Json
) -> bytes:
    """The line of a call that failed, with what was answered, if anything was."""
    response = None
    if reply is not None:
        try:
            json.loads(reply.body)
            body = _one_line(reply.body)
        except ValueError:
            body = json.dumps(reply.body.decode("utf-8", "replace")).encode()
        response = _response(reply, body)
    return _line(request, response, {"code": code, "message": message}, about)


def bad_line(bad: BadLine) -> bytes:
    error = {"code": "bad_line", "message": f"line {bad.line} {bad.reason}"}
    return _line(bad, None, error, {"line": bad.line})


def _line(of: Request | BadLine, response: bytes | None, error: Json | None, about: Json) -> bytes:
    # The id comes first and in exactly this form: see results.py.
    return b'{"id": "%s", "custom_id": %s, "response": %s, "error": %s, "xtremeflow": %s}\n' % (
        record_id(of.line, of.fingerprint).encode(),
        _json(of.custom_id),
        b"null" if response is None else response,
        _json(error),
        _json(about),
    )


def _response(reply: Reply, body: bytes) -> bytes:
    request_id = reply.headers.get("x-request-id") or reply.headers.get("request-id")
    head = b'{"status_code": %d, "request_id": %s, "body": ' % (reply.status, _json(request_id))
    return head + body + b"}"


def _one_line(body: bytes) -> bytes:
    """JSON has no line ends but between its values."""
    if b"\n" in body or b"\r" in body:
        body = body.replace(b"\r", b" ").replace(b"\n", b" ")
    return body.strip()


def _json(value: Any) -> bytes:
    if value is None:
        return b"null"
    # The encoder behind json.dumps takes its time to be set up: too long for a mere string.
    text = encode_basestring_ascii(value) if isinstance(value, str) else json.dumps(value)
    return text.encode()
