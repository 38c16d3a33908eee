"""Faults on demand: a share of the calls, or the next few, fail in a chosen way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from random import Random
from typing import Any

from xtremeflow.values.arguments import check_int, check_kind
from xtremeflow.values.forms import is_object

KINDS: Mapping[str, str] = {
    "overload": "the call is refused as the provider does when it is overloaded: 503 or 529",
    "stall": "nothing comes for a while, before the first token",
    "pause": "nothing comes for a while, in the middle of the answer",
    "break": "an overload is reported in the middle of the answer",
    "cut": "the connection is closed in the middle of the answer",
}
NOT_TAKEN_ON = frozenset({429, 503, 529})  # statuses of calls that are refused at the door


@dataclass
class Fault:
    """A fault of a share `rate` (0 to 1) of the calls, `count` times or without an end.

    Args:
        kind: One of KINDS, or an HTTP status from 400 to 599, as text.
        seconds: The length of a stall or pause.
    """

    kind: str
    rate: float = 1.0
    count: int | None = None
    seconds: float = 30.0

    def __post_init__(self) -> None:
        check_kind("kind", self.kind, str)
        if self.kind not in KINDS and self.status is None:
            kinds = ", ".join(KINDS)
            raise ValueError(f"kind must be {kinds} or a status from 400 to 599, got {self.kind!r}")
        _check_number("rate", self.rate, 1.0)
        _check_number("seconds", self.seconds, 86_400.0)
        if self.count is not None:
            check_int("count", self.count, 1)

    @property
    def status(self) -> int | None:
        """The HTTP status of the answer, or None if the fault is not a status."""
        return int(self.kind) if self.kind.isdecimal() and 400 <= int(self.kind) <= 599 else None

    @property
    def at_the_door(self) -> bool:
        """Whether the call is refused. Otherwise it is admitted and fails later."""
        return self.kind == "overload" or self.status in NOT_TAKEN_ON

    @staticmethod
    def from_json(value: Any) -> Fault:
        """Reads a fault from decoded JSON. Raises ValueError."""
        if not is_object(value) or "kind" not in value:
            raise ValueError(f"a fault must be an object with a 'kind', got {value!r}")
        known = [field.name for field in fields(Fault)]
        for name in value:
            if name not in known:
                raise ValueError(f"a fault has no {name!r}; it has {', '.join(known)}")
        rest = {name: part for name, part in value.items() if name != "kind"}
        return Fault(str(value["kind"]), **rest)

    @staticmethod
    def from_text(text: str) -> Fault:
        """Reads `KIND=RATE`, such as `529=0.01` or `cut=0.005`. Raises ValueError."""
        kind, equals, rate = text.partition("=")
        try:
            share = float(rate) if equals else 1.0
        except ValueError:
            raise ValueError(f"a fault must be KIND=RATE, got {text!r}") from None
        return Fault(kind, share)


def _check_number(name: str, value: object, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
        raise ValueError(f"{name} must be a number from 0 to {most:g}, got {value!r}")


class FaultPlan:
    """The faults that are on. Each is drawn for every call, in their order."""

    def __init__(self, faults: Iterable[Fault], seed: int) -> None:
        self.faults = list(faults)
        self._random = Random(seed)

    def draw(self) -> Fault | None:
        """Returns the fault of the next call, or None."""
        for fault in self.faults:
            if self._random.random() < fault.rate:
                if fault.count is not None:
                    fault.count -= 1
                    if fault.count == 0:
                        self.faults.remove(fault)
                return fault
        return None
