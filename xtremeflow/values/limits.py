"""Rate limits as providers state them: an amount per period, with a capacity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from xtremeflow.values.arguments import check_number

MINUTE = 60.0  # s, as are all periods
DAY = 86_400.0

Cost: TypeAlias = float | Mapping[str, float]
"""The cost of a call: tokens, or units by the limits' names."""

Definition: TypeAlias = tuple[str, float, float, float]
"""Of a limit: name, amount, period in seconds, capacity."""

ByLimit: TypeAlias = tuple[float, ...]
"""Units, one number for each of a scheduler's limits, in their order."""


@dataclass(frozen=True)
class Limit:
    """An amount per period of something that calls cost.

    Args:
        name: The unit that the limit counts. Every call costs 1 of ``"requests"``, and its
            ``estimated_tokens`` of ``"tokens"``. Of any other name it costs what the call's mapping
            of estimates says. Several limits may have the same name: requests per minute and per
            day.
        amount: Units per period, above 0.
        per: The period in seconds, above 0.
        capacity: Units that may be used at once after a pause, at least 0. A bucket starts full.
            ``None``: the scheduler's ``burst_ratio`` seconds of the rate; if that is 0, until the
            answers shown to the scheduler tell of the provider's bucket.

    Raises:
        TypeError: An amount is not a number, or the name not a string.
        ValueError: A number is not finite or out of its range, or the name is empty.
    """

    name: str
    amount: float
    per: float = 1.0
    capacity: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise TypeError(f"Limit name must be a string, not {self.name!r}")
        if not self.name:
            raise ValueError("Limit name must not be empty")
        check_number("Limit amount", self.amount, zero=False)
        check_number("Limit per", self.per, zero=False)
        if self.capacity is not None:
            check_number("Limit capacity", self.capacity, zero=True)

    @property
    def rate(self) -> float:
        """The rate in units per second."""
        return self.amount / self.per
