"""An outage of the provider in a share, virtual clock: single calls of all members together."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from kit.shares import share_name
from kit.timelines import Network, TimelineShare

from xtremeflow import RequestRateScheduler, TaskScheduler, auto_backoff
from xtremeflow.cli import main as command
from xtremeflow.cli.share import _as_text
from xtremeflow.share.keeper import OnOutage, Terms, Unreachable
from xtremeflow.share.outage import Outage
from xtremeflow.share.records import Tried
from xtremeflow.testing import run

pytestmark = pytest.mark.usefixtures("quiet")

INTERVAL = 2.0  # seconds: auto_backoff's base
BEGINS, ENDS = 10.0, 33.0
Make = Callable[[], Any]
# No shrinking: each example is a minute of many members.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)


class Down(Exception):
    status_code = 503


class Provider:
    """Answers after a second, and fails all calls for a while."""

    def __init__(self, begins: float = BEGINS, ends: float = ENDS) -> None:
        self.begins, self.ends = begins, ends
        self.sent: list[tuple[float, int]] = []
        self.is_back = asyncio.Event()
        """A call is sent that will be answered after the outage."""
        self.began = asyncio.get_running_loop().time()

    def now(self) -> float:
        return asyncio.get_running_loop().time() - self.began

    def call_of(self, member: int) -> Any:
        @auto_backoff(lambda _: True, max_retries=100)
        async def call() -> None:
            at = self.now()
            self.sent.append((at, member))
            if self.begins <= at < self.ends:
                await asyncio.sleep(0.05)
                raise Down
            if at >= self.ends:
                self.is_back.set()
            await asyncio.sleep(1.0)

        return call()

    def between(self, start: float, end: float) -> list[tuple[float, int]]:
        return sorted((at, member) for at, member in self.sent if start <= at < end)


@pytest.fixture(params=["memory", "timeline"])
def make(request: Any) -> Iterator[Make]:
    """Makes a share, within the loop."""
    with share_name() as name:
        yield lambda: name if request.param == "memory" else TimelineShare(Network(0.01))


def jobs(provider: Provider, members: list[TaskScheduler], calls: int) -> list[asyncio.Task[None]]:
    return [
        member.submit(provider.call_of(place))
        for place, member in enumerate(members)
        for _ in range(calls)
    ]


async def end(members: list[TaskScheduler], tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for member in members:
        if member._leased is not None:
            member._leased.leave()
    await asyncio.sleep(5)


async def until(provider: Provider, instant: float) -> None:
    await asyncio.sleep(instant - provider.now())


@pytest.mark.parametrize("count", [1, 4, 20])
def test_members_send_one_call_an_interval_and_all_go_on_with_the_first_answer(
    make: Make, count: int
) -> None:
    async def main() -> None:
        share = make()
        provider = Provider()
        members: list[TaskScheduler] = [
            RequestRateScheduler(max_rps=20, share=share) for _ in range(count)
        ]
        tasks = jobs(provider, members, 800 // count)
        await until(provider, 50)
        single = provider.between(BEGINS + 2.5 * INTERVAL, ENDS)
        gaps = [b[0] - a[0] for a, b in itertools.pairwise(single)]
        assert min(gaps) > INTERVAL
        assert max(gaps) < INTERVAL + 0.3
        answered = provider.between(ENDS, 50)[0][0] + 1.0
        assert answered < ENDS + INTERVAL + 1.3
        assert len(provider.between(answered + 0.05, answered + 5.05)) >= 99
        await end(members, tasks)

    run(main())


def test_members_without_limits_send_single_calls_together(make: Make) -> None:
    async def main() -> None:
        share = make()
        provider = Provider()
        members = [TaskScheduler(5, share=share) for _ in range(3)]
        tasks = jobs(provider, members, 100)
        await until(provider, 50)
        assert len(provider.between(BEGINS + INTERVAL, ENDS)) <= 1 + (ENDS - BEGINS) / INTERVAL
        answered = provider.between(ENDS, 50)[0][0] + 1.0
        assert len(provider.between(answered, answered + 1.5)) >= 9
        await end(members, tasks)

    run(main())


def prober_of(member: TaskScheduler) -> str | None:
    share = member.stats().share
    assert share is not None
    return share.prober


def test_the_member_that_probes_is_named(make: Make) -> None:
    async def main() -> None:
        share = make()
        provider = Provider()
        members: list[TaskScheduler] = [
            RequestRateScheduler(max_rps=20, share=share) for _ in range(3)
        ]
        tasks = jobs(provider, members, 200)
        await until(provider, ENDS - 0.1)
        assert all(prober_of(member) is not None for member in members)
        await provider.is_back.wait()
        _, place = provider.sent[-1]
        leased = members[place]._leased
        own = f"seat {place}" if leased is None else f"member {leased.holder.member[:8]}"
        assert prober_of(members[place]) == own
        await until(provider, ENDS + 10)
        assert [prober_of(member) for member in members] == [None] * 3
        await end(members, tasks)

    run(main())


def test_the_status_of_a_share_names_the_prober(capsys: pytest.CaptureFixture[str]) -> None:
    async def main(share: str) -> None:
        provider = Provider()
        members = [TaskScheduler(5, share=share) for _ in range(2)]
        tasks = jobs(provider, members, 100)
        await provider.is_back.wait()
        _, place = provider.sent[-1]
        assert command(["share", "status", share]) == 0
        told = f"an outage of the provider, probed by seat {place}, process "
        assert told in capsys.readouterr().out
        await end(members, tasks)

    with share_name() as name:
        run(main(name))


@pytest.mark.parametrize(
    "members", [[{"member": "a" * 32}, {"member": "b" * 32}], [{"seat": 0, "pid": 7}]]
)
def test_the_status_names_no_prober_where_there_is_none(members: list[dict[str, Any]]) -> None:
    rest: dict[str, Any] = {"held": 0, "used": [], "waits": 0}
    state = {
        "limits": [], "members": [{**member, **rest} for member in members], "slots": None,
        "cooldown_left": 0.0, "learned_by": None, "outage": True, "prober": None,
    }  # fmt: skip
    assert "probed by no member yet" in _as_text("shm:any", state)


# -- members and the keeper fail meanwhile


def kill(share: Any, members: list[TaskScheduler], place: int) -> None:
    """The member is never heard of again."""
    leased = members[place]._leased
    if leased is not None:
        share.kill(leased.holder.member)
    else:
        other = members[(place + 1) % len(members)]
        members[place]._forget()
        other._bury(place)


def test_another_member_probes_when_the_prober_dies_with_its_call(make: Make) -> None:
    async def main() -> None:
        share = make()
        provider = Provider(ends=1e9)
        members: list[TaskScheduler] = [
            RequestRateScheduler(max_rps=20, share=share) for _ in range(3)
        ]
        tasks = jobs(provider, members, 100)
        await until(provider, 20)
        dead = [provider.between(15, 20)[-1][1]]
        for _ in range(2):
            killed = provider.now()
            kill(share, members, dead[-1])
            for task in tasks[100 * dead[-1] : 100 * (dead[-1] + 1)]:
                task.cancel()
            await asyncio.sleep(2 * INTERVAL)
            late = provider.between(killed + 0.1, killed + INTERVAL + 1.2)
            assert late
            assert not {member for _, member in late} & set(dead)
            dead.append(late[0][1])
        await end(members, tasks)

    run(main())


@pytest.mark.parametrize("loss", ["lost", "goes back"])
def test_an_account_that_is_lost_in_an_outage_hears_of_it_from_the_members(loss: str) -> None:
    async def main() -> None:
        share = TimelineShare(Network(0.01))
        provider = Provider()
        members: list[TaskScheduler] = [
            RequestRateScheduler(max_rps=20, share=share) for _ in range(4)
        ]
        tasks = jobs(provider, members, 200)
        await until(provider, BEGINS - 1)
        before = deepcopy(share.timeline)
        await until(provider, 20)
        if loss == "lost":
            share.timeline.exists = False
        else:
            share.timeline = before
        await asyncio.sleep(1.5)
        assert share.timeline.outage.interval > 0
        assert len(provider.between(20, ENDS)) <= 1 + (ENDS - 20) / INTERVAL
        await until(provider, ENDS + 8)
        assert len(provider.between(ENDS + 4, ENDS + 8)) >= 79
        await end(members, tasks)

    run(main())


@pytest.mark.parametrize("on_outage", ["share", "wait"])
def test_without_the_keeper_each_member_sends_single_calls_by_itself(on_outage: OnOutage) -> None:
    async def main() -> None:
        share = TimelineShare(Network(0.01), Terms(on_outage=on_outage))
        provider = Provider()
        members: list[TaskScheduler] = [
            RequestRateScheduler(max_rps=20, share=share) for _ in range(4)
        ]
        tasks = jobs(provider, members, 200)
        await until(provider, 18)
        share.network.broken = Unreachable("cut", refused=True)
        await until(provider, 26)
        share.network.broken = None
        alone = len(provider.between(19, 26))
        assert alone <= (4 * 7 / INTERVAL + 4 if on_outage == "share" else 1)
        assert alone >= (4 if on_outage == "share" else 0)
        await until(provider, 45)
        assert len(provider.between(28, ENDS)) <= 1 + (ENDS - 28) / INTERVAL
        assert len(provider.between(40, 45)) >= 99
        await end(members, tasks)

    run(main())


worlds = st.fixed_dictionaries(
    {
        "count": st.integers(1, 5),
        "delay": st.sampled_from([0.0, 0.001, 0.02, 0.1]),
        "loss": st.sampled_from([0.0, 0.02, 0.2]),
        "limited": st.booleans(),
        "deaths": st.lists(st.floats(0, 20), max_size=3),
        "losses": st.lists(st.floats(0, 20), max_size=2),
        "length": st.floats(3, 25),
        "seed": st.integers(0, 1000),
    }
)


@settings(max_examples=30, deadline=None, phases=PHASES)
@given(worlds)
def test_whatever_fails_few_calls_go_meanwhile_and_all_afterwards(world: dict[str, Any]) -> None:
    async def main() -> None:
        network = Network(world["delay"], world["seed"])
        share = TimelineShare(network, Terms(on_outage="wait"))
        provider = Provider(2.0, 2.0 + world["length"])
        members: list[TaskScheduler] = [
            RequestRateScheduler(max_rps=20, share=share)
            if world["limited"]
            else TaskScheduler(5, share=share)
            for _ in range(world["count"])
        ]
        tasks = jobs(provider, members, 40)
        network.loss = world["loss"]
        living, doomed = list(range(world["count"])), [(at, "dies") for at in world["deaths"]]
        for at, event in sorted([*doomed, *((at, "is lost") for at in world["losses"])]):
            await until(provider, 2.0 + at)
            if event == "is lost":
                share.timeline.exists = False
            elif len(living) > 1:
                dead = living.pop()
                kill(share, members, dead)
                for task in tasks[40 * dead : 40 * (dead + 1)]:
                    task.cancel()
        mine = [task for place in living for task in tasks[40 * place : 40 * (place + 1)]]
        _, late = await asyncio.wait(mine, timeout=200)
        assert not late
        assert all(task.exception() is None for task in mine)
        # No member knows of it in the first moments; then one call an interval, and some more where
        # answers are lost, since those that hear nothing for long try by themselves.
        known = 2.0 + 2 * INTERVAL
        meanwhile = len(provider.between(known, provider.ends))
        lossy = world["loss"] > 0 or world["losses"]
        assert meanwhile <= (world["length"] / INTERVAL + 2) * (3 if lossy else 1)
        network.loss = 0.0
        await end([members[place] for place in living], [])

    run(main())


# -- late news


def tried(answered: int = 0, failures: int = 0, sent: int = 0) -> Tried:
    return Tried(answered, failures, sent, 100, 2_000)


def test_three_failures_of_any_members_begin_an_outage() -> None:
    outage = Outage()
    assert not outage.hear("ada", tried(failures=2, sent=20), 100, 0)
    assert outage.hear("bob", tried(failures=1, sent=30), 110, 0)
    assert (outage.prober, outage.next) == ("bob", 2_110)


def test_failures_of_calls_sent_before_one_that_was_answered_begin_none() -> None:
    outage = Outage()
    outage.hear("ada", tried(answered=50), 100, 0)
    assert not outage.hear("bob", tried(failures=9, sent=40), 200, 0)
    assert outage.failures == 0


def test_an_answer_to_a_call_sent_before_those_that_failed_ends_none() -> None:
    outage = Outage()
    assert outage.hear("ada", tried(failures=3, sent=50), 100, 0)
    assert not outage.hear("bob", tried(answered=50), 200, 0)
    assert outage.interval > 0
    assert outage.hear("bob", tried(answered=51), 300, 0)
    assert outage.interval == 0


def test_the_next_single_call_goes_at_once_when_the_member_of_the_first_has_gone() -> None:
    outage = Outage()
    outage.hear("ada", tried(failures=3, sent=50), 100, 0)
    outage.admitted("bob", 2_100)
    assert (outage.prober, outage.next) == ("bob", 4_100)
    assert not outage.left("ada", 2_200)
    assert outage.left("bob", 2_300)
    assert (outage.prober, outage.next) == ("", 2_300)
