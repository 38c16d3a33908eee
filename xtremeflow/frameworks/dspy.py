"""DSPy: an LM whose calls a scheduler admits."""

from __future__ import annotations

from typing import Any

from xtremeflow.scheduler import TaskScheduler
from xtremeflow.values.extras import extra

with extra("dspy"):
    import dspy

    from xtremeflow.frameworks import litellm

__all__ = ["lm"]


def lm(model: str, scheduler: TaskScheduler, **options: Any) -> dspy.LM:
    """Returns an LM for ``dspy.configure``, whose calls go through LiteLLM and the scheduler.

    `options` are those of ``dspy.LM``: ``api_key``, ``api_base`` and so on. The scheduler becomes
    that of all calls of LiteLLM in this process.
    """
    litellm.use(scheduler)
    return dspy.LM(model, engine="litellm", num_retries=0, **options)
