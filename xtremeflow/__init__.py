"""XtremeFlow: asyncio calls to LLM APIs, dispatched at the provider's limits."""

from xtremeflow._core import report_token_usage
from xtremeflow.answers.backoff import RetryException, auto_backoff
from xtremeflow.batches.first_token import report_first_token
from xtremeflow.batches.kv_batch import kv_batch
from xtremeflow.batches.pipeline import async_chunks, async_pipeline
from xtremeflow.learning.estimates import Estimator
from xtremeflow.scheduler import (
    RateLimitScheduler,
    RequestRateScheduler,
    TaskScheduler,
    TokenRateScheduler,
)
from xtremeflow.scheduler.stats import LearnedConcurrency, LimitStats, PrefixStats, Stats
from xtremeflow.values.charges import ChargeRule
from xtremeflow.values.limits import Limit

__version__: str

__all__ = [
    "ChargeRule",
    "Estimator",
    "LearnedConcurrency",
    "Limit",
    "LimitStats",
    "PrefixStats",
    "RateLimitScheduler",
    "RequestRateScheduler",
    "RetryException",
    "Stats",
    "TaskScheduler",
    "TokenRateScheduler",
    "__version__",
    "async_chunks",
    "async_pipeline",
    "auto_backoff",
    "kv_batch",
    "report_first_token",
    "report_token_usage",
]


def __getattr__(name: str) -> str:
    if name == "__version__":
        # Looked up on demand: the look-up takes a fourth of the time of this import.
        from importlib.metadata import version

        return version(__name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
