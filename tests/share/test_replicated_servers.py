"""Members on servers that stand in for each other: masters that Sentinel watches, and a cluster.

Real time: the tests assert order, totals and wide bounds.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis.asyncio
from kit.redis_servers import SentinelServer, Server, binaries, free_port
from kit.shares import eventually, sent
from kit.strict import overdrawn
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.sentinel import Sentinel

from xtremeflow import RequestRateScheduler
from xtremeflow.share import RedisShare, ShareError

pytestmark = pytest.mark.skipif(not binaries(), reason="no server is installed")
RATE = 100  # calls a second
FEW = 10  # 0 on a machine that has nothing else to do
# After a failover a machine that stalls sends together what was granted in turn. An account that
# began anew, and full, would allow RATE.
AFTER_FAILOVER = RATE // 2
NAMES = ("a", "b", "c", "d")  # their keys lie on both nodes of a cluster of two


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Callable[[], Path]]:
    numbers = itertools.count()

    def make() -> Path:
        directory = tmp_path / str(next(numbers))
        directory.mkdir()
        return directory

    yield make
    gc.collect()


def times_of(share: RedisShare, calls: int, trouble: Callable[[], object]) -> list[float]:
    """The times of the calls of two members, with trouble after half a second."""

    async def main() -> list[float]:
        members = [RequestRateScheduler(max_rps=RATE, share=share) for _ in range(2)]
        tasks = [member.submit(sent()) for _ in range(calls // 2) for member in members]
        await asyncio.sleep(0.5)
        await asyncio.to_thread(trouble)
        return sorted(await asyncio.wait_for(asyncio.gather(*tasks), 60))

    return asyncio.run(main())


def test_members_follow_sentinel_to_the_new_master(place: Callable[[], Path]) -> None:
    with ExitStack() as stack:
        master, replica = (stack.enter_context(Server(place())) for _ in range(2))
        replica.client.replicaof("127.0.0.1", master.port)
        eventually(lambda: replica.client.info()["master_link_status"] == "up")
        sentinel = stack.enter_context(SentinelServer(place(), master))
        eventually(lambda: sentinel.client.sentinel_slaves("main"))
        client = Sentinel([("127.0.0.1", 1), ("127.0.0.1", sentinel.port)]).master_for("main")

        def trouble() -> None:
            master.kill()
            eventually(lambda: replica.client.info()["role"] == "master")

        times = times_of(RedisShare(client, "a"), 800, trouble)
        assert overdrawn(times, RATE) <= AFTER_FAILOVER
        assert replica.client.exists("xtremeflow:{a}:account")
        gc.collect()


@pytest.fixture
def cluster(place: Callable[[], Path]) -> Iterator[list[Server]]:
    """Two nodes, each with half of the slots."""
    with ExitStack() as stack:
        nodes = []
        for _ in range(2):
            bus = str(free_port())
            options = ("--cluster-enabled", "yes", "--cluster-port", bus)
            nodes.append(stack.enter_context(Server(place(), None, *options)))
        first, second = nodes
        for node, slots in ((first, (0, 8191)), (second, (8192, 16383))):
            node.client.execute_command("CLUSTER", "ADDSLOTSRANGE", *slots)
        bus_of_second = second.options[-1]
        first.client.execute_command("CLUSTER", "MEET", "127.0.0.1", second.port, bus_of_second)
        for node in nodes:
            eventually(lambda at=node: at.client.cluster("INFO")["cluster_state"] == "ok")
        yield nodes


@pytest.mark.parametrize("name", NAMES)
def test_members_find_their_node_of_a_cluster(cluster: list[Server], name: str) -> None:
    client = redis.asyncio.RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", cluster[0].port)])
    times = times_of(RedisShare(client, name), 100, lambda: None)
    assert overdrawn(times, RATE) <= FEW
    gc.collect()


def test_an_address_of_a_cluster_names_the_client_that_it_takes(cluster: list[Server]) -> None:
    def lies_elsewhere(name: str) -> bool:
        return bool(cluster[0].client.cluster("KEYSLOT", name) > 8191)

    name = next(filter(lies_elsewhere, NAMES))
    with pytest.raises(ShareError, match=r"a share needs a redis\.asyncio\.RedisCluster there"):
        RequestRateScheduler(max_rps=RATE, share=f"{cluster[0].url}#{name}")
    gc.collect()
