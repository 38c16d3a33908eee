"""Windows that slide: what was charged in the last minute, and a scheduler that uses them up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import count
from math import e, inf
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xtremeflow import Limit, RetryException, TokenRateScheduler, auto_backoff, report_token_usage
from xtremeflow._core import Gauge, Reading
from xtremeflow.learning.told.sliding import (
    AHEAD,
    EVEN,
    KEPT,
    Sliding,
)
from xtremeflow.simulation.charge import charge_later, settle_actual
from xtremeflow.testing import CallRequest, RateLimitError, SimulatedProvider, SlidingWindow, run

SECOND = 1_000_000_000
AMOUNT = 60_000


def seen(now: float, used: float, flying: float, cost: float = 100.0) -> Gauge:
    """Of an answer's call that was sent just before."""
    return Gauge((now, now, 0.0, 0.0, (Reading((used, 0, cost, 0.0, flying, 0.0)),)))


charges = st.lists(
    st.tuples(st.integers(0, 20_000), st.integers(1, 3_000)), min_size=1, max_size=60
)  # ms after the one before, units


@given(charges)
def test_after_the_wait_as_much_is_left_as_is_kept_in_reserve_and_not_before(
    plan: Sequence[tuple[int, int]],
) -> None:
    """Of a window whose charges are all one's own, told or not."""
    window, sliding = SlidingWindow("tokens", 2**60), Sliding(60.0, is_late=True)
    now, used = 0.0, 0
    for wait, units in plan:
        now, used = now + wait / 1000, used + units
        window.take(units, round(now * SECOND))
        sliding.see(seen(now, used, units, units), 0, passed=True, refused=False)
        wait_here = sliding.wait(now, AMOUNT)
        assert 0 <= wait_here <= 60
        later = round((now + wait_here) * SECOND)
        taken = 2**60 - window.remaining(later)
        assert taken <= (1 - KEPT) * AMOUNT
        if wait_here > 0.1:
            just_before = round((now + wait_here - 0.1) * SECOND)
            assert 2**60 - SlidingWindow.remaining(copied(window), just_before) > taken


def copied(window: SlidingWindow) -> SlidingWindow:
    other = SlidingWindow("tokens", 2**60)
    other.__dict__.update(window.__dict__)
    other._log = window._log.copy()
    return other


