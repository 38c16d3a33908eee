"""What an answer means, for its call and for the limits."""

from __future__ import annotations

import enum
from dataclasses import dataclass

LONGEST = 86_400.0
"""The longest wait that a verdict tells, in seconds: a day stands for all that is longer."""


class Meaning(enum.Enum):
    """What an answer means. The names are those of the causes, each of which has one cure."""

    PASSED = "passed"
    """The limits have let the call pass."""
    RATE = "refused for a rate"
    """It may come again when there is quota: all calls wait for that."""
    PLACES = "no place free"
    """Too many calls are in flight: it may come again when another has ended."""
    OVERLOADED = "overloaded"
    """The provider takes nothing on at the moment, whoever asks and however fast (503, 529)."""
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
    """The meaning of an answer.

    meaning  what it means
    wait     seconds after which the provider wants the call again, 0 to LONGEST; None where it does
             not say
    words    what it says went wrong, in its own words; "" if it says nothing
    advised  seconds to wait instead, where a learner knows better; None: it does not
    """

    meaning: Meaning
    wait: float | None = None
    words: str = ""
    advised: float | None = None

    @property
    def is_refusal(self) -> bool:
        """Whether the provider did not take the call on, and it is welcome again later."""
        return self.meaning in _REFUSALS

    @property
    def is_passing(self) -> bool:
        """Whether the same call may succeed later."""
        return self.meaning in _REFUSALS or self.meaning is Meaning.DOWN


_REFUSALS = frozenset({Meaning.RATE, Meaning.PLACES, Meaning.OVERLOADED})

PASSED = Verdict(Meaning.PASSED)
