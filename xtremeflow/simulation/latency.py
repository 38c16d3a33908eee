"""The duration of a simulated call: a model of its network and of a model's inference."""

from __future__ import annotations

from dataclasses import dataclass, fields
from random import Random
from typing import Protocol

from xtremeflow.values.arguments import check_number


@dataclass(frozen=True)
class Latency:
    """The parts of one call's duration, in seconds."""

    uplink: float  # from the client to the admission or refusal
    first_token: float  # from the admission to the first token of the answer
    generation: float  # from the first token to the last
    downlink: float  # from the refusal, or from the last token, back to the client

    @property
    def total(self) -> float:
        return self.uplink + self.first_token + self.generation + self.downlink


class LatencySource(Protocol):
    """An object that draws a call's Latency from its lengths. `random` is its only source of
    chance."""

    def draw(self, prompt_tokens: int, output_tokens: int, random: Random) -> Latency: ...


@dataclass(frozen=True)
class LatencyModel:
    """The first token comes after a fixed time plus a time per prompt token. Each further token
    takes a time per output token.

    All times are in seconds. `jitter` is the standard deviation of the logarithm of a factor (of
    mean 1) on a call's service time. The network's way back takes the whole `round_trip`, and its
    way up a random time from 0 to `uplink_jitter`. (A constant part of the way up would move all
    arrivals by the same time.) With an `uplink_jitter` calls may overtake one another.
    """

    round_trip: float = 0.02
    uplink_jitter: float = 0.0
    first_token: float = 0.2
    per_prompt_token: float = 0.0001
    per_output_token: float = 0.01
    jitter: float = 0.15

    def __post_init__(self) -> None:
        for field in fields(self):
            check_number(field.name, getattr(self, field.name), zero=True)

    def faster(self, speed: float) -> LatencyModel:
        """Returns the same model with all its times divided by `speed`."""
        times = {field.name: getattr(self, field.name) / speed for field in fields(self)}
        return LatencyModel(**{**times, "jitter": self.jitter})

    def draw(self, prompt_tokens: int, output_tokens: int, random: Random) -> Latency:
        factor = random.lognormvariate(-(self.jitter**2) / 2, self.jitter)
        return Latency(
            uplink=random.uniform(0, self.uplink_jitter),
            first_token=factor * (self.first_token + self.per_prompt_token * prompt_tokens),
            generation=factor * self.per_output_token * output_tokens,
            downlink=self.round_trip,
        )
