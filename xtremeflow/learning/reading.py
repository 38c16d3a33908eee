"""The learner's view of a scheduler: its limits, and the parts that it reads and moves."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace
from math import inf
from typing import Protocol

from xtremeflow._core import Flight, Gauge
from xtremeflow.values.limits import MINUTE, Definition, Limit

UNLIMITED = 1e12  # units per second, and at once

LimitKey = tuple[str, bool]  # a limit's name, and whether it is one per day

PLACES: tuple[LimitKey, ...] = (
    ("requests", False),
    ("tokens", False),
    ("input_tokens", False),
    ("output_tokens", False),
    ("requests", True),
    ("tokens", True),
)
"""What limits may be learned of, besides those that are configured."""


class Core(Protocol):
    """The part of a scheduler that a learner moves; see `xtremeflow._core.Scheduler`.

    `_keeps` tells whether other members of a share have begun with that limit already. `_is_low`
    tells whether its level has to begin anew, as answers have called it too low for a while.
    """

    def _now(self, /) -> float: ...
    def _track(self, /) -> None: ...
    def _flight(self, /) -> Flight | None: ...
    def _ramp(self, slots: int | None, /) -> None: ...
    def _retune(self, index: int, limit: Definition, /) -> None: ...
    def _begin(
        self, index: int, limit: Definition, remaining: float, /, *, sent_at: float | None = None
    ) -> None: ...
    def _told(
        self,
        index: int,
        remaining: float,
        /,
        *,
        late: bool = False,
        bounded: bool = False,
        sent_at: float | None = None,
        answered_at: float | None = None,
    ) -> float: ...
    def _shut(self, index: int, seconds: float, /) -> None: ...
    def _pace(
        self,
        index: int,
        most: float,
        /,
        *,
        kept: float = 0.0,
        scale: float = 0.0,
        fits: float = 0.0,
        seconds: float = 0.0,
    ) -> None: ...
    def _gauge(self, sent_at: float | None, /) -> Gauge: ...
    def _keeps(self, index: int, limit: Definition, /) -> bool: ...
    def _is_low(self, index: int, /) -> bool: ...


def defined(limit: Limit) -> Definition:
    """Returns the definition of a limit with a capacity."""
    assert limit.capacity is not None
    return limit.name, float(limit.amount), float(limit.per), float(limit.capacity)


def key_of(limit: Limit) -> LimitKey:
    return limit.name, limit.per > MINUTE


class Limits:
    """The scheduler's limits: the configured ones, with their capacities, and behind them PLACES,
    if it has them. Of those with an index in `uncapped` the capacity was not given. If `bounded`,
    the configured ones must not be exceeded."""

    def __init__(
        self, configured: Sequence[Limit], uncapped: Set[int], *, bounded: bool, places: bool
    ) -> None:
        self.configured = list(configured)
        self.uncapped = set(uncapped)
        self.bounded, self._places = bounded, PLACES if places else ()
        self.bounds: dict[int, Limit | None] = {}
        """The bounds that the user has set, or taken back (None), by index."""
        self.steepest = inf
        """Calls per second, at most: more would be refused as too steep a growth."""
        self._index()

    def _index(self) -> None:
        self._indices: dict[LimitKey, int] = {}  # of equal limits the first
        for index, key in enumerate((*map(key_of, self.configured), *self._places)):
            self._indices.setdefault(key, index)

    @property
    def placed(self) -> dict[int, Limit]:
        """Returns the bounds of places as the user gave them, by index."""
        return {
            index: replace(bound, capacity=None) if index in self.uncapped else bound
            for index, bound in sorted(self.bounds.items())
            if bound is not None and index >= len(self.configured)
        }

    def replace(self, index: int, limit: Limit, *, capped: bool) -> None:
        """Notes that the user has replaced a configured limit."""
        self.configured[index] = limit
        self._cap(index, capped=capped)
        self._index()

    def bind(self, index: int, limit: Limit, *, capped: bool) -> None:
        """Notes that a limit must not be exceeded from now on, which may be a place."""
        self.bounds[index] = limit
        self._cap(index, capped=capped)

    def unbind(self, index: int) -> None:
        """Notes that a limit may be exceeded from now on."""
        self.bounds[index] = None

    def _cap(self, index: int, *, capped: bool) -> None:
        (self.uncapped.discard if capped else self.uncapped.add)(index)

    def place(self, key: LimitKey) -> int | None:
        """Returns the index of a place; None if there is none, or that limit is configured."""
        index = self._indices.get(key)
        return None if index is None or index < len(self.configured) else index

    def index(self, key: LimitKey) -> int | None:
        return self._indices.get(key)

    def steep(self, index: int) -> float:
        """Returns `steepest`, if that limit is on requests per minute; else infinity."""
        return self.steepest if self._indices.get(PLACES[0]) == index else inf

    def given(self, index: int) -> Limit | None:
        """Returns the configured limit; None for a place."""
        return self.configured[index] if index < len(self.configured) else None

    def bound(self, index: int) -> Limit | None:
        """Returns the limit that must not be exceeded, or None. See also `is_capped`."""
        return self.bounds.get(index, self.given(index) if self.bounded else None)

    def is_capped(self, index: int) -> bool:
        """Whether the capacity is bounded, too."""
        return self.bound(index) is not None and index not in self.uncapped
