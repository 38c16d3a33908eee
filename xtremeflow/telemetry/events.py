"""The log as JSON: one object a line, for machines. docs/observability.md has the schema."""

from __future__ import annotations

import json
import logging
from datetime import datetime, timezone
from typing import Any

from xtremeflow.values.forms import is_object

EVENT = "xtremeflow"  # the attribute of a record that holds an event's fields
_RESERVED = frozenset({"time", "level", "logger", "message", "error"})


class JSONFormatter(logging.Formatter):
    """Formats each record as a JSON object in one line of ASCII.

        handler.setFormatter(xtremeflow.logs.JSONFormatter())

    Every object has ``time``, ``level``, ``logger`` and ``message``. Records of the package that
    tell an event also have ``event``, its name, and its fields. An exception is in ``error``.
    """

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, Any] = {
            "time": _time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self.text(record.getMessage()),
        }
        fields = getattr(record, EVENT, None)
        if is_object(fields):
            told |= {name: value for name, value in fields.items() if name not in _RESERVED}
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            told["error"] = {
                "type": type(error).__qualname__,
                "message": self.text(str(error)),
                "traceback": self.text(self.formatException(record.exc_info)),
            }
        return json.dumps(told, default=str)

    def text(self, text: str) -> str:
        """Returns a text as it is written. A subclass may hide parts of it."""
        return text


def _time(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
