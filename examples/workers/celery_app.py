"""Celery tasks whose worker processes keep one limit together.

    celery --workdir examples/workers --app celery_app worker --concurrency 2

Celery's own `rate_limit` counts in each worker for itself. Here each process of the pool makes its
scheduler after the fork (`worker_process_init`). SHARE names the account: a server's for workers on
several machines, such as the broker. BROKER is the broker's address.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

from celery import Celery
from celery.signals import worker_process_init

from xtremeflow import RequestRateScheduler

RATE = 100  # requests per second, of all processes together
BROKER = os.environ.get("BROKER", "redis://localhost:6379/0")
SHARE = os.environ.get("SHARE", f"{BROKER}#celery-app")

app = Celery("celery_app", broker=BROKER, backend=BROKER)
scheduler: RequestRateScheduler


@worker_process_init.connect
def begin(**_: Any) -> None:
    global scheduler
    scheduler = RequestRateScheduler(max_rps=RATE, share=SHARE)


@app.task
def ask(prompts: list[str]) -> list[float]:
    return list(scheduler.map_sync(call, prompts))


async def call(prompt: str) -> float:
    """Stands for a request to the provider; returns when it was sent."""
    sent = time.monotonic()
    await asyncio.sleep(0.05)
    return sent
