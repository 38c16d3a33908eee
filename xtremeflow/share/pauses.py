"""The cooldowns of all members of an account, as a member tells of its own and hears of others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xtremeflow import _core
from xtremeflow.share.offset import US, Offset
from xtremeflow.share.records import Row


class Pauses:
    """The cooldowns that a member knows of.

    Args:
        clock: Returns ns.
        offset: Of the keeper's clock.
    """

    def __init__(self, clock: Callable[[], int], offset: Offset) -> None:
        self._clock, self._offset = clock, offset
        self.generation = 0
        """The episodes of the account."""
        self._episodes = 0  # of the scheduler, as far as they are told
        self._until = 0  # the end that is told, in ns

    def begin(self, scheduler: _core.Scheduler, until: int) -> None:
        """Begins with a cooldown that runs until then (ns)."""
        if until > self._clock():
            scheduler._lease_pause(until, False, 0)
            self._until = until

    def news(self, state: dict[str, Any]) -> tuple[Any, ...] | None:
        """Returns what `Timeline.refused` takes, without the epoch, of a cooldown that calls of
        this member have opened or extended. None: there is none that is not told."""
        episodes, end = state["generation"], state["end"]
        fresh = episodes > self._episodes
        if not fresh and end <= self._until:
            return None
        wait = max(0, end - state["now"]) // US
        generation = self.generation if fresh else self.generation - 1
        return generation, wait, state["margin"] // US, state["promised"]

    def told(self, scheduler: _core.Scheduler, state: dict[str, Any], row: Row) -> None:
        """Notes that this is told, and the answer."""
        self._episodes, self._until = state["generation"], state["end"]
        if row[0] != "ok":
            return
        self.generation = int(float(row[3]))
        until = self._offset.here(int(float(row[4])))
        if until > self._until:
            scheduler._lease_pause(until, False, self._episodes)
            self._until = until

    def count_episode(self) -> None:
        """Notes an episode of the scheduler that is no news to the account."""
        self._episodes += 1

    def hear(self, scheduler: _core.Scheduler, generation: int, end: int) -> bool:
        """Takes over the account's cooldown. Returns whether that is a new episode."""
        until = self._offset.here(end) if end > 0 else 0
        is_new = generation > self.generation
        if is_new or until > max(self._until, self._clock()):
            self.generation = max(generation, self.generation)
            self._episodes = scheduler._lease_pause(until, is_new, self._episodes)
            self._until = max(until, self._until)
        return is_new
