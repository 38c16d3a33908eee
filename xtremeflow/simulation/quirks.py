"""Ways in which providers and gateways do not keep to what they say.

Each is documented by a provider or was reported by users; docs/serve.md names the sources.
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from random import Random
from typing import Any, Literal

from xtremeflow.values.arguments import check_int, check_number

Reason = Literal["rate", "growth", "noise", "blocked"]
"""Why a call is refused: for a limit, or for one of the quirks of that name."""

HEADERS = ("honest", "static", "none", "unix")


def _at(wait: float, wall: float) -> str:
    return str(math.ceil(wall + wait))


def _twice(wait: float, wall: float) -> str:
    return f"{math.ceil(wait)}, {math.ceil(wait)}"


WAITS: Mapping[str, Mapping[str, Callable[[float, float], str]]] = {
    "honest": {
        "retry-after": lambda wait, wall: str(math.ceil(wait)),
        "retry-after-ms": lambda wait, wall: str(math.ceil(wait * 1000)),
    },
    "none": {},
    "text": {},
    "zero": {"retry-after": lambda wait, wall: "0"},
    "short": {"retry-after-ms": lambda wait, wall: "5"},
    "unix": {"retry-after": _at},
    "joined": {"retry-after": _twice},
    "negative": {"retry-after": lambda wait, wall: str(-math.ceil(wait))},
    "absurd": {"retry-after": lambda wait, wall: "1000000000000000"},
    "date": {"retry-after": lambda wait, wall: "Wed, 31 Feb 2027 25:61:00 GMT"},
}
"""The headers by which a refusal tells its wait, from that and the time since the epoch (s)."""


@dataclass(frozen=True)
class Quirks:
    """How a provider breaks what it says. By default it breaks nothing.

    Args:
        quantum: Seconds: each limit is enforced by its part of this time. 1,200 requests per minute
            with a quantum of 1 are 20 per second. Headers tell of the minute. A call above the part
            passes when the part is full.
        refused_count: Whether a refused call takes a request from the limits on requests, as far as
            something is left. None: as the profile does (OpenAI's does). Without a profile it does
            not.
        longest: Seconds: limits with a longer period (those of a day) have neither of these two
            quirks.
        growth: Refuses requests when there are more than this many times those of the time before,
            although they are within the limits.
        growth_over: That time, in seconds.
        growth_free: This many requests in that time are never too many.
        growth_status: The status of those refusals; their code is `slow_down`.
        noise: Refuses this share of the calls at random, with a 429 that tells nothing.
        noise_first: Also refuses this many calls at the start.
        blocked: Refuses all calls for this many seconds, from the first on.
        waits: How refusals tell the wait: one of WAITS; "text" is in their message only.
        headers: Over HTTP: how answers tell the limits; "static" repeats the first answer's headers
            for ever, "none" leaves them out, "unix" has the time of a reset where others have the
            seconds until then.
        refused_in_200: Over HTTP: whether refusals are an error object in an answer with status
            200.
    """

    quantum: float | None = None
    refused_count: bool | None = None
    longest: float = 3600.0
    growth: float | None = None
    growth_over: float = 10.0
    growth_free: int = 20
    growth_status: int = 429
    noise: float = 0.0
    noise_first: int = 0
    blocked: float = 0.0
    waits: str = "honest"
    headers: str = "honest"
    refused_in_200: bool = False

    def __post_init__(self) -> None:
        for name in ("quantum", "longest", "growth", "growth_over"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), zero=False)
        check_number("blocked", self.blocked, zero=True)
        check_number("noise", self.noise, zero=True)
        if self.noise > 1:
            raise ValueError(f"noise must be a share from 0 to 1, got {self.noise!r}")
        check_int("growth_free", self.growth_free, 1)
        check_int("noise_first", self.noise_first, 0)
        _check_choice("growth_status", self.growth_status, (429, 503))
        _check_choice("waits", self.waits, tuple(WAITS))
        _check_choice("headers", self.headers, HEADERS)
        _check_choice("refused_count", self.refused_count, (None, True, False))
        _check_choice("refused_in_200", self.refused_in_200, (True, False))

    @staticmethod
    def of(values: Mapping[str, Any]) -> Quirks:
        """Makes Quirks of values by name. Raises ValueError or TypeError."""
        known = [field.name for field in fields(Quirks)]
        for name in values:
            if name not in known:
                raise ValueError(f"there is no quirk {name!r}; there are {', '.join(known)}")
        return Quirks(**values)

    @staticmethod
    def from_texts(texts: Iterable[str]) -> Quirks:
        """Reads texts `NAME=VALUE`, or `NAME` for a boolean. Raises ValueError or TypeError."""
        values: dict[str, Any] = {}
        for text in texts:
            name, equals, value = text.partition("=")
            try:
                values[name] = json.loads(value) if equals else True
            except ValueError:
                values[name] = value
        return Quirks.of(values)

    def faster(self, speed: float) -> Quirks:
        """Returns the same quirks with all times divided by `speed`."""
        return replace(
            self,
            quantum=None if self.quantum is None else self.quantum / speed,
            longest=self.longest / speed,
            growth_over=self.growth_over / speed,
            blocked=self.blocked / speed,
        )

    def told_wait(self, wait: float | None, wall: float) -> tuple[dict[str, str], str]:
        """Returns the headers that tell a wait (s), and the words of the message. `wall` is in
        seconds since the epoch. An unknown wait (None) is not told.
        """
        if wait is None:
            return {}, ""
        headers = {name: told(wait, wall) for name, told in WAITS[self.waits].items()}
        said = f" Please retry after {math.ceil(wait)} seconds." if self.waits == "text" else ""
        return headers, said


class Door:
    """Refuses calls for causes other than the limits, as Quirks say. Times are in seconds."""

    def __init__(self, quirks: Quirks, seed: int) -> None:
        self._quirks = quirks
        self._random = Random(f"{seed}/noise")
        self._first = quirks.noise_first
        self._opens: float | None = None
        self._passed: deque[float] = deque()  # times of passed calls, for two times `growth_over`

    def refuses(self, now: float) -> tuple[Reason, float | None] | None:
        """Returns the cause and the wait of a refusal that no limit explains, or None. To be called
        before the limits are asked."""
        quirks = self._quirks
        if self._opens is None:
            self._opens = now + quirks.blocked
        if now < self._opens:
            return "blocked", self._opens - now
        if self._first:
            self._first -= 1
            return "noise", None
        if quirks.noise and self._random.random() < quirks.noise:
            return "noise", None
        return None

    def too_steep(self, now: float) -> bool:
        """Returns whether calls have grown too fast. To be called after the limits have let a call
        pass."""
        quirks = self._quirks
        if quirks.growth is None:
            return False
        since = now - quirks.growth_over
        while self._passed and self._passed[0] <= since - quirks.growth_over:
            self._passed.popleft()
        before = sum(1 for time in self._passed if time <= since)
        lately = len(self._passed) - before
        if lately + 1 > max(quirks.growth_free, quirks.growth * before):
            return True
        self._passed.append(now)
        return False


def _check_choice(name: str, value: object, allowed: tuple[object, ...]) -> None:
    if not any(value is one or (value == one and type(value) is type(one)) for one in allowed):
        raise ValueError(f"{name} must be {', '.join(map(str, allowed))}, got {value!r}")
