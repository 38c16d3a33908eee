"""Numbers, durations, instants and JSON as providers write them. No function here raises."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from datetime import datetime
from email.utils import mktime_tz, parsedate_tz
from functools import lru_cache
from itertools import islice
from typing import Any, TypeGuard

_MAX_VALUES = 1000  # looked at in a body, in case it contains itself; real ones have a dozen

_UNITS = {
    "d": 86400.0,
    "h": 3600.0,
    "m": 60.0,
    "s": 1.0,
    "ms": 1e-3,
    "us": 1e-6,
    "µs": 1e-6,
    "ns": 1e-9,
}
_PART = r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ms|us|µs|ns|[dhms])"
_PARTS = re.compile(_PART)
_DURATION = re.compile(f"(?:{_PART})+")
_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


def is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def is_array(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def json_objects(*bodies: Any) -> Iterator[dict[str, Any]]:
    """Yields every JSON object in `bodies` (values or texts), at any depth, outermost first."""
    queue = [_parsed(body) for body in bodies]
    for value in islice(queue, _MAX_VALUES):
        if is_object(value):
            yield value
            queue.extend(islice(dict[str, Any].values(value), _MAX_VALUES))
        elif is_array(value):
            queue.extend(islice(value, _MAX_VALUES))


def _parsed(body: Any) -> Any:
    """Decodes `body` if it is text of JSON, else returns it as it is."""
    try:
        return json.loads(body) if isinstance(body, (str, bytes)) else body
    except (ValueError, RecursionError):
        return None


def as_number(value: Any) -> float | None:
    """Returns a number >= 0, which may be given as text, or None."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if 0 <= number < math.inf else None


def as_duration(value: Any) -> float | None:
    """Returns seconds from a number, or from Go's format (`194ms`, `2m52.8s`, `1h2m3s`), or
    None."""
    if not isinstance(value, str):
        return as_number(value)
    if match := _PARTS.fullmatch(value):  # the usual case
        total = float(match[1]) * _UNITS[match[2]]
    elif _DURATION.fullmatch(value.strip()):
        total = sum(float(amount) * _UNITS[unit] for amount, unit in _PARTS.findall(value))
    else:
        return as_number(value)
    return total if total < math.inf else None


@lru_cache(maxsize=64)  # the answers of one second have the same date
def as_instant(text: str) -> float | None:
    """Returns seconds since the epoch from an RFC 3339 or an HTTP date, or None if it is not
    one."""
    try:
        if match := _RFC3339.fullmatch(text.strip()):
            date, time, fraction, zone = match.groups()
            zone = "+00:00" if zone in "Zz" else zone
            return datetime.fromisoformat(f"{date}T{time}{zone}").timestamp() + float(fraction or 0)
        parts = parsedate_tz(text)
        if parts is None:
            return None
        datetime(*parts[:6])  # raises for one that does not exist
        return float(mktime_tz(parts))
    except (ValueError, OverflowError, IndexError, TypeError):
        return None


EPOCH = 1e9  # seconds: a larger number is a Unix time, since a delay would be of 30 years


def until(text: str | None, now: float) -> float | None:
    """Returns the seconds from `now` to a duration, a date or a Unix time; None if that is past.

    Of several, which a gateway has joined by commas, the longest counts.
    """
    if text is None:
        return None
    delay = as_duration(text)
    if delay is not None and delay >= EPOCH:
        while delay >= 1000 * EPOCH:  # in milliseconds or less
            delay /= 1000
        return as_number(delay - now)
    if delay is None and (instant := as_instant(text)) is not None:
        return as_number(instant - now)
    if delay is None and "," in text:
        told = (until(part, now) for part in text.split(",", 16)[:16])
        return max((seconds for seconds in told if seconds is not None), default=None)
    return delay
