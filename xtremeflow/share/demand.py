"""What a member asks for: how many calls, and not before its turn."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from xtremeflow.learning.reading import UNLIMITED
from xtremeflow.share.alone import PIECE
from xtremeflow.share.keeper import Terms
from xtremeflow.share.offset import US
from xtremeflow.share.pace import Pace
from xtremeflow.share.records import Ask
from xtremeflow.share.rows import Taken
from xtremeflow.share.timeline import CHUNK, ROUNDING
from xtremeflow.values.limits import ByLimit, Definition

SPAN, LONG = 20_000_000, 1_000_000_000  # ns: calls are counted for so long at least, and at most

Ahead = tuple[int, int, bool, tuple[int, ...], tuple[int, ...], tuple[int, ...]]
"""The calls ahead, as csrc/core/ahead.h finds them."""


@dataclass(frozen=True)
class Wanted:
    """Calls for which a member asks, as in `records.Ask`."""

    count: int
    exact: int
    parts: int
    head: ByLimit
    mean: ByLimit


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
        self._span = CHUNK / 1e6  # seconds of the gain that the chunks of all members have
        self._paces: dict[int, Pace] = {}  # by the limits' indices

    def note(self, state: dict[str, Any]) -> None:
        """Notes how many calls have come."""
        came, elapsed = state["submitted"] - self._submitted, state["now"] - self._looked_at
        if elapsed >= SPAN:
            self._rate = came / (elapsed / 1e9) if elapsed < LONG else 0.0
            self._submitted, self._looked_at = state["submitted"], state["now"]

    def calls(
        self,
        state: dict[str, Any],
        limits: Sequence[Definition],
        active: int,
        ahead: Callable[[ByLimit], Ahead],
    ) -> Wanted:
        """Returns the calls for which to ask for a chunk.

        `ahead` finds those of the queue that cost the gain of `Taken.span`, divided by the `active`
        members. So the chunk has exactly what its calls cost, as far as these wait already.
        """
        rates = [amount / per for _, amount, per, _ in limits]
        costs = zip(state["head"], state["mean"], strict=True)
        usual = tuple(float(mean) if mean > 0 else float(head) for head, mean in costs)
        has_loan = state["has_loan"] and state["has_chunk"]
        if has_loan or state["has_next"] or not any(usual) or self.waits > 0:
            return Wanted(0, 0, 0, usual, usual)
        enough = tuple(math.ceil(rate * self._span / active - ROUNDING) for rate in rates)
        covered, exact, is_full, left, first, rest = ahead(enough)
        head = tuple(float(each) for each in first)
        if exact == 0:  # none of these calls is known yet: they cost what calls cost until now
            covered += self._covered(state, rates, left, usual)
            head = tuple(float(math.ceil(each)) for each in usual)
        count = max(exact, self._expected(state) - covered)
        unknown = 0 if is_full else max(0, count - max(1, exact))
        others = max(0, exact - 1) + unknown
        mean = tuple(
            (known + unknown * each) / others if others > 0 else each
            for known, each in zip(rest, usual, strict=True)
        )
        return Wanted(count, exact, active if is_full else 0, head, mean)

    def _expected(self, state: dict[str, Any]) -> int:
        """Calls that wait or come within the time of a chunk."""
        waiting: int = state["waiting"]
        if state["has_chunk"] or waiting > 0:  # a stream of calls goes on as it has until now
            return max(waiting, math.ceil(self._rate * self._span))
        return waiting

    @staticmethod
    def _covered(
        state: dict[str, Any], rates: Sequence[float], left: Sequence[int], usual: ByLimit
    ) -> int:
        """Calls of usual cost for which units are left in the chunk."""
        if not state["has_chunk"]:
            return 0
        units = [
            (own, each)
            for own, each, rate in zip(left, usual, rates, strict=True)
            if each > 0 and rate < UNLIMITED
        ]
        return int(min((own / each for own, each in units), default=state["waiting"]))

    # -- turns

    def put_off(self, microseconds: int) -> None:
        """Lets the next turn come so much later."""
        self._not_before = self._clock() + microseconds * US

    @property
    def waits(self) -> float:
        """Seconds until its turn; 0 or less: it may ask."""
        return (self._not_before - self._clock()) / 1e9

    def follow(
        self, ask: Ask, taken: Taken, limits: Sequence[Definition], start: int, parts: int
    ) -> None:
        """Notes the chunk that an ask was given, which begins at `start` (ns), and with it the
        member's next turn. By units, a member whose call is larger than its chunk lets the others
        have theirs first. Of so many `parts` of the limits it uses one only; 0: it uses all."""
        assert taken.chunk is not None
        self._not_before, self._span = 0.0, taken.span / 1e6
        rates = [amount / per for _, amount, per, _ in limits]
        units = taken.chunk.units
        length = max((u / rate for u, rate in zip(units, rates, strict=True)), default=0.0)
        if parts > 0:
            self._not_before = start + length * max(parts, taken.members) * 1e9
        others = max(taken.active, taken.waiting)  # with calls that wait, at low rates too
        if self._terms.fair == "units" and length > self._span / others:
            self._not_before = max(self._not_before, start + (length * others - self._span) * 1e9)
        gap = self._gap(ask, taken, limits, start / 1e9, others)
        if gap > 0 and taken.outage.interval == 0:
            self._not_before = max(self._not_before, start + gap * 1e9)

    @property
    def is_paced(self) -> bool:
        """Whether chunks keep a pace."""
        return bool(self._paces)

    def pace(self, index: int, pace: Pace) -> None:
        """Lets the chunks of all members follow each other no faster, for one limit."""
        self._paces[index] = pace.after(self._paces.get(index))

    def _gap(
        self, ask: Ask, taken: Taken, limits: Sequence[Definition], now: float, others: int
    ) -> float:
        """Returns the seconds after which the member's next chunk keeps its part of the paces. As
        far as it knows, the others use as much, and have as many calls that wait."""
        assert taken.chunk is not None
        longest = 0.0
        for i, pace in list(self._paces.items()):
            _, amount, per, capacity = limits[i]
            units = taken.chunk.units[i]
            waiting = max(0.0, ask.head[i] + (ask.waits - 1) * ask.mean[i] - units)
            level = taken.chunk.levels[i] - units
            gap = pace.gap(amount / per, capacity, others * units, level, others * waiting, now)
            longest = max(longest, gap)
        return longest


def at_most(count: int, mean: Sequence[float], limits: Sequence[Definition], parts: int) -> int:
    """Returns as many of these calls as one of so many parts of the limits allows in a piece; at
    least one. With 0 the limits are not divided: all of the calls."""
    if parts == 0:
        return count
    for each, (_, amount, per, _) in zip(mean, limits, strict=True):
        if each > 0:
            count = min(count, max(1, int(amount / per / parts * PIECE / each)))
    return count
