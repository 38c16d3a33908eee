"""RateLimitScheduler, the base of the schedulers with rates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from xtremeflow._core import Call, current_call
from xtremeflow.answers.backoff import RetryException, auto_backoff
from xtremeflow.learning.belief import Adapt
from xtremeflow.scheduler.base import TaskScheduler
from xtremeflow.share.keeper import KeptShare
from xtremeflow.values.arguments import check_number
from xtremeflow.values.limits import Limit

__all__ = ["RateLimitScheduler", "RetryException", "auto_backoff", "get_context"]


def get_context() -> Call | None:
    """Returns the scheduled call to which the running code belongs, or None."""
    return current_call()


class RateLimitScheduler(TaskScheduler):
    """A scheduler with rate limits.

    Args:
        max_concurrency: Calls in flight at a time, at least 1; ``None`` is no limit.
        burst_ratio: Seconds of its rate that a limit without a capacity allows at once.
        limits: The rate limits.
        adapt: Whether to learn the provider's limits, see `TaskScheduler`.
        learned: The value of `learned` of an earlier scheduler.
        share: The account of which this is a member, see `TaskScheduler`.

    Raises:
        TypeError, ValueError: An argument is of the wrong type or out of its range.
    """

    def __init__(
        self,
        max_concurrency: int | None = None,
        burst_ratio: float = 0.0,
        *,
        limits: Iterable[Limit] = (),
        adapt: Adapt = False,
        learned: Mapping[str, Any] | None = None,
        share: str | KeptShare | None = None,
    ) -> None:
        super().__init__(
            max_concurrency,
            limits=limits,
            burst_ratio=burst_ratio,
            adapt=adapt,
            learned=learned,
            share=share,
        )


def rate(argument: str, name: str, amount: float | None, per: float) -> list[Limit]:
    """Returns the limit of an argument such as ``max_rpm``, or none if it is None."""
    if amount is None:
        return []
    check_number(argument, amount, zero=False)
    return [Limit(name, amount, per)]
