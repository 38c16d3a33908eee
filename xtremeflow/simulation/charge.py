"""Charges: the cost of a call at its admission and at its end, in every unit that a limit
counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from xtremeflow.values.arguments import check_int


@dataclass(frozen=True)
class CallRequest:
    """A simulated call, and the length that its answer would have if nothing cut it.

    The call asks for `answers` answers of up to `max_tokens` tokens each. `cached_tokens` of its
    prompt are in the provider's cache.
    """

    prompt_tokens: int
    output_tokens: int
    max_tokens: int | None = None
    answers: int = 1
    cached_tokens: int = 0

    def __post_init__(self) -> None:
        check_int("prompt_tokens", self.prompt_tokens, 0)
        check_int("output_tokens", self.output_tokens, 0)
        if self.max_tokens is not None:
            check_int("max_tokens", self.max_tokens, 0)
        check_int("answers", self.answers, 0)
        check_int("cached_tokens", self.cached_tokens, 0)

    @property
    def answer_tokens(self) -> int:
        """The length of one answer, cut at `max_tokens`."""
        if self.max_tokens is None:
            return self.output_tokens
        return min(self.output_tokens, self.max_tokens)

    @property
    def completion_tokens(self) -> int:
        """The length of all answers together."""
        return self.answers * self.answer_tokens


Charge = Callable[[CallRequest], Mapping[str, int]]
"""Returns the cost of a call at its admission, by unit."""

FinalCharge = Callable[[CallRequest, int], Mapping[str, int]]
"""Returns the cost of a call once so many tokens of its answers exist, by unit."""


def charge_max_tokens(request: CallRequest) -> Mapping[str, int]:
    """Charges the larger of `max_tokens` and the prompt's estimate, as OpenAI does.

    The simulator's estimate of a prompt is its true length.
    """
    asked = (request.max_tokens or 0) * request.answers
    return _costs(request, asked, tokens=max(asked, request.prompt_tokens))


def charge_prompt_and_max_tokens(request: CallRequest) -> Mapping[str, int]:
    """Charges the prompt and `max_tokens`, as Azure and Groq do."""
    return _costs(request, (request.max_tokens or 0) * request.answers)


def charge_actual(request: CallRequest) -> Mapping[str, int]:
    """Charges the usage of the whole call, which a simulator knows beforehand."""
    return _costs(request, request.completion_tokens)


def charge_later(request: CallRequest) -> Mapping[str, int]:
    """Charges next to nothing, as Mistral does: the limit only must not be used up already."""
    return {"requests": 1, "tokens": 1, "input_tokens": 1, "output_tokens": 0}


def charge_uncached_input(request: CallRequest) -> Mapping[str, int]:
    """Charges the input that is not read from the cache, as Anthropic does, and no output yet."""
    return settle_uncached(request, 0)


def settle_actual(request: CallRequest, produced: int) -> Mapping[str, int]:
    """Returns the cost of the prompt and of the `produced` tokens."""
    return _costs(request, produced)


def settle_uncached(request: CallRequest, produced: int) -> Mapping[str, int]:
    """Returns the same without the tokens read from the cache."""
    read = request.cached_tokens
    return {
        "requests": 1,
        "tokens": request.prompt_tokens - read + produced,
        "input_tokens": request.prompt_tokens - read,
        "output_tokens": produced,
    }


def _costs(request: CallRequest, output: int, tokens: int | None = None) -> Mapping[str, int]:
    return {
        "requests": 1,
        "tokens": request.prompt_tokens + output if tokens is None else tokens,
        "input_tokens": request.prompt_tokens,
        "output_tokens": output,
    }


CHARGES: Mapping[str, Charge] = {"max_tokens": charge_max_tokens, "actual": charge_actual}
