"""The units that a member gives back or owes, and the rests that it heard, until it tells them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xtremeflow.share.records import Rest
from xtremeflow.values.limits import Definition


class Back:
    """The units and rests that a member has to tell, of each limit of the account.

    unused    units of its chunks
    refunded  units of calls that cost less than was taken for them; below 0: it owes them
    told      the rests that answers told; of several the one that allows least
    """

    def __init__(self, limits: int) -> None:
        self._limits = limits
        self.clear()

    def clear(self) -> None:
        """Forgets all: it was told, levels were set meanwhile, or the account is another one."""
        self.unused = [0.0] * self._limits
        self.refunded = [0.0] * self._limits
        self.told = [Rest()] * self._limits

    def collect(self, state: dict[str, Any]) -> None:
        """Takes up what the scheduler gives back."""
        for i, (unused, refund) in enumerate(zip(state["unused"], state["refunds"], strict=True)):
            self.unused[i] += unused
            self.refunded[i] += refund

    def give(self, units: Sequence[float]) -> None:
        """Gives a chunk back that the scheduler did not take."""
        self.unused = [a + b for a, b in zip(self.unused, units, strict=True)]

    def owe(self, debts: Sequence[float]) -> None:
        """Owes these units. Nothing is given back: the account has not granted it."""
        self.unused = [0.0] * self._limits
        self.refunded = [a - b for a, b in zip(self.refunded, debts, strict=True)]

    def tell(self, index: int, rest: Rest, definition: Definition) -> None:
        """Tells a rest, by the keeper's clock, unless one that allows less is told."""
        _, amount, per, _ = definition
        before = self.told[index]
        later = amount / per * (rest.at - before.at) / 1e6 - (rest.used - before.used)
        if before.left < 0 or rest.left < before.left + later:
            self.told[index] = rest
