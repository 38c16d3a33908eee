"""The policy of a run on calls that fail."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Policy:
    """The policy on failures.

    retries      further tries of a call after failures that may pass
    max_wait     the longest pause after a refusal, in seconds; a longer one stops the run
    patience     seconds without a passed call after which the run stops; and the time for which it
                 keeps answers that cannot be written
    keep_going   whether the run goes on after failures that every call shares
    """

    retries: int = 5
    max_wait: float = 600.0
    patience: float = 600.0
    keep_going: bool = False
