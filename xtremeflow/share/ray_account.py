"""The actor that keeps the account of a share on Ray: a timeline, and the members connected to it.

A member has two calls under way that only end with its connection. `news` waits for messages. The
result of `hold` belongs to the member's process, and the actor waits for it: when that process or
its node dies, Ray tells the actor at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Any

from xtremeflow.share.records import Row
from xtremeflow.share.timeline import Timeline


@dataclass
class _Connection:
    member: str = ""
    texts: list[str] = field(default_factory=list[str])  # that the member has not fetched yet
    told: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class RayAccount:
    """The actor's class. All methods run in one event loop; only `hold` and `news` wait."""

    def __init__(self) -> None:
        self._timeline = Timeline()
        self._connections: dict[str, _Connection] = {}
        self._watching: set[asyncio.Task[None]] = set()

    async def hold(self, name: str) -> None:
        """Ends when the connection of this name ends."""
        await self._connections.setdefault(name, _Connection()).ended.wait()

    async def enter(self, member: str, name: str, held: Sequence[Awaitable[None]]) -> None:
        """Begins a connection of a member. `held` is the result of its `hold`, within a list, or
        Ray would wait for it before the call."""
        self._connections.setdefault(name, _Connection()).member = member
        task = asyncio.ensure_future(self._watch(name, held[0]))
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)

    async def _watch(self, name: str, held: Awaitable[None]) -> None:
        try:
            await held
        except Exception:  # of Ray: the owner is dead
            self._bury(name)
        await self.leave(name)

    def _bury(self, name: str) -> None:
        """Ends the membership of a member whose process has died with this connection."""
        connection = self._connections.get(name)
        if connection is None or not self._timeline.exists:
            return
        record = self._timeline.members.get(connection.member)
        if record is not None and record.connection == name:
            self._run("bury", connection.member, record.seen)

    async def leave(self, name: str) -> None:
        """Ends a connection."""
        connection = self._connections.pop(name, None)
        if connection is not None:
            connection.ended.set()
            connection.told.set()

    async def command(self, name: str, arguments: Sequence[Any]) -> Row:
        """Runs a command of the timeline and returns its answer."""
        return self._run(name, *arguments)

    def _run(self, name: str, *arguments: Any) -> Row:
        row: Row = getattr(self._timeline, name)(_now(), *arguments)
        published, self._timeline.published = self._timeline.published, []
        for to, text in published:
            for connection in self._connections.values():
                if to in ("", connection.member):
                    connection.texts.append(text)
                    connection.told.set()
        return row

    async def news(self, name: str) -> list[str]:
        """Waits for messages to the member, and returns them; none if the connection ends."""
        connection = self._connections.get(name)
        if connection is None:
            return []
        await connection.told.wait()
        texts, connection.texts = connection.texts, []
        connection.told.clear()
        return texts

    async def status(self) -> dict[str, Any] | None:
        """Returns the whole account, None if there is none."""
        return self._timeline.status(_now())

    async def lives(self, name: str) -> bool:
        """Whether there is a connection of this name."""
        return name in self._connections


def _now() -> int:
    """Microseconds of a clock that is never set back. Another actor has another account."""
    return time.monotonic_ns() // 1_000
