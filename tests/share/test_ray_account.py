"""The account of a share on Ray, without Ray: a class whose methods run in one event loop."""

from __future__ import annotations

import asyncio
import importlib.util

import pytest

from xtremeflow import TaskScheduler
from xtremeflow.share import RayShare, ShareError
from xtremeflow.share.elsewhere import kept_share
from xtremeflow.share.keeper import Terms
from xtremeflow.share.ray_account import RayAccount

LIMITS = [("requests", 100.0, 1.0, 1.0)]


async def entered(account: RayAccount, member: str, name: str) -> asyncio.Future[None]:
    """Connects a member as Ray does, and joins it. Its process dies when the future fails."""
    held: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    await account.enter(member, name, [held])
    row = await account.command("join", (member, name, "token", 2_500_000, 3, "", LIMITS))
    assert row[0] == "limits"
    return held


async def members(account: RayAccount) -> list[str]:
    state = await account.status()
    return [] if state is None else [each["member"] for each in state["members"]]


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_member_whose_process_dies_is_buried_and_the_others_live() -> None:
    async def main() -> None:
        account = RayAccount()
        dying = await entered(account, "a", "connection of a")
        await entered(account, "b", "connection of b")
        assert await members(account) == ["a", "b"]
        dying.set_exception(RuntimeError("the owner is dead"))
        await turns()
        assert await members(account) == ["b"]
        assert not await account.lives("connection of a")
        assert await account.lives("connection of b")

    asyncio.run(main())


def test_the_end_of_a_connection_is_no_death() -> None:
    async def main() -> None:
        account = RayAccount()
        held = asyncio.ensure_future(account.hold("first"))
        await turns()
        await account.enter("a", "first", [held])
        await account.command("join", ("a", "first", "token", 2_500_000, 3, "", LIMITS))
        await account.leave("first")
        await held
        await turns()
        assert await members(account) == ["a"]
        assert not await account.lives("first")
        assert await account.news("first") == []

    asyncio.run(main())


def test_a_member_that_has_connected_anew_outlives_its_former_connection() -> None:
    async def main() -> None:
        account = RayAccount()
        former = await entered(account, "a", "former")
        await entered(account, "a", "present")
        former.set_exception(RuntimeError("the owner is dead"))
        await turns()
        assert await members(account) == ["a"]

    asyncio.run(main())


def test_messages_reach_those_that_they_are_for() -> None:
    async def main() -> None:
        account = RayAccount()
        for member in ("a", "b"):
            await entered(account, member, member)
        assert await account.news("a") == ["epoch"]
        waiting = [asyncio.ensure_future(account.news(member)) for member in ("a", "b")]
        await turns()
        epoch = (await account.command("describe", ()))[2]
        await account.command("refused", (epoch, 0, 1_000_000, 0, [0.0]))
        told = await asyncio.gather(*waiting)
        assert [text.split()[:2] for (text,) in told] == [["pause", "1"], ["pause", "1"]]

    asyncio.run(main())


def test_messages_of_a_member_that_is_away_for_a_moment_are_kept() -> None:
    async def main() -> None:
        account = RayAccount()
        await entered(account, "a", "a")
        for amount in (50.0, 20.0):
            await account.command("retune", (0, amount, 1.0, 1.0))
        assert await account.news("a") == ["epoch", "limits 3", "limits 4"]

    asyncio.run(main())


def test_a_text_names_the_share_and_its_terms() -> None:
    assert kept_share("ray:openai") == RayShare("openai")
    assert kept_share("ray:a%20key?on_outage=wait&fair=units") == RayShare(
        "a key", Terms(on_outage="wait", fair="units")
    )
    assert str(RayShare("openai")) == "ray:openai"


@pytest.mark.parametrize("share", ["ray:", "ray://host:10001", "ray:a#b", "ray:a?x=1"])
def test_a_text_that_names_none_is_refused(share: str) -> None:
    with pytest.raises(ValueError, match="share must be like 'ray:NAME', got"):
        TaskScheduler(share=share)


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="ray is installed")
def test_the_error_says_that_ray_is_missing() -> None:
    with pytest.raises(ShareError, match=r"pip install 'xtremeflow\[ray\]'"):
        TaskScheduler(share="ray:openai")
