"""RequestRateScheduler: a limit on requests per second or minute."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from xtremeflow.learning.belief import Adapt
from xtremeflow.scheduler.rate_limit import RateLimitScheduler, rate
from xtremeflow.share.keeper import KeptShare
from xtremeflow.values.arguments import check_list
from xtremeflow.values.limits import Limit


class RequestRateScheduler(RateLimitScheduler):
    """A scheduler that dispatches at most so many calls per second or minute.

    Args:
        max_rps: Requests per second, above 0; ``None`` is no limit.
        max_concurrency: Calls in flight at a time, at least 1; ``None`` is no limit.
        burst_ratio: Seconds of the rate that may be used at once: the capacity of a limit is
            burst_ratio * rate. At 0 the calls are evenly spaced.
        max_rpm: Requests per minute, above 0; ``None`` is no limit.
        max_tpm: Tokens per minute, above 0; ``None`` is no limit.
        limits: Further limits.
        adapt: Whether to learn the provider's limits, see `TaskScheduler`.
        learned: The value of `learned` of an earlier scheduler.
        share: The account of which this is a member, see `TaskScheduler`.

    Raises:
        TypeError, ValueError: An argument is of the wrong type or out of its range.
    """

    def __init__(
        self,
        max_rps: float | None = None,
        max_concurrency: int | None = None,
        burst_ratio: float = 0.0,
        *,
        max_rpm: float | None = None,
        max_tpm: float | None = None,
        limits: Iterable[Limit] = (),
        adapt: Adapt = False,
        learned: Mapping[str, Any] | None = None,
        share: str | KeptShare | None = None,
    ) -> None:
        super().__init__(
            max_concurrency,
            burst_ratio,
            limits=[
                *rate("max_rps", "requests", max_rps, 1.0),
                *rate("max_rpm", "requests", max_rpm, 60.0),
                *rate("max_tpm", "tokens", max_tpm, 60.0),
                *check_list("limits", limits, Limit),
            ],
            adapt=adapt,
            learned=learned,
            share=share,
        )
