"""Checks of arguments. Each error names the argument, the allowed values, and the given one."""

from __future__ import annotations

import math
import operator
from collections.abc import AsyncIterable, Iterable
from numbers import Integral, Real
from typing import Any


def check_kind(name: str, value: object, kind: type) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be a {kind.__name__}, got {value!r}")


def check_list(name: str, value: Any, kind: type) -> tuple[Any, ...]:
    """Returns what is in an iterable of one kind of objects. Raises TypeError."""
    objects = f"a list of {kind.__name__} objects"
    values: Iterable[Any] = value
    if not isinstance(value, Iterable):
        raise TypeError(f"{name} must be {objects}, got {value!r}")
    listed = tuple(values)
    for each in listed:
        if not isinstance(each, kind):
            raise TypeError(f"{name} must be {objects}, but one of them is {each!r}")
    return listed


def check_callable(name: str, value: object, allowed: str) -> None:
    if not callable(value):
        raise TypeError(f"{name} must be {allowed}, got {value!r}")


def check_iterable(name: str, value: object) -> None:
    if not isinstance(value, (AsyncIterable, Iterable)):
        raise TypeError(f"{name} must be an iterable or async iterable, got {value!r}")


def check_async_iterable(name: str, value: object) -> None:
    if not isinstance(value, AsyncIterable):
        raise TypeError(f"{name} must be an async iterable, got {value!r}")


def check_fields(name: str, value: object) -> None:
    """Checks for a mapping, of any client's type, or pairs. Raises TypeError."""
    is_one = hasattr(value, "items") or isinstance(value, Iterable)
    if not is_one or isinstance(value, (str, bytes)):
        raise TypeError(f"{name} must be a mapping, or pairs, of names to values, got {value!r}")


def check_text(name: str, value: object) -> None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{name} must be a text or None, got {value!r}")


def check_address(host: object, port: object) -> None:
    """Checks for an address to listen on; port 0 is any free one. Raises TypeError, ValueError."""
    if not isinstance(host, str):
        raise TypeError(f"host must be a name or an address, got {host!r}")
    if not host:  # which would be all addresses of the machine
        raise ValueError(f"host must be a name or an address, got {host!r}")
    if check_int("port", port) not in range(65536):
        raise ValueError(f"port must be from 0 to 65535, got {port!r}")


def check_flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {value!r}")


def check_int(name: str, value: object, least: int | None = None, most: int | None = None) -> int:
    """Returns the value as an int, since sums of NumPy's small integers overflow. Raises TypeError,
    ValueError."""
    if type(value) is not int and (not isinstance(value, Integral) or isinstance(value, bool)):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if least is not None and value < least:
        raise ValueError(f"{name} must be {least} or more, got {value!r}")
    if most is not None and int(value) > most:
        raise ValueError(f"{name} must be {most} or less, got {value!r}")
    return operator.index(value)


def check_number(name: str, value: object, *, zero: bool) -> float:
    """Returns the value as a float: a finite number above 0, or with `zero` of at least 0. Raises
    TypeError, ValueError."""
    allowed = "a number, 0 or more" if zero else "a number above 0"
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name} must be {allowed}, got {value!r}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number) or number < 0 or (number == 0 and not zero):
        raise ValueError(f"{name} must be {allowed}, got {value!r}")
    return number
