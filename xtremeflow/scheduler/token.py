"""TokenRateScheduler: limits on tokens and on requests, the way LLM providers state them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from xtremeflow._core import report_token_usage
from xtremeflow.learning.belief import Adapt
from xtremeflow.scheduler.rate_limit import rate
from xtremeflow.scheduler.request import RequestRateScheduler
from xtremeflow.share.keeper import KeptShare
from xtremeflow.values.arguments import check_list
from xtremeflow.values.limits import Limit

__all__ = ["TokenRateScheduler", "report_token_usage"]


class TokenRateScheduler(RequestRateScheduler):
    """A scheduler whose calls use all of a provider's tokens and requests per minute, and no more.

    Args:
        max_tps: Tokens per second, above 0; ``None`` is no limit.
        max_rps: Requests per second, above 0; ``None`` is no limit.
        max_concurrency: Calls in flight at a time, at least 1; ``None`` is no limit.
        burst_ratio: Seconds of the rate that may be used at once: the capacity of a limit is
            burst_ratio * rate. At 0 the calls are evenly spaced, each as far from the next as it
            has tokens; at 60 a whole minute's quota may be used at once.
        max_rpm: Requests per minute, above 0; ``None`` is no limit.
        max_tpm: Tokens per minute, above 0; ``None`` is no limit.
        limits: Further limits, or the same with a capacity of their own.
        adapt: Whether to learn the provider's limits, see `TaskScheduler`.
        learned: The value of `learned` of an earlier scheduler.
        share: The account of which this is a member, see `TaskScheduler`.

    Raises:
        TypeError, ValueError: An argument is of the wrong type or out of its range.
    """

    def __init__(
        self,
        max_tps: float | None = None,
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
            max_rps,
            max_concurrency,
            burst_ratio,
            max_rpm=max_rpm,
            max_tpm=max_tpm,
            limits=[*rate("max_tps", "tokens", max_tps, 1.0), *check_list("limits", limits, Limit)],
            adapt=adapt,
            learned=learned,
            share=share,
        )
