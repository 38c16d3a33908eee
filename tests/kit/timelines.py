"""A timeline in the tests' own process, on the running loop's clock: members need no server, and a
test decides about delays, losses and deaths.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from xtremeflow.share.keeper import Keeper, KeptShare, Terms, Unreachable
from xtremeflow.share.records import Row
from xtremeflow.share.timeline import Timeline

T = TypeVar("T")


class Network:
    """What lies between the members and the timeline."""

    def __init__(self, delay: float = 0.0, seed: int = 0) -> None:
        self.delay = delay  # seconds, one way; each is half to one and a half times that
        self.broken: Exception | None = None
        self.loss = 0.0  # part of the commands that is lost, and of their answers
        self.skew = 0  # microseconds by which the keeper's clock differs
        self.commands = 0
        self.random = random.Random(seed)

    async def travel(self) -> None:
        if self.delay > 0:
            await asyncio.sleep(self.delay * self.random.uniform(0.5, 1.5))
        if self.broken is not None:
            raise self.broken
        if self.random.random() < self.loss:
            raise Unreachable("lost")


class TimelineShare(KeptShare):
    """A share whose account is this timeline."""

    def __init__(self, network: Network | None = None, terms: Terms | None = None) -> None:
        self.timeline, self.network = Timeline(), network or Network()
        self.terms = terms or Terms()
        self.listening: dict[str, Callable[[str], None]] = {}
        self.silent: set[str] = set()
        self.dead: set[str] = set()

    def __str__(self) -> str:
        return "timeline"

    def keeper(self, member: str) -> Keeper:
        return _Keeper(self, member)

    def loop(self) -> _Loop:
        return _Loop()

    def now(self) -> int:
        time = asyncio.get_running_loop().time()
        return round(time * 1e6) + 1_700_000_000_000_000 + self.network.skew

    def silence(self, member: str) -> None:
        """Lets a member never be heard of again, nor hear, though its connection is there."""
        self.silent.add(member)
        self.listening.pop(member, None)

    def kill(self, member: str) -> None:
        """Does the same, and ends its connection."""
        self.silence(member)
        self.dead.add(member)

    def publish(self) -> None:
        news, self.timeline.published = self.timeline.published, []
        loop = asyncio.get_running_loop()
        for to, text in news:
            for member, hear in list(self.listening.items()):
                if to in ("", member):
                    loop.call_later(self.network.delay, hear, text)


class _Keeper:
    def __init__(self, share: TimelineShare, member: str) -> None:
        self.share, self.member = share, member
        self.connected = False

    async def connect(self, heard: Callable[[str], None]) -> str:
        if self.connected:  # the first time within the constructor of a scheduler
            await self.share.network.travel()
        self.share.listening[self.member] = heard
        return self.member

    async def command(self, name: str, *arguments: Any) -> Row:
        share = self.share
        share.network.commands += 1
        if self.member in share.silent:
            await asyncio.sleep(3)
            raise Unreachable("silent")
        if self.connected:
            await share.network.travel()
        row: Row = getattr(share.timeline, name)(share.now(), *arguments)
        share.publish()
        if self.connected:
            await share.network.travel()
        self.connected |= name == "join"
        return row

    async def status(self) -> dict[str, Any] | None:
        return self.share.timeline.status(self.share.now())

    async def clear(self) -> bool:
        existed, self.share.timeline.exists = self.share.timeline.exists, False
        return existed

    async def lives(self, connection: str) -> bool:
        return connection not in self.share.dead

    async def close(self) -> None:
        self.share.listening.pop(self.member, None)


class _Loop:
    """The running loop, which has a clock of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.tasks: set[asyncio.Task[None]] = set()

    def clock(self) -> int:
        return round(self.loop.time() * 1e9)

    def wake(self, call: Callable[[], None]) -> None:
        loop = getattr(self, "loop", None)  # None: after a test that has failed
        if loop is not None and not loop.is_closed():
            loop.call_soon(call)

    def finish(self, coroutine: Coroutine[Any, Any, T], seconds: float) -> T:
        try:
            coroutine.send(None)
        except StopIteration as stop:
            result: T = stop.value
            return result
        raise AssertionError("joining has to end at once")

    def start(self, coroutine: Coroutine[Any, Any, None]) -> Callable[[float], None]:
        task = self.loop.create_task(coroutine)
        self.tasks.add(task)
        return lambda _: None
