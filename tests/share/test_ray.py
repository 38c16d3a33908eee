"""Members of a share on a real Ray cluster of three nodes, some of whose processes and nodes die.

Real time: the tests assert order, totals and wide bounds. They run by `./dev check ray`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kit.frameworks import need
from kit.shares import eventually, paused_by_a_refusal, sent
from kit.strict import overdrawn

from xtremeflow import RequestRateScheduler, TaskScheduler, TokenRateScheduler
from xtremeflow.share import ShareError

need("ray")
pytestmark = pytest.mark.filterwarnings("ignore")  # of Ray
NODE = {"num_cpus": 2, "object_store_memory": 80_000_000}
# A node that says nothing for 2 s is dead; Ray's own setting is 15 s.
SOON = {"health_check_period_ms": 500, "health_check_failure_threshold": 4}
_numbers = itertools.count()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    import ray
    from ray.cluster_utils import Cluster

    # The nodes' processes do not know this module.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    head = {**NODE, "include_dashboard": False, "_system_config": SOON}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    try:
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture
def share(cluster: Any) -> str:
    return f"ray:test-{next(_numbers)}"


@pytest.fixture
def worker(cluster: Any) -> Any:
    """A node beside the head."""
    node = cluster.add_node(**NODE, resources={"side": 4})
    yield node
    if node in cluster.list_all_nodes():
        cluster.remove_node(node)


def send(share: str, rate: float, calls: int, witness: Path) -> int:
    """A task: sends the calls, of which each notes its time. Returns how many have ended."""

    async def call() -> None:
        with witness.open("a") as file:
            file.write(f"{time.monotonic()}\n")

    async def main() -> int:
        async with RequestRateScheduler(max_rps=rate, share=share) as scheduler:
            return len(await asyncio.gather(*(scheduler.submit(call()) for _ in range(calls))))

    return asyncio.run(main())


def seen(witness: Path) -> list[float]:
    return sorted(map(float, witness.read_text().split()))


def hold(share: str) -> None:
    """A task: holds the slot for ever."""

    async def main() -> None:
        await (await TaskScheduler(1, share=share).start_task(asyncio.sleep(3600)))

    asyncio.run(main())


def remote(task: Callable[..., Any], **options: Any) -> Any:
    import ray

    return ray.remote(task).options(**{"num_cpus": 0, "max_retries": 5, **options})


def actor(share: str) -> Any:
    import ray

    return ray.get_actor(share.removeprefix("ray:"), "xtremeflow")


def members(share: str) -> list[dict[str, Any]]:
    import ray

    try:
        account = actor(share)
    except ValueError:  # it does not exist yet
        return []
    state = ray.get(account.status.remote())
    return [] if state is None else state["members"]


def is_held(share: str) -> bool:
    return any(member["held"] for member in members(share))


def test_tasks_on_several_nodes_use_the_limit_together(
    share: str, worker: Any, tmp_path: Path
) -> None:
    import ray

    here, there, witness = remote(send), remote(send, resources={"side": 1}), tmp_path / "witness"
    tasks = [
        task.remote(share, 200, calls, witness)
        for task, calls in ((here, 200), (there, 300), (there, 100))
    ]
    assert ray.get(tasks) == [200, 300, 100]
    times = seen(witness)
    assert len(times) == 600
    assert overdrawn(times, 200) <= 18  # 0 on a machine that has nothing else to do
    eventually(lambda: not members(share))


def test_a_node_that_is_killed_loses_no_call(
    share: str, worker: Any, cluster: Any, tmp_path: Path
) -> None:
    """Ray runs the tasks of the dead node again, on another one."""
    import ray

    other, witness = cluster.add_node(**NODE, resources={"side": 4}), tmp_path / "witness"
    task = remote(send, resources={"side": 1})
    tasks = [task.remote(share, 100, 100, witness) for _ in range(8)]
    eventually(lambda: len(members(share)) == 8)
    time.sleep(1)
    cluster.remove_node(worker, allow_graceful=False)
    assert ray.get(tasks) == [100] * 8
    times = seen(witness)
    assert len(times) > 800  # with those of the tasks that were begun twice
    assert overdrawn(times, 100) <= 24  # 0 on a machine that has nothing else to do
    eventually(lambda: not members(share))
    cluster.remove_node(other)


def test_the_slot_of_a_killed_node_comes_back(share: str, worker: Any, cluster: Any) -> None:
    async def main() -> None:
        remote(hold, resources={"side": 1}, max_retries=0).remote(share)
        await asyncio.to_thread(eventually, lambda: is_held(share))
        scheduler = TaskScheduler(1, share=share)
        waits = scheduler.submit(sent())
        await asyncio.sleep(0.3)
        assert not waits.done()
        cluster.remove_node(worker, allow_graceful=False)
        await asyncio.wait_for(waits, 60)

    asyncio.run(main())


def test_the_slot_of_a_killed_process_comes_back(share: str) -> None:
    import ray

    async def main() -> None:
        task = remote(hold, max_retries=0).remote(share)
        await asyncio.to_thread(eventually, lambda: is_held(share))
        waits = TaskScheduler(1, share=share).submit(sent())
        await asyncio.sleep(0.3)
        assert not waits.done()
        ray.cancel(task, force=True)  # kills the process
        await asyncio.wait_for(waits, 60)

    asyncio.run(main())


def test_a_refusal_in_one_member_pauses_the_others(share: str) -> None:
    asyncio.run(paused_by_a_refusal(share))


@pytest.mark.parametrize("restarts", [True, False])
def test_members_go_on_after_the_death_of_the_actor(share: str, restarts: bool) -> None:
    import ray

    async def main() -> list[float]:
        scheduler = [RequestRateScheduler(max_rps=100, share=share) for _ in range(3)]
        tasks = [member.submit(sent()) for _ in range(50) for member in scheduler]
        await asyncio.sleep(0.5)
        await asyncio.to_thread(ray.kill, actor(share), no_restart=not restarts)
        return sorted(await asyncio.wait_for(asyncio.gather(*tasks), 60))

    times = asyncio.run(main())
    assert overdrawn(times, 100) <= 10  # 0 on a machine that has nothing else to do


def test_a_member_outside_of_a_cluster_says_so() -> None:
    program = "from xtremeflow import TaskScheduler; TaskScheduler(share='ray:a')"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "ShareError: the share 'ray:a' needs a Ray cluster: call ray.init() first" in ran.stderr


def command(do: str, share: str, *options: str, **variables: str) -> Any:
    return subprocess.run(
        [sys.executable, "-m", "xtremeflow", "share", do, share, *options],
        env=os.environ | variables, capture_output=True, text=True,
    )  # fmt: skip


def test_the_command_line_shows_and_clears_it(share: str, cluster: Any) -> None:
    address = {"RAY_ADDRESS": cluster.address}
    assert "there is no share" in command("status", share, **address).stdout

    async def main() -> None:
        scheduler = RequestRateScheduler(max_rps=100, max_concurrency=5, share=share)
        task = await scheduler.start_task(asyncio.sleep(3600))
        await asyncio.to_thread(eventually, lambda: is_held(share))
        told = (await asyncio.to_thread(command, "status", share, **address)).stdout
        assert "requests: 100 in 1 s; " in told
        assert "slots: 1 held of 5" in told
        cleared = await asyncio.to_thread(command, "clear", share, **address)
        assert "has members, 1 of them: end them first" in cleared.stderr
        task.cancel()
        assert scheduler._leased is not None
        await asyncio.to_thread(scheduler._leased.leave)

    asyncio.run(main())
    assert json.loads(command("status", share, "--json", **address).stdout)["members"] == []
    assert command("clear", share, **address).stdout == f"{share} is cleared\n"
    assert command("clear", share, **address).stdout == f"there is no share {share}\n"


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("127.0.0.1:1", "none listens at RAY_ADDRESS=127.0.0.1:1"),
        ("ray://127.0.0.1:10001", "no Ray Client (ray://), got RAY_ADDRESS=ray://127.0.0.1:10001"),
    ],
)
def test_an_address_at_which_no_member_can_be_is_refused_at_once(address: str, told: str) -> None:
    begun = time.monotonic()
    ran = command("status", "ray:a", RAY_ADDRESS=address)
    assert told in ran.stderr
    assert ran.returncode == 1
    assert time.monotonic() - begun < 30  # Ray itself waits for 100 s and more


def test_a_process_that_is_connected_by_ray_client_is_refused(
    share: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.util import client

    monkeypatch.setattr(client.ray, "is_connected", lambda: True)
    with pytest.raises(ShareError, match=r"no Ray Client \(ray://\)"):
        RequestRateScheduler(max_rps=100, share=share)


def test_a_limit_that_one_member_learns_is_known_to_the_others(share: str) -> None:
    headers = {"x-ratelimit-limit-requests": "1200", "x-ratelimit-remaining-requests": "900"}

    async def main() -> None:
        first, second = (TokenRateScheduler(adapt=True, share=share) for _ in range(2))

        async def call() -> None:
            first.observe(200, headers)

        await (await first.start_task(call(), 10))
        eventually(lambda: len(second.stats().limits) == 1)
        newcomer = TokenRateScheduler(adapt=True, share=share)
        for member in (second, newcomer):
            (limit,) = member.stats().limits
            assert (limit.name, limit.rate) == ("requests", 20.0)
            assert limit.learned == "the provider's answers say 1,200 per 60 s"

    asyncio.run(main())
