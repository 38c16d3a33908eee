"""A scheduler that finds its provider's rates, of which the answers tell nothing, virtual clock."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from itertools import count, pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xtremeflow import Limit, RetryException, TokenRateScheduler, auto_backoff
from xtremeflow.scheduler.stats import LimitStats
from xtremeflow.testing import (
    Enforcer,
    FixedWindow,
    LatencyModel,
    Quirks,
    RateLimitError,
    SimulatedProvider,
    TokenBucket,
    run,
)

WAY = LatencyModel(round_trip=0.05, uplink_jitter=0.02, first_token=0.5, per_output_token=0.0)
SLOW = LatencyModel(round_trip=0.05, uplink_jitter=0.03, first_token=1.5, jitter=0.5)
logging.getLogger("xtremeflow").addHandler(logging.NullHandler())


def seconds() -> float:
    return asyncio.get_running_loop().time()


class Job:
    """Calls without an end, of 50 to 150 tokens, at a provider that only ever says 429."""

    def __init__(
        self,
        limits: Sequence[Enforcer],
        scheduler: TokenRateScheduler,
        *,
        latency: LatencyModel = WAY,
        seed: int = 7,
        busy: bool = True,
    ) -> None:
        self.provider = SimulatedProvider(limits, latency=latency, charge="actual")
        self.scheduler = scheduler
        self.began = seconds()
        self.done = 0
        self.broken = False
        self._busy = busy  # whether refusals at random say that the model is
        self._random = Random(seed)

    async def run(self, seconds: float) -> None:
        task = asyncio.ensure_future(self._feed())
        await asyncio.sleep(seconds)
        task.cancel()

    async def _feed(self) -> None:
        for index in count():
            tokens = self._random.randint(50, 150)
            task = await self.scheduler.start_task(self._call(index, tokens), tokens)
            task.add_done_callback(lambda done: done.cancelled() or done.exception())

    @auto_backoff(max_retries=50)
    async def _call(self, index: int, tokens: int) -> None:
        try:
            if self.broken:
                await asyncio.sleep(0.05)
                raise RateLimitError("no", None)
            await self.provider.call(prompt_tokens=tokens, output_tokens=0, key=index)
        except RateLimitError as error:
            is_busy = self._busy and error.reason == "noise"
            body = {"error": {"message": str(error)}} if is_busy else None
            self.scheduler.observe(429, {}, body)
            raise RetryException from None
        self.scheduler.observe(200, {})
        self.done += 1

    def passed(self, since: float, until: float) -> float:
        """Calls per second that the provider let pass."""
        times = [a.time - self.began for a in self.provider.arrivals if not a.refused]
        return sum(since <= time < until for time in times) / (until - since)

    def refused(self, since: float = 0.0) -> float:
        """The share of the attempts since then."""
        late = [a.refused for a in self.provider.arrivals if a.time - self.began >= since]
        return sum(late) / len(late)


def found(scheduler: TokenRateScheduler) -> dict[str, LimitStats]:
    return {limit.name: limit for limit in scheduler.stats().limits}


@pytest.mark.parametrize(
    "limit",
    [
        TokenBucket("requests", 600, 60.0),
        TokenBucket("requests", 600, 60.0, capacity=20),
        FixedWindow("requests", 600, 60.0),
    ],
    ids=repr,
)
def test_a_rate_is_found_and_used(limit: Enforcer) -> None:
    async def main() -> Job:
        job = Job([limit], TokenRateScheduler(adapt=True))
        await job.run(420.0)
        return job

    job = run(main())
    assert job.passed(300.0, 420.0) > 0.93 * 10
    assert job.refused() < 0.03  # the first minute's, mostly


def test_a_found_limit_is_logged_and_told_by_stats(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> dict[str, LimitStats]:
        scheduler = TokenRateScheduler(adapt=True)
        await Job([TokenBucket("tokens", 60_000, 60.0)], scheduler).run(300.0)
        return found(scheduler)

    with caplog.at_level(logging.INFO, logger="xtremeflow.learning"):
        tokens = run(main())["tokens"]
    assert tokens.rate == pytest.approx(1_000, rel=0.25)  # with what is tried beyond
    assert tokens.confidence is not None
    assert tokens.confidence > 0.97
    assert tokens.configured is None
    assert tokens.learned == "as passed between refusals"
    lines = [r.getMessage() for r in caplog.records if "tokens" in r.getMessage()]
    assert "as passed until the first refusal" in lines[0]
    assert len(lines) < 30


def test_a_unit_of_which_hardly_anything_has_passed_is_not_taken_for_the_limit() -> None:
    """Believed, it would hold the later calls for minutes."""

    async def main() -> float:
        limit = TokenBucket("requests", 60, 60.0, capacity=20)
        job = Job([limit], TokenRateScheduler(adapt=True))
        await asyncio.gather(*(job.scheduler.submit(job._call(i, 2), 2) for i in range(20)))
        began = seconds()
        dear = (job.scheduler.submit(job._call(i, 1_000), 1_000) for i in range(20, 40))
        await asyncio.gather(*dear)
        return seconds() - began

    assert run(main()) < 60.0


@pytest.mark.parametrize(("unit", "amount"), [("requests", 600), ("tokens", 60_000)])
def test_refusals_are_put_down_to_the_limit_that_explains_them(unit: str, amount: int) -> None:
    """Calls cost much the same, so it takes luck to tell both units apart within ten minutes."""

    async def main(seed: int) -> set[str]:
        scheduler = TokenRateScheduler(adapt=True)
        await Job([TokenBucket(unit, amount, 60.0)], scheduler, seed=seed).run(600.0)
        return set(found(scheduler)) & {"requests", "tokens"}

    names = [run(main(seed)) for seed in range(8)]
    assert all(unit in each for each in names)
    assert sum(each == {unit} for each in names) >= 5


def test_refusals_that_a_rate_explains_are_not_put_down_to_concurrency() -> None:
    """Where more is tried more calls are in flight, too: that proves nothing."""

    async def main() -> Job:
        bucket = TokenBucket("tokens", 24_000, 60.0)
        job = Job([bucket], TokenRateScheduler(adapt=True), latency=SLOW, seed=2)
        await job.run(900.0)
        return job

    assert run(main()).refused() < 0.03  # 4 calls a second


def test_a_limit_that_is_cut_and_one_that_is_raised_are_followed() -> None:
    async def main() -> tuple[Job, Job]:
        jobs = []
        for capacity in (10, 40):
            low = TokenBucket("requests", 600, 60.0, capacity=capacity)
            job = Job([low], TokenRateScheduler(adapt=True))
            await job.run(200.0)
            amount = 300 if capacity == 10 else 1_200
            changed = TokenBucket("requests", amount, 60.0, capacity=capacity)
            job.provider._limits = (changed,)
            job.provider._enforced = [(changed, changed)]
            await job.run(200.0)
            jobs.append(job)
        return jobs[0], jobs[1]

    cut, raised = run(main())
    assert cut.passed(230.0, 400.0) == pytest.approx(5.0, rel=0.12)
    assert cut.refused(210.0) < 0.02
    assert raised.passed(262.0, 400.0) > 0.9 * 20.0


def test_the_next_scheduler_begins_with_the_learned_rate() -> None:
    async def main(learned: Any) -> tuple[Job, Any]:
        scheduler = TokenRateScheduler(adapt=True, learned=learned)
        job = Job([TokenBucket("requests", 600, 60.0, capacity=10)], scheduler)
        await job.run(300.0 if learned is None else 20.0)
        return job, scheduler.learned

    _, learned = run(main(None))
    assert learned["rates"]["requests"]["rate"] == pytest.approx(10.0, rel=0.1)
    job, again = run(main(json.loads(json.dumps(learned))))
    assert again["rates"]["requests"]["rate"] == pytest.approx(10.0, rel=0.2)
    assert job.passed(0.0, 20.0) > 7.5
    assert job.refused() < 0.05


@pytest.mark.parametrize("factor", [0.7, 1.3])
def test_a_limit_that_is_configured_wrong_is_set_right(factor: float) -> None:
    async def main() -> Job:
        scheduler = TokenRateScheduler(max_rps=10 * factor, burst_ratio=1.0, adapt=True)
        job = Job([TokenBucket("requests", 600, 60.0)], scheduler)
        await job.run(420.0)
        return job

    job = run(main())
    assert job.passed(300.0, 420.0) > 9.5
    assert job.refused() < 0.01


@settings(max_examples=8)
@given(
    bound=st.floats(2.0, 20.0),
    burst=st.floats(0.0, 3.0),
    truth=st.floats(2.0, 20.0),
    capacity=st.integers(1, 200),
)
def test_a_bound_is_never_exceeded(bound: float, burst: float, truth: float, capacity: int) -> None:
    async def main() -> list[float]:
        limit = Limit("requests", bound, 1.0, max(1.0, burst * bound))
        scheduler = TokenRateScheduler(limits=[limit], adapt="bounded")
        bucket = TokenBucket("requests", truth * 60, 60.0, capacity=capacity)
        job = Job([bucket], scheduler)
        job.provider._latency = LatencyModel(round_trip=0.0, first_token=0.2)
        await job.run(90.0)
        return [arrival.time for arrival in job.provider.arrivals]

    times = run(main())
    most = max(1.0, burst * bound)
    least, n = 0.0, 0
    for n, time in enumerate(times):  # a bucket of that size, as it must be at the provider
        least = max(least, n - bound * (time - times[0]))
        assert n + 1 <= least + most + bound * (time - times[0]) + bound * 0.03 + 1
    assert n > 30


@settings(max_examples=10)
@given(script=st.lists(st.sampled_from(["okay", "refused", "refused", "mute", "odd"]), max_size=60))
def test_no_sequence_of_answers_stops_the_queue(script: list[str]) -> None:
    """After anything at all calls go through again, and the rate that there is gets used."""

    async def main() -> tuple[int, float]:
        scheduler = TokenRateScheduler(adapt=True)
        answers = iter(script)

        @auto_backoff(max_retries=1_000)
        async def call() -> None:
            await asyncio.sleep(0.2)
            answer = next(answers, "okay")
            if answer == "refused":
                scheduler.observe(429, {})
                raise RetryException
            if answer == "odd":
                scheduler.observe(503, {"retry-after": "-1"}, {"error": []}, sent_at=0.0)
                raise RetryException(retry_after=0.0)
            if answer != "mute":
                scheduler.observe(200, {})

        tasks = [scheduler.submit(call(), 100) for _ in range(400)]
        began = seconds()
        await asyncio.wait_for(asyncio.gather(*tasks), 3_600.0)
        return len(tasks), seconds() - began

    done, took = run(main())
    assert done == 400
    assert took < 1_200.0


@pytest.mark.parametrize("seed", range(3))
def test_a_model_that_is_busy_now_and_then_does_not_slow_the_job(seed: int) -> None:
    async def main() -> Job:
        limits = [TokenBucket("requests", 600, 60.0)]
        job = Job(limits, TokenRateScheduler(adapt=True))
        job.provider = SimulatedProvider(
            limits, latency=SLOW, charge="actual", seed=seed, quirks=Quirks(noise=0.01)
        )
        await job.run(300.0)
        return job

    job = run(main())
    assert job.passed(60.0, 300.0) > 0.97 * 10
    assert job.refused(60.0) < 0.04  # with the noise


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_calls_refused_at_random_where_there_is_no_limit_are_no_rate(seed: int) -> None:
    """With quick answers, of which some are refused in every second."""

    async def main() -> Job:
        job = Job([], TokenRateScheduler(adapt=True, max_concurrency=16), busy=False)
        quick = LatencyModel(round_trip=0.0, first_token=0.1, per_output_token=0.0, jitter=0.3)
        quirks = Quirks(noise=0.01, headers="none", waits="none")
        job.provider = SimulatedProvider(
            [], latency=quick, charge="actual", seed=seed, quirks=quirks
        )
        await job.run(120.0)
        return job

    assert run(main()).passed(60.0, 120.0) > 50.0  # of some 150; if it is taken for a rate, 5


def test_after_an_outage_the_rate_is_used_again() -> None:
    async def main() -> Job:
        job = Job([TokenBucket("requests", 600, 60.0)], TokenRateScheduler(adapt=True))
        await job.run(200.0)
        job.broken = True
        await job.run(40.0)
        job.broken = False
        await job.run(160.0)
        return job

    job = run(main())
    assert job.passed(320.0, 400.0) > 9.0


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (429, {"error": {"code": "insufficient_quota"}}),
        (500, None),
        (503, None),
        (529, None),
        (401, None),
    ],
)
def test_of_other_failures_nothing_is_learned(status: int, body: Any) -> None:
    async def main() -> dict[str, Any]:
        scheduler = TokenRateScheduler(adapt=True)

        async def call() -> None:
            scheduler.observe(status, {}, body)

        for _ in range(5):
            await (await scheduler.start_task(call(), 10))
        return scheduler.learned

    assert run(main())["rates"] == {}


def test_a_provider_that_tells_its_limits_after_all_is_believed() -> None:
    async def main() -> dict[str, LimitStats]:
        scheduler = TokenRateScheduler(adapt=True)
        job = Job([TokenBucket("requests", 600, 60.0, capacity=5)], scheduler)
        await job.run(60.0)
        assert set(found(scheduler)) >= {"requests"}

        async def call() -> None:
            headers = {
                "x-ratelimit-limit-tokens": "60000",
                "x-ratelimit-remaining-tokens": "59000",
                "x-ratelimit-reset-tokens": "1s",
            }
            scheduler.observe(200, headers)

        await (await scheduler.start_task(call(), 10, priority=1))
        return found(scheduler)

    limits = run(main())
    assert set(limits) == {"tokens"}
    assert limits["tokens"].confidence == 1.0


def test_the_native_part_tells_its_gauge_and_takes_new_limits() -> None:
    async def main() -> None:
        scheduler = TokenRateScheduler(adapt=True)

        async def call() -> None:
            await asyncio.sleep(1.0)
            seen = scheduler._gauge(None)
            now, sent_at, first, shared, readings = seen
            assert (now - sent_at, sent_at, shared) == (pytest.approx(1.0), first, 0.0)
            assert readings[0] == (1, 1, 1.0, 0.0, 1, 1e12)
            assert readings[1] == (70, 70, 70.0, 0.0, 70, 1e12)

        await (await scheduler.start_task(call(), 70))

    run(main())


def test_a_rate_that_was_given_and_never_met_is_not_kept() -> None:
    async def main() -> tuple[Any, Any]:
        guess = TokenRateScheduler(max_rpm=60, adapt=True)
        again = TokenRateScheduler(adapt=True, learned=guess.learned)
        return guess.learned["rates"], again.learned["rates"]

    assert run(main()) == ({}, {})


def test_learned_needs_adapt() -> None:
    with pytest.raises(ValueError, match="learned is of use with adapt=True or adapt='bounded'"):
        TokenRateScheduler(learned={"version": 1, "rates": {}})
    assert TokenRateScheduler().learned["rates"] == {}


def test_the_pace_between_refusals_is_steady() -> None:
    """What is tried beyond the rate grows slowly, not at once."""

    async def main() -> list[float]:
        job = Job([TokenBucket("requests", 600, 60.0)], TokenRateScheduler(adapt=True))
        await job.run(300.0)
        return [job.passed(t, t + 5.0) for t in range(150, 300, 5)]

    rates = run(main())
    assert max(b - a for a, b in pairwise(rates)) < 6.0


@pytest.mark.parametrize("after", [290.0, 330.0])
def test_a_limit_that_is_cut_by_half_refuses_no_more_after_a_moment(after: float) -> None:
    async def main() -> list[float]:
        full = TokenBucket("requests", 600, 60.0)
        job = Job([full], TokenRateScheduler(adapt=True))
        await job.run(after)
        now = int(job.provider.now() * 1e9)
        half = TokenBucket("requests", 300, 60.0)
        half.take(300 - min(300, full.remaining(now)), now)
        job.provider._limits = (half,)
        await job.run(40.0)
        return [a.time - job.began for a in job.provider.arrivals if a.refused]

    refused = [time for time in run(main()) if time >= after]
    assert refused
    soon = [time for time in refused if time < min(refused) + 20.0]
    assert max(soon) - min(soon) < 8.0
    assert len(refused) - len(soon) <= 2  # and a test, as always


def test_a_second_client_is_not_starved() -> None:
    async def main() -> list[float]:
        first = Job(
            [TokenBucket("tokens", 18_000, 60.0)],
            TokenRateScheduler(adapt=True),
            latency=SLOW,
            seed=4,
        )
        second = Job([], TokenRateScheduler(adapt=True), seed=54)
        second.provider = first.provider
        await first.run(300.0)
        await asyncio.gather(first.run(60.0), second.run(60.0))
        done = first.done, second.done
        await asyncio.gather(first.run(240.0), second.run(240.0))
        return [(first.done - done[0]) / 720, (second.done - done[1]) / 720]

    shares = run(main())
    assert min(shares) > 0.15  # of 0.5
    assert sum(shares) > 0.93
