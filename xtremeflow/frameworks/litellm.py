"""LiteLLM: its calls to APIs in OpenAI's form go through a scheduler, also those of threads."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from xtremeflow.frameworks.clients import http_client, sync_http_client
from xtremeflow.scheduler import TaskScheduler
from xtremeflow.values.extras import extra

with extra("litellm"):
    import litellm

__all__ = ["scheduled", "use"]


def use(scheduler: TaskScheduler) -> None:
    """Lets the scheduler admit the calls of ``acompletion`` and ``completion`` from now on.

    Call them with ``max_retries=0``, as the scheduler tries again. LiteLLM takes these clients for
    providers that it reaches by OpenAI's SDK.
    """
    settings: Any = litellm
    settings.aclient_session = http_client(scheduler, library="httpx")
    settings.client_session = sync_http_client(scheduler, library="httpx")
    settings.in_memory_llm_clients_cache.flush_cache()  # it would go on with older ones


@contextmanager
def scheduled(scheduler: TaskScheduler) -> Generator[None, None, None]:
    """As `use`, within the block."""
    settings: Any = litellm
    before = settings.aclient_session, settings.client_session
    use(scheduler)
    try:
        yield
    finally:
        settings.client_session.close()
        settings.aclient_session, settings.client_session = before
        settings.in_memory_llm_clients_cache.flush_cache()
