"""A provider and a client without a clock of their own: what the answers of calls would tell."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Any

from xtremeflow.answers.headers import Observation, observations
from xtremeflow.learning.costs.charges import Charges, parts_of
from xtremeflow.providers import PROVIDERS
from xtremeflow.serve.profiles import PROFILES, Account
from xtremeflow.simulation.enforcers import NANOSECONDS
from xtremeflow.testing import CallRequest
from xtremeflow.values.charges import ChargeRule
from xtremeflow.values.usage import Usage

LIMITS: dict[str, dict[str, int | None]] = {
    "openai": {"rpm": 5_000, "tpm": 200_000},
    "azure": {"rpm": 5_000, "tpm": 200_000},
    "anthropic": {"rpm": 6_000, "itpm": 200_000, "otpm": 60_000},
    "mistral": {"rpm": 5_000, "tpm": 200_000},
    "groq": {"rpm": 5_000, "rpd": 500_000, "tpm": 200_000},
}
RULES = {name: PROVIDERS[name].rule for name in LIMITS}
CALLS = [
    (Usage(prompt, written, cached), most)
    for prompt in (10, 1_000)
    for written in (10, 1_000)
    for cached in (0, prompt // 2)
    for most in (written, 2_000)
]
"""By what is told of calls of these kinds, rules are told apart."""


@dataclass(frozen=True)
class Answered:
    """One answer as the client sees it."""

    seen: list[Observation]
    sent_at: float
    at: float
    most: int
    usage: Usage


@dataclass
class World:
    """So many calls at a time, each sent again as soon as it is answered or the limits allow.

    told     when what is left is looked up: "admitted", "ended" or "settled"
    jitter   by how much the ways to and fro vary, in seconds
    cached   the share of the calls a part of whose prompt is in the cache
    slack    max_tokens is up to so many times the output more than it; None: not given
    others   the share of the limit that other users take
    """

    profile: str
    seed: int = 0
    in_flight: int = 16
    told: str = "settled"
    jitter: float = 0.03
    cached: float = 0.5
    slack: float | None = 6.0
    others: float = 0.0
    seconds: float = 0.01  # per token of the answer

    def answers(self, calls: int) -> Iterator[Answered]:
        random = Random(self.seed)
        profile = PROFILES[self.profile]
        now = 1000.0
        amounts = profile.amounts(LIMITS[self.profile])
        limits = {name: profile.enforcer(name, amount, 60.0) for name, amount in amounts.items()}
        account = Account(limits, amounts, lambda: now, lambda: 1.8e9 + now)
        events: list[tuple[float, int, str, Any]] = []
        order = count()

        def later(delay: float, what: str, about: Any) -> None:
            heapq.heappush(events, (now + delay, next(order), what, about))

        def way() -> float:
            return 0.02 + random.uniform(0, self.jitter)

        def send() -> None:
            written = max(1, round(random.expovariate(1 / 200)))
            prompt = random.randrange(50, 800)
            most = None if self.slack is None else written + int(random.random() * self.slack * 200)
            cached = int(prompt * random.random()) if random.random() < self.cached else 0
            request = CallRequest(prompt, written, most, cached_tokens=cached)
            later(way(), "arrive", (request, now))

        for _ in range(self.in_flight):
            later(random.random(), "send", None)
        if self.others:
            later(0.0, "other", None)
        while calls:
            now, _, what, about = heapq.heappop(events)
            instant = round(now * NANOSECONDS)
            if what == "send":
                send()
            elif what == "other":
                for limit in limits.values():
                    taken = round(limit.largest * self.others / 60)
                    if limit.unit != "requests" and limit.wait(taken, instant) == 0:
                        limit.take(taken, instant)
                later(1.0, "other", None)
            elif what == "arrive":
                request, sent_at = about
                costs = profile.charge(request)
                waits = [limit.wait(costs[limit.unit], instant) for limit in limits.values()]
                if wait := max(w or 0 for w in waits):  # its client would know, and not send it yet
                    later(wait / NANOSECONDS + 1e-3, "arrive", (request, None))
                    continue
                sent_at = now - way() if sent_at is None else sent_at
                for limit in limits.values():
                    limit.take(costs[limit.unit], instant)
                headers = profile.headers(account)
                duration = 0.3 + self.seconds * request.answer_tokens
                later(duration, "end", (request, sent_at, costs, instant, headers))
            elif what == "end":
                request, sent_at, costs, taken_at, headers = about
                if self.told == "ended":
                    headers = profile.headers(account)
                actual = profile.settle(request, request.completion_tokens)
                for limit in limits.values() if actual is not None else ():
                    limit.settle(costs[limit.unit], actual[limit.unit], taken_at, instant)
                if self.told == "settled":
                    headers = profile.headers(account)
                later(way(), "answer", (request, sent_at, headers))
            else:
                request, sent_at, headers = about
                usage = Usage(
                    request.prompt_tokens, request.completion_tokens, request.cached_tokens
                )
                seen = observations(headers, None, 1.8e9 + now)
                yield Answered(seen, sent_at, now, request.max_tokens or 0, usage)
                calls -= 1
                send()

    def learn(self, calls: int, charges: Charges | None = None) -> list[ChargeRule]:
        """What is believed after each answer."""
        charges = charges or Charges()
        beliefs: list[ChargeRule] = []
        for answer in self.answers(calls):
            take_in(charges, answer)
            beliefs.append(charges.rule("m") or ChargeRule())
        return beliefs


def take_in(charges: Charges, answer: Answered, key: str = "m") -> None:
    charges.told(key, answer.seen, answer.sent_at, answer.at)
    charges.ended(key, parts_of(answer.usage, answer.most, answer.sent_at, answer.at))


def is_bold(believed: ChargeRule, right: ChargeRule) -> bool:
    """Whether by what is believed some call costs less than it does."""
    return any(
        believed.settled(usage, most)[unit] < cost
        for usage, most in CALLS
        for unit, cost in right.settled(usage, most).items()
    )
