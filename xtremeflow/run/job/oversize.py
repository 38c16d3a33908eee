"""Lines whose `max_tokens` exceed a limit hold up no line behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xtremeflow.learning.costs.estimates import Estimate
from xtremeflow.scheduler.stats import LimitStats
from xtremeflow.values.amounts import shown
from xtremeflow.values.charges import BY_USAGE, ChargeRule
from xtremeflow.values.limits import MINUTE

_ABSURD = 10**9  # tokens that no model writes in one answer
_CHARGED = ("max", "sum")  # at admission, with max_tokens in it


@dataclass(frozen=True)
class Room:
    """The most that one call can take of a limit: its capacity, or its refill of a minute.

    surely  whether that is known: given as an upper bound, or told by the provider
    """

    tokens: float
    surely: bool


def rooms(limits: Sequence[LimitStats], *, bounded: bool) -> dict[str, Room]:
    """Returns the rooms by the limits' names. `bounded`: given limits are upper bounds."""
    found: dict[str, Room] = {}
    for limit in limits:
        room = max(limit.capacity, MINUTE * limit.rate)
        is_known = limit.confidence == 1.0 or (bounded and limit.configured is not None)
        surely = is_known and limit.bound is None  # a bound may be taken back
        if limit.name not in found or room < found[limit.name].tokens:
            found[limit.name] = Room(room, surely)
    return found


def fitted(cost: Estimate, limits: Mapping[str, Room], rule: ChargeRule) -> Estimate | str:
    """Returns the estimate with which to send a call, or the reason not to send it.

    A provider that charges `max_tokens` can never let a call above its limit pass. Where both the
    charge and the limit are known, the call is not sent. Otherwise it is sent and reserves its
    probable usage. A refusal then costs nothing, and a pass shows that the provider charges less.
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
        held = {name: held[name] for name in cost.amounts}
        return Estimate(cost.model, cost.input, cost.output, cost.output, cost.size, held)
    return cost
