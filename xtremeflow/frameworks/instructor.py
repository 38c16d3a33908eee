"""instructor: a client whose calls a scheduler admits, those that repair an answer too."""

from __future__ import annotations

from typing import Any

from xtremeflow.frameworks.clients import openai_client
from xtremeflow.scheduler import TaskScheduler
from xtremeflow.values.extras import extra

with extra("instructor"):
    import instructor

__all__ = ["client"]


def client(
    scheduler: TaskScheduler, *, mode: instructor.Mode = instructor.Mode.TOOLS, **options: Any
) -> instructor.AsyncInstructor:
    """Returns an ``AsyncInstructor`` over OpenAI's SDK.

    `options` are those of ``AsyncOpenAI``: ``api_key``, ``base_url`` and so on. A client of another
    SDK with `xtremeflow.frameworks.clients.http_client` goes to instructor's own function, such as
    ``from_anthropic``.
    """
    made: Any = instructor.from_openai(openai_client(scheduler, **options), mode=mode)
    return made
