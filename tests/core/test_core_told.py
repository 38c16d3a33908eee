"""The core's bucket beside a provider's, whose answers come late and say when they were made to
nobody: what it is moved to is what the provider has, or less."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st
from kit.core import Core

from xtremeflow.testing import TokenBucket

MS = 1_000_000
SECOND = 1000 * MS
RATE, CAPACITY = 100, 2_000  # units per second, units

LONGEST = 1  # s; calls overtake one another by no more
# While a call is on its way the provider's bucket may be full and lose what ours gains, and the
# other way round.
LOST = RATE * LONGEST + 2
spans = st.integers(0, LONGEST * 1000)  # ms
plans = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 0, 1, 20, 300, 20_000]),  # ms after the one before
        st.integers(1, 600),  # its cost
        spans,  # until it arrives
        spans,  # until its answer is made
        spans,  # until the answer is here
    ),
    min_size=1,
    max_size=25,
)


@dataclass
class Scene:
    """Calls on their way to a provider and back, on one clock."""

    core: Core
    provider: TokenBucket = field(
        default_factory=lambda: TokenBucket("tokens", RATE, 1.0, float(CAPACITY))
    )
    now: int = 0
    on_the_way: int = 0  # units that were dispatched and have not arrived
    ended: list[tuple[int, int, int]] = field(default_factory=list)  # sent, answer here, cost
    events: list[Any] = field(default_factory=list)
    numbers: Any = field(default_factory=count)

    def at(self, when: int, what: Any) -> None:
        heapq.heappush(self.events, (when, next(self.numbers), what))

    def run(self, until: int) -> None:
        while self.events and self.events[0][0] <= until:
            self.now, _, what = heapq.heappop(self.events)
            what()
        self.now = until

    def left(self) -> float:
        """What the provider has at the moment, its overdrafts too, less what is on its way."""
        bucket = TokenBucket("tokens", RATE, 1.0, float(CAPACITY))
        bucket.__dict__.update(self.provider.__dict__)
        bucket.take(0, self.now)
        return bucket._level / bucket._scale - self.on_the_way

    def overtaken_twice(self, sent: int) -> int:
        """What calls cost that were sent before that one and answered before its answer came. It
        may have overtaken them on the way there and they its answer on the way back, so that it
        knows of nothing that they took; they are out of sight."""
        return sum(cost for began, end, cost in self.ended if began <= sent <= end)

    def call(self, cost: int, way: int, work: int, back: int, bounded: bool, check: Any) -> None:
        sent = self.now
        number = self.core.submit(sent, [cost])
        self.core.collect()
        if self.core.state(number) != "admitted":
            self.core.finish(sent, number, False)
            return
        assert self.core.dispatch(number)
        self.on_the_way += cost

        def arrive() -> None:
            self.on_the_way -= cost
            self.provider.take(cost, self.now)
            self.at(self.now + work, answer)

        def answer() -> None:
            remaining = self.provider.remaining(self.now)
            self.at(self.now + back, lambda: hear(remaining))

        def hear(remaining: int) -> None:
            moved = self.core.told(self.now, 0, remaining, bounded, sent, self.now)
            check(moved, sent)
            self.core.finish(self.now, number, True)
            self.ended.append((sent, self.now, cost))

        self.at(self.now + way, arrive)


@settings(max_examples=400)
@given(plans, st.sampled_from([0, 500]), st.integers(0, CAPACITY))
def test_a_level_is_never_raised_above_what_the_provider_has(
    plan: Any, taken: int, never_sent: int
) -> None:
    """The limit that had more in the beginning."""
    core = Core([(RATE, SECOND, CAPACITY)])
    core.follow(0)
    scene = Scene(core)
    scene.provider.take(taken, 0)
    core.dispatch(core.submit(0, [never_sent]))
    core.finish(0, 0, False)

    def check(moved: float, sent: int) -> None:
        if moved > 0:
            event("raised")
            most = scene.left() + LOST + scene.overtaken_twice(sent)
            assert float(core.level(0, scene.now)) <= most
        elif moved < 0:
            event("lowered")

    for wait, cost, way, work, back in plan:
        scene.run(scene.now + wait * MS)
        scene.call(cost, way * MS, work * MS, back * MS, False, check)
    scene.run(scene.now + 20 * SECOND)
    core.close()


@settings(max_examples=200)
@given(plans)
def test_of_a_provider_like_the_bucket_no_answer_moves_it(plan: Any) -> None:
    """Whatever the delays: what the calls in flight cost is known on both sides or on neither."""
    core = Core([(RATE, SECOND, CAPACITY)])
    core.follow(0)
    scene = Scene(core)

    def check(moved: float, _sent: int) -> None:
        event(f"{core.level(0, scene.now) < CAPACITY}")
        assert moved > -LOST

    for wait, cost, way, work, back in plan:
        scene.run(scene.now + wait * MS)
        scene.call(cost, way * MS, work * MS, back * MS, True, check)
    scene.run(scene.now + 20 * SECOND)
    core.close()


@settings(max_examples=200)
@given(plans, st.integers(CAPACITY // 2, CAPACITY))
def test_another_user_is_noticed_with_the_first_answer(plan: Any, taken: int) -> None:
    """After the answer to a call sent when the other had finished, and nothing since: no more is
    believed to be left than there is, but for a slice of the trail."""
    core = Core([(RATE, SECOND, CAPACITY)])
    core.follow(0)
    scene = Scene(core)
    scene.now = SECOND
    scene.provider.take(taken, scene.now)
    heard: list[float] = []

    def check(moved: float, _sent: int) -> None:
        heard.append(moved)
        if len(heard) == 1:
            assert float(core.level(0, scene.now)) <= CAPACITY - taken + RATE * 0.2 + RATE * 9

    for _, cost, way, work, back in plan[:1]:
        scene.call(cost, way * MS, work * MS, back * MS, False, check)
    scene.run(scene.now + 20 * SECOND)
    assert len(heard) == 1
    core.close()
