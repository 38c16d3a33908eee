"""The schedulers: slots alone, with request rates, with token rates."""

from xtremeflow.scheduler.base import TaskScheduler
from xtremeflow.scheduler.rate_limit import RateLimitScheduler
from xtremeflow.scheduler.request import RequestRateScheduler
from xtremeflow.scheduler.token import TokenRateScheduler

__all__ = ["RateLimitScheduler", "RequestRateScheduler", "TaskScheduler", "TokenRateScheduler"]