def shared(now: float, own: int, left: float) -> Sliding:
    """A window of which one half of the own charges is 59 s old, and the other new."""
    sliding = Sliding(60.0, is_late=False)
    sliding.see(seen(now - 59.0, own // 2, 0.0), 0, passed=True, refused=False)
    sliding.see(seen(now, own, 0.0), 0, passed=True, refused=False)
    sliding.told(now, AMOUNT, left)
    return sliding


def test_the_use_of_others_slides_out_as_ones_own_and_each_answer_tells_it_anew() -> None:
    sliding = shared(100.0, 30_000, 0)
    assert sliding.wait(100.0, AMOUNT) == pytest.approx(1.0)
    sliding.told(100.0, AMOUNT, 30_000)
    assert sliding.wait(100.0, AMOUNT) == 0


def test_no_wait_is_longer_than_ones_own_part_of_the_longest() -> None:
    sliding = Sliding(60.0, is_late=False)
    sliding.see(seen(100.0, 15_000, 0), 0, passed=True, refused=False)
    sliding.told(100.0, AMOUNT, 0)
    assert sliding.wait(100.0, AMOUNT) == pytest.approx(60 / 4)
    unknown = Sliding(60.0, is_late=True)  # all of it was used by others
    unknown.told(100.0, AMOUNT, 0)
    assert unknown.wait(100.0, AMOUNT) == 0


def test_the_pace_is_free_for_one_alone_and_else_follows_the_part_and_the_rest() -> None:
    assert shared(100.0, 30_000, AMOUNT - 30_000).pace(100.0, AMOUNT) == inf
    left = (KEPT + 0.01) * AMOUNT
    half = shared(100.0, round((AMOUNT - left) / 2), left).pace(100.0, AMOUNT)
    assert half == pytest.approx(AHEAD * (EVEN + (1 - EVEN) / 2), rel=1e-3)
    assert shared(100.0, 0, left).pace(100.0, AMOUNT) == pytest.approx(AHEAD * EVEN)
    left = 0.0
    less = shared(100.0, round((AMOUNT - left) / 2), left).pace(100.0, AMOUNT)
    assert less == pytest.approx(half / e, rel=1e-3)


def test_calls_that_are_refused_are_not_charged_and_those_in_flight_only_where_that_is_so() -> None:
    late, early = Sliding(60.0, is_late=True), Sliding(60.0, is_late=False)
    for sliding in (late, early):
        sliding.see(seen(0.0, AMOUNT, AMOUNT), 0, passed=False, refused=False)
    assert late.wait(0.0, AMOUNT) == 0
    assert early.wait(0.0, AMOUNT) > 59
    early.see(seen(1.0, AMOUNT, AMOUNT, AMOUNT / 2), 0, passed=False, refused=True)
    assert early.wait(1.0, AMOUNT) == 0


# -- a scheduler ---------------------------------------------------------------------------------


class Job:
    """Calls without an end at a provider that charges them when they end, like Mistral."""

    def __init__(
        self, scheduler: TokenRateScheduler, limit: SlidingWindow, provider: SimulatedProvider,
        *, tells: bool, seed: int = 7,
    ) -> None:  # fmt: skip
        self.limit, self.provider = limit, provider
        self.scheduler, self.tells = scheduler, tells
        self.random = Random(seed)
        self.began = asyncio.get_running_loop().time()
        self.done: list[tuple[float, int]] = []

    def headers(self) -> dict[str, str]:
        if not self.tells:
            return {}
        left = self.limit.remaining(round(self.provider.now() * SECOND))
        return {
            "x-ratelimit-limit-tokens-minute": str(AMOUNT),
            "x-ratelimit-remaining-tokens-minute": str(left),
        }

    async def run(self, seconds: float) -> None:
        task = asyncio.ensure_future(self._feed())
        await asyncio.sleep(seconds)
        task.cancel()

    async def _feed(self) -> None:
        for _ in count():
            request = CallRequest(self.random.randint(50, 250), self.random.randint(50, 250))
            tokens = request.prompt_tokens + request.completion_tokens
            task = await self.scheduler.start_task(self._call(request, tokens), tokens)
            task.add_done_callback(lambda done: done.cancelled() or done.exception())

    @auto_backoff(max_retries=50)
    async def _call(self, request: CallRequest, tokens: int) -> None:
        self.provider.arrive()
        await asyncio.sleep(self.random.uniform(0.02, 0.05))
        try:
            reservation = self.provider.admit(request)
        except RateLimitError:
            headers = self.headers()
            await asyncio.sleep(0.02)
            self.scheduler.observe(429, headers)
            raise RetryException from None
        with reservation:
            produced = request.completion_tokens
            await asyncio.sleep(0.4 + 0.01 * produced * self.random.uniform(0.7, 1.0))
            reservation.settle(settle_actual(request, produced))
            headers = self.headers()
            await asyncio.sleep(0.02)
        self.done.append((self.provider.now() - self.began, tokens))
        self.scheduler.observe(200, headers)
        await report_token_usage({"tokens": tokens})

    def used(self, since: float, until: float) -> float:
        """The share of the limit."""
        units = sum(tokens for time, tokens in self.done if since <= time < until)
        return units * 60 / (AMOUNT * (until - since))

    @property
    def refused(self) -> float:
        return self.provider.stats.refused / self.provider.stats.attempts


def provided() -> tuple[SlidingWindow, SimulatedProvider]:
    limit = SlidingWindow("tokens", AMOUNT)
    return limit, SimulatedProvider([limit], charge=charge_later)


def worked(seconds: float, make: Callable[[], TokenRateScheduler], *, tells: bool) -> Job:
    async def main() -> Job:
        job = Job(make(), *provided(), tells=tells)
        await job.run(seconds)
        return job

    return run(main())


@pytest.mark.parametrize(
    ("clients", "apart", "most"), [(2, 6.0, 0.01), (2, 120.0, 0.01), (4, 0.0, 0.05)]
)
def test_a_window_is_shared_almost_without_refusals(
    clients: int, apart: float, most: float
) -> None:
    async def main() -> list[Job]:
        shared = provided()
        jobs = [
            Job(TokenRateScheduler(adapt=True), *shared, tells=True, seed=i) for i in range(clients)
        ]
        running = []
        for job in jobs:
            running.append(asyncio.ensure_future(job.run(since + 240.0)))
            await asyncio.sleep(apart)
        await asyncio.sleep(60.0)
        stats = shared[1].stats
        refused.append(stats.refused)
        attempts.append(stats.attempts)
        await asyncio.wait(running)
        refused.append(stats.refused)
        attempts.append(stats.attempts)
        return jobs

    since = 60.0 + clients * apart
    refused: list[int] = []
    attempts: list[int] = []
    jobs = run(main())
    parts = [job.used(since, since + 180.0) for job in jobs]
    assert min(parts) > 0.7 / clients
    assert sum(parts) > 0.9
    assert refused[1] - refused[0] < most * (attempts[1] - attempts[0])


def test_a_window_that_is_told_of_is_used_up_almost_without_refusals() -> None:
    job = worked(600.0, lambda: TokenRateScheduler(adapt=True), tells=True)
    assert job.used(60.0, 600.0) > 0.98
    assert job.refused < 0.005


def test_a_limit_that_the_user_replaces_is_open() -> None:
    async def main() -> float:
        limit = Limit("tokens", AMOUNT, 60.0, AMOUNT)
        scheduler = TokenRateScheduler(limits=[limit], adapt="bounded")
        clock = asyncio.get_running_loop().time

        async def used_up() -> None:
            told = {"limit": str(AMOUNT), "remaining": "0"}
            scheduler.observe(200, {f"x-ratelimit-{k}-tokens-minute": v for k, v in told.items()})

        await (await scheduler.start_task(used_up(), 100))
        began = clock()
        scheduler.set_limit(limit)
        await (await scheduler.start_task(asyncio.sleep(0), 100))
        return clock() - began

    assert run(main()) == 0
