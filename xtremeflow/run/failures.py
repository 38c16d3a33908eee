"""What a failed call means: for itself, and for all the others.

A failure is the call's own (a bad request), passing (the server has trouble: try again), or shared
by every call (a wrong key, a wrong address). Refusals (429) are another matter: see
xtremeflow.refusals.
"""

from __future__ import annotations

import enum
import json
from typing import Any, cast

from xtremeflow.run.requests import Json
from xtremeflow.run.transport import NoReply, Reply, Unreachable

_PASSING = {408, 409, 425}
_SHARED = {401: "the key is not accepted", 402: "the account has no credit",
           403: "access is denied", 404: "there is no such model or address"}  # fmt: skip
_UNKNOWN_MODEL = {"model_not_found", "deploymentnotfound", "invalid_model", "unknown_model"}

SHARED_AFTER = 3
"""So many calls in a row have to fail alike before the run is stopped."""
OUTAGE_AFTER = 5
"""So many calls without an answer, and none with one between them, are an outage."""


class Meaning(enum.Enum):
    OWN = enum.auto()
    PASSING = enum.auto()
    SHARED = enum.auto()


class StatusFailure(Exception):
    """An answer with a status of 400 or more, in the shape that xtremeflow.refusals reads."""

    def __init__(self, reply: Reply, decoded: Any) -> None:
        super().__init__(f"HTTP {reply.status}")
        self.reply = reply
        self.response = reply  # its headers
        self.status_code = reply.status
        self.body: Any = decoded


class BadReply(Exception):
    """An answer of status 200 that is none, such as a proxy's page."""

    def __init__(self, reply: Reply, reason: str) -> None:
        super().__init__(reason)
        self.reply = reply


Failure = StatusFailure | BadReply | NoReply


def failure_in(reply: Reply, decoded: Any) -> StatusFailure | BadReply | None:
    """What is wrong with a reply whose body was decoded to that (None: it is not JSON)."""
    if reply.status >= 400:
        return StatusFailure(reply, decoded)
    if not 200 <= reply.status < 300:
        return BadReply(reply, f"the server answers with status {reply.status}")
    if not isinstance(decoded, dict):
        return BadReply(reply, "the server's answers are not JSON objects")
    return None


def meaning(failure: Failure) -> Meaning:
    if isinstance(failure, NoReply):
        return Meaning.PASSING
    if isinstance(failure, BadReply):
        return Meaning.SHARED
    status = failure.status_code
    if status in _PASSING or status >= 500:
        return Meaning.PASSING
    if status in _SHARED or _code(failure) in _UNKNOWN_MODEL:
        return Meaning.SHARED
    return Meaning.OWN


def likeness(failure: Failure) -> str:
    """Equal for failures that have one cause, and what to call that."""
    if isinstance(failure, StatusFailure):
        status = failure.status_code
        if _code(failure) in _UNKNOWN_MODEL:
            return f"there is no such model (HTTP {status})"
        return f"{_SHARED.get(status, 'the calls fail')} (HTTP {status})"
    if isinstance(failure, Unreachable):
        return f"the server cannot be reached ({failure})"
    return str(failure)


def code_of(failure: Failure) -> str:
    """A word for the errors file."""
    if isinstance(failure, StatusFailure):
        return f"http_{failure.status_code}"
    if isinstance(failure, BadReply):
        return "bad_reply"
    return "unreachable" if isinstance(failure, Unreachable) else "no_reply"


def message_of(failure: Failure) -> str:
    """What the provider said, else what the failure is."""
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
    return cast(Json, error) if isinstance(error, dict) else {}


def decoded(body: bytes) -> Any:
    """The JSON value, or None."""
    try:
        return json.loads(body.decode())
    except (ValueError, RecursionError):
        return None


class Watch:
    """Follows the outcomes of all calls, for what they have in common."""

    def __init__(self) -> None:
        self.answered = False
        """Whether there was any answer at all."""
        self._alike: dict[str, int] = {}
        self._silent: set[int] = set()

    def success(self) -> None:
        self.answered = True
        self._alike.clear()
        self._silent.clear()

    def refusal(self) -> None:
        """A 429 is a sign of life."""
        self.answered = True
        self._silent.clear()

    def failure(self, failure: Failure, line: int) -> str | None:
        """Notes it; returns why the run is to be stopped, if it is."""
        kind = meaning(failure)
        first_contact = isinstance(failure, Unreachable) and not self.answered
        self.answered |= not isinstance(failure, NoReply)
        if kind is Meaning.PASSING:
            self._silent.add(line)
        else:
            self._silent.clear()
        if kind is Meaning.SHARED or first_contact:
            cause = likeness(failure)
            self._alike[cause] = self._alike.get(cause, 0) + 1
            if self._alike[cause] >= SHARED_AFTER:
                return cause
        return None

    @property
    def outage(self) -> bool:
        """Whether the provider seems to be down for everybody."""
        return len(self._silent) >= OUTAGE_AFTER
