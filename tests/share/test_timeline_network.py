"""Members of an account on a timeline, on a virtual clock, over a network that loses and delays,
while members die and the keeper loses its state or goes back in time.
"""

from __future__ import annotations

import asyncio
from copy import deepcopy
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.strict import overdrawn
from kit.timelines import Network, TimelineShare

from xtremeflow import RequestRateScheduler
from xtremeflow.share.keeper import OnOutage, Terms
from xtremeflow.testing import run

pytestmark = pytest.mark.usefixtures("quiet")

RATE, CALLS = 100, 60  # calls a second of the account, and calls of each member
EVENTS = ("nothing", "dies", "is lost", "goes back", "clock back", "clock ahead")


def horizon(delay: float) -> float:
    """Returns for how many seconds ahead quota is granted: for two chunks."""
    return 2 * max(0.2, 3 * 1.5 * 2 * delay)


@dataclass(frozen=True)
class World:
    members: int
    delay: float
    loss: float
    on_outage: OnOutage
    events: tuple[str, ...]  # one each 0.3 s
    seed: int


worlds = st.builds(
    World,
    members=st.integers(1, 5),
    delay=st.sampled_from([0.0, 0.001, 0.02, 0.1]),
    loss=st.sampled_from([0.0, 0.02, 0.2]),
    on_outage=st.sampled_from(["share", "wait"]),
    events=st.lists(st.sampled_from(EVENTS), max_size=5)
    .filter(lambda events: events.count("goes back") <= 1)  # more in two seconds let some calls go
    .map(tuple),
    seed=st.integers(0, 1000),
)


async def lived_through(world: World) -> tuple[list[float], int, float]:
    """Returns when calls went, how many did not, and the units that the account has charged."""
    network = Network(world.delay, world.seed)
    share = TimelineShare(network, Terms(on_outage=world.on_outage))
    members = [RequestRateScheduler(max_rps=RATE, share=share) for _ in range(world.members)]
    for place, member in enumerate(members):
        member._leased.holder._alone._chance.seed(place)  # type: ignore[union-attr]
    times: list[float] = []

    async def call() -> None:
        times.append(asyncio.get_running_loop().time())

    tasks = [[member.submit(call()) for _ in range(CALLS)] for member in members]
    network.loss = world.loss
    living = list(range(world.members))
    for event in world.events:
        before = deepcopy(share.timeline)
        await asyncio.sleep(0.3)
        if event == "dies" and len(living) > 1:
            dead = living.pop()
            share.kill(members[dead]._leased.holder.member)  # type: ignore[union-attr]
            for task in tasks[dead]:
                task.cancel()
        elif event == "is lost":
            share.timeline.exists = False
        elif event == "goes back":
            share.timeline = before
        elif event.startswith("clock"):
            network.skew += 600_000_000 if event == "clock ahead" else -600_000_000
    waiting = [task for place in living for task in tasks[place]]
    _, late = await asyncio.wait(waiting, timeout=200)
    network.loss = 0.0
    for place in living:
        members[place]._leased.leave()  # type: ignore[union-attr]
    await asyncio.sleep(5)
    return sorted(times), len(late), share.timeline.limits[0].used


@settings(max_examples=30, deadline=None)
@given(worlds)
def test_all_calls_go_and_none_too_early(world: World) -> None:
    times, late, charged = run(lived_through(world))
    assert late == 0
    if world.on_outage == "wait" or world.loss == 0:  # else some are alone while others are not
        # A clock that is set ahead makes the account believe that what was granted is used.
        leaps = world.events.count("clock ahead")
        assert overdrawn(times, RATE) <= leaps * horizon(world.delay) * RATE
    if world.on_outage == "wait" and not {"is lost", "goes back"} & set(world.events):
        assert charged >= len(times)
