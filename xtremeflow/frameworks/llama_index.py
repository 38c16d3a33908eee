"""LlamaIndex: an LLM of OpenAI's API whose calls a scheduler admits, also those of threads."""

from __future__ import annotations

from typing import Any

from xtremeflow.frameworks.clients import http_client, sync_http_client
from xtremeflow.scheduler import TaskScheduler
from xtremeflow.values.extras import extra

with extra("llama-index"):
    from llama_index.llms.openai import OpenAI

__all__ = ["llm"]


def llm(name: str, scheduler: TaskScheduler, **options: Any) -> OpenAI:
    """Returns the LLM of that name. `options` are those of ``llama_index.llms.openai.OpenAI``:
    ``api_key``, ``api_base`` and so on."""
    return OpenAI(
        model=name,
        max_retries=0,
        async_http_client=http_client(scheduler, library="httpx"),
        http_client=sync_http_client(scheduler, library="httpx"),
        **options,
    )
