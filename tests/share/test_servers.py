"""Members on a real server, in several processes.

Real time: the tests assert order, totals and wide bounds.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import socket
import time
from threading import Thread

import pytest
import redis.asyncio
from kit.proxy import Proxy
from kit.redis_servers import Server, binaries
from kit.shares import FORKS, Process, eventually, paused_by_a_refusal, sent
from kit.strict import overdrawn

from xtremeflow import RequestRateScheduler, TaskScheduler
from xtremeflow.cli import main as command
from xtremeflow.share import RedisShare, ShareError, redis_keeper

pytestmark = pytest.mark.skipif(not binaries(), reason="no server is installed")
_numbers = itertools.count()


SENDS = """
    import asyncio, json, sys, time
    from xtremeflow import RequestRateScheduler
    async def sent():
        return time.monotonic()
    async def main():
        share, rate, calls = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
        scheduler = RequestRateScheduler(max_rps=rate, share=share)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        print(json.dumps(await asyncio.gather(*(scheduler.submit(sent()) for _ in range(calls)))))
    asyncio.run(main())
"""

HOLDS = """
    import asyncio, sys
    from xtremeflow import TaskScheduler
    async def main():
        scheduler = TaskScheduler(1, share=sys.argv[1])
        await scheduler.start_task(asyncio.sleep(3600))
        print("holds", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
    asyncio.run(main())
"""


def test_processes_use_the_limit_together(share: str) -> None:
    processes = [Process(SENDS, share, 400, calls) for calls in (600, 300, 100)]
    for process in processes:
        assert process.says() == "ready"
    for process in processes:
        process.tell("go")
    times = sorted(at for process in processes for at in json.loads(process.says()))
    assert [process.close() for process in processes] == [0, 0, 0]
    assert len(times) == 1000
    assert overdrawn(times, 400) <= 30  # 0 on a machine that has nothing else to do
    assert times[-1] - times[0] < 20  # 2.5 s


def test_the_slot_of_a_killed_process_comes_back(share: str) -> None:
    async def main() -> float:
        scheduler = TaskScheduler(1, share=share)
        with Process(HOLDS, share) as other:
            assert other.says() == "holds"
            waits = scheduler.submit(sent())
            await asyncio.sleep(0.3)
            assert not waits.done()
            killed = time.monotonic()
            other.kill()
            await asyncio.wait_for(waits, 30)
        return time.monotonic() - killed

    assert asyncio.run(main()) < 20  # 5 s


def test_the_slot_of_a_process_that_ends_comes_back(share: str) -> None:
    async def main() -> None:
        scheduler = TaskScheduler(1, share=share)
        with Process(HOLDS, share) as other:
            assert other.says() == "holds"
            waits = scheduler.submit(sent())
            other.tell("end")
            await asyncio.wait_for(waits, 30)

    asyncio.run(main())


def test_a_refusal_in_one_member_pauses_the_others(share: str) -> None:
    async def main() -> None:
        first, second = await paused_by_a_refusal(share)
        assert first.stats().cooldowns == 1
        assert second.stats().cooldowns == 1

    asyncio.run(main())


PROBES = """
    import asyncio, sys
    from xtremeflow import RequestRateScheduler, auto_backoff
    class Down(Exception):
        status_code = 503
    @auto_backoff(lambda _: True, base_retry_after=0.3, max_retries=1000)
    async def call():
        print("sent", flush=True)
        raise Down
    async def main():
        scheduler = RequestRateScheduler(max_rps=100, share=sys.argv[1])
        await asyncio.gather(*(scheduler.submit(call()) for _ in range(5)))
    asyncio.run(main())
"""


def test_another_process_probes_after_the_prober_was_killed(share: str) -> None:
    async def main() -> None:
        begun = list[float]()
        scheduler = RequestRateScheduler(max_rps=100, share=share)

        async def call() -> None:
            begun.append(time.monotonic())

        with Process(PROBES, share) as other:
            for _ in range(5):
                assert other.says() == "sent"
            waits = [scheduler.submit(call()) for _ in range(20)]
            await asyncio.sleep(0.2)
            other.kill()
            await asyncio.wait_for(asyncio.gather(*waits), 30)
        stats = scheduler.stats().share
        assert stats is not None
        assert stats.prober is None  # the first call has ended the outage for the others

    asyncio.run(main())


def test_members_tell_of_each_other(share: str) -> None:
    async def main() -> None:
        members = [RequestRateScheduler(max_rps=1000, share=share) for _ in range(3)]
        for member in members:
            await member.submit(sent())
        await asyncio.sleep(0.1)
        await members[0].submit(sent())
        stats = members[0].stats().share
        assert stats is not None
        assert (stats.members, stats.reachable, stats.outages) == (3, True, 0)
        assert 0 < stats.own < 1

    asyncio.run(main())


def test_a_client_of_the_user_names_the_server(server: Server) -> None:
    async def main() -> None:
        client = redis.asyncio.Redis(host="127.0.0.1", port=server.port)
        scheduler = TaskScheduler(1, share=RedisShare(client, f"client {next(_numbers)}"))
        await scheduler.submit(sent())
        await client.aclose()

    asyncio.run(main())


def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_keeper, "CONNECTING", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(ShareError, match=r"no connection within 0\.1 s"):
            TaskScheduler(share=f"redis://127.0.0.1:{port}/0#name")


def test_a_member_joins_a_server_that_stalls_for_a_moment(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_keeper, "CONNECTING", 0.5)
    with Proxy(server.port) as proxy:
        stall = Thread(target=proxy.stall, args=(0.7,))
        stall.start()
        scheduler = TaskScheduler(share=f"{proxy.url}#{next(_numbers)}")
        stall.join()
        assert scheduler.stats().share.reachable
        del scheduler
        gc.collect()


def test_errors_say_what_is_wrong(server: Server) -> None:
    with pytest.raises(ShareError, match="does not answer"):
        TaskScheduler(share="redis://127.0.0.1:1/0#name")
    with pytest.raises(ShareError, match="cannot be used"):
        TaskScheduler(share=f"redis://me:wrong@127.0.0.1:{server.port}/0#name")
    with pytest.raises(ValueError, match="share must be like"):
        TaskScheduler(share=server.url)
    with pytest.raises(ValueError, match="on_outage must be"):
        TaskScheduler(share=f"{server.url}?on_outage=open#name")
    with pytest.raises(ValueError, match="no braces"):
        TaskScheduler(share=f"{server.url}#{{name}}")
    with pytest.raises(ShareError, match="a client of redis"):
        TaskScheduler(share=RedisShare(object(), "name"))
    with pytest.raises(TypeError, match="share must be"):
        TaskScheduler(share=7)  # type: ignore[arg-type]


def test_a_password_is_in_no_message(server: Server) -> None:
    with pytest.raises(ShareError) as caught:
        TaskScheduler(share=f"redis://me:secret@127.0.0.1:{server.port}/0#name")
    assert "secret" not in str(caught.value)


def test_a_forked_child_is_no_member_and_says_so(share: str) -> None:
    with Process(FORKS, share) as process:
        assert process.says() == "7"


FORKS_AND_DIES = """
    import asyncio, os, signal, sys
    from xtremeflow import TaskScheduler
    async def holds(scheduler):
        return await scheduler.start_task(asyncio.sleep(3600))
    async def calls(scheduler):
        await (await scheduler.start_task(asyncio.sleep(0)))
    scheduler = TaskScheduler(1, share=sys.argv[1])
    task = asyncio.new_event_loop().run_until_complete(holds(scheduler))
    if os.fork() > 0:
        os.kill(os.getpid(), signal.SIGKILL)
    asyncio.run(asyncio.wait_for(calls(TaskScheduler(1, share=sys.argv[1])), 20))
    print("done", flush=True)
    os._exit(0)
"""


def test_a_forked_child_does_not_keep_its_dead_parent_a_member(share: str) -> None:
    with Process(FORKS_AND_DIES, share) as process:
        assert process.says() == "done"


# -- the command line


def test_the_command_line_shows_and_clears_it(
    share: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async def main() -> None:
        scheduler = RequestRateScheduler(max_rps=100, max_concurrency=5, share=share)
        await scheduler.start_task(asyncio.sleep(3600))
        await asyncio.sleep(1.2)
        assert await asyncio.to_thread(command, ["share", "status", share]) == 0
        assert await asyncio.to_thread(command, ["share", "status", "--json", share]) == 0
        assert await asyncio.to_thread(command, ["share", "clear", share]) == 1

    asyncio.run(main())
    gc.collect()
    told = capsys.readouterr()
    text, _, rest = told.out.partition("{")
    assert "requests: 100 in 1 s; " in text
    assert "slots: 1 held of 5" in text
    assert ": holds 1; 1 requests used" in text
    assert len(json.loads("{" + rest)["members"]) == 1
    assert "has members, 1 of them: end them first" in told.err
    eventually(lambda: command(["share", "clear", share]) == 0)
    assert command(["share", "status", share]) == 1
    assert command(["share", "clear", share]) == 1
