"""A web application whose worker processes keep one limit together.

    uvicorn --app-dir examples/workers --workers 2 asgi_app:app
    gunicorn --chdir examples/workers --workers 2 --worker-class asgi asgi_app:app

Each worker makes its scheduler when it starts (`lifespan`), not when the module is imported: with
gunicorn's `--preload` that would be before the fork. SHARE names the account.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from xtremeflow import RequestRateScheduler

RATE = 100  # requests per second, of all workers together
SHARE = os.environ.get("SHARE", "shm:asgi-app")

Message = MutableMapping[str, Any]
scheduler: RequestRateScheduler


async def call() -> float:
    """Stands for a request to the provider; returns when it was sent."""
    sent = time.monotonic()
    await asyncio.sleep(0.05)
    return sent


async def app(
    scope: Message,
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "http":
        sent = await scheduler.submit(call())
        body = f"{os.getpid()} {sent}".encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})


async def lifespan(
    receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    global scheduler
    await receive()
    scheduler = RequestRateScheduler(max_rps=RATE, share=SHARE)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await scheduler.wait_pending()
    await send({"type": "lifespan.shutdown.complete"})
