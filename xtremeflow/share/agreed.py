"""The limits, slots and belief of an account, as a member knows and changes them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from xtremeflow import _core
from xtremeflow.share.rows import Described, Lesson, described_from
from xtremeflow.values.limits import Definition


class Agreed:
    """The limits that all members keep to.

    Args:
        command: Runs a command of the account and returns its answer.
        scheduler: Returns the member's scheduler, None if it is gone or not there yet.
    """

    def __init__(
        self,
        command: Callable[..., Awaitable[list[Any]]],
        scheduler: Callable[[], _core.Scheduler | None],
    ) -> None:
        self._command, self._scheduler = command, scheduler
        self._changes: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self.limits: list[Definition] = []
        self.slots = -1  # any number
        self.known = (0, "")
        """The version of the limits, and the belief of that version."""
        self.learned: bool | None = True
        """Whether the last lessons count; None: that is not known yet."""

    def give(self, limits: Sequence[Definition], slots: int | None, belief: str) -> None:
        """Notes those of this member, which count if there is no other one yet."""
        self.limits, self.known = list(limits), (0, belief)
        self.slots = -1 if slots is None else slots

    def take_in(self, described: Described) -> None:
        """Takes over those that count for all members."""
        before, self.limits = self.limits, list(described.limits)
        self.slots = described.slots
        self.known = described.version, described.belief
        scheduler = self._scheduler()
        for index, (old, new) in enumerate(zip(before, self.limits, strict=False)):
            if old != new and scheduler is not None:
                scheduler._retune(index, new)

    def are_of(self, described: Described) -> bool:
        """Whether the account has limits of the same names."""
        return [each[0] for each in described.limits] == [each[0] for each in self.limits]

    async def hear(self, version: int) -> None:
        """Takes over what has changed, if the account has another version."""
        if version != self.known[0]:
            await self._ask()

    async def _ask(self) -> None:
        described = described_from(await self._command("describe"))
        if described is not None and len(described.limits) == len(self.limits):
            self.take_in(described)

    # -- changes of this member, from any thread

    def retune(self, index: int, definition: Definition) -> None:
        """Changes a limit for all members; with index -1 the slots."""
        self._changes.append(partial(self._tell_limit, index, definition))
        if index >= 0:
            self.limits[index] = definition

    def learn(self, version: int, belief: str, lessons: Sequence[Lesson]) -> None:
        """Changes limits and the belief for all members, if `version` is still that of the limits
        or below 0. Sets `learned`."""
        self.learned = None
        self._changes.append(partial(self._tell_lessons, version, belief, lessons))

    async def tell(self) -> None:
        """Tells the account of these changes."""
        while self._changes:
            await self._changes[0]()
            self._changes.pop(0)

    async def _tell_limit(self, index: int, definition: Definition) -> None:
        row = await self._command("retune", index, *definition[1:])
        if row[0] == "ok":
            self.known = int(float(row[2])), self.known[1]
            if index < 0:
                self.slots = int(definition[1])

    async def _tell_lessons(self, version: int, belief: str, lessons: Sequence[Lesson]) -> None:
        rows = [(index, *definition[1:], level) for index, definition, level in lessons]
        row = await self._command("learn", version, belief, rows)
        if row[0] != "ok":
            await self._ask()
            self.learned = False
            return
        scheduler = self._scheduler()
        for index, definition, _ in lessons:
            self.limits[index] = definition
            if scheduler is not None:
                scheduler._retune(index, definition)
        self.known = int(float(row[2])), belief
        self.learned = True
