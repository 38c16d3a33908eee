"""Test without an account: a simulated, strictly enforcing provider and a virtual clock."""

from xtremeflow.simulation.charge import CallRequest, Charge, FinalCharge
from xtremeflow.simulation.clock import DeadlockError, VirtualClockLoop, clock_of, run
from xtremeflow.simulation.enforcers import (
    Concurrency,
    Enforcer,
    FixedWindow,
    SlidingWindow,
    TokenBucket,
)
from xtremeflow.simulation.latency import Latency, LatencyModel, LatencySource
from xtremeflow.simulation.provider import (
    Arrival,
    CallResponse,
    CompletionUsage,
    ErrorResponse,
    ProviderError,
    ProviderStats,
    RateLimitError,
    RequestTooLargeError,
    Reservation,
    SimulatedProvider,
)
from xtremeflow.simulation.quirks import Quirks

__all__ = [
    "Arrival",
    "CallRequest",
    "CallResponse",
    "Charge",
    "CompletionUsage",
    "Concurrency",
    "DeadlockError",
    "Enforcer",
    "ErrorResponse",
    "FinalCharge",
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
    "SimulatedProvider",
    "SlidingWindow",
    "TokenBucket",
    "VirtualClockLoop",
    "clock_of",
    "run",
]
