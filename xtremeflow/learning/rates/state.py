"""The knowledge of a part of the learner, as plain values that another process can take over.

Values from another process are not trusted: they must have the shape that the part has.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from copy import copy
from typing import Any, cast

State = dict[str, Any]
ROWS = (list, tuple, deque)
Values = Sequence[Any]
DIGITS = 10  # of a number; 2e-10 of it are lost


class Knowledge:
    """Numbers, rows of numbers, and other knowledge, as attributes. Those that are named in TIMES
    are instants of the scheduler's clock. They are told on a clock that is `ahead` seconds ahead of
    it. Attributes of other types never change, and are not told."""

    TIMES: tuple[str, ...] = ()


def told(value: Any, ahead: float) -> Any:
    """Returns the value of a part, or of one of its attributes."""
    if isinstance(value, Knowledge):
        return {
            name: round(own + ahead, 6) if name in value.TIMES else told(own, ahead)
            for name, own in _attributes(value).items()
        }
    if isinstance(value, ROWS):
        return [told(each, ahead) for each in cast("Values", value)]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def _attributes(part: Knowledge) -> dict[str, Any]:
    kinds = (Knowledge, int, float, *ROWS)
    return {name: own for name, own in vars(part).items() if isinstance(own, kinds)}


def taken_over(own: Any, value: Any, ahead: float) -> Any:
    """Returns a part like `own`, or an attribute, with the value that `told` has returned.

    Raises:
        ValueError: It is the value of something else.
    """
    if isinstance(own, (int, float)) and isinstance(value, (int, float)):
        is_alike = isinstance(own, float) or type(value) is type(own)
        if is_alike and not math.isnan(value):
            return type(own)(value)
    if isinstance(own, Knowledge) and isinstance(value, dict):
        part, values = copy(own), cast("State", value)
        for name, each in _attributes(own).items():
            found = taken_over(each, values.get(name), ahead)
            setattr(part, name, found - ahead if name in own.TIMES else found)
        return part
    if isinstance(own, ROWS) and isinstance(value, list):
        return _row(cast("Values", own), cast("Values", value), ahead)
    raise ValueError(f"{own!r} cannot be {value!r}")


def _row(own: Values, values: Values, ahead: float) -> Values:
    """Returns a row of as many values; a queue of numbers may have any length."""
    if isinstance(own, deque):
        return deque((taken_over(0.0, value, ahead) for value in values), own.maxlen)
    if len(own) != len(values):
        raise ValueError(f"{own!r} cannot be {values!r}")
    row = (taken_over(each, value, ahead) for each, value in zip(own, values, strict=True))
    return tuple(row) if isinstance(own, tuple) else list(row)
