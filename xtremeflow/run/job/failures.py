"""The failure of a call in words, and whether every other call would fail in the same way.

The verdict says what an answer means for its own call: see xtremeflow.answers.
"""

from __future__ import annotations

from typing import Any, cast

from xtremeflow.http._url import shown_url
from xtremeflow.run.input.requests import Json
from xtremeflow.run.output.strict import Document
from xtremeflow.run.wire.transport import NoConnection, NoReply, Reply, Unfit
from xtremeflow.values.forms import is_object

_SHARED = {401: "the key is not accepted", 402: "the account has no credit",
           403: "access is denied", 404: "there is no such model or address"}  # fmt: skip
_UNKNOWN_MODEL = {"model_not_found", "deploymentnotfound", "invalid_model", "unknown_model"}

SHARED_AFTER = 3
"""This many calls in a row must fail alike before the run stops."""


class StatusFailure(Exception):
    """An answer with a status of 400 or more, or with an error in it, which gateways send with
    status 200."""

    def __init__(self, reply: Reply, answer: Document | None) -> None:
        self.reply = reply
        self.answer = answer
        self.body: Any = None if answer is None else answer.value
        self.status_code = reply.status if reply.status >= 400 else _status_inside(_error(self))
        super().__init__(f"HTTP {self.status_code or f'{reply.status} with an error in it'}")


class BadReply(Exception):
    """An answer of status 200 that is not the API's, such as a proxy's page."""

    def __init__(self, reply: Reply, answer: Document | None, reason: str) -> None:
        super().__init__(reason)
        self.reply = reply
        self.answer = answer


Failure = StatusFailure | BadReply | NoReply | Unfit


def failure_in(reply: Reply, answer: Document | None) -> StatusFailure | BadReply | None:
    """Returns the failure in a reply with that body, or None."""
    if answer is not None and answer.is_sound and 200 <= reply.status < 300:
        return None
    if reply.status >= 400:
        return StatusFailure(reply, answer)
    if not 200 <= reply.status < 300:
        return BadReply(reply, answer, f"the server answers with status {reply.status}{_to(reply)}")
    if answer is None or not is_object(answer.value):
        return BadReply(reply, answer, "the server's answers are not JSON objects")
    if answer.value.get("error"):
        return StatusFailure(reply, answer)
    return None


def _to(reply: Reply) -> str:
    """Returns the address to which a reply redirects, in words: often the right base URL."""
    for name, value in reply.fields():
        if name.lower() == "location":
            return f" and points to {shown_url(value)}"
    return ""


def is_shared(failure: Failure) -> bool:
    """Whether the failure is of a wrong key, model or address, or a server whose answers cannot be
    read, which all calls share."""
    if isinstance(failure, Unfit):
        return failure.is_shared
    if isinstance(failure, StatusFailure):
        return failure.status_code in _SHARED or _code(failure) in _UNKNOWN_MODEL
    return isinstance(failure, BadReply)


def likeness(failure: Failure) -> str:
    """Returns the cause of a failure in words, equal for failures of the same cause."""
    if isinstance(failure, StatusFailure):
        status = failure.status_code
        if _code(failure) in _UNKNOWN_MODEL:
            return f"there is no such model ({failure})"
        return f"{_SHARED.get(status or 0, 'the calls fail')} ({failure})"
    if isinstance(failure, Unfit):
        return f"the answers cannot be read ({failure.code})"
    if isinstance(failure, NoConnection):
        return f"the server cannot be reached ({failure})"
    return str(failure)


def concerns_model(failure: StatusFailure) -> bool:
    """Whether the cause may be an unknown model."""
    return failure.status_code == 404 or _code(failure) in _UNKNOWN_MODEL


def code_of(failure: Failure) -> str:
    """Returns the failure's code for the errors file."""
    if isinstance(failure, StatusFailure):
        code = failure.status_code
        return "error_in_answer" if code is None else f"http_{code}"
    if isinstance(failure, BadReply):
        return "bad_reply"
    if isinstance(failure, Unfit):
        return failure.code
    return "unreachable" if isinstance(failure, NoConnection) else "no_reply"


def message_of(failure: Failure) -> str:
    """Returns the provider's message, else the failure's own."""
    if isinstance(failure, StatusFailure):
        error = _error(failure)
        said = error.get("message")
        if isinstance(said, str) and said:
            return said
    return str(failure)


def _code(failure: StatusFailure) -> str:
    return str(_error(failure).get("code")).casefold()


def _error(failure: StatusFailure) -> Json:
    body = failure.body
    error = cast(Json, body).get("error", body) if isinstance(body, dict) else None
    if isinstance(error, str):
        return {"message": error}
    return cast(Json, error) if isinstance(error, dict) else {}


def _status_inside(error: Json) -> int | None:
    """Returns the HTTP status that an error inside an answer names, as gateways send it, or
    None."""
    for name in ("code", "status", "status_code"):
        status = error.get(name)
        if isinstance(status, str) and status.isascii() and status.isdigit():
            status = int(status[:4])
        if isinstance(status, int) and 400 <= status < 600:
            return status
    return None


class FailureWatch:
    """Follows the failures of all calls, to find a common cause."""

    def __init__(self) -> None:
        self._answered = False  # whether there was any answer at all
        self._alike: dict[str, int] = {}

    def success(self) -> None:
        self._answered = True
        self._alike.clear()

    def failure(self, failure: Failure) -> str | None:
        """Notes a failure. Returns the cause for which the run must stop, or None."""
        first_contact = isinstance(failure, NoConnection) and not self._answered
        self._answered |= not isinstance(failure, NoReply)
        if is_shared(failure) or first_contact:
            cause = likeness(failure)
            self._alike[cause] = self._alike.get(cause, 0) + 1
            if self._alike[cause] >= SHARED_AFTER:
                return cause
        return None
