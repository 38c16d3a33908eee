"""The shortest time in which a provider's limits allow a job.

Let calls that cost c_1, c_2, ... be admitted in this order, and let f be the moment at which a
limit's bucket, of capacity C and rate r, is full again (0 at the start). At the time t its level is
C - r (f - t), and a call needs its cost there. So the i-th call is admitted at

    a_i = max(a_(i-1), f - (C - c_i) / r for each limit),    which makes f = max(f, a_i) + c_i / r

and no earlier. For a bucket that is never full again this is (c_1 + ... + c_i - C) / r. The job
cannot be over before the largest a_i + (duration of call i).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from xtremeflow.values.limits import Limit


def earliest_admissions(
    costs: Iterable[Mapping[str, int]], limits: Sequence[Limit]
) -> Iterable[float]:
    """Returns the a_i of calls admitted in this order, in seconds. Each limit holds one period's
    amount."""
    full = [0.0] * len(limits)
    earliest = 0.0
    for cost in costs:
        for limit, again in zip(limits, full, strict=True):
            room = (limit.amount - cost[limit.name]) * limit.per / limit.amount
            earliest = max(earliest, again - room)
        full = [
            max(again, earliest) + cost[limit.name] * limit.per / limit.amount
            for limit, again in zip(limits, full, strict=True)
        ]
        yield earliest


def ideal_wall(
    costs: Iterable[Mapping[str, int]], seconds: Iterable[float], limits: Sequence[Limit]
) -> float:
    """Returns the lower bound in seconds, for calls admitted in this order. `seconds` are their
    durations."""
    earliest = earliest_admissions(costs, limits)
    return max(a + took for a, took in zip(earliest, seconds, strict=True))
