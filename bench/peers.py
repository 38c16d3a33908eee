"""The libraries measured beside this one, and how they get into a measurement's process.

XtremeFlow 0.4.4 has this package's import name. It lies in a directory of its own and is loaded
under another name, in processes of its own like everything measured. The peers of several processes
lie in an environment of their own, whose interpreter is the newest one of the machine.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

OURS = "xtremeflow"
OLD = "xtremeflow 0.4.4"
SEMAPHORE = "asyncio.Semaphore"
AIOLIMITER = "aiolimiter"
TOKEN_THROTTLE = "token-throttle"
PYRATE = "pyrate-limiter"
LITELLM = "LiteLLM"
PYRATE_FILE, PYRATE_SERVER = f"{PYRATE}, SQLite", f"{PYRATE}, server"
TOKEN_FILE, TOKEN_SERVER = f"{TOKEN_THROTTLE}, SQLite", f"{TOKEN_THROTTLE}, server"
APART = (PYRATE_FILE, PYRATE_SERVER, TOKEN_FILE, TOKEN_SERVER, f"{LITELLM}, router")

OLD_DIRECTORY = Path(sys.prefix, "peers", "xtremeflow-0.4.4")
APART_DIRECTORY = Path(sys.prefix, "peers", "apart")


def apart() -> Path:
    """The interpreter of the peers that lie apart."""
    return APART_DIRECTORY / "bin" / "python"


@cache
def versions_apart() -> dict[str, str]:
    """The version of each library that lies apart."""
    places = [str(place) for place in APART_DIRECTORY.glob("lib/python3.*/site-packages")]
    found = {each.name.lower(): each.version for each in distributions(path=places)}
    names = (TOKEN_THROTTLE, PYRATE, LITELLM)
    return {name: found[name.lower()] for name in names if name.lower() in found}


@cache
def versions() -> dict[str, str]:
    """The version of each library that is there to be measured."""
    found = {}
    for name in (OURS, AIOLIMITER, TOKEN_THROTTLE):
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
    if way in APART:
        return library in versions_apart()
    return library not in (OLD, AIOLIMITER, TOKEN_THROTTLE) or library in versions()


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
