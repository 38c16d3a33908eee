"""The provider of the soak, and what it has seen."""

from __future__ import annotations

import asyncio
from collections import Counter

from bench.learning.calls import Answer, Refused
from bench.learning.world import World
from bench.soak.phases import Phase, Stage
from xtremeflow.providers.provider import UNITS
from xtremeflow.serve.disclosure import Disclosure
from xtremeflow.serve.profiles import Account
from xtremeflow.testing import CallRequest, SimulatedProvider


class Provider(World):
    """A World that becomes another. Calls that are under way end at the one before."""

    setting: Stage

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self.providers: list[SimulatedProvider] = [self.provider]
        self.passed: Counter[int] = Counter()  # by the call's index
        self.due: Counter[str] = Counter()  # what those are to be charged, by unit
        self.down = 0  # attempts that met an outage
        self._awaited, self._have_passed = 0, asyncio.Event()
        self._offered: dict[str, float] = {}
        self._since = self.now()
        self._use_up()

    def become(self, stage: Stage) -> None:
        """Limits that the stage does not change stay as they are; others have nothing left."""
        if stage == self.setting:
            return
        self._offered, self._since = self.offered(), self.now()
        amounts, limits = stage.amounts(), self.account.limits
        is_other = (stage.profile, amounts) != (self.setting.profile, self.account.amounts)
        if is_other:
            limits = stage.enforcers()
        quirks = stage.whole_quirks()
        self.setting = stage
        self.provider = stage.provider(limits, quirks)
        self.account = Account(limits, amounts, self.provider.now, self.account.wall)
        self._disclosure = Disclosure(stage.kind, self.account, quirks)
        self.providers.append(self.provider)
        if is_other:
            self._use_up()

    def _use_up(self) -> None:
        now = self.account.now()
        for limit in self.account.limits.values():
            limit.take(limit.remaining(now), now)

    def offered(self) -> dict[str, float]:
        """What has come to the limits from the beginning until now, by unit."""
        found = dict(self._offered)
        for name, amount in self.account.amounts.items():
            filled = amount * (self.now() - self._since) / 60.0
            found[UNITS[name]] = found.get(UNITS[name], 0.0) + filled
        return found

    async def ask(self, client: int, index: int, request: CallRequest) -> tuple[int, Answer]:
        """One attempt of the call of that index. Raises Refused."""
        stage = self.setting
        if stage.down:
            self.down += 1
            await asyncio.sleep(0.05)
            message = "The server is overloaded, please try again later."
            raise Refused(stage.down, {}, stage.kind.error(stage.down, message))
        answer = await self.call(client, request)
        self.passed[index] += 1
        if self.passed.total() >= self._awaited:
            self._have_passed.set()
        self.due.update(answer.usage)
        return index, answer

    async def play(self, phase: Phase, calls: int) -> None:
        """Becomes what the phase says, in its turn, while so many calls come."""
        parts = sum(stage.seconds == 0 for stage in phase.stages)
        have_passed = self.passed.total()
        for stage in phase.stages:
            self.become(stage)
            if stage.seconds:
                await asyncio.sleep(stage.seconds)
                continue
            have_passed += calls // parts
            self._awaited, self._have_passed = have_passed, asyncio.Event()
            await self._have_passed.wait()

    def differences(self) -> list[str]:
        """Where what it has done does not add up."""
        found: list[str] = []
        stats = [provider.stats for provider in self.providers]
        attempts, refused = sum(s.attempts for s in stats), sum(s.refused for s in stats)
        passed = self.passed.total()
        if attempts != passed + refused:
            found.append(f"{attempts} attempts, {passed} passed and {refused} refused")
        charged: Counter[str] = Counter()
        for one in stats:
            charged.update(one.charged)
            left = {name: getattr(one, name) for name in ("in_flight", "abandoned", "too_large")}
            found += [f"{name} at the provider: {n}" for name, n in left.items() if n]
        if +charged != +self.due:
            found.append(f"charged {dict(charged)}, what passed costs {dict(self.due)}")
        found += [f"call {i} was paid for {n} times" for i, n in self.passed.items() if n != 1]
        return found
