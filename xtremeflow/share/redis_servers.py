"""Where the server of a share listens: at one address, or where Sentinel or a cluster tells.

A client of the user's is only read. Its connections belong to another event loop, so even Sentinel
is asked by connections of the share's own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from xtremeflow.share.keeper import Unreachable


@dataclass(frozen=True)
class Endpoint:
    """A class of connections of redis-py, and its arguments."""

    kind: Any
    settings: dict[str, Any]

    def at(self, host: str, port: int) -> Endpoint:
        """Returns the same of another server."""
        return Endpoint(self.kind, {**self.settings, "host": host, "port": port})


Open = Callable[[Endpoint], Awaitable[Any]]
"""Opens a connection. Raises Unreachable or Unusable."""
Talk = Callable[..., Awaitable[Any]]
"""Sends a connection a command of these words and returns the answer. Raises the same."""
Find = Callable[[Open, Talk], Awaitable[Any]]
"""Opens a connection to the server that has the account."""


def finder(redis: Any, server: Any, key: str) -> Find | None:
    """Returns how a server is found, None if it is neither an address nor a client.

    Args:
        redis: The module.
        server: An address, or a client of redis.asyncio, also of Sentinel or a cluster.
        key: One of the account's keys.
    """
    if isinstance(server, str):
        return _at(_endpoint_of(redis.asyncio.ConnectionPool.from_url(server)))
    if isinstance(server, redis.asyncio.RedisCluster):
        nodes = server.nodes_manager.startup_nodes.values()
        return _in_cluster([_endpoint_of(node) for node in nodes], key)
    pool = getattr(server, "connection_pool", None)
    if isinstance(pool, redis.asyncio.sentinel.SentinelConnectionPool):
        return _by_sentinel(redis, pool)
    return _at(_endpoint_of(pool)) if isinstance(pool, redis.asyncio.ConnectionPool) else None


def _endpoint_of(source: Any) -> Endpoint:
    return Endpoint(source.connection_class, source.connection_kwargs)


def _at(endpoint: Endpoint) -> Find:
    async def find(open_: Open, _: Talk) -> Any:
        return await open_(endpoint)

    return find


async def _first(endpoints: Sequence[Endpoint], use: Callable[[Endpoint], Awaitable[Any]]) -> Any:
    """Returns the result of `use` with the first endpoint that answers."""
    errors: list[Unreachable] = []
    for endpoint in endpoints:
        try:
            return await use(endpoint)
        except Unreachable as error:
            errors.append(error)
    told = "; ".join(dict.fromkeys(map(str, errors))) or "there is no server to ask"
    raise Unreachable(told, refused=all(error.refused for error in errors))


def _by_sentinel(redis: Any, pool: Any) -> Find:
    """Asks one Sentinel after the other for the master."""
    connections = redis.asyncio.connection
    is_encrypted = issubclass(pool.connection_class, connections.SSLConnection)
    kind = connections.SSLConnection if is_encrypted else connections.Connection
    settings = {**pool.connection_kwargs}
    settings.pop("connection_pool", None)
    sentinels = [_endpoint_of(each.connection_pool) for each in pool.sentinel_manager.sentinels]

    async def find(open_: Open, talk: Talk) -> Any:
        async def ask(sentinel: Endpoint) -> Any:
            connection = await open_(sentinel)
            try:
                address = await talk(
                    connection, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", pool.service_name
                )
            finally:
                await connection.disconnect(nowait=True)
            if address is None:
                raise Unreachable(f"Sentinel knows no master {pool.service_name!r}")
            host, port = (each.decode() if isinstance(each, bytes) else each for each in address)
            return await open_(Endpoint(kind, settings).at(host, int(port)))

        return await _first(sentinels, ask)

    return find


def _in_cluster(nodes: Sequence[Endpoint], key: str) -> Find:
    """Asks one node after the other for the one that has the key."""

    async def find(open_: Open, talk: Talk) -> Any:
        async def ask(node: Endpoint) -> Any:
            connection = await open_(node)
            try:
                await talk(connection, "EXISTS", key)
                return connection
            except Unreachable as error:
                await connection.disconnect(nowait=True)
                moved: Any = error.__cause__
                if not hasattr(moved, "node_addr"):
                    raise
            return await open_(node.at(moved.host, moved.port))

        return await _first(nodes, ask)

    return find
