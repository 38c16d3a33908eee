"""A line that asks for longer answers than a limit can ever let pass holds up no line behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from xtremeflow.cli.amounts import shown
from xtremeflow.learning.estimates import Estimate
from xtremeflow.learning.rules import BY_USAGE, ChargeRule
from xtremeflow.scheduler.stats import LimitStats

_MINUTE = 60.0
_ABSURD = 10**9  # tokens that no model writes in one answer
_CHARGED = ("max", "sum")  # at admission, with max_tokens in it


@dataclass(frozen=True)
class Room:
    """The most that one call can take of a limit: what its bucket holds, or gets in a minute.

    surely  whether that is known: it was given as an upper bound, or the provider has told it
    """

    tokens: float
    surely: bool


def rooms(limits: Sequence[LimitStats], *, bounded: bool) -> dict[str, Room]:
    """By the limits' names; `bounded`: what was given is an upper bound."""
    found: dict[str, Room] = {}
    for limit in limits:
        room = max(limit.capacity, _MINUTE * limit.rate)
        surely = limit.confidence == 1.0 or (bounded and limit.configured is not None)
        if limit.name not in found or room < found[limit.name].tokens:
            found[limit.name] = Room(room, surely)
    return found


def fitted(cost: Estimate, limits: Mapping[str, Room], rule: ChargeRule) -> Estimate | str:
    """The estimate with which the call is to be sent, or why it is not.

    A provider that charges `max_tokens` can never let such a call pass: where both are known, it
    is not sent. Otherwise it is, and holds what it will probably use, for one of two things will
    come of it: a refusal, which costs nothing, or a pass, which shows that more is not charged.
    """
    most = cost.most or 0
    if most > _ABSURD:
        return f"asks for answers of up to {most} tokens, which no model writes"
    for unit, room in limits.items():
        if (
            unit == "input_tokens"
            or cost.amounts.get(unit, 0) <= room.tokens
            or most <= room.tokens
        ):
            continue
        if room.surely and rule.admission in _CHARGED:
            return (
                f"asks for answers of up to {most:,} tokens, which the provider charges: its "
                f"limit on {unit.replace('_', ' ')} lets {shown(room.tokens)} pass at the most"
            )
        held = BY_USAGE.reserved(cost.input, cost.output, cost.output)
        return replace(cost, most=cost.output, amounts={name: held[name] for name in cost.amounts})
    return cost
