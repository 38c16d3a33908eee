"""A provider with a prefix cache, and prompts that share their beginnings."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from xtremeflow import report_first_token
from xtremeflow.answers.usage import usage_of
from xtremeflow.providers.provider import CacheRules
from xtremeflow.scheduler import TaskScheduler
from xtremeflow.serve import Service, Settings
from xtremeflow.serve.inquiry import CHARACTERS_PER_TOKEN
from xtremeflow.serve.responder import Incoming
from xtremeflow.testing import LatencyModel
from xtremeflow.values.usage import Usage

FIRST_TOKEN = 1.0  # s

PATHS = {
    "openai": "/v1/chat/completions",
    "anthropic": "/v1/messages",
    "deepseek": "/chat/completions",
    "vllm": "/v1/chat/completions",
}


@dataclass(frozen=True)
class Kind:
    """A job.

    groups    prefixes, of `shared` tokens each
    calls     of a group, with `own` tokens more each, and answers of `output` tokens
    system    tokens that all prompts begin with
    limits    of the provider, by their names
    tokens    units per minute of the scheduler's limits, by their names
    """

    name: str
    profile: str
    model: str
    groups: int
    calls: int
    shared: int
    own: int
    output: int
    system: int = 0
    per_output_token: float = 0.02
    limits: Mapping[str, int | None] = field(default_factory=dict[str, "int | None"])
    tokens: Mapping[str, float] = field(default_factory=dict[str, float])
    slots: int | None = None
    cache_room: int | None = None

    @property
    def quick(self) -> Kind:
        return replace(self, groups=min(self.groups, 3), calls=min(self.calls, 4))


class _Sink:
    """Says when the first piece of an answer comes."""

    def __init__(self) -> None:
        self.status = 0
        self.begun = 0.0
        self.parts: list[bytes] = []

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        self.status = status

    async def write(self, data: bytes, *, more: bool) -> None:
        if not self.parts and self.status < 400:
            self.begun = asyncio.get_running_loop().time()
            report_first_token()
        self.parts.append(data)


def _words(seed: str, tokens: int) -> str:
    """A text of that many tokens, which no other seed has."""
    text = f"{seed}:" + "".join(Random(seed).choices("abcdefghijklmnopqrstuvwxyz", k=64))
    size = tokens * CHARACTERS_PER_TOKEN
    return (text * (size // len(text) + 1))[:size]


class World:
    """The provider, and what the calls of a job were told."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        latency = LatencyModel(
            round_trip=0.0,
            first_token=FIRST_TOKEN,
            per_prompt_token=0.0,
            per_output_token=kind.per_output_token,
            jitter=0.0,
        )
        self.settings = Settings(
            kind.profile,
            limits=kind.limits,
            latency=latency,
            cache_room=kind.cache_room,
            output_tokens=kind.output,
            output_spread=0.0,
        )
        self.service = Service(self.settings, wall=lambda: 0.0)
        self.usages: list[Usage] = []
        self.warm_ups: list[Usage] = []  # of calls that only write a prefix
        self.begun: list[float] = []  # when the answer of each of them began
        self.refused = 0
        calls = [(group, n) for group in range(kind.groups) for n in range(kind.calls)]
        Random(1).shuffle(calls)
        self.calls = calls

    @property
    def by_group(self) -> dict[int, list[tuple[int, int]]]:
        """The calls of each group."""
        groups: dict[int, list[tuple[int, int]]] = {}
        for group, call in self.calls:
            groups.setdefault(group, []).append((group, call))
        return groups

    def body(self, group: int, call: int | None) -> bytes:
        """Returns the body of a call of the group; None: of one that has its prefix alone."""
        kind = self.kind
        shared = _words("system", kind.system) + _words(f"group {group}", kind.shared)
        own = "" if call is None else _words(f"call {group} {call}", kind.own)
        body: dict[str, Any] = {"model": kind.model, "max_tokens": kind.output, "stream": True}
        if kind.profile == "anthropic":
            mark = {"type": "ephemeral"}
            body["system"] = [{"type": "text", "text": shared, "cache_control": mark}]
            body["messages"] = [{"role": "user", "content": own}]
        else:
            body["messages"] = [{"role": "user", "content": shared + own}]
            body["stream_options"] = {"include_usage": True}
        return json.dumps(body).encode()

    async def call(
        self,
        group: int,
        call: int,
        scheduler: TaskScheduler | None = None,
        body: bytes | None = None,
    ) -> None:
        """Makes a call."""
        body = self.body(group, call) if body is None else body
        usage, begun = await self._answered(body, self.kind.output, scheduler)
        self.usages.append(usage)
        self.begun.append(begun)

    async def warm_up(self, group: int, scheduler: TaskScheduler) -> None:
        """Makes a call that has the group's prefix alone, and waits until that can be read."""
        usage, _ = await self._answered(self.body(group, None), 1, scheduler)
        self.warm_ups.append(usage)
        await asyncio.sleep(self.rules.delay)

    async def _answered(
        self, body: bytes, output: int, scheduler: TaskScheduler | None
    ) -> tuple[Usage, float]:
        """Sends a body again and again until it is not refused: after 1 s, 2 s, up to 32 s."""
        headers = {"x-simulated-output-tokens": str(output)}
        wait = 1.0
        while True:
            sink = _Sink()
            request = Incoming("POST", PATHS[self.kind.profile], headers, body)
            await self.service.handle(request, sink)
            if sink.status == 200:
                break
            self.refused += 1
            await asyncio.sleep(wait)
            wait = min(2 * wait, 32.0)
        usage = _usage(sink.parts)
        if scheduler is not None:
            scheduler.settle(usage, rule=self.service.profile.provider.rule)
        return usage, sink.begun

    @property
    def rules(self) -> CacheRules:
        rules = self.service.profile.provider.cache_of(self.kind.model)
        assert rules is not None
        return rules

    @property
    def possible(self) -> int:
        """The tokens that calls could read from a cache without bounds: what all prompts have in
        common in all but the first call, and each group's part in all but its first one."""
        kind, sent = self.kind, len(self.calls) + len(self.warm_ups)
        return (sent - 1) * kind.system + (sent - kind.groups) * kind.shared

    @property
    def hits(self) -> float:
        return sum(usage.cached for usage in self.usages) / self.possible

    @property
    def price(self) -> float:
        """The price of all prompts, as a part of that without a cache."""
        rules = self.rules
        sent = [*self.usages, *self.warm_ups]
        paid = sum(rules.paid(each.input, each.cached, each.written) for each in sent)
        return paid / sum(each.input for each in self.usages)


def _usage(parts: list[bytes]) -> Usage:
    found: dict[str, Any] = {}
    for line in b"".join(parts).split(b"\n"):
        if line.startswith(b"data: {"):
            data = json.loads(line[6:])
            told = data.get("usage") or data.get("message", {}).get("usage") or {}
            found.update({name: value for name, value in told.items() if value is not None})
    usage = usage_of({"usage": found})
    assert usage is not None
    return usage
