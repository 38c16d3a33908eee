"""Estimates of the usage of calls, learned for each model from the usages of earlier calls.

The input is measured (in characters, or by a tokenizer), and the tokens of a unit of measure are
learned. The mean and the spread of the output are learned too. An estimate must only hold until the
call's own usage settles it, so the sum over the calls in flight matters. For n calls that sum is
off by about spread * sqrt(n), and each call carries its share of twice that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias, cast

from xtremeflow._core import Estimated, Typical, prompt_size
from xtremeflow.values.charges import UNITS, UNKNOWN, ChargeRule
from xtremeflow.values.usage import Usage

TextSize: TypeAlias = Callable[[str], int]
"""The size of a text: len, or the number of a tokenizer's tokens."""

_MOST = ("max_completion_tokens", "max_output_tokens", "max_tokens")
_CONFIGS = ("generationConfig", "generation_config")  # Gemini's
_BOUNDS = frozenset((*_MOST, *_CONFIGS, "input"))  # without these a body bounds no answer
_CHARACTERS_PER_TOKEN = 4.0  # of English, as assumed before the first report
_FIRST_MEASURE = 400.0  # the assumption's weight, in units of measure


class Estimate(Estimated, Mapping[str, int]):
    """The expected usage of a call, in tokens. As a mapping it is the call's reservation of each
    limit, for the argument ``estimated_tokens`` of `start_task`, `submit` and `map`. It never
    changes.

    model   the model, or another key by which costs are learned
    input   tokens of the prompt
    output  tokens of the answer
    most    tokens that the answer may have; None if the request does not state them
    size    the measured prompt, from which `input` was computed
    """

    __slots__ = ()

    def __getitem__(self, name: str) -> int:
        return self.amounts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.amounts)

    def __len__(self) -> int:
        return len(self.amounts)

    def items(self) -> ItemsView[str, int]:
        return self.amounts.items()  # the inherited one asks for each amount by itself

    def __repr__(self) -> str:
        return (
            f"Estimate(model={self.model!r}, input={self.input}, output={self.output}, "
            f"most={self.most}, size={self.size}, amounts={self.amounts})"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        fields = self.model, self.input, self.output, self.most, self.size, self.amounts
        return Estimate, fields


@dataclass
class Estimator:
    """Estimates calls by `measure`, of which `per_token` units are a token until usages show
    better."""

    measure: TextSize = len
    per_token: float = _CHARACTERS_PER_TOKEN
    _models: dict[str, Typical] = field(default_factory=dict[str, Typical])

    def __post_init__(self) -> None:
        if not callable(self.measure):
            raise TypeError(f"measure must be a function of a text, got {self.measure!r}")
        if not (isinstance(self.per_token, (int, float)) and 0 < self.per_token < math.inf):
            raise ValueError(f"per_token must be a number above 0, got {self.per_token!r}")

    def estimate(
        self,
        request: str | int | Mapping[str, Any],
        *,
        model: str | None = None,
        most: int | None = None,
        in_flight: int = 0,
        rule: ChargeRule = UNKNOWN,
        units: Iterable[str] = UNITS,
    ) -> Estimate:
        """Returns the estimate for a request: its decoded JSON body, the prompt's text, or the
        measured size of that.

        Args:
            model: By default the body's.
            most: The most tokens that the answer may have, by default the body's.
            in_flight: The number of calls in flight; the more, the less doubt each carries.
            rule: The provider's rule of charging.
            units: The limits that the estimate reserves.
        """
        model, size, most = self.measured(request, model, most)
        size = max(1, size)
        read, output = self.typical(model).expect(size, in_flight)
        if most is not None:
            output = min(output, most)
        held = rule.reserved(read, output, most)
        if units != UNITS:
            held = {unit: held[unit] for unit in units}
        return Estimate(model, read, output, most, size, held)

    def measured(
        self, request: str | int | Mapping[str, Any], model: str | None, most: int | None
    ) -> tuple[str, int, int | None]:
        """Returns the model of a request, its size, and the most tokens that the answer may have.
        The arguments are those of `estimate`."""
        if model is None:
            model = model_of(request)
        if isinstance(request, int):
            return model, request, most
        if isinstance(request, str):
            return model, self.measure(request), most
        if most is None:
            most = most_output(request)
        return model, measure_body(request, self.measure), most

    def learn(self, estimate: Estimate, usage: Usage) -> None:
        """Learns from the usage of a call with that estimate."""
        self.typical(estimate.model).note(estimate.size, usage.input, usage.output)

    def learned(self) -> dict[str, dict[str, float]]:
        """Returns for each model the units of a token, and the length of its answers."""
        return {
            name: {
                "units_per_token": round(model.measure / model.tokens, 3),
                "output_tokens": round(model.mean, 1),
            }
            for name, model in self._models.items()
            if model.reports
        }

    def typical(self, name: str) -> Typical:
        """Returns the typical usage of a model's calls, which goes on learning."""
        model = self._models.get(name)
        if model is None:
            first = Typical(_FIRST_MEASURE / self.per_token, _FIRST_MEASURE)
            model = self._models[name] = first
        return model


def measure_body(body: Mapping[str, Any], measure: TextSize) -> int:
    """Returns the size of all text for the model. Pictures and other data do not count."""
    return prompt_size(body, None if measure is len else measure)


def most_output(body: Mapping[str, Any]) -> int | None:
    """Returns the most tokens that the answers may have together, or None if none is stated."""
    if _BOUNDS.isdisjoint(body):
        return None
    most = _stated(body, _MOST)
    for name in _CONFIGS:
        if most is None and name in body and isinstance(body[name], Mapping):
            config = cast("Mapping[str, Any]", body[name])
            most = _stated(config, ("maxOutputTokens", "max_output_tokens"))
    if most is not None:
        answers = body.get("n")
        return most * (answers if isinstance(answers, int) and answers > 1 else 1)
    if "input" in body and "embed" in model_of(body):
        return 0
    return None


def _stated(place: Mapping[str, Any], names: Sequence[str]) -> int | None:
    """Returns the first of these that is a number of tokens, or None."""
    for name in names:
        if name in place:
            most = place[name]
            if isinstance(most, int) and not isinstance(most, bool) and most >= 0:
                return most
    return None


@lru_cache(maxsize=16)  # the calls of a program have few URLs
def embeds(url: str) -> bool:
    """Whether answers from that URL have numbers instead of text."""
    return url.partition("?")[0].endswith("/embeddings")


def model_of(request: object) -> str:
    """Returns the model that a decoded body names, or the empty string."""
    model: object = None
    if type(request) is dict or isinstance(request, Mapping):  # the test of an ABC is slow
        model = cast("Mapping[str, Any]", request).get("model")
    return model if isinstance(model, str) else ""
