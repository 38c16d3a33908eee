"""A provider that counts one bucket strictly, for the calls of a share's members."""

from __future__ import annotations

from collections.abc import Iterable

from xtremeflow.simulation.enforcers import NANOSECONDS
from xtremeflow.testing import TokenBucket

TOLERANCE = 0.125  # seconds of the rate by which members may differ, see docs/sharing.md


def overdrawn(times: Iterable[float], rate: float, capacity: float = 1) -> int:
    """Returns how many calls of one unit it would refuse, by their instants in seconds."""
    return overdrawn_units(((time, 1) for time in times), rate, capacity)


def overdrawn_units(calls: Iterable[tuple[float, int]], rate: float, capacity: float) -> int:
    """Returns the same of pairs of an instant and a cost."""
    bucket = TokenBucket("requests", rate, per=1.0, capacity=capacity + TOLERANCE * rate)
    count = 0
    for instant, cost in sorted(calls):
        now = round(instant * NANOSECONDS)
        if bucket.wait(cost, now) > 1:  # ns: the instants are rounded to one
            count += 1
        else:
            bucket.take(cost, now)
    return count
