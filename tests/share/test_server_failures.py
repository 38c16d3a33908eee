"""Members on a real server, while the server or the network fails: what they send meanwhile.

Real time: the tests assert order, totals and wide bounds. `./dev check soak` repeats each failure.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from kit.proxy import Proxy
from kit.redis_servers import Server, binaries
from kit.shares import ROUNDS, eventually, sent
from kit.strict import overdrawn

from xtremeflow import RequestRateScheduler, auto_backoff
from xtremeflow.share import RedisShare, ShareError
from xtremeflow.share.outside import kept_state
from xtremeflow.share.redis_keeper import KINDS

pytestmark = pytest.mark.skipif(not binaries(), reason="no server is installed")
FEW = 10 * ROUNDS  # 0 on a machine that has nothing else to do
_numbers = itertools.count()


async def during(share: str, trouble: Callable[[], object], calls: int = 150) -> list[float]:
    """Sends calls of three members while there is trouble; the times of all."""
    members = [RequestRateScheduler(max_rps=100, share=share) for _ in range(3)]
    tasks = [member.submit(sent()) for _ in range(ROUNDS * calls // 3) for member in members]
    for _ in range(ROUNDS):
        await asyncio.sleep(0.5)
        await asyncio.to_thread(trouble)
    return sorted(await asyncio.wait_for(asyncio.gather(*tasks), 60 * ROUNDS))


@pytest.mark.parametrize("keeps", [(), ("--appendonly", "yes")], ids=["nothing", "a log"])
def test_a_server_that_is_killed_and_keeps(keeps: tuple[str, ...], tmp_path: Path) -> None:
    with Server(tmp_path, None, *keeps) as server:

        def trouble() -> None:
            server.kill()
            time.sleep(0.5)
            server.start()

        times = asyncio.run(during(f"{server.url}#a", trouble))
        assert overdrawn(times, 100) <= FEW
        gc.collect()


def test_a_server_that_comes_back_with_an_older_state(tmp_path: Path) -> None:
    with Server(tmp_path, None, "--dbfilename", "dump.rdb") as server:

        def trouble() -> None:
            server.client.save()
            time.sleep(0.3)
            server.kill()
            server.start()

        times = asyncio.run(during(f"{server.url}#a", trouble))
        assert overdrawn(times, 100) <= FEW
        gc.collect()


def test_a_failover_to_a_replica_that_lags(tmp_path: Path) -> None:
    with ExitStack() as stack:
        directories = itertools.count()

        def started() -> Server:
            directory = tmp_path / str(next(directories))
            directory.mkdir()
            return stack.enter_context(Server(directory))

        first = started()
        proxy = stack.enter_context(Proxy(first.port))
        servers = [first]

        def trouble() -> None:
            replica = started()
            replica.client.replicaof("127.0.0.1", servers[-1].port)
            eventually(lambda: replica.client.info()["master_link_status"] == "up")
            replica.client.replicaof("no", "one")
            time.sleep(0.3)  # what is written now, it misses
            servers[-1].kill()
            servers.append(replica)
            proxy.target = replica.port
            proxy.reset()

        times = asyncio.run(during(f"{proxy.url}#a", trouble))
        assert overdrawn(times, 100) <= FEW
        gc.collect()


class Down(Exception):
    status_code = 503


def test_a_server_that_restarts_in_an_outage_of_the_provider_hears_of_it(tmp_path: Path) -> None:
    is_down, attempts = [True], list[float]()

    @auto_backoff(lambda _: True, base_retry_after=0.5, max_retries=1000)
    async def call() -> None:
        attempts.append(time.monotonic())
        if is_down[0]:
            raise Down

    async def main() -> None:
        members = [
            RequestRateScheduler(max_rps=100, share=f"{server.url}?on_outage=wait#a")
            for _ in range(3)
        ]
        tasks = [member.submit(call()) for _ in range(20) for member in members]
        await asyncio.sleep(2)
        server.kill()
        await asyncio.sleep(0.5)
        server.start()
        restarted = time.monotonic()
        await asyncio.sleep(3)
        assert sum(at > restarted + 1 for at in attempts) <= 6  # one in half a second
        is_down[0] = False
        await asyncio.wait_for(asyncio.gather(*tasks), 60)

    with Server(tmp_path) as server:
        asyncio.run(main())
        gc.collect()


def test_a_server_that_stops_for_some_time(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        times = asyncio.run(during(f"{server.url}#a", lambda: server.stop(1.5)))
        assert overdrawn(times, 100) <= FEW
        gc.collect()


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_has_evicted(kind: str, server: Server, share: str) -> None:
    def trouble() -> None:
        server.client.delete(f"xtremeflow:{{{share.partition('#')[2]}}}:{kind}")

    times = asyncio.run(during(share, trouble))
    assert overdrawn(times, 100) <= FEW


def test_an_account_of_another_version_is_refused_while_it_has_members(
    server: Server, share: str
) -> None:
    """Then it begins anew."""
    name = share.partition("#")[2]
    account, members, speaks = (f"xtremeflow:{{{name}}}:{kind}" for kind in KINDS[:3])
    other = "return redis.call('SET', KEYS[1], cmsgpack.pack({epoch = 'a', format = 0}))"
    server.client.eval(other, 1, account)
    server.client.hset(members, "b", "?")
    server.client.zadd(speaks, {"b": 4e15})
    joins, looks = (
        lambda: RequestRateScheduler(max_rps=100, share=share),
        lambda: kept_state(RedisShare(server.url, name)),
    )
    for use in (joins, looks):
        with pytest.raises(ShareError, match="is used by another version of xtremeflow"):
            use()
    server.client.zadd(speaks, {"b": 1})
    assert len(asyncio.run(during(share, lambda: None, calls=30))) == 30 * ROUNDS


@pytest.mark.parametrize("policy", ["noeviction", "allkeys-random"])
def test_a_server_whose_memory_is_full(
    policy: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Server(tmp_path, None, "--maxmemory-policy", policy) as server:

        def trouble() -> None:
            server.client.config_set("maxmemory", "1")
            time.sleep(0.5)
            server.client.config_set("maxmemory", "0")

        with caplog.at_level(logging.ERROR):
            times = asyncio.run(during(f"{server.url}#a", trouble))
        assert overdrawn(times, 100) <= FEW
        assert not caplog.records  # it may take commands later
        gc.collect()


def test_a_server_that_becomes_a_replica_for_some_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Server(tmp_path) as server:

        def trouble() -> None:
            server.client.replicaof("127.0.0.1", 1)
            time.sleep(0.5)
            server.client.replicaof("no", "one")

        with caplog.at_level(logging.ERROR):
            times = asyncio.run(during(f"{server.url}#a", trouble))
        assert overdrawn(times, 100) <= FEW
        assert not caplog.records
        gc.collect()


@pytest.mark.parametrize(
    "command", ["FLUSHALL", "SCRIPT FLUSH", "CLIENT KILL TYPE normal", "CLIENT KILL TYPE pubsub"]
)
def test_members_go_on_after(command: str, server: Server, share: str) -> None:
    def trouble() -> None:
        for _ in range(5 if "KILL" in command else 1):
            server.client.execute_command(*command.split())
            time.sleep(0.1)

    times = asyncio.run(during(share, trouble))
    assert overdrawn(times, 100) <= FEW


def test_a_member_whose_messages_are_cut_connects_anew_at_once(server: Server, share: str) -> None:
    members = [RequestRateScheduler(max_rps=100, share=share) for _ in range(2)]
    server.client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    began = time.monotonic()
    for member in members:
        eventually(lambda member=member: member.stats().share.outages == 1)
        eventually(lambda member=member: member.stats().share.reachable)
    assert time.monotonic() - began < 5  # those that wait for nothing speak each 10 s


@pytest.mark.parametrize("kind", ["delay", "stall", "black hole", "reset"])
def test_a_network_that(kind: str, server: Server) -> None:
    with Proxy(server.port, 0.05 if kind == "delay" else 0.0) as proxy:

        def trouble() -> None:
            if kind == "stall":
                proxy.stall(2)
            elif kind == "black hole":
                proxy.swallows = True
                time.sleep(2)
                proxy.swallows = False
            elif kind == "reset":
                for _ in range(5):
                    proxy.reset()
                    time.sleep(0.1)

        times = asyncio.run(during(f"{proxy.url}#{next(_numbers)}", trouble))
        assert overdrawn(times, 100) <= FEW
        gc.collect()


def test_members_that_wait_during_an_outage_do_nothing(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        share = f"{server.url}?on_outage=wait#a"
        killed = list[float]()

        def trouble() -> None:
            server.kill()
            killed.append(time.monotonic())
            time.sleep(2)
            killed.append(time.monotonic())
            server.start()

        times = asyncio.run(during(share, trouble))
        assert not [at for at in times if killed[0] + 1 < at < killed[1]]
        gc.collect()


def test_an_outage_takes_no_random_number_of_the_programs(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        scheduler = RequestRateScheduler(max_rps=100, share=f"{server.url}#a")
        before = random.getstate()
        server.kill()
        eventually(lambda: scheduler.stats().share.outages > 0)
        time.sleep(0.5)  # for some tries to connect
        assert random.getstate() == before
