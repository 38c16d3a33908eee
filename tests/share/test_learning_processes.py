"""Processes that learn their provider's limits together, and one of them is killed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from kit.redis_servers import Server
from kit.shares import Process, eventually, share_name

from xtremeflow.cli import main as command

LEARNS = """
    import asyncio, sys
    from xtremeflow import TokenRateScheduler
    HEADERS = {
        "x-ratelimit-limit-requests": "1200",
        "x-ratelimit-remaining-requests": "900",
        "x-ratelimit-reset-requests": "15s",
    }
    async def main():
        scheduler = TokenRateScheduler(adapt=True, share=sys.argv[1])
        async def call():
            scheduler.observe(200, HEADERS)
        for line in sys.stdin:
            if line == "call\\n":
                await (await scheduler.start_task(call(), 10))
            limits = scheduler.stats().limits
            print(*(f"{each.name} {each.rate:g} {each.learned}" for each in limits), flush=True)
    asyncio.run(main())
"""
KNOWN = "requests 20 the provider's answers say 1,200 per 60 s"


@pytest.fixture(params=["memory", "server"])
def common(request: pytest.FixtureRequest, server: Server) -> Iterator[str]:
    with share_name() as name:
        yield name if request.param == "memory" else f"{server.url}#learned-together"


def says(process: Process, line: str) -> Callable[[], bool]:
    def known() -> bool:
        process.tell("look")
        return process.says() == line

    return known


def test_what_a_killed_process_has_learned_the_others_know(
    common: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with Process(LEARNS, common) as first, Process(LEARNS, common) as second:
        second.tell("look")
        assert second.says() == ""
        first.tell("call")
        first.says()
        eventually(says(first, KNOWN))
        eventually(says(second, KNOWN))
        first.kill()
        with Process(LEARNS, common) as third:
            third.tell("look")
            assert third.says() == KNOWN
            assert command(["share", "status", "--json", common]) == 0
            (limit,) = json.loads(capsys.readouterr().out)["limits"]
            assert (limit["name"], limit["rate"], limit["per"]) == ("requests", 20.0, 60.0)
            assert limit["learned"] == "the provider's answers say 1,200 per 60 s"
            assert command(["share", "status", common]) == 0
            shown = capsys.readouterr().out
            assert "; learned: the provider's answers say 1,200 per 60 s\n" in shown
            assert "\n  learned last by " in shown
