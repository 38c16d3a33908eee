"""XtremeFlow: asyncio calls to LLM APIs, dispatched at the provider's limits."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xtremeflow._core import report_token_usage
    from xtremeflow.answers.backoff import RetryException, auto_backoff
    from xtremeflow.batches.first_token import report_first_token
    from xtremeflow.batches.kv_batch import kv_batch
    from xtremeflow.batches.pipeline import async_chunks, async_pipeline
    from xtremeflow.learning.costs.estimates import Estimator
    from xtremeflow.prefixes.branches import branch
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
    "branch",
    "kv_batch",
    "report_first_token",
    "report_token_usage",
]

# The names above by their modules. Each is imported when it is used first, so that a command that
# was just started can handle a Ctrl-C, and a shell that completes a command need not wait.
_NAMES = {
    "xtremeflow._core": ("report_token_usage",),
    "xtremeflow.answers.backoff": ("RetryException", "auto_backoff"),
    "xtremeflow.batches.first_token": ("report_first_token",),
    "xtremeflow.batches.kv_batch": ("kv_batch",),
    "xtremeflow.batches.pipeline": ("async_chunks", "async_pipeline"),
    "xtremeflow.learning.costs.estimates": ("Estimator",),
    "xtremeflow.prefixes.branches": ("branch",),
    "xtremeflow.scheduler": (
        "RateLimitScheduler",
        "RequestRateScheduler",
        "TaskScheduler",
        "TokenRateScheduler",
    ),
    "xtremeflow.scheduler.stats": ("LearnedConcurrency", "LimitStats", "PrefixStats", "Stats"),
    "xtremeflow.values.charges": ("ChargeRule",),
    "xtremeflow.values.limits": ("Limit",),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version(__name__)
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    elif name in ("kvbatch", "pipeline", "scheduler"):
        value = import_module(f"{__name__}.{name}")  # documented import paths
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
