"""Test without an account: a simulated, strictly enforcing provider and a virtual clock."""

from xtremeflow.testing.charge import CallRequest, Charge, Settlement
from xtremeflow.testing.clock import DeadlockError, VirtualClockLoop, clock_of, run
from xtremeflow.testing.latency import Latency, LatencyModel, LatencySource
from xtremeflow.testing.limits import (
    Concurrency,
    Enforcer,
    FixedWindow,
    SlidingWindow,
    TokenBucket,
)
from xtremeflow.testing.provider import (
    Arrival,
    ErrorResponse,
    ProviderError,
    ProviderStats,
    RateLimitError,
    RequestTooLargeError,
    Reservation,
    Response,
    SimulatedProvider,
    Usage,
)
from xtremeflow.testing.quirks import Quirks

__all__ = [
    "Arrival",
    "CallRequest",
    "Charge",
    "Concurrency",
    "DeadlockError",
    "Enforcer",
    "ErrorResponse",
    "FixedWindow",
    "Latency",
    "LatencyModel",
    "LatencySource",
    "ProviderError",
    "ProviderStats",
    "Quirks",
    "RateLimitError",
    "RequestTooLargeError",
    "Reservation",
    "Response",
    "Settlement",
    "SimulatedProvider",
    "SlidingWindow",
    "TokenBucket",
    "Usage",
    "VirtualClockLoop",
    "clock_of",
    "run",
]
