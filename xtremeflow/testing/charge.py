"""What a provider charges a call at its admission, in every unit that a limit may count."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class CallRequest:
    """What a simulated call asks for, and how long its answer would get if nothing cut it."""

    prompt_tokens: int
    output_tokens: int
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        for name in ("prompt_tokens", "output_tokens", "max_tokens"):
            value = getattr(self, name)
            if value is None and name == "max_tokens":
                continue
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} must be an int, got {value!r}")
            if value < 0:
                raise ValueError(f"{name} must not be negative, got {value!r}")

    @property
    def completion_tokens(self) -> int:
        """The length of the answer as it comes, cut at `max_tokens`."""
        if self.max_tokens is None:
            return self.output_tokens
        return min(self.output_tokens, self.max_tokens)


Charge = Callable[[CallRequest], Mapping[str, int]]


def charge_max_tokens(request: CallRequest) -> Mapping[str, int]:
    """What may come, as OpenAI does: the larger of `max_tokens` and the prompt's estimate.

    The simulator's estimate of a prompt is its true length.
    """
    asked = request.max_tokens or 0
    return {
        "requests": 1,
        "tokens": max(asked, request.prompt_tokens),
        "input_tokens": request.prompt_tokens,
        "output_tokens": asked,
    }


def charge_actual(request: CallRequest) -> Mapping[str, int]:
    """What the call will have used in the end, which a simulator knows beforehand."""
    return {
        "requests": 1,
        "tokens": request.prompt_tokens + request.completion_tokens,
        "input_tokens": request.prompt_tokens,
        "output_tokens": request.completion_tokens,
    }


CHARGES: Mapping[str, Charge] = {"max_tokens": charge_max_tokens, "actual": charge_actual}
