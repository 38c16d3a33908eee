"""What a member asks for: how many calls, and not before its turn."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from xtremeflow.learning.reading import UNLIMITED
from xtremeflow.share.alone import PIECE
from xtremeflow.share.keeper import Terms
from xtremeflow.share.rows import Taken
from xtremeflow.share.timeline import CHUNK
from xtremeflow.values.limits import ByLimit, Definition

CHUNK_S = CHUNK / 1e6
SPAN, LONG = 20_000_000, 1_000_000_000  # ns: calls are counted for so long at least, and at most


class Demand:
    """The demand of a member.

    Args:
        terms: How the share is used.
        clock: Returns ns.
    """

    def __init__(self, terms: Terms, clock: Callable[[], int]) -> None:
        self._terms, self._clock = terms, clock
        self._submitted, self._looked_at = 0, 0
        self._rate = 0.0  # calls that come in a second
        self._not_before = 0.0  # the next chunk is not asked for earlier, in ns

    def note(self, state: dict[str, Any]) -> None:
        """Notes how many calls have come."""
        came, elapsed = state["submitted"] - self._submitted, state["now"] - self._looked_at
        if elapsed >= SPAN:
            self._rate = came / (elapsed / 1e9) if elapsed < LONG else 0.0
            self._submitted, self._looked_at = state["submitted"], state["now"]

    def calls(
        self, state: dict[str, Any], limits: Sequence[Definition]
    ) -> tuple[int, ByLimit, ByLimit]:
        """Returns the calls for which to ask for a chunk: their number, the cost of the first one,
        and the mean of the others."""
        heads, left, waiting = state["head"], state["left"], state["waiting"]
        costs = zip(heads, state["mean"], strict=True)
        mean = tuple(float(mean) if mean > 0 else float(head) for head, mean in costs)
        known = [amount / per < UNLIMITED for _, amount, per, _ in limits]
        units = [
            (own, each)
            for own, each, counts in zip(left, mean, known, strict=True)
            if each > 0 and counts
        ]
        none = (0, mean, mean)
        if state["has_next"] or not any(mean) or self.waits > 0:
            return none
        covered = 0
        if state["has_chunk"]:
            covered = int(min((own / each for own, each in units), default=waiting))
        demand = waiting
        if state["has_chunk"] or waiting > 0:  # a stream of calls goes on as it has until now
            demand = max(demand, math.ceil(self._rate * CHUNK_S))
        count = demand - covered
        if count < 1:
            return none
        is_next = waiting > 0 and any(own < head for own, head in zip(left, heads, strict=True))
        head = heads if is_next or waiting > covered == 0 else [math.ceil(each) for each in mean]
        return count, tuple(float(each) for each in head), mean

    # -- fairness

    @property
    def waits(self) -> float:
        """Seconds until its turn; 0 or less: it may ask."""
        return (self._not_before - self._clock()) / 1e9

    def be_fair(
        self, taken: Taken, limits: Sequence[Definition], start: int, only_part: bool
    ) -> None:
        """Notes a chunk that begins at `start` (ns), and with it the member's next turn. By units,
        a member whose call is larger than its chunk lets the others have theirs first. `only_part`:
        it uses its part of the limits only."""
        assert taken.chunk is not None
        self._not_before = 0.0
        rates = [amount / per for _, amount, per, _ in limits]
        units = taken.chunk.units
        length = max((u / rate for u, rate in zip(units, rates, strict=True)), default=0.0)
        if only_part:
            self._not_before = start + length * taken.members * 1e9
        others = max(taken.active, taken.waiting)  # with calls that wait, at low rates too
        if self._terms.fair == "units" and length > CHUNK_S / others:
            self._not_before = max(self._not_before, start + (length * others - CHUNK_S) * 1e9)


def at_most(count: int, mean: Sequence[float], limits: Sequence[Definition], members: int) -> int:
    """Returns as many of these calls as the part of a member allows in a piece; at least one."""
    for each, (_, amount, per, _) in zip(mean, limits, strict=True):
        if each > 0:
            count = min(count, max(1, int(amount / per / members * PIECE / each)))
    return count
