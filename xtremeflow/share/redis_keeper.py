"""A Valkey or Redis server as the keeper of an account. Needs the extra ``xtremeflow[redis]``.

Each member has two connections of its own: one for commands, one for messages. A command is never
cancelled: one that takes too long ends its connection. The commands are one script
(script.py), which is called by its digest, and sent where the server does not know it. All keys
of an account have one hash tag, so that they lie in one slot of a cluster.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import json
import math
import os
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from xtremeflow.share.background import Background
from xtremeflow.share.keeper import KeeperLoop, KeptShare, Terms, Unreachable, Unusable, end
from xtremeflow.share.place import ShareError
from xtremeflow.share.records import Row
from xtremeflow.share.redis_servers import Endpoint, finder
from xtremeflow.share.rows import flat, status_from
from xtremeflow.share.script import script

SCHEMES = ("redis", "rediss", "unix", "valkey", "valkeys")
FORM = "'redis://HOST:PORT/0#NAME'"
PATIENCE = 1.0  # seconds that a command may take,
CONNECTING = 2.0  # and a connection
KINDS = ("account", "members", "deadlines", "asked", "line")
# Answers of a server that is starting, failing over, or full: it may take the command later. The
# first are classes of redis-py, which takes their words off the texts.
_PASSING = (
    "ReadOnlyError",
    "MasterDownError",
    "ClusterDownError",
    "TryAgainError",
    "OutOfMemoryError",
)
_PASSING_WORDS = ("BUSY", "NOREPLICAS", "MISCONF", "UNBLOCKED")


@dataclass(frozen=True)
class RedisShare(KeptShare):
    """A share on a Valkey or Redis server, as the argument ``share`` of a scheduler.

    ``"redis://HOST:PORT/0#NAME"`` says the same as a text. Options of `Terms` may be added to the
    address: ``?on_outage=wait``.

    Attributes:
        server: Its address, or a client of redis.asyncio, whose settings are used.
        name: Of the account. All members of one server that give the same name share it.
        terms: How the share is used, see `Terms`.

    Raises:
        ValueError: The name is empty or has braces.
    """

    server: Any
    name: str
    terms: Terms = field(default_factory=Terms)

    def __post_init__(self) -> None:
        if not self.name or set(self.name) & set("{}"):
            raise ValueError(f"a share's name must have no braces and not be empty: {self.name!r}")

    def __str__(self) -> str:
        if not isinstance(self.server, str):
            return f"{type(self.server).__name__}#{self.name}"
        parts = urlsplit(self.server)
        host = parts.netloc.rpartition("@")[2]  # no password in a message
        return urlunsplit((parts.scheme, host, parts.path, "", self.name))

    def keeper(self, member: str) -> RedisKeeper:
        """Returns a member's connection that is not connected yet.

        Raises:
            ShareError: redis-py is not installed, or the client is of another kind.
            ValueError: The address is none.
        """
        return RedisKeeper(self, member)

    def loop(self) -> KeeperLoop:
        """Returns the loop of the background."""
        return Background()


def redis_share(share: str) -> RedisShare:
    """Reads ``"redis://HOST:PORT/0?on_outage=wait#NAME"``.

    Raises:
        ValueError: It is none, or has no name.
    """
    parts = urlsplit(share)
    if parts.scheme not in SCHEMES or not parts.fragment:
        raise ValueError(f"share must be like {FORM}, got {share!r}")
    query = parse_qsl(parts.query)
    terms: dict[str, Any] = {key: value for key, value in query if key in ("on_outage", "fair")}
    rest = urlencode([pair for pair in query if pair[0] not in terms])
    scheme = parts.scheme.replace("valkey", "redis")
    scheme = "rediss" if scheme == "rediss" or parts.scheme == "valkeys" else scheme
    server = urlunsplit((scheme, parts.netloc, parts.path, rest, ""))
    return RedisShare(server, unquote(parts.fragment), Terms(**terms))


def _redis() -> Any:
    """Returns redis-py, which only shares of this kind need."""
    try:
        for name in ("asyncio.retry", "asyncio.sentinel", "backoff", "exceptions"):
            importlib.import_module(f"redis.{name}")
    except ImportError:
        raise ShareError(
            "a share on a server needs redis-py: pip install 'xtremeflow[redis]'"
        ) from None
    return importlib.import_module("redis")


class RedisKeeper:
    """A `keeper.Keeper`."""

    def __init__(self, share: RedisShare, member: str) -> None:
        self._redis = _redis()
        self._member = member
        self._keys = [f"xtremeflow:{{{share.name}}}:{kind}" for kind in KINDS]
        find = finder(self._redis, share.server, self._keys[0])
        if find is None:
            raise ShareError(
                f"a share needs an address, {FORM}, or a client of redis.asyncio, "
                f"got {share.server!r}"
            )
        self._find = find
        self._script = script()
        self._digest = hashlib.sha1(self._script.encode(), usedforsecurity=False).hexdigest()
        self._connection: Any = None
        self._news: Any = None
        self._listening: asyncio.Task[None] | None = None
        _here.add(self)

    def forget(self) -> None:
        """Drops the connections, which are another process's: they must end with that."""
        for connection in (self._connection, self._news):
            writer = getattr(connection, "_writer", None)
            if writer is not None:
                nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
                os.dup2(nowhere, writer.get_extra_info("socket").fileno(), inheritable=False)
                os.close(nowhere)

    # -- connecting

    async def connect(self, heard: Callable[[str], None]) -> str:
        await self.close()
        self._connection = await self._find(self._open, self._talk)
        self._news = await self._find(self._open, self._talk)
        channel = f"{self._keys[0]}:news"
        await self._talk(self._news, "SUBSCRIBE", channel, f"{channel}:{self._member}")
        self._listening = asyncio.ensure_future(self._listen(self._news, heard))
        try:
            return str(await self._talk(self._connection, "CLIENT", "ID"))
        except Unusable:
            return ""  # behind a proxy: the time to live tells who is dead

    async def _open(self, endpoint: Endpoint) -> Any:
        settings = {  # notifications of maintenance need RESP3
            **{key: value for key, value in endpoint.settings.items() if "maint" not in key},
            "protocol": 2,
            "socket_timeout": None,  # ours counts
            "retry": self._redis.asyncio.retry.Retry(self._redis.backoff.NoBackoff(), 0),
        }
        connection = endpoint.kind(**settings)
        try:
            await asyncio.wait_for(connection.connect(), CONNECTING)
        except asyncio.TimeoutError:
            await self._drop(connection)
            raise Unreachable(f"no connection within {CONNECTING:g} s") from None
        except BaseException as error:
            await self._drop(connection)
            raise self._meaning_of(error) from error
        return connection

    async def _listen(self, connection: Any, heard: Callable[[str], None]) -> None:
        """Hands messages on. Lost ones are made good by the next answer."""
        with suppress(Exception):
            while True:
                message = await connection.read_response(timeout=math.inf)
                if message and _text(message[0]) == "message":
                    heard(_text(message[2]))
        heard("cut")

    async def close(self) -> None:
        if self._listening is not None:
            await end(self._listening)
            self._listening = None
        for connection in (self._connection, self._news):
            if connection is not None:
                await self._drop(connection)
        self._connection = self._news = None

    async def _drop(self, connection: Any) -> None:
        with suppress(Exception):
            await asyncio.wait_for(connection.disconnect(nowait=True), PATIENCE)

    # -- commands

    async def command(self, name: str, *arguments: Any) -> Row:
        answer: Row = await self._run(name, *flat(arguments))
        return answer

    async def status(self) -> dict[str, Any] | None:
        state = await self._run("status")
        return None if state is None else status_from(state)

    async def clear(self) -> bool:
        """Removes the account. False if there is none."""
        return int(await self._talk(self._connection, "DEL", *self._keys)) > 0

    async def _run(self, *words: Any) -> Any:
        rest = (str(len(self._keys)), *self._keys, json.dumps(words))
        try:
            answer = await self._talk(self._connection, "EVALSHA", self._digest, *rest)
        except self._redis.exceptions.NoScriptError:
            answer = await self._talk(self._connection, "EVAL", self._script, *rest)
        return None if answer is None else json.loads(answer)

    async def lives(self, connection: str) -> bool:
        if not connection:
            return True
        try:
            found = await self._talk(self._connection, "CLIENT", "LIST", "ID", connection)
        except Unusable:
            return True
        return bool(_text(found).strip())

    async def _talk(self, connection: Any, *words: str) -> Any:
        if connection is None:
            raise Unreachable("it is not connected")
        try:
            return await asyncio.wait_for(_exchange(connection, words), PATIENCE)
        except self._redis.exceptions.NoScriptError:
            raise
        except BaseException as error:
            meaning = self._meaning_of(error)
            if not isinstance(meaning, Unusable):
                await self._drop(connection)
            raise meaning from error

    def _meaning_of(self, error: BaseException) -> BaseException:
        errors = self._redis.exceptions
        if isinstance(error, (errors.AuthenticationError, errors.NoPermissionError)):
            return Unusable(str(error))
        if isinstance(error, errors.MovedError):
            return Unreachable(
                f"its keys lie on another server of a cluster ({error}): a share needs a "
                "redis.asyncio.RedisCluster there"
            )
        if isinstance(error, errors.ResponseError):
            is_passing = isinstance(error, tuple(getattr(errors, name) for name in _PASSING))
            is_passing = is_passing or str(error).startswith(_PASSING_WORDS)
            return Unreachable(str(error)) if is_passing else Unusable(str(error))
        if isinstance(error, (asyncio.TimeoutError, errors.TimeoutError)):
            return Unreachable(f"no answer within {PATIENCE:g} s")
        if isinstance(error, (errors.RedisError, OSError, asyncio.IncompleteReadError)):
            refused = isinstance(error.__cause__, ConnectionRefusedError) or "refused" in str(error)
            return Unreachable(str(error), refused=refused)
        if isinstance(error, Exception):  # asyncio's transports raise any, once they are cut
            return Unreachable(repr(error))
        return error


_here: weakref.WeakSet[RedisKeeper] = weakref.WeakSet()
"""The keepers of this process."""


def _forget_all() -> None:
    for keeper in list(_here):
        with suppress(OSError):
            keeper.forget()
    _here.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)


async def _exchange(connection: Any, words: tuple[str, ...]) -> Any:
    await connection.send_command(*words, check_health=False)
    return await connection.read_response()


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
