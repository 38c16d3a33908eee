"""What an exception says about a provider's refusal: is it one, is waiting any use, how long."""

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
