"""How a run is to go on where calls fail."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Policy:
    """How long to go on trying.

    retries      further tries of a call after failures that may pass
    max_wait     the longest pause after a refusal, in seconds; a longer one stops the run
    patience     seconds in which no call at all passes, after which the run stops; and for which
                 answers are kept that cannot be written
    keep_going   whether failures that every call shares stop nothing
    """

    retries: int = 5
    max_wait: float = 600.0
    patience: float = 600.0
    keep_going: bool = False
