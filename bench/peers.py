"""The libraries measured beside this one, and how they get into a measurement's process.

XtremeFlow 0.4.4 has this package's import name. It lies in a directory of its own and is loaded
under another name, in processes of its own like everything measured.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

OURS = "xtremeflow"
OLD = "xtremeflow 0.4.4"
SEMAPHORE = "asyncio.Semaphore"
AIOLIMITER = "aiolimiter"
TOKEN_THROTTLE = "token-throttle"
PYRATE = "pyrate-limiter"

OLD_DIRECTORY = Path(sys.prefix, "peers", "xtremeflow-0.4.4")


@cache
def versions() -> dict[str, str]:
    """The version of each library that is there to be measured."""
    found = {}
    for name in (OURS, AIOLIMITER, TOKEN_THROTTLE, PYRATE):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    if OLD_DIRECTORY.is_dir():
        found[OLD] = "0.4.4"
    return found


def available(way: str) -> bool:
    """Whether the library that a way of doing something is named after is there."""
    library = way.split(",")[0]
    return library not in (OLD, AIOLIMITER, TOKEN_THROTTLE, PYRATE) or library in versions()


def load(way: str) -> Any:
    """Of this version or of 0.4.4 what both have: schedulers, report_token_usage, auto_backoff."""
    if way.startswith(OLD):
        _alias("xtremeflow_old", OLD_DIRECTORY / "xtremeflow" / "__init__.py")
        token = importlib.import_module("xtremeflow_old.scheduler.token")
        request = importlib.import_module("xtremeflow_old.scheduler.request")
        base = importlib.import_module("xtremeflow_old.scheduler.base")
        rate_limit = importlib.import_module("xtremeflow_old.scheduler.rate_limit")
        return SimpleNamespace(
            TaskScheduler=base.TaskScheduler,
            RequestRateScheduler=request.RequestRateScheduler,
            TokenRateScheduler=token.TokenRateScheduler,
            report_token_usage=token.report_token_usage,
            auto_backoff=rate_limit.auto_backoff,
        )
    return importlib.import_module("xtremeflow")


def _alias(name: str, init: Path) -> None:
    spec = importlib.util.spec_from_file_location(
        name, init, submodule_search_locations=[str(init.parent)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


def token_throttle(limits: dict[str, int], per_seconds: int) -> Any:
    """An in-memory RateLimiter of token-throttle, whose one model is called "m"."""
    library: Any = importlib.import_module("token_throttle")
    quotas = [
        library.Quota(metric=metric, limit=limit, per_seconds=per_seconds)
        for metric, limit in limits.items()
    ]
    return library.RateLimiter(
        library.PerModelConfig(quotas=library.UsageQuotas(quotas)),
        backend=library.MemoryBackendBuilder(),
    )
