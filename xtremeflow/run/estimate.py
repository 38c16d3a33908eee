"""What a call will cost: learned, for each model, from what earlier calls said they had used.

The input is measured (in characters, or by a tokenizer), and the tokens for each unit of measure
are learned. Of the output the mean and the spread are learned. An estimate only has to hold until
the call's own report settles it, so what matters is the sum over the calls in flight: for n of
them it is off by about spread * sqrt(n), and each carries its share of twice that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, cast

from xtremeflow.run.requests import Json, Request
from xtremeflow.run.usage import Usage

Measure = Callable[[str], int]
"""The size of a text: len, or the number of a tokenizer's tokens."""

_TEXTS = ("messages", "input", "prompt", "system", "instructions", "tools", "contents")
_CHARACTERS_PER_TOKEN = 4.0  # of English; what is assumed before the first report
_FIRST_MEASURE = 400.0  # the assumption's weight, in units of measure
_FIRST_OUTPUT = 256  # tokens
_MEMORY = 500.0  # calls after which what was learned counts half: a file's middle may be different


@dataclass(frozen=True, slots=True)
class Cost:
    """The tokens that a call is expected to use, and the most that it may write (None: any)."""

    input: int
    output: int
    most: int | None
    size: int  # the measured input, from which `input` was computed


@dataclass(slots=True)
class _Model:
    tokens: float
    measure: float
    reports: float = 0.0
    mean: float = 0.0
    variance: float = 0.0


@dataclass
class Estimator:
    """Estimates by `measure`, of which `per_token` units are a token until reports say better."""

    measure: Measure = len
    per_token: float = _CHARACTERS_PER_TOKEN
    _models: dict[str, _Model] = field(default_factory=dict[str, _Model])

    def estimate(self, request: Request, in_flight: int = 0) -> Cost:
        """`in_flight`: how many calls are; the more, the less each has to allow for."""
        model = self._model(request.model)
        size = max(1, measure_body(request.body, self.measure))
        most = most_output(request.body)
        if _embeds(request.url):
            output, most = 0, 0
        elif model.reports:
            spread = math.sqrt(model.variance)
            output = math.ceil(model.mean + 2 * spread / math.sqrt(in_flight + 1))
        else:
            output = _FIRST_OUTPUT
        if most is not None:
            output = min(output, most)
        return Cost(math.ceil(size * model.tokens / model.measure), output, most, size)

    def learn(self, request: Request, cost: Cost, usage: Usage) -> None:
        model = self._model(request.model)
        keep = 1 - 1 / _MEMORY
        model.tokens = keep * model.tokens + usage.input
        model.measure = keep * model.measure + cost.size
        model.reports = keep * model.reports + 1
        weight = 1 / model.reports
        away = usage.output - model.mean
        model.mean += weight * away
        model.variance = (1 - weight) * (model.variance + weight * away * away)

    def learned(self) -> dict[str, Json]:
        """For each model what a token is worth, and how long its answers are."""
        return {
            name: {
                "units_per_token": round(model.measure / model.tokens, 3),
                "output_tokens": round(model.mean, 1),
            }
            for name, model in self._models.items()
            if model.reports
        }

    def _model(self, name: str) -> _Model:
        model = self._models.get(name)
        if model is None:
            first = _Model(_FIRST_MEASURE / self.per_token, _FIRST_MEASURE)
            model = self._models[name] = first
        return model


def measure_body(body: Json, measure: Measure) -> int:
    """The size of all text that the model is to read; pictures and other data do not count."""
    size = 0
    parts: list[Any] = [body[name] for name in _TEXTS if name in body]
    while parts:
        part = parts.pop()
        if isinstance(part, str):
            size += 0 if part.startswith("data:") else measure(part)
        elif isinstance(part, list):
            parts += cast("Iterable[Any]", part)
        elif isinstance(part, dict):
            parts += [value for key, value in cast(Json, part).items() if key != "data"]
    return size


def most_output(body: Json) -> int | None:
    """The most tokens that the answers may have together; None where nothing is said."""
    for name in ("max_completion_tokens", "max_output_tokens", "max_tokens"):
        most = body.get(name)
        if isinstance(most, int) and not isinstance(most, bool) and most >= 0:
            answers = body.get("n")
            return most * (answers if isinstance(answers, int) and answers > 1 else 1)
    return None


def _embeds(url: str) -> bool:
    return url.partition("?")[0].endswith("/embeddings")
