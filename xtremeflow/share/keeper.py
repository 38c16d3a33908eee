"""The keeper of an account whose members are on several machines: a server or an actor that runs
commands."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, TypeVar

from xtremeflow.share.records import Row

Result = TypeVar("Result")
OnOutage = Literal["share", "wait"]
Fair = Literal["calls", "units"]


class Unreachable(Exception):
    """The keeper does not answer.

    Args:
        refused: No server listens at its address, so no member gets an answer.
    """

    def __init__(self, message: str, *, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


class Unusable(Exception):
    """The keeper answers, and does not do what it is asked: a wrong password, a missing right."""


class Keeper(Protocol):
    """A member's connection to the keeper. The member makes one call at a time.

    All methods raise Unreachable, after which only `connect` and `close` may follow.
    """

    async def connect(self, heard: Callable[[str], None]) -> str:
        """Connects anew. Returns the connection's name. `heard` takes the messages to this member,
        and "cut" if no more can come."""
        ...

    async def command(self, name: str, *arguments: Any) -> Row:
        """Runs a command of the timeline and returns its answer."""
        ...

    async def status(self) -> dict[str, Any] | None:
        """Returns the whole account."""
        ...

    async def clear(self) -> bool:
        """Removes the account. Returns False if there is none."""
        ...

    async def lives(self, connection: str) -> bool:
        """Whether a member's connection is there. True if that is not known."""
        ...

    async def close(self) -> None:
        """Ends the connection, if there is one."""
        ...


@dataclass(frozen=True)
class Terms:
    """How a member uses a share.

    Attributes:
        on_outage: With "share" a member goes on at its part of the limits while the keeper does not
            answer, for 10 s, or as long as connections are refused. With "wait" it waits.
        fair: Members have equal numbers of turns ("calls"), or of units ("units").
    """

    on_outage: OnOutage = "share"
    fair: Fair = "calls"

    def __post_init__(self) -> None:
        if self.on_outage not in ("share", "wait"):
            raise ValueError(f"on_outage must be 'share' or 'wait', got {self.on_outage!r}")
        if self.fair not in ("calls", "units"):
            raise ValueError(f"fair must be 'calls' or 'units', got {self.fair!r}")


class KeeperLoop(Protocol):
    """Where members talk to their keepers."""

    def clock(self) -> int:
        """Returns ns on the clock of the members' schedulers."""
        ...

    def wake(self, call: Callable[[], None]) -> None:
        """Calls it there soon, from any thread."""
        ...

    def finish(self, coroutine: Coroutine[Any, Any, Result], seconds: float) -> Result:
        """Runs it there and returns its result. Raises TimeoutError after so many seconds."""
        ...

    def start(self, coroutine: Coroutine[Any, Any, None]) -> Callable[[float], None]:
        """Starts it there. Returns a function that waits at most so many seconds for its end."""
        ...


class KeptShare(ABC):
    """A share whose account a keeper has, as the argument ``share`` of a scheduler."""

    terms: Terms
    joining: ClassVar[float] = 10.0  # seconds that it may take to join

    def attach(self) -> None:  # noqa: B027
        """Prepares a process that is a command of ours to reach the keeper. Raises ShareError."""

    @abstractmethod
    def keeper(self, member: str) -> Keeper:
        """Returns a member's connection that is not connected yet."""

    @abstractmethod
    def loop(self) -> KeeperLoop:
        """Returns where its members talk to it."""


async def end(task: asyncio.Task[None]) -> None:
    """Cancels a task and waits for its end."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
