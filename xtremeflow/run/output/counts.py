"""The counts of a run."""

from __future__ import annotations

from dataclasses import dataclass, field

from xtremeflow.scheduler.stats import LimitStats
from xtremeflow.values.usage import Usage


@dataclass
class Counts:
    """The lines and calls so far, by outcome. Tokens are those used in this run. `done_before` has
    all lines with a result of an earlier run, read or not."""

    read: int = 0
    done_before: int = 0
    bad: int = 0
    succeeded: int = 0
    failed: int = 0
    attempts: int = 0
    refused: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reported: int = 0  # answers that told their usage
    timed: int = 0  # calls that succeeded, also those whose lines are not written yet,
    seconds: float = 0.0  # and the length of their last attempts together
    wasted: dict[str, int] = field(default_factory=dict[str, int])
    """What the scheduler has counted as used, of each limit, though the provider has not: the cost
    of refused attempts, and the request of those that it has not seen."""
    unsaved: int = 0  # calls that ended, and whose lines could not be written

    @property
    def finished(self) -> int:
        return self.succeeded + self.failed + self.bad

    @property
    def requests(self) -> int:
        """The attempts that were not refused."""
        return self.attempts - self.wasted.get("requests", 0)

    def passed(self, limit: LimitStats) -> int:
        """Returns the units of a limit that calls used without being refused."""
        return limit.used - self.wasted.get(limit.name, 0)

    def waste(self, name: str, units: int) -> None:
        self.wasted[name] = self.wasted.get(name, 0) + units

    def use(self, usage: Usage) -> None:
        """Adds the usage of a call."""
        self.reported += 1
        self.input_tokens += usage.input
        self.output_tokens += usage.output
        self.cached_tokens += usage.cached
