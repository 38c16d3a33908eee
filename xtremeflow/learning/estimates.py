"""What a call will use: learned, for each model, from what earlier calls said they had used.

The input is measured (in characters, or by a tokenizer), and the tokens for each unit of measure
are learned. Of the output the mean and the spread are learned. An estimate only has to hold until
the call's own usage settles it, so what matters is the sum over the calls in flight: for n of
them it is off by about spread * sqrt(n), and each carries its share of twice that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

from xtremeflow.answers.usage import Usage
from xtremeflow.learning.rules import UNITS, UNKNOWN, ChargeRule

Measure: TypeAlias = Callable[[str], int]
"""The size of a text: len, or the number of a tokenizer's tokens."""

_TEXTS = ("messages", "input", "prompt", "system", "instructions", "tools", "contents")
_CHARACTERS_PER_TOKEN = 4.0  # of English; what is assumed before the first report
_FIRST_MEASURE = 400.0  # the assumption's weight, in units of measure
_FIRST_OUTPUT = 256  # tokens
_MEMORY = 500.0  # calls after which what was learned counts half: a file's middle may be different


@dataclass(frozen=True, eq=False)
class Estimate(Mapping[str, int]):
    """What a call is expected to use, in tokens; and, as a mapping, what it is to hold of each
    limit while it is in flight: what `start_task`, `submit` and `map` take.

    model   the model, or whatever key its costs are learned by
    input   of the prompt
    output  of the answer
    most    that the answer may have; None where the request does not say
    size    the measured prompt, from which `input` was computed
    """

    model: str
    input: int
    output: int
    most: int | None
    size: int
    amounts: Mapping[str, int]

    def __getitem__(self, name: str) -> int:
        return self.amounts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.amounts)

    def __len__(self) -> int:
        return len(self.amounts)

    @property
    def total(self) -> int:
        return self.input + self.output


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
        """The estimate for a request: its JSON body, decoded, or just the prompt's text, or the
        size of that as measured.

        model      by default what the body says
        most       the most tokens that the answer may have, by default what the body says
        in_flight  how many calls are; the more, the less each has to allow for
        rule       how the provider charges
        units      the limits of which it is to say what the call holds
        """
        if model is None:
            model = model_of(request)
        if isinstance(request, int):
            size = request
        elif isinstance(request, str):
            size = self.measure(request)
        else:
            size = measure_body(request, self.measure)
            most = most_output(request) if most is None else most
        size = max(1, size)
        known = self._model(model)
        if known.reports:
            spread = math.sqrt(known.variance)
            output = math.ceil(known.mean + 2 * spread / math.sqrt(in_flight + 1))
        else:
            output = _FIRST_OUTPUT
        if most is not None:
            output = min(output, most)
        read = math.ceil(size * known.tokens / known.measure)
        held = rule.reserved(read, output, most)
        return Estimate(model, read, output, most, size, {unit: held[unit] for unit in units})

    def learn(self, estimate: Estimate, usage: Usage) -> None:
        """The call that was estimated so has used this."""
        model = self._model(estimate.model)
        keep = 1 - 1 / _MEMORY
        model.tokens = keep * model.tokens + usage.input
        model.measure = keep * model.measure + estimate.size
        model.reports = keep * model.reports + 1
        weight = 1 / model.reports
        away = usage.output - model.mean
        model.mean += weight * away
        model.variance = (1 - weight) * (model.variance + weight * away * away)

    def learned(self) -> dict[str, dict[str, float]]:
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


def measure_body(body: Mapping[str, Any], measure: Measure) -> int:
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
            parts += [value for key, value in cast("dict[str, Any]", part).items() if key != "data"]
    return size


def most_output(body: Mapping[str, Any]) -> int | None:
    """The most tokens that the answers may have together; None where nothing is said."""
    for place, name in _asked(body):
        most = place.get(name)
        if isinstance(most, int) and not isinstance(most, bool) and most >= 0:
            answers = body.get("n")
            return most * (answers if isinstance(answers, int) and answers > 1 else 1)
    if "input" in body and "embed" in model_of(body):
        return 0
    return None


def _asked(body: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Where a request may say it."""
    for name in ("max_completion_tokens", "max_output_tokens", "max_tokens"):
        yield body, name
    for config in (body.get("generationConfig"), body.get("generation_config")):  # Gemini's
        if isinstance(config, Mapping):
            for name in ("maxOutputTokens", "max_output_tokens"):
                yield cast("Mapping[str, Any]", config), name


def embeds(url: str) -> bool:
    """Whether the answer to a request there has no text, but numbers."""
    return url.partition("?")[0].endswith("/embeddings")


def model_of(request: object) -> str:
    """The model that a decoded body names; of anything else the empty string."""
    model: object = None
    if isinstance(request, Mapping):
        model = cast("Mapping[str, Any]", request).get("model")
    return model if isinstance(model, str) else ""
