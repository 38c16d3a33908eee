"""The state of a share for people to read, with the reasons for learned limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xtremeflow.learning.belief import belief_from
from xtremeflow.learning.reading import UNLIMITED


def known(state: dict[str, Any]) -> dict[str, Any]:
    """Returns the state with the reasons for what was learned in the place of the belief's text.
    Leaves out limits of which nothing is known."""
    belief = belief_from(state["belief"])
    kept = [i for i, limit in enumerate(state["limits"]) if limit["rate"] < UNLIMITED]
    reasons: Mapping[int, str] = belief.reasons if belief is not None else {}
    rest = {key: value for key, value in state.items() if key != "belief"}
    return {
        **rest,
        "limits": [{**state["limits"][i], "learned": reasons.get(i)} for i in kept],
        "members": [
            {
                **member,
                **{
                    key: [member[key][i] for i in kept]
                    for key in ("used", "costs")
                    if key in member
                },
            }
            for member in state["members"]
        ],
        "learned_by": None if belief is None or not belief.by else belief.by,
    }
