"""A provider that may not be what it says, and clients whose calls have no end, in virtual time.

Calls have 50 to 8,000 tokens, small ones more often than large ones (the logarithm is uniform); a
fifth of them is the answer's. The limits are set so that requests and tokens bind about alike. The
ways to the provider and back take 20 to 60 ms each, answers 1 to 3 s.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from statistics import mean

from bench.learning.calls import Answer, Refused
from xtremeflow.providers.provider import UNITS, period
from xtremeflow.serve.disclosure import Disclosure
from xtremeflow.serve.profiles import PROFILES, Account, Profile
from xtremeflow.testing import (
    CallRequest,
    Enforcer,
    Latency,
    Quirks,
    RateLimitError,
    RequestTooLargeError,
    SimulatedProvider,
)

RPM = 600
SMALLEST, LARGEST = 50, 8_000  # tokens
ONE_WAY = (0.02, 0.06)  # s
SERVICE = (1.0, 3.0)
FIRST = 60.0  # s; what comes later is "from the second minute on"
STEP = 0.05  # s, with which the ideal client tries what tells no wait


class Delays:
    """A LatencySource."""

    def draw(self, prompt_tokens: int, output_tokens: int, random: Random) -> Latency:
        up, down = random.uniform(*ONE_WAY), random.uniform(*ONE_WAY)
        return Latency(up, random.uniform(*SERVICE), 0.0, down)


@dataclass(frozen=True)
class SeenAttempt:
    """An attempt as the provider saw it, `time` in seconds from the beginning."""

    time: float
    client: int
    refused: bool
    noise: bool  # refused at random
    costs: Mapping[str, int]


@dataclass(frozen=True)
class Setting:
    """A provider: one of the PROFILES, its quirks, the seed of all chance, and the requests a
    minute."""

    profile: str = "openai"
    quirks: Quirks = field(default_factory=Quirks)
    seed: int = 0
    rpm: int = RPM

    @property
    def kind(self) -> Profile:
        return PROFILES[self.profile]

    def amounts(self) -> dict[str, int]:
        """The limits of a minute: `rpm`, and what so many calls of the mean cost of the others."""
        sample = [next(self.requests(0)) for _ in range(1)] + [
            request for request, _ in zip(self.requests(-1), range(4_000), strict=False)
        ]
        found: dict[str, int] = {}
        for name in self.kind.quotas:
            if name == "rpm":
                found[name] = self.rpm
            elif name in ("tpm", "itpm", "otpm"):
                used = mean(self.used(request)[UNITS[name]] for request in sample)
                found[name] = round(self.rpm * used, -3)
        return found

    def requests(self, client: int) -> Iterator[CallRequest]:
        """What a client asks for, without an end; always the same."""
        random = Random(f"{self.seed}/{client}")
        low, high = math.log(SMALLEST), math.log(LARGEST)
        while True:
            tokens = round(math.exp(random.uniform(low, high)))
            output = tokens // 5
            yield CallRequest(tokens - output, output, output)

    def used(self, request: CallRequest) -> Mapping[str, int]:
        """What a call is charged in the end."""
        settled = self.kind.settle(request, request.completion_tokens)
        return settled or self.kind.charge(request)

    def enforcers(self) -> dict[str, Enforcer]:
        return {name: self.kind.enforcer(name, n, 60.0) for name, n in self.amounts().items()}

    def provider(self, enforcers: Mapping[str, Enforcer], quirks: Quirks) -> SimulatedProvider:
        return SimulatedProvider(
            enforcers.values(),
            latency=Delays(),
            charge=self.kind.charge,
            seed=self.seed,
            record=False,
            quirks=quirks,
        )

    def whole_quirks(self) -> Quirks:
        """With what the profile does by itself."""
        counted = self.quirks.refused_count
        if counted is None:
            counted = self.kind.provider.refused_count
        return replace(self.quirks, refused_count=counted)


class World:
    """A provider with its clients, from 0 on. To be made on a running loop."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        quirks = setting.whole_quirks()
        enforcers = setting.enforcers()
        self.provider = setting.provider(enforcers, quirks)
        self.account = Account(enforcers, setting.amounts(), self.provider.now, time.time)
        self._disclosure = Disclosure(setting.kind, self.account, quirks)
        self._began = asyncio.get_running_loop().time()
        self.seen: list[SeenAttempt] = []
        self.lost: Counter[int] = Counter()  # by client

    def now(self) -> float:
        """Seconds from the beginning."""
        return self.provider.now() - self._began

    async def call(self, client: int, request: CallRequest) -> Answer:
        """One attempt. Raises Refused."""
        provider, kind = self.provider, self.setting.kind
        latency = provider.latency_of(request)
        provider.arrive()
        await asyncio.sleep(latency.uplink)
        used = self.setting.used(request)
        try:
            reservation = provider.admit(request)
        except (RateLimitError, RequestTooLargeError) as error:
            noise = isinstance(error, RateLimitError) and error.reason == "noise"
            self.seen.append(SeenAttempt(self.now(), client, refused=True, noise=noise, costs=used))
            rejection = self._disclosure.refusal(error, "m")
            headers = {
                **kind.identify("req", 0),
                **(self._disclosure.headers() if rejection.told else {}),
                **rejection.headers,
            }
            await asyncio.sleep(latency.downlink)
            raise Refused(rejection.status, headers, rejection.body) from None
        self.seen.append(SeenAttempt(self.now(), client, refused=False, noise=False, costs=used))
        with reservation:
            await asyncio.sleep(latency.first_token)
            if kind.settle(request, request.completion_tokens) is not None:
                reservation.settle(used)
            told = self._disclosure.headers()
            await asyncio.sleep(latency.downlink)
        return Answer(told, used)

    def served(self, since: float, until: float, client: int | None = None) -> dict[str, float]:
        """What was let pass in that time, by unit."""
        found: Counter[str] = Counter()
        for one in self.seen:
            mine = client is None or one.client == client
            if mine and not one.refused and since <= one.time < until:
                found.update(one.costs)
        return dict(found)

    def refused(self, since: float, until: float) -> float:
        """The share of the attempts that were refused, those at random left out."""
        attempts = [one for one in self.seen if since <= one.time < until and not one.noise]
        return sum(one.refused for one in attempts) / max(1, len(attempts))


def ideal(setting: Setting, until: float) -> list[tuple[float, Mapping[str, int]]]:
    """When an all-knowing client's calls pass, sent one after another, and what each costs."""
    now = 0.0
    quirks = replace(setting.whole_quirks(), noise=0.0, noise_first=0, refused_count=False)
    provider = SimulatedProvider(
        setting.enforcers().values(),
        charge=setting.used,
        clock=lambda: now,
        record=False,
        quirks=quirks,
    )
    passed: list[tuple[float, Mapping[str, int]]] = []
    for request in setting.requests(0):
        while now < until:
            try:
                provider.admit(request)
                passed.append((now, setting.used(request)))
                break
            except RateLimitError as error:
                now += STEP if error.wait is None else max(error.wait, 1e-6)
        if now >= until:
            return passed
    raise AssertionError("the requests have no end")


def share(
    setting: Setting, served: Mapping[str, float], ideal_served: Mapping[str, float]
) -> float:
    """How much of the ideal was served, by the limit of which that is most."""
    units = {UNITS[name] for name in setting.amounts() if period(name, 60.0) == 60.0}
    return max(served.get(unit, 0.0) / max(1.0, ideal_served.get(unit, 0.0)) for unit in units)
