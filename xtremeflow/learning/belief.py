"""The belief: the knowledge of a provider that all members of a share have, as a text.

Each member has a learner. It takes over the belief of the last member that has changed it, learns
from an answer, and passes on what it believes now. So no member is in charge, and with a member
that dies nothing is lost.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, TypeAlias, cast

from xtremeflow.learning.rates.state import State
from xtremeflow.values.limits import Definition, Limit

Adapt: TypeAlias = bool | Literal["bounded"]


@dataclass(frozen=True)
class Belief:
    """The knowledge of the members.

    adapt     as given by the first member: see TaskScheduler
    given     the configured limits, and whether each was given with a capacity
    bounds    by the limits' indices: upper bounds that the user has set on limits, as in `given`,
              also on limits that are not given; None: taken back
    by        the member that has changed it last
    reasons   by the limits' indices: why they are what they are, where that was learned
    found     what was found from refusals, see RateFinder.state(); None: nothing yet
    """

    adapt: Adapt
    given: tuple[tuple[Definition, bool], ...]
    bounds: Mapping[int, tuple[Definition, bool] | None] = field(
        default_factory=dict[int, "tuple[Definition, bool] | None"]
    )
    by: str = ""
    reasons: Mapping[int, str] = field(default_factory=dict[int, str])
    found: State | None = None

    @property
    def limits(self) -> list[Limit]:
        """The configured limits, with their capacities."""
        return [Limit(*definition) for definition, _ in self.given]

    @property
    def uncapped(self) -> set[int]:
        """The indices of those whose capacities were not given."""
        return {i for i, (_, capped) in enumerate(self.given) if not capped}

    def is_news_to(self, other: Belief | None) -> bool:
        """Whether this belief says more than the other one, beside that time has passed."""
        return other is None or _lasting(self) != _lasting(other)


class SharedBelief(Protocol):
    """The belief that the members of a share have in common, as a learner hears and changes it.

    ahead    seconds by which the account's clock is ahead of the scheduler's
    members  their number when this one joined, itself included
    """

    @property
    def members(self) -> int: ...

    @property
    def ahead(self) -> float: ...

    def heard(self) -> Belief | None:
        """Returns the belief of another member, if it is news."""
        ...

    def has_lost(self) -> bool:
        """Whether the last `say` did not count, because another member was faster. Ask once."""
        ...

    @property
    def has_lessons(self) -> bool:
        """Whether limits were changed since the last `say`."""
        ...

    def say(self, belief: Belief | None, *, always: bool = False) -> None:
        """Tells the other members, and has them keep to the limits that were changed; `always`:
        also if one of them was faster."""
        ...


def _lasting(belief: Belief) -> Belief:
    found = None if belief.found is None else {**belief.found, "seconds": 0.0}
    return replace(belief, by="", found=found)


def text_of(belief: Belief) -> str:
    """Returns the text of a belief."""
    return json.dumps(
        {
            "adapt": belief.adapt,
            "given": [[*definition, capped] for definition, capped in belief.given],
            "bounds": {
                str(index): None if bound is None else [*bound[0], bound[1]]
                for index, bound in belief.bounds.items()
            },
            "by": belief.by,
            "reasons": {str(index): reason for index, reason in belief.reasons.items()},
            "found": belief.found,
        },
        separators=(",", ":"),
    )


def belief_from(text: str) -> Belief | None:
    """Reads such a text; None if it is none, since another process may have written anything."""
    try:
        state: Any = json.loads(text)
        found = state["found"]
        if state["adapt"] not in (True, "bounded") or not isinstance(found, (dict, type(None))):
            return None
        belief = Belief(
            adapt=state["adapt"],
            given=tuple(map(given_from, state["given"])),
            bounds={
                int(index): None if bound is None else given_from(bound)
                for index, bound in state["bounds"].items()
            },
            by=str(state["by"]),
            reasons={int(index): str(reason) for index, reason in state["reasons"].items()},
            found=cast("State | None", found),
        )
        bounds = [bound for bound in belief.bounds.values() if bound is not None]
        _ = belief.limits, [Limit(*definition) for definition, _ in bounds]  # or a ValueError
        return belief
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def given_from(state: Any) -> tuple[Definition, bool]:
    """Reads a limit as a text has it: its definition, and whether it has a capacity of its own.
    Raises ValueError or TypeError."""
    name, amount, per, capacity, capped = state
    return (str(name), float(amount), float(per), float(capacity)), bool(capped)
