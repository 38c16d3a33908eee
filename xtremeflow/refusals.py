"""Questions about an exception: is it a refusal, does waiting help, and how long."""

from xtremeflow.answers.exceptions import RetryException
from xtremeflow.answers.refusals import (
    describe,
    is_outage,
    is_refusal,
    is_terminal,
    is_too_large,
    retry_delay,
)

__all__ = [
    "RetryException",
    "describe",
    "is_outage",
    "is_refusal",
    "is_terminal",
    "is_too_large",
    "retry_delay",
]
