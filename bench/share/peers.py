"""The processes that send calls by other libraries, see together.py.

They run in an environment of their own, which does not have this package.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.share.together import Send

TOLERANCE = 0.125  # seconds of the rate, see csrc/core/line.h
PATIENCE = 600.0  # seconds that a lock of a library may take

Call = Callable[[], Awaitable[float]]
Begin = Callable[[], Awaitable[None]]


async def calls(library: str, where: str, rate: float, processes: int, count: int) -> Send:
    """Sends so many calls; when each was dispatched. `where` is a directory or an address."""
    call, begin = await CALLERS[library](where, rate, processes)

    async def send() -> list[float]:
        await begin()
        return await asyncio.gather(*(call() for _ in range(count)))

    return send


def _is_address(where: str) -> bool:
    return where.startswith("redis:")


def _client(where: str) -> Any:
    """A client whose calls wait for a free connection."""
    library: Any = import_module("redis.asyncio")
    address = where.partition("#")[0]
    pool = library.BlockingConnectionPool.from_url(address, max_connections=50, timeout=None)
    return library.Redis(connection_pool=pool)


async def _at_once() -> None:
    """Begins with as much as the limiter holds."""


async def _pyrate(where: str, rate: float, _: int) -> tuple[Call, Begin]:
    """Its window is the tolerance, in which as many calls as the witness lets pass may be sent."""
    library: Any = import_module("pyrate_limiter")
    window = library.Rate(round(rate * TOLERANCE), round(TOLERANCE * 1000))
    if _is_address(where):
        bucket = await library.RedisBucket.init([window], _client(where), "bench")
    else:
        path = str(Path(where, "limits.sqlite"))
        bucket = library.SQLiteBucket.init_from_file([window], db_path=path, use_file_lock=True)
    limiter = library.Limiter(bucket)

    async def call() -> float:
        await limiter.try_acquire_async()
        return time.monotonic()

    return call, _at_once


async def _token_throttle(where: str, rate: float, processes: int) -> tuple[Call, Begin]:
    """Its bucket holds a second's calls at least, more than the witness lets pass at once. So the
    processes empty it first."""
    library: Any = import_module("token_throttle")
    if _is_address(where):
        backend = library.RedisBackendBuilder(
            _client(where), key_prefix="bench", lock_blocking_timeout_seconds=PATIENCE
        )
    else:
        path = str(Path(where, "limits.sqlite"))
        backend = library.SqliteBackendBuilder(path, key_prefix="bench")
    quotas = library.UsageQuotas([library.Quota(metric="requests", limit=rate, per_seconds=1)])
    limiter = library.RateLimiter(library.PerModelConfig(quotas=quotas), backend=backend)

    async def empty() -> None:
        await limiter.record_usage({"requests": rate / processes}, "m")
        await asyncio.sleep(TOLERANCE / 2)  # the others do so, too

    async def call() -> float:
        await limiter.acquire_capacity({"requests": 1}, "m")  # all of it is used
        return time.monotonic()

    return call, empty


async def _litellm(where: str, rate: float, _: int) -> tuple[Call, Begin]:
    """A router whose one model has a limit by the minute, the only kind that a router counts."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it is fetched at each import
    library: Any = import_module("litellm")

    class Provider(library.CustomLLM):  # type: ignore[misc]  # it is not of this environment
        async def acompletion(self, *_: object, **__: object) -> Any:
            return library.ModelResponse(created=0, id=repr(time.monotonic()))

    library.custom_provider_map = [{"provider": "bench", "custom_handler": Provider()}]
    router = library.Router(
        model_list=[
            {
                "model_name": "m",
                "litellm_params": {"model": "bench/m", "rpm": round(60 * rate)},
            }
        ],
        redis_url=where.partition("#")[0],
        optional_pre_call_checks=["enforce_model_rate_limits"],
    )

    async def call() -> float:
        answer = await router.acompletion(model="m", messages=[{"role": "user", "content": "?"}])
        return float(answer.id)

    return call, _at_once


CALLERS = {"pyrate-limiter": _pyrate, "token-throttle": _token_throttle, "LiteLLM": _litellm}
