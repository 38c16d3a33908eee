"""The number of calls to admit: the learner alone, and with a scheduler, at simulated providers."""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import count
from random import Random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from xtremeflow import TokenRateScheduler, auto_backoff
from xtremeflow.learning.concurrency.crowds import CONVINCING
from xtremeflow.learning.concurrency.slots import Slots
from xtremeflow.testing import Concurrency, LatencyModel, RateLimitError, SimulatedProvider, run

WAY = 0.03  # s, each way


class Provider:
    """Serves a queue that is never empty, as `slots` lets calls in, event by event.

    most     calls it takes at once; more are refused
    batch    those that it works on; the others wait
    service  draws how long that takes, in seconds
    down     whether it refuses all, and forgets what it was at
    """

    def __init__(
        self,
        slots: Slots,
        most: int = 10**6,
        batch: int = 10**6,
        service: Callable[[Random], float] = lambda random: random.lognormvariate(0.7, 0.8),
        seed: int = 0,
    ) -> None:
        self.slots = slots
        self.most, self.batch, self.service = most, batch, service
        self.down = False
        self.now = 0.0
        self.calls: list[int] = []  # in flight, in number, after each event
        self.refused: list[float] = []
        self.explained = 0
        self.served: list[float] = []
        self._random = Random(seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = count()
        self._in_flight = 0
        self._held = 0
        self._working = 0
        self._waiting: deque[Callable[[], None]] = deque()
        self._paused_until = 0.0

    def _at(self, time: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (time, next(self._number), event))

    def run(self, seconds: float, most: int = 5_000) -> None:
        """Lets time pass; no more than `most` calls are ever sent at a time."""
        end = self.now + seconds
        self._fill(most)
        while self._events and self._events[0][0] <= end:
            self.now, _, event = heapq.heappop(self._events)
            event()
            self._fill(most)
            self.calls.append(self._in_flight)
        self.now = end

    def _fill(self, most: int) -> None:
        if self.now < self._paused_until:
            return
        while self._in_flight < min(most, self.slots.size or most):
            self._in_flight += 1
            self._at(
                self.now + WAY * self._random.random(),
                partial(self._arrive, self.now, self._in_flight),
            )

    def _arrive(self, sent_at: float, crowd: int) -> None:
        if self.down or self._held >= self.most:
            self._at(self.now + WAY, lambda: self._refuse(sent_at, crowd))
            return
        self._held += 1

        def work() -> None:
            self._working += 1
            self._at(self.now + self.service(self._random), done)

        def done() -> None:
            self._working -= 1
            self._held -= 1
            if self._waiting:
                self._waiting.popleft()()
            reply = self._refuse if self.down else self._answer
            self._at(self.now + WAY, lambda: reply(sent_at, crowd))

        if self._working < self.batch:
            work()
        else:
            self._waiting.append(work)

    def _refuse(self, sent_at: float, crowd: int) -> None:
        self.refused.append(self.now)
        if self.slots.refused(self.now, sent_at, crowd):
            self.explained += 1
        else:
            self._paused_until = self.now + 2.0
            self._at(self._paused_until, lambda: None)
        self._in_flight -= 1

    def _answer(self, sent_at: float, crowd: int) -> None:
        self.served.append(self.now)
        self.slots.answered(self.now, sent_at, crowd, self._in_flight, 1_000)
        self._in_flight -= 1

    def rate(self, seconds: float) -> float:
        """Answers per second, over the last ones."""
        return sum(at > self.now - seconds for at in self.served) / seconds

    def refused_since(self, start: float) -> int:
        return sum(at >= start for at in self.refused)


MEAN = 2.77  # s, of the default service


@pytest.mark.parametrize("most", [1, 3, 8, 20, 64, 300])
def test_the_limit_is_found_and_kept(most: int) -> None:
    provider = Provider(Slots(), most)
    provider.run(150)
    size = provider.slots.size
    assert size is not None
    assert most - 1 <= size <= most + 8
    assert provider.rate(60) >= 0.9 * (most - (most < 20)) / MEAN
    attempts = len(provider.served) + len(provider.refused)
    assert len(provider.refused) <= 25 + 0.006 * attempts
    if most >= 20:
        assert provider.slots.confidence > 0.5
        assert provider.explained == len(provider.refused)


@pytest.mark.parametrize("seed", range(8))
def test_a_limit_that_is_cut_is_followed_within_seconds(seed: int) -> None:
    provider = Provider(Slots(), 100, seed=seed)
    provider.run(100)
    provider.slots._budget = 1.0
    provider.run(seed / 20)  # maybe just when more are tried
    provider.most = 50
    provider.run(10)
    assert provider.refused_since(105) <= 10
    provider.run(50)
    size = provider.slots.size
    assert size is not None
    assert 49 <= size <= 56
    assert provider.refused_since(100) <= 40
    assert provider.rate(40) >= 0.8 * 50 / MEAN


@pytest.mark.parametrize("seed", range(3))
def test_a_limit_that_is_raised_is_in_use_within_a_minute(seed: int) -> None:
    provider = Provider(Slots(), 100, seed=seed)
    provider.run(100)
    provider.most = 200
    provider.run(60)
    size = provider.slots.size
    assert size is not None
    assert 195 <= size <= 210
    assert provider.rate(15) >= 0.85 * 200 / MEAN


def test_known_slots_are_where_the_next_search_begins() -> None:
    provider = Provider(Slots(), 64)
    assert provider.slots.known is None
    provider.run(100)
    known = provider.slots.known
    assert known is not None
    provider = Provider(Slots(known), 64)
    provider.run(3)
    assert provider.calls[-1] >= 60
    provider.run(60)
    assert len(provider.refused) <= 20
    provider = Provider(Slots(known), 30)
    provider.run(60)
    assert provider.slots.size == pytest.approx(30, abs=5)
    assert len(provider.refused) <= 64


def test_no_limit_is_no_limit() -> None:
    provider = Provider(Slots())
    provider.run(40)
    assert provider.slots.known is None
    assert provider.slots.size is not None
    assert provider.slots.size > 1_000


@pytest.mark.parametrize("batch", [16, 64, 200])
@pytest.mark.parametrize("queue", [50, 10**6])
def test_a_server_that_queues_is_kept_busy_with_few_waiting(batch: int, queue: int) -> None:
    provider = Provider(Slots(), batch + queue, batch)
    provider.run(300)
    size = provider.slots.size
    assert size is not None
    assert 0.95 * batch <= size <= (3.0 if batch == 16 else 1.5) * batch
    assert provider.rate(100) >= 0.9 * batch / MEAN
    assert len(provider.refused) <= 20


def test_a_server_that_becomes_slow_is_kept_busy_all_the_same() -> None:
    provider = Provider(Slots(), 10**6, 64)
    provider.run(200)
    fast = provider.service
    provider.service = lambda random: 3 * fast(random)
    provider.run(200)
    assert provider.rate(150) >= 0.9 * 64 / (3 * MEAN)
    assert provider.slots.size is not None
    assert provider.slots.size <= 120


def test_answers_of_one_length_are_no_queue() -> None:
    """Slower or faster, all alike: fewer calls would not be quicker."""
    provider = Provider(Slots(), 50, service=lambda random: random.uniform(1.9, 2.1))
    provider.run(100)
    provider.service = lambda random: random.uniform(3.9, 4.1)
    provider.run(150)
    assert provider.rate(50) >= 0.85 * 50 / 4.0


def test_an_outage_changes_nothing() -> None:
    provider = Provider(Slots(), 64)
    provider.run(100)
    size = provider.slots.size
    provider.down = True
    provider.run(30)
    provider.down = False
    assert provider.slots.size == pytest.approx(size, abs=3)
    provider.run(20)
    assert provider.slots.size == pytest.approx(size, abs=3)
    assert provider.rate(10) >= 0.85 * 64 / MEAN


def test_refusals_at_any_number_in_flight_are_not_for_concurrency() -> None:
    """A bucket of 200 that gets 5 a second, and says nothing."""
    slots = Slots()
    provider = Provider(slots)
    level, at = 200.0, 0.0

    def arrive(sent_at: float, crowd: int) -> None:
        nonlocal level, at
        level, at = min(200.0, level + 5.0 * (provider.now - at)), provider.now
        provider.down = level < 1.0
        level -= not provider.down
        original(sent_at, crowd)
        provider.down = False

    original, provider._arrive = provider._arrive, arrive  # type: ignore[method-assign]
    provider.run(200)
    assert provider.explained <= 100
    assert slots.confidence is None or slots.confidence <= 0.5


@pytest.mark.parametrize(("crowds", "agree"), [([50], True), ([60, 20], False)])
def test_refusals_have_to_agree(crowds: list[int], agree: bool) -> None:
    """Also where concurrency was known before: it may have been another provider's."""
    slots, now = Slots(64), 0.0
    explained = True
    for crowd in crowds * 12:
        for _ in range(64):
            now += 0.1
            slots.answered(now, now - 1.0, crowd, slots.size or crowd, 100)
        explained &= slots.refused(now + 0.1, now + 0.05, crowd)
    assert explained is agree


def test_a_queue_that_is_empty_lets_nothing_grow() -> None:
    slots = Slots()
    for i in range(1_000):
        slots.answered(i / 10, i / 10 - 2.0, 5, 5, 0)
        slots.answered(i / 10 + 0.05, i / 10 - 2.0, 5, 5, 3)  # calls wait, but not for a slot
    assert slots.size <= 10  # twice what is used


def test_another_limit_that_is_known_opens_it_and_a_refusal_closes_it() -> None:
    slots = Slots()
    slots.open()
    assert slots.size is None
    slots.answered(1.0, 0.0, 50, 50, 100)
    assert slots.size is None
    assert slots.refused(2.0, 1.95, 51)
    assert slots.size == 50


def test_a_call_that_is_refused_alone_is_not_for_concurrency() -> None:
    slots = Slots()
    assert slots.refused(1.0, 0.9, 1)  # of some that were sent together, maybe not the first
    assert slots.size == 1
    slots.answered(2.0, 1.0, 1, 1, 10)
    assert not slots.refused(3.0, 2.9, 1)


times = st.floats(0.0, 100.0)
crowds = st.integers(1, 200)
events = st.lists(
    st.tuples(st.booleans(), times, times, crowds, crowds, st.integers(0, 2)), max_size=300
)


@settings(max_examples=20)
@given(events, st.integers(20, 60))
@example([(True, 0.0, 0.0, 1, 1, 0), (True, 5e-324, 0.0, 1, 1, 0)], 20)  # 1 / gap is infinite
def test_whatever_has_happened_calls_go_on_and_the_limit_is_found(
    chaos: list[tuple[bool, float, float, int, int, int]], most: int
) -> None:
    slots = Slots()
    now = 0.0
    for ok, gap, took, crowd, in_flight, waiting in chaos:
        now += gap if gap < 50 else 0.0  # many at once
        if ok:
            slots.answered(now, now - took, crowd, in_flight, waiting)
        else:
            assert isinstance(slots.refused(now, now - took, crowd), bool)
        assert slots.size is None or slots.size >= 1
        assert slots.confidence is None or 0.0 <= slots.confidence <= 1.0
    provider = Provider(slots, most, service=lambda random: random.uniform(1.0, 3.0))
    provider.now = now
    provider.run(200, most=300)
    assert provider.rate(50) >= 0.5 * most / 2.0
    assert provider.refused_since(provider.now - 50) <= 10 + most / 2


# With a scheduler.


class Refused(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status}")
        self.status_code = status


async def work(
    scheduler: TokenRateScheduler,
    provider: SimulatedProvider,
    calls: int,
    max_retries: int = 3,
    status: int = 429,
) -> list[Any]:
    @auto_backoff(max_retries=max_retries)
    async def call(key: int) -> None:
        try:
            await provider.call(prompt_tokens=10, output_tokens=key % 200, key=key)
        except RateLimitError:
            scheduler.observe(status, {}, {})
            raise Refused(status) from None
        scheduler.observe(200, {})

    tasks = [scheduler.submit(call(key)) for key in range(calls)]
    return await asyncio.gather(*tasks, return_exceptions=True)


def test_a_scheduler_finds_the_limit_pauses_no_call_and_loses_none(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        provider = SimulatedProvider([Concurrency(30)], latency=LatencyModel(uplink_jitter=0.02))
        scheduler = TokenRateScheduler(adapt=True)
        outcomes = await work(scheduler, provider, 3_000)
        assert outcomes == [None] * 3_000
        assert provider.stats.succeeded == 3_000
        assert 1 <= provider.stats.refused <= 40
        assert scheduler.stats().cooldowns <= 2 * CONVINCING  # until it is known what it is
        assert provider.stats.peak_concurrency == 30
        concurrency = scheduler.stats().concurrency
        assert concurrency is not None
        assert 15 <= concurrency.calls <= 31
        again = TokenRateScheduler(adapt=True, learned=scheduler.learned)
        assert again.stats().concurrency is None  # until this one is shown it as well
        refused = provider.stats.refused
        assert await work(again, provider, 500) == [None] * 500
        assert provider.stats.refused - refused <= 10

    with caplog.at_level(logging.INFO, logger="xtremeflow.learning"):
        run(main())
    messages = [r.getMessage() for r in caplog.records if r.name == "xtremeflow.learning"]
    assert any("in flight are now" in message for message in messages)
    assert len(messages) <= 20


@pytest.mark.parametrize("seed", range(3))
def test_a_limit_is_found_too_where_refusals_call_the_provider_overloaded(seed: int) -> None:
    async def main() -> None:
        latency = LatencyModel(uplink_jitter=0.02)
        provider = SimulatedProvider([Concurrency(30)], latency=latency, seed=seed)
        scheduler = TokenRateScheduler(adapt=True)
        assert await work(scheduler, provider, 3_000, status=503) == [None] * 3_000
        assert 1 <= provider.stats.refused <= 60
        concurrency = scheduler.stats().concurrency
        assert concurrency is not None
        assert 15 <= concurrency.calls <= 31

    run(main())


def test_max_concurrency_stays_the_upper_bound() -> None:
    async def main(bound: int) -> int:
        provider = SimulatedProvider([Concurrency(30)], latency=LatencyModel(uplink_jitter=0.02))
        scheduler = TokenRateScheduler(adapt=True, max_concurrency=bound)
        await work(scheduler, provider, 1_000)
        assert provider.stats.refused == 0
        return provider.stats.peak_concurrency

    assert [run(main(bound)) for bound in (1, 5, 25)] == [1, 5, 25]


def test_a_call_that_is_always_refused_is_raised_in_the_end() -> None:
    async def main() -> None:
        scheduler = TokenRateScheduler(adapt=True)
        provider = SimulatedProvider(latency=LatencyModel())

        @auto_backoff(max_retries=3)
        async def poison() -> None:
            await asyncio.sleep(0.05)
            scheduler.observe(429, {}, {})
            raise Refused(429)

        task = scheduler.submit(poison())
        assert await work(scheduler, provider, 300) == [None] * 300
        with pytest.raises(Refused):
            await task

    run(main())
