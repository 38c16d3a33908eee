"""The settings of a simulated provider."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from xtremeflow.serve.faults import Fault
from xtremeflow.serve.profiles import PROFILES
from xtremeflow.simulation.latency import LatencyModel
from xtremeflow.simulation.quirks import Quirks
from xtremeflow.values.arguments import check_int, check_kind, check_list, check_number, check_text


@dataclass(frozen=True)
class Settings:
    """The settings of a simulated provider.

    Args:
        profile: One of PROFILES.
        limits: Other amounts than the profile's, by name ("rpm", ...); None is no limit.
        speed: Factor of the provider's time: its minute lasts 60 / speed seconds.
        latency: The delays of its answers, in the seconds of a real provider, without uplink
            jitter.
        output_tokens: Mean length of answers whose request does not state it.
        output_spread: Standard deviation of the logarithm of those lengths.
        tokens_per_event: Tokens of an event in a stream.
        credit: Tokens after which the account's credit is spent; None is never.
        only_key: The only API key that works; None takes any key.
        only_models: The models that exist; None takes any name.
        faults: The faults that are on at the start.
        quirks: The ways in which it breaks what it says, in the seconds of a real provider.
        batch: Calls worked on at a time, the others waiting; None is the profile's own.
        cache_room: Tokens that the prefix cache holds; None is the profile's own.
        keep_alive: Seconds between signs of life; None is the profile's own.
        seed: The seed of latencies, lengths and faults.
    """

    profile: str = "openai"
    limits: Mapping[str, int | None] = field(default_factory=dict[str, int | None])
    speed: float = 1.0
    latency: LatencyModel = field(default_factory=LatencyModel)
    output_tokens: float = 120.0
    output_spread: float = 0.5
    tokens_per_event: int = 4
    credit: int | None = None
    only_key: str | None = None
    only_models: Sequence[str] | None = None
    faults: Sequence[Fault] = ()
    quirks: Quirks = field(default_factory=Quirks)
    batch: int | None = None
    cache_room: int | None = None
    keep_alive: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_kind("profile", self.profile, str)
        if self.profile not in PROFILES:
            known = ", ".join(PROFILES)
            raise ValueError(f"profile must be one of {known}, got {self.profile!r}")
        check_kind("limits", self.limits, Mapping)
        PROFILES[self.profile].amounts(self.limits)
        check_kind("latency", self.latency, LatencyModel)
        check_kind("quirks", self.quirks, Quirks)
        check_list("faults", self.faults, Fault)
        if isinstance(self.only_models, str):  # whose letters would be the models
            raise TypeError(f"only_models must be a list of names, got {self.only_models!r}")
        if self.only_models is not None:
            check_list("only_models", self.only_models, str)
        check_text("only_key", self.only_key)
        check_int("seed", self.seed)
        for name in ("speed", "keep_alive"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), zero=False)
        for name in ("output_tokens", "output_spread"):
            check_number(name, getattr(self, name), zero=True)
        for name in ("tokens_per_event", "credit", "batch", "cache_room"):
            if getattr(self, name) is not None:
                check_int(name, getattr(self, name), 1)

    @property
    def minute(self) -> float:
        """The length of the provider's minute, in seconds."""
        return 60.0 / self.speed

    def answer_length(self, random: Random) -> int:
        if self.output_tokens == 0:
            return 0
        spread = self.output_spread
        mean = math.log(self.output_tokens) - spread**2 / 2
        return max(1, round(random.lognormvariate(mean, spread)))
