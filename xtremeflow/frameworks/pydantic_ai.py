"""pydantic-ai: a model behind a scheduler, and a limiter that is one.

`model` is the better way: the scheduler sees each request with its tokens, its answer and its
refusals. `Limiter` is for models whose HTTP client cannot be chosen. It limits the calls at a time
and their rate, with one estimate for all.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from xtremeflow.frameworks.clients import openai_client
from xtremeflow.scheduler import TaskScheduler
from xtremeflow.values.extras import extra
from xtremeflow.values.limits import Cost

with extra("pydantic-ai"):
    from pydantic_ai.concurrency import AbstractConcurrencyLimiter
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

__all__ = ["Limiter", "model"]


def model(name: str, scheduler: TaskScheduler, **options: Any) -> OpenAIChatModel:
    """Returns the model of that name with OpenAI's chat API, whose calls the scheduler admits.

    `options` are those of ``AsyncOpenAI``: ``api_key``, ``base_url`` and so on. For other APIs give
    the provider `xtremeflow.frameworks.clients.http_client(scheduler)` as its ``http_client``.
    """
    client = openai_client(scheduler, **options)
    return OpenAIChatModel(name, provider=OpenAIProvider(openai_client=client))


class Limiter(AbstractConcurrencyLimiter):
    """A limiter for ``ConcurrencyLimitedModel`` or an agent's ``max_concurrency``.

    Args:
        scheduler: The scheduler that admits each acquisition.
        estimated_tokens: The cost of each call, as for `start_task`.
    """

    def __init__(self, scheduler: TaskScheduler, *, estimated_tokens: Cost = 0) -> None:
        self._scheduler = scheduler
        self._estimate = estimated_tokens
        self._held: deque[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = deque()

    async def acquire(self, source: str) -> None:
        """Waits for the admission. `source` names the call's task."""
        loop = asyncio.get_running_loop()
        released = loop.create_future()

        async def hold() -> None:
            await released

        await self._scheduler.start_task(hold(), self._estimate, name=source)
        self._held.append((loop, released))

    def release(self) -> None:
        """Gives a slot back. Any thread may do so."""
        loop, released = self._held.popleft()
        if not loop.is_closed():
            loop.call_soon_threadsafe(_release, released)


def _release(released: asyncio.Future[None]) -> None:
    if not released.done():
        released.set_result(None)
