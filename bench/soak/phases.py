"""The provider's behaviour, one phase after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.learning.world import Setting
from xtremeflow.answers.verdict import LONGEST
from xtremeflow.simulation.quirks import WAITS
from xtremeflow.testing import Quirks

FALL = 0.6  # of the limits, in the middle of a phase: what is known of them does not do there


@dataclass(frozen=True)
class Stage(Setting):
    """What the provider is for a part of a phase's calls, or for a time.

    scale    its limits are so many times as large as usual
    down     the status with which it answers every call; 0 is: it is up
    seconds  how long it is so; 0 is: until this part of the calls has passed
    """

    scale: float = 1.0
    down: int = 0
    seconds: float = 0.0

    def amounts(self) -> dict[str, int]:
        return {name: round(self.scale * amount) for name, amount in super().amounts().items()}


@dataclass(frozen=True)
class Phase:
    """clients  schedulers on the key; each has its part of the calls
    longest  seconds: the longest wait that a client consents to
    """

    name: str
    stages: Sequence[Stage]
    clients: int = 1
    longest: float = 120.0


HONEST = Stage()
GROWTH = Quirks(growth=1.5, growth_over=5.0, growth_free=10)
SILENT = Quirks(headers="none", waits="none")
EVERYTHING = replace(GROWTH, quantum=1.0, noise=0.01, headers="static", waits="zero", blocked=3.0)


def _with(name: str, quirks: Quirks, *, profile: str = "openai", longest: float = 120.0) -> Phase:
    stage = Stage(profile, quirks)
    return Phase(name, [stage, replace(stage, scale=FALL)], longest=longest)


def _is(name: str, **quirks: object) -> Phase:
    return _with(name, Quirks.of(quirks))


def _down(status: int) -> Phase:
    return Phase(f"down: {status} for 30 s", [HONEST, Stage(down=status, seconds=30.0), HONEST])


def _tells(waits: str) -> Phase:
    """Of the wait only, and in that way. Who is told to wait for an age waits for a day: longer
    waits than `longest` are the caller's to decide on."""
    quirks = Quirks(headers="none", waits=waits, blocked=3.0)
    return _with(f"no headers, waits: {waits}", quirks, longest=LONGEST)


PHASES = (
    Phase("honest", [HONEST]),
    _is("by the second", quantum=1.0),
    _is("by ten seconds", quantum=10.0),
    _is("refused requests do not count", refused_count=False),
    _with("steep growth refused", GROWTH),
    _with("the same with 503", replace(GROWTH, growth_status=503)),
    _is("static headers", headers="static"),
    _is("resets as Unix times", headers="unix"),
    _is("1 % refused at random", noise=0.01),
    _is("the first five refused at random", noise_first=5),
    _is("all refused for 3 s, waits: zero", blocked=3.0, waits="zero"),
    _is("all refused for 3 s, waits: short", blocked=3.0, waits="short"),
    *map(_tells, WAITS),
    _is("refusals in a 200", refused_in_200=True, blocked=3.0),
    _is("refusals in a 200, no headers", refused_in_200=True, blocked=3.0, headers="none"),
    _with("silent", SILENT),
    _with("silent, a sliding minute", SILENT, profile="mistral"),
    _with("silent, by the second", replace(SILENT, quantum=1.0)),
    _down(503),
    _down(529),
    Phase("limits halved, then doubled", [HONEST, Stage(scale=0.5), Stage(scale=2.0)]),
    Phase("two clients on the key", [HONEST, Stage(scale=FALL)], clients=2),
    _with("by the second, steep, random, static, zero", EVERYTHING),
    Phase("honest again", [HONEST]),
)
