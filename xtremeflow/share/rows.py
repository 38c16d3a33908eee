"""The commands of a timeline as rows, as they go to a server, and its answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from xtremeflow.share.records import Row
from xtremeflow.share.timeline import START, UNTIL
from xtremeflow.values.limits import Definition

Lesson = tuple[int, Definition, float | None]
"""A lesson on a limit: its index, its definition, and its level, if that is known."""

HEADER = UNTIL + 1  # numbers and texts of an answer to an ask, before those of each limit


def flat(arguments: Sequence[Any]) -> Row:
    """Returns the arguments of a command as one row."""
    row: Row = []
    for argument in arguments:
        if isinstance(argument, (list, tuple)):
            row += flat(cast("list[Any]", argument))
        else:
            row.append(argument)
    return row


def _whole(value: Any) -> int:
    return int(float(value))


@dataclass(frozen=True)
class Chunk:
    """Units of each limit that a member may use, from an instant of the place's clock on."""

    start: int  # microseconds
    until: int  # a loan ends then; -1: it is none
    levels: tuple[float, ...]  # of the buckets, at that instant
    units: tuple[float, ...]  # -1 in a loan

    @property
    def is_loan(self) -> bool:
        """Whether it is the whole account."""
        return self.until >= 0


@dataclass(frozen=True)
class ToldOutage:
    """The provider's outage, as the place tells it: see `outage.Outage`."""

    interval: int = 0  # microseconds; 0: there is none
    next: int = 0
    longest: int = 0
    sent: int = 0
    prober: str = ""


def told_outage_from(row: Row) -> ToldOutage:
    """Reads the numbers of an outage, and behind them the prober, if there is one."""
    interval, follows, longest, sent = map(_whole, row[:4])
    return ToldOutage(interval, follows, longest, sent, str(row[4]) if len(row) > 4 else "")


@dataclass(frozen=True)
class Taken:
    """The answer to an ask, see `Timeline.take`."""

    now: int
    epoch: str
    operations: int
    version: int
    generation: int
    end: int
    active: int
    span: int  # of the calls of all members' chunks, in microseconds
    members: int
    flying: int
    waiting: int
    slots: int
    fair: int
    suspect: str
    connection: str
    seen: int
    outage: ToldOutage
    chunk: Chunk | None
    used: tuple[float, ...]
    lowered: tuple[float, ...]

    @property
    def era(self) -> tuple[str, int]:
        """What levels and units used belong to: levels were set since, if it is another one."""
        return self.epoch, self.generation


def taken_from(row: Row) -> Taken | None:
    """Reads the row of a `take`; None if the place does not know the member."""
    if row[0] != "taken":
        return None
    start, until = _whole(row[START]), _whole(row[UNTIL])
    numbers = [float(value) for value in row[HEADER:]]
    chunk, n = None, len(numbers) // (4 if start >= 0 else 2)
    if start >= 0:
        pairs = numbers[: 2 * n]
        chunk = Chunk(start, until, tuple(pairs[::2]), tuple(pairs[1::2]))
    return Taken(
        now=_whole(row[1]),
        epoch=str(row[2]),
        operations=_whole(row[3]),
        version=_whole(row[4]),
        generation=_whole(row[5]),
        end=_whole(row[6]),
        active=_whole(row[7]),
        span=_whole(row[8]),
        members=_whole(row[9]),
        flying=_whole(row[10]),
        waiting=_whole(row[11]),
        slots=_whole(row[12]),
        fair=_whole(row[13]),
        suspect=str(row[14]),
        connection=str(row[15]),
        seen=_whole(row[16]),
        outage=told_outage_from(row[17:22]),
        chunk=chunk,
        used=tuple(numbers[-2 * n : -n]),
        lowered=tuple(numbers[-n:]),
    )


@dataclass(frozen=True)
class Described:
    """The limits of an account, see `Timeline.join`."""

    now: int
    epoch: str
    operations: int
    version: int
    generation: int
    end: int
    members: int
    slots: int  # -1: any number
    belief: str
    limits: tuple[Definition, ...]


def described_from(row: Row) -> Described | None:
    """Reads the row of a `join` or `describe`; None if there is no account."""
    if row[0] != "limits":
        return None
    limits = tuple(
        (str(row[i]), float(row[i + 1]), float(row[i + 2]), float(row[i + 3]))
        for i in range(10, len(row), 4)
    )
    return Described(
        now=_whole(row[1]),
        epoch=str(row[2]),
        operations=_whole(row[3]),
        version=_whole(row[4]),
        generation=_whole(row[5]),
        end=_whole(row[6]),
        members=_whole(row[7]),
        slots=_whole(row[8]),
        belief=str(row[9]),
        limits=limits,
    )


def status_from(state: dict[str, Any]) -> dict[str, Any]:
    """Returns a server's `status` as a timeline's. Lua writes an empty list as an empty object."""
    for name in ("limits", "members"):
        state[name] = list(state[name])
    for member in state["members"]:
        member["used"] = list(member["used"])
        member["seen"] = int(member["seen"])
    return state
