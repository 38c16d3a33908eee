"""Amounts and durations in the forms that people write and read."""

from __future__ import annotations

import re
import time
from argparse import ArgumentTypeError
from datetime import datetime

_SCALE = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
_AMOUNT = re.compile(r"(\d[\d_,]*(?:\.\d+)?)([kmg]?)", re.IGNORECASE | re.ASCII)
_MOST = 1e12
_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_PERIODS = {"s": 1.0, "min": 60.0, "h": 3600.0, "day": 86400.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?[dhms])+", re.ASCII)


def amount(text: str) -> float:
    """Reads an amount: `800000`, `800_000`, `800k`, `2M`."""
    match = _AMOUNT.fullmatch(text)
    value = float(match[1].replace("_", "").replace(",", "")) if match else 0.0
    if match is None or value <= 0:
        raise ArgumentTypeError(f"must be a number above 0 such as 5000, 800k or 2M, got {text!r}")
    value *= _SCALE[match[2].lower()]
    if value > _MOST:
        raise ArgumentTypeError(f"must be at most {_MOST:g}, got {text!r}")
    return value


def per_period(text: str) -> tuple[str, float | None]:
    """Splits `300/min` or `2M/day`. Returns the text before the slash, and the period in seconds,
    None where the text names none."""
    units, slash, period = text.partition("/")
    if slash and period not in _PERIODS:
        known = ", ".join(_PERIODS)
        raise ArgumentTypeError(f"must be per one of {known}, such as 300/min, got {text!r}")
    return units, _PERIODS.get(period)


def limit(text: str) -> float | None:
    """Reads an amount or `none`, which is None."""
    return None if text == "none" else amount(text)


def whole(text: str) -> int:
    """Reads a whole amount of at least 1."""
    value = amount(text)
    if value != int(value):
        raise ArgumentTypeError(f"must be a whole number, got {text!r}")
    return int(value)


def count(text: str) -> int:
    """Reads a whole number of at least 0."""
    if not text.isascii() or not text.isdigit():
        raise ArgumentTypeError(f"must be a whole number, 0 or more, got {text!r}")
    return int(text)


def seconds(text: str) -> float:
    """Reads a duration in seconds: `90`, `90s`, `1.5h`, `2h30m`."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
        if _DURATION.fullmatch(text):
            parts = re.findall(r"([\d.]+)([dhms])", text)
            value = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if not 0 <= value <= 1e9:
        raise ArgumentTypeError(f"must be a duration such as 90, 45m or 2h30m, got {text!r}")
    return value


def some_seconds(text: str) -> float:
    """Reads a duration above 0, in seconds."""
    value = seconds(text)
    if not value:
        raise ArgumentTypeError(f"must be more than 0 seconds, got {text!r}")
    return value


def deadline(text: str) -> float:
    """Reads a duration, or a moment such as `2031-05-01T06:00` in local time. Returns seconds from
    now."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or text.isdigit():  # from 3.11 on, 20310501 is a date
        try:
            left = seconds(text)
        except ArgumentTypeError:
            raise ArgumentTypeError(
                f"must be a duration such as 45m or a moment such as 2031-05-01T06:00, got {text!r}"
            ) from None
    else:
        left = moment.timestamp() - time.time()
    if left <= 0:
        raise ArgumentTypeError(f"must be later than now, got {text!r}")
    return left


def counted(number: int, what: str) -> str:
    """Formats a count: `1 bad line`, `1,234 bad lines`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def duration(value: float) -> str:
    """Formats a duration in seconds: `3.2 s`, `4 min 10 s`, `2 h 05 min`."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60:,} h {minutes % 60:02} min"
