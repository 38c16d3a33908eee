"""The records of a timeline: of each limit, of each member, and the ask of a member."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Row = list[Any]
"""An answer: numbers and texts."""


NO_LOAN, HAS_LOAN, RETURNED, UNWANTED = 0, 1, 2, 3
"""What an ask says of a loan."""


@dataclass
class Bucket:
    """A limit: its definition, and a bucket whose instant may lie ahead."""

    name: str
    amount: float
    per: float  # seconds
    capacity: float
    level: float = 0.0
    at: int = 0
    late: float = 0.0  # units that came back late, less those of long ago
    late_at: int = 0
    used: float = 0.0
    lowered: float = 0.0  # units, by answers

    @property
    def rate(self) -> float:
        """Units a microsecond."""
        return self.amount / self.per / 1e6


@dataclass
class Record:
    """A member."""

    connection: str
    seen: int
    number: int = 0  # of its last ask,
    reply: Row = field(default_factory=list[Any])  # and the answer, for a repetition
    slots: int = 0  # that it has,
    held: int = 0  # of which it uses so many,
    want: int = 0  # and would use so many
    start: int = 0  # of its last chunk
    units: list[float] = field(default_factory=list[float])
    used: list[float] = field(default_factory=list[float])
    waits: int = 0


class Tried(NamedTuple):
    """The news of the provider that calls of a member have brought since its last ask, as xf_tried
    in csrc/core/lease.h. Instants are those at which calls were sent; 0: there is none."""

    answered: int = 0
    failures: int = 0  # later ones
    sent: int = 0
    took: int = 0
    interval: int = 0


class Rest(NamedTuple):
    """The rest of a limit, as an answer tells it: so much was left at an instant at which members
    had used so much."""

    left: float = -1.0  # below 0: no answer has told of it
    used: float = 0.0
    at: float = 0.0


class Ask(NamedTuple):
    """An ask of a member. Vectors have a number for each limit."""

    number: int
    epoch: str
    operations: int  # those of the account, as the member knows it
    generation: int
    held: int
    want: int
    returned: int  # slots that it gives back
    waits: int  # calls that wait and have no chunk; 0: it asks for none; -1: none wait
    exact: int  # the first of them, which are a chunk, and whose costs these are exactly
    parts: int  # if so many members divide the limits; 0: that is not known
    trip: int  # so long it waits for the answer
    patience: int  # the member speaks again within this time
    loan: int  # whether the member has the account, returns it, or would not take it
    tried: Tried
    connection: str
    token: str  # a new epoch, if one is needed
    unused: Sequence[float]  # of its chunks
    refunded: Sequence[float]  # below 0: charged in addition
    head: Sequence[float]  # cost of the first of these calls,
    mean: Sequence[float]  # and the mean of the others
    used: Sequence[float]  # dispatched so far
    levels: Sequence[float]  # of the buckets, of a member that has the account or returns it
    told: Sequence[Rest]  # since the last ask, of each limit the one that allows least
