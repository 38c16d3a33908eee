"""A named actor of a Ray cluster as the keeper of an account. Needs the extra ``xtremeflow[ray]``.

The first member starts the actor (ray_account.py). It is detached: it outlives the job that has
started it. It takes no CPU and lies on the head node, so that it lasts as long as the cluster. An
actor that is started anew has lost the account, and its members join again.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import socket
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from xtremeflow.share.background import Background
from xtremeflow.share.keeper import KeeperLoop, KeptShare, Terms, Unreachable, Unusable, end
from xtremeflow.share.outside import OUTSIDE
from xtremeflow.share.place import ShareError
from xtremeflow.share.ray_account import RayAccount
from xtremeflow.share.records import Row

SCHEME = "ray"
FORM = "'ray:NAME'"
NAMESPACE = "xtremeflow"  # of the actors, whatever namespaces the jobs have
STARTING = 60.0  # seconds that the start of the actor may take, a process on a node
PATIENCE = 1.0  # seconds that a command may take
LISTENING = 5.0  # seconds in which a cluster accepts a connection
# The actor watches the processes of members, and a client's is a process of the cluster instead.
NO_CLIENT = "takes processes of the cluster's nodes, and no Ray Client (ray://)"
OPTIONS: dict[str, Any] = {
    "namespace": NAMESPACE,
    "lifetime": "detached",
    "get_if_exists": True,
    "num_cpus": 0,
    "resources": {"node:__internal_head__": 0.001},
    "max_restarts": -1,
    "max_concurrency": 10_000,  # calls at a time; each member has two that wait
}


@dataclass(frozen=True)
class RayShare(KeptShare):
    """A share on a Ray cluster, as the argument ``share`` of a scheduler.

    ``"ray:NAME"`` says the same as a text. Options of `Terms` may be added to it:
    ``?on_outage=wait``.

    Attributes:
        name: Of the account. All members of one cluster that give the same name share it.
        terms: How the share is used, see `Terms`.

    Raises:
        ValueError: The name is empty.
    """

    name: str
    terms: Terms = field(default_factory=Terms)
    joining = STARTING

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError(f"a share's name must not be empty: {self.name!r}")

    def __str__(self) -> str:
        return f"{SCHEME}:{self.name}"

    def attach(self) -> None:
        """Connects this process to the cluster that RAY_ADDRESS names, or that runs here.

        Raises:
            ShareError: Ray is not installed, or there is no cluster, or only a way to one.
        """
        ray = _ray()
        if not ray.is_initialized():
            self._see(os.environ.get("RAY_ADDRESS", ""))
            try:
                ray.init(address="auto", log_to_driver=False, logging_level="WARNING")
            except (ConnectionError, ValueError) as error:
                raise ShareError(f"the share {str(self)!r} needs a Ray cluster: {error}") from error

    def _see(self, address: str) -> None:
        """Refuses an address at which no cluster listens, for which Ray would wait minutes."""
        if address.startswith("ray://"):
            raise ShareError(f"the share {str(self)!r} {NO_CLIENT}, got RAY_ADDRESS={address}")
        host, _, port = address.rpartition(":")
        if host and port.isdecimal():
            try:
                socket.create_connection((host.strip("[]"), int(port)), LISTENING).close()
            except OSError as error:
                raise ShareError(
                    f"the share {str(self)!r} needs a Ray cluster, and none listens at "
                    f"RAY_ADDRESS={address}: {error}"
                ) from error

    def keeper(self, member: str) -> RayKeeper:
        """Returns a member's connection that is not connected yet.

        Raises:
            ShareError: Ray is not installed, or this process does not belong to a cluster.
        """
        if not _ray().is_initialized():
            raise ShareError(f"the share {str(self)!r} needs a Ray cluster: call ray.init() first")
        if importlib.import_module("ray.util.client").ray.is_connected():
            raise ShareError(f"the share {str(self)!r} {NO_CLIENT}")
        return RayKeeper(self.name, member)

    def loop(self) -> KeeperLoop:
        """Returns the loop of the background."""
        return Background()


def ray_share(share: str) -> RayShare:
    """Reads ``"ray:NAME?on_outage=wait"``.

    Raises:
        ValueError: It is none, has no name, or an unknown option.
    """
    parts = urlsplit(share)
    terms: dict[str, Any] = dict(parse_qsl(parts.query))
    if parts.netloc or not parts.path or parts.fragment or set(terms) - {"on_outage", "fair"}:
        raise ValueError(f"share must be like {FORM}, got {share!r}")
    return RayShare(unquote(parts.path), Terms(**terms))


def _ray() -> Any:
    """Returns Ray, which only shares of this kind need."""
    try:
        return importlib.import_module("ray")
    except ImportError:
        raise ShareError("a share on Ray needs ray: pip install 'xtremeflow[ray]'") from None


class RayKeeper:
    """A `keeper.Keeper`."""

    def __init__(self, name: str, member: str) -> None:
        self._ray = _ray()
        self._name, self._member = name, member
        self._account: Any = None  # the actor
        self._connection = ""
        self._held: Any = None
        self._listening: asyncio.Task[None] | None = None
        self._patience = STARTING  # at first; nothing is dispatched yet

    # -- connecting

    async def connect(self, heard: Callable[[str], None]) -> str:
        await self.close()
        self._account = await self._within(asyncio.to_thread(self._find))
        if self._account is None:
            return ""
        name = self._connection = uuid.uuid4().hex
        held = self._call("hold", name)
        self._held = held.future()  # keeps it, and takes up its error, which no other code does
        await self._within(self._call("enter", self._member, name, [held]))
        self._patience = PATIENCE
        self._listening = asyncio.ensure_future(self._listen(heard))
        return name

    def _find(self) -> Any:
        """Returns the actor, and starts it for a member. Waits for the cluster."""
        self._check()
        if self._member == OUTSIDE:
            try:
                return self._ray.get_actor(self._name, NAMESPACE)
            except ValueError:
                return None
        return self._ray.remote(RayAccount).options(name=self._name, **OPTIONS).remote()

    async def _listen(self, heard: Callable[[str], None]) -> None:
        """Hands messages on. Lost ones are made good by the next answer."""
        with suppress(Exception):
            while texts := await self._call("news", self._connection):
                for text in texts:
                    heard(text)
        heard("cut")

    async def close(self) -> None:
        if self._listening is not None:
            await end(self._listening)
            self._listening = None
        if self._connection:
            with suppress(Unreachable, Unusable):
                self._call("leave", self._connection).future()
            self._connection, self._held = "", None

    # -- commands

    async def command(self, name: str, *arguments: Any) -> Row:
        row: Row = await self._within(self._call("command", name, arguments))
        return row

    async def status(self) -> dict[str, Any] | None:
        if self._account is None:
            return None
        state: dict[str, Any] | None = await self._within(self._call("status"))
        return state

    async def clear(self) -> bool:
        if self._account is None:
            return False
        await self._within(asyncio.to_thread(self._ray.kill, self._account))
        return True

    async def lives(self, connection: str) -> bool:
        return bool(await self._within(self._call("lives", connection)))

    def _call(self, method: str, *arguments: Any) -> Any:
        """Calls the actor. Returns a reference to the result."""
        self._check()
        try:
            return getattr(self._account, method).remote(*arguments)
        except Exception as error:
            raise self._meaning_of(error) from error

    def _check(self) -> None:
        """Refuses a process without a cluster, where Ray would start one of its own."""
        if not self._ray.is_initialized():
            raise Unreachable("Ray is shut down in this process")

    async def _within(self, result: Awaitable[Any]) -> Any:
        try:
            return await asyncio.wait_for(result, self._patience)
        except Exception as error:
            raise self._meaning_of(error) from error

    def _meaning_of(self, error: Exception) -> Exception:
        errors = self._ray.exceptions
        if isinstance(error, Unreachable):
            return error
        if isinstance(error, asyncio.TimeoutError):
            return Unreachable(f"no answer within {self._patience:g} s")
        text = next(iter(str(error).splitlines()), "") or repr(error)
        if isinstance(error, errors.RayTaskError):
            return Unusable(text)  # the actor has raised it
        return Unreachable(text, refused=isinstance(error, errors.ActorDiedError))
