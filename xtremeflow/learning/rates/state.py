"""The knowledge of a part of the learner, as plain values that another process can take over.

A part is an object whose attributes are numbers, None, rows of numbers, and other parts. The
attributes that its class names in TIMES are instants of the scheduler's clock. They are told on a
clock that is `ahead` seconds ahead of it. Values from another process are not trusted: they must
be of the kind that the part has.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Any, cast

from xtremeflow.learning.rates.models import Kind

State = dict[str, Any]
DIGITS = 10  # of a number; 2e-10 of it are lost


def told(part: Any, ahead: float) -> Any:
    """Returns the value of a part, or of one of its attributes."""
    if part is None or isinstance(part, (bool, int)):
        return part
    if isinstance(part, float):
        return float(f"{part:.{DIGITS}g}")
    if isinstance(part, (list, tuple, deque)):
        return [told(each, ahead) for each in cast("Sequence[Any]", part)]
    times = getattr(part, "TIMES", ())
    return {
        name: round(value + ahead, 6) if name in times else told(value, ahead)
        for name, value in _attributes(part).items()
        if not isinstance(value, Kind)
    }


def _attributes(part: object) -> dict[str, Any]:
    return vars(part)


def restore(part: Any, state: object, ahead: float) -> None:
    """Gives a new part the value that `told` has returned.

    Raises:
        ValueError: It is the value of something else.
    """
    if not isinstance(state, dict):
        raise ValueError(f"{type(part).__name__} cannot be {state!r}")
    values, times = cast("State", state), getattr(part, "TIMES", ())
    for name, own in _attributes(part).items():
        if isinstance(own, Kind):
            continue
        value = values.get(name)
        if name in times:
            setattr(part, name, _number(value) - ahead)
        elif hasattr(own, "__dict__"):
            restore(own, value, ahead)
        elif isinstance(own, (list, tuple, deque)):
            setattr(part, name, _row(own, value, ahead))
        elif own is None:
            setattr(part, name, None if value is None else _number(value))
        else:
            setattr(part, name, _like(own, value))


def _row(own: Any, value: object, ahead: float) -> Any:
    if own and hasattr(own[0], "__dict__"):
        for part, each in zip(own, items(value, len(own)), strict=True):
            restore(part, each, ahead)
        return own
    kept = [_like(own[0], each) if own else _number(each) for each in _list(value)]
    if isinstance(own, deque):
        return deque(kept, maxlen=cast("deque[float]", own).maxlen)
    return type(own)(kept)


def items(value: object, count: int) -> list[Any]:
    """Returns a list of so many items. Raises ValueError for anything else."""
    found = _list(value)
    if len(found) != count:
        raise ValueError(f"a list of {count} cannot be {value!r}")
    return found


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"a list cannot be {value!r}")
    return [*cast("Sequence[Any]", value)]


def numbers(value: object, rows: int, count: int) -> list[list[float]]:
    """Returns so many rows of `count` numbers. Raises ValueError for anything else."""
    return [[_number(each) for each in items(row, count)] for row in items(value, rows)]


def indices(value: object, count: int) -> list[int]:
    """Returns a list of indices below `count`. Raises ValueError for anything else."""
    found = _list(value)
    if not all(isinstance(each, int) and each in range(count) for each in found):
        raise ValueError(f"indices cannot be {value!r}")
    return found


def _like(own: Any, value: object) -> Any:
    """Returns it as a number of the same type."""
    if isinstance(own, int) and not isinstance(value, int):
        raise ValueError(f"a whole number cannot be {value!r}")
    return type(own)(_number(value))


def _number(value: object) -> float:
    if isinstance(value, (bool, int, float)) and not math.isnan(value):
        return value
    raise ValueError(f"a number cannot be {value!r}")
