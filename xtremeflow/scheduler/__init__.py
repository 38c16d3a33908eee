"""The schedulers: slots alone, with request rates, with token rates."""

from .base import TaskScheduler
from .rate_limit import RateLimitScheduler
from .request import RequestRateScheduler
from .token import TokenRateScheduler

__all__ = ["RateLimitScheduler", "RequestRateScheduler", "TaskScheduler", "TokenRateScheduler"]
