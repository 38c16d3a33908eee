"""OpenAI Agents SDK: models whose calls a scheduler admits."""

from __future__ import annotations

from typing import Any

from xtremeflow.frameworks.clients import openai_client
from xtremeflow.scheduler import TaskScheduler
from xtremeflow.values.extras import extra

with extra("openai-agents"):
    from agents import OpenAIChatCompletionsModel, OpenAIResponsesModel, set_default_openai_client

__all__ = ["chat_model", "responses_model", "use"]


def use(scheduler: TaskScheduler, **options: Any) -> None:
    """Lets the scheduler admit the calls of all agents that name only a model.

    `options` are those of ``AsyncOpenAI``: ``api_key``, ``base_url`` and so on. The SDK's traces
    are not sent by this client.
    """
    set_default_openai_client(openai_client(scheduler, **options), use_for_tracing=False)


def responses_model(name: str, scheduler: TaskScheduler, **options: Any) -> OpenAIResponsesModel:
    """Returns a model of the Responses API, for the ``model`` of an agent. See `use`."""
    return OpenAIResponsesModel(model=name, openai_client=openai_client(scheduler, **options))


def chat_model(name: str, scheduler: TaskScheduler, **options: Any) -> OpenAIChatCompletionsModel:
    """Returns a model of the Chat Completions API, which other providers have as well."""
    return OpenAIChatCompletionsModel(model=name, openai_client=openai_client(scheduler, **options))
