"""The verdict: the meaning of an answer for its call and for the limits."""

from __future__ import annotations

import enum
from dataclasses import dataclass

LONGEST = 86_400.0
"""The longest wait that a verdict tells, in seconds: a day stands for all that is longer."""


class Meaning(enum.Enum):
    """The meaning of an answer. Each name is a cause, and each cause has one cure."""

    PASSED = "passed"
    """The limits have let the call pass."""
    RATE = "refused for a rate"
    """It may come again when there is quota: all calls wait for that."""
    STEEP = "grown too fast"
    """Many more calls than shortly before, though within the limits: it may come again when their
    number grows more slowly."""
    PLACES = "no place free"
    """Too many calls are in flight: it may come again when another has ended."""
    OVERLOADED = "overloaded"
    """The provider takes no call at the moment, of any caller and at any rate (503, 529)."""
    DOWN = "down"
    """No answer came, or the provider failed to make one: it may come again if that is safe."""
    TOO_LARGE = "too large"
    """The request alone is larger than its limit. No wait makes it fit."""
    SPENT = "spent"
    """No wait cures it: credit, a spend limit, a quota of the day."""
    FAULT = "the caller's own fault"
    """The request, its key or its address are wrong."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on an answer.

    meaning  its meaning
    wait     the told wait in seconds, 0 to LONGEST; None if none is told
    words    the error in the provider's words; "" if there are none
    advised  the wait in seconds that a learner advises instead, or None
    is_final whether the provider asks for no further attempt, whatever the meaning
    """

    meaning: Meaning
    wait: float | None = None
    words: str = ""
    advised: float | None = None
    is_final: bool = False

    @property
    def is_refusal(self) -> bool:
        """Whether the provider did not accept the call, for a reason that passes with time."""
        return self.meaning in _REFUSALS

    @property
    def is_passing(self) -> bool:
        """Whether what stood in the call's way passes with time."""
        return self.meaning in _REFUSALS or self.meaning is Meaning.DOWN

    @property
    def is_repeatable(self) -> bool:
        """Whether the same call may succeed later, and is welcome."""
        return self.is_passing and not self.is_final


_REFUSALS = frozenset({Meaning.RATE, Meaning.STEEP, Meaning.PLACES, Meaning.OVERLOADED})

PASSED = Verdict(Meaning.PASSED)
