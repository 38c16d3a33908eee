"""LangChain: a rate limiter for chat models, which is a scheduler.

A model takes it as ``rate_limiter=``. LangChain does not tell a rate limiter when a call ends, nor
its usage. So the scheduler limits the rate of calls, with one estimate for all; its slots
are given back at once. A model that takes an HTTP client, such as ``ChatOpenAI``, is better off
with `xtremeflow.frameworks.clients.http_client` as its ``http_async_client``.
"""

from __future__ import annotations

import asyncio
import threading

from xtremeflow.scheduler import TaskScheduler
from xtremeflow.values.extras import extra
from xtremeflow.values.limits import Cost

with extra("langchain"):
    from langchain_core.rate_limiters import BaseRateLimiter

__all__ = ["RateLimiter"]


class RateLimiter(BaseRateLimiter):
    """A rate limiter whose calls a scheduler admits.

    Args:
        scheduler: The scheduler.
        estimated_tokens: The cost of each call, as for `start_task`.
    """

    def __init__(self, scheduler: TaskScheduler, *, estimated_tokens: Cost = 0) -> None:
        self._scheduler = scheduler
        self._estimate = estimated_tokens

    async def aacquire(self, *, blocking: bool = True) -> bool:
        """Waits for the admission. Without `blocking`, returns whether the call is admitted
        now."""
        timeout = None if blocking else 0.0
        try:
            await self._scheduler.submit(_passed(), self._estimate, timeout=timeout)
        except asyncio.TimeoutError:
            return False
        return True

    def acquire(self, *, blocking: bool = True) -> bool:
        """Does the same and blocks the thread."""
        admitted = False

        def wait() -> None:
            nonlocal admitted
            admitted = asyncio.run(self.aacquire(blocking=blocking))

        # An event loop may run in this thread, as in a notebook.
        thread = threading.Thread(target=wait, name="xtremeflow-acquire")
        thread.start()
        thread.join()
        return admitted


async def _passed() -> None:
    pass
