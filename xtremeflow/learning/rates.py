"""The rate of a limit, from what was admitted between refusals.

When a call is refused the provider's level of some limit is about nothing. So between two refusals
for want of the same limit just that was admitted which came in meanwhile: R = units / time, exact
but for a call's cost, whatever the capacity and however the calls were paced.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from xtremeflow.learning.gauge import Amounts

DELAY = 0.1  # s by which the ways of two calls may differ
CALLS = 1.5  # mean costs by which the level at a refusal may differ from nothing


class Empty(NamedTuple):
    """A time at which the level was about nothing, and the units admitted until then."""

    time: float
    amounts: Amounts


class Estimate(NamedTuple):
    """Units per second, by how much they may be wrong, and the seconds that they rest on."""

    rate: float
    doubt: float
    span: float = 0.0


def estimate(empties: Sequence[Empty], i: int, cost: float) -> Estimate:
    """The rate of limit `i` from two or more; `cost` is that of a call.

    The longer the time the better; but where the limit has changed, long times contradict short
    ones. Then the short ones count.
    """
    last = empties[-1]
    low, high = 0.0, float("inf")
    best = Estimate(0.0, 0.0)
    for empty in reversed(empties[:-1]):
        time = max(last.time - empty.time, 1e-3)
        rate = max(0.0, last.amounts[i] - empty.amounts[i]) / time
        doubt = (CALLS * cost + DELAY * rate) / time
        if rate - doubt > high or rate + doubt < low:
            break
        low, high = max(low, rate - doubt), min(high, rate + doubt)
        best = Estimate(rate, doubt, time)
    return best


def explaining(empties: Sequence[Empty], costs: Sequence[float]) -> dict[int, float]:
    """How badly each limit explains that the level was nothing just then: the smaller the better.

    What is used of the limit that causes refusals keeps pace with the clock; what is used of the
    others varies as costs do.
    """
    times = [b.time - a.time for a, b in pairwise(empties)]
    used = [
        tuple(x - y for x, y in zip(b.amounts, a.amounts, strict=True))
        for a, b in pairwise(empties)
    ]
    return errors(times, used, costs)


def errors(
    times: Sequence[float], used: Sequence[Amounts], costs: Sequence[float]
) -> dict[int, float]:
    """By how much the times (squares of seconds) differ from those that the use of each limit
    tells, if the rate was the same all the time."""
    found: dict[int, float] = {}
    if sum(times) <= 0:
        return found
    for i, cost in enumerate(costs):
        rate = sum(amounts[i] for amounts in used) / sum(times)
        if cost > 0 and rate > 0:
            off = (amounts[i] / rate - time for amounts, time in zip(used, times, strict=True))
            noise = CALLS * cost / rate + DELAY
            found[i] = sum(x * x for x in off) / len(times) + noise * noise
    return found
