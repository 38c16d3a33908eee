"""Limits that are only learned, and that the user bounds while calls run, on a virtual clock."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from xtremeflow import Limit, RetryException, TaskScheduler, TokenRateScheduler, auto_backoff
from xtremeflow.scheduler.observing import Adapt
from xtremeflow.scheduler.stats import LimitStats
from xtremeflow.testing import RateLimitError, SimulatedProvider, TokenBucket, run


def seconds() -> float:
    return asyncio.get_running_loop().time()


def told(amount: int, unit: str = "tokens") -> dict[str, str]:
    """As OpenAI tells of a bucket per minute that is full."""
    return {
        f"x-ratelimit-limit-{unit}": str(amount),
        f"x-ratelimit-remaining-{unit}": str(amount),
        f"x-ratelimit-reset-{unit}": "0s",
    }


def limit_of(scheduler: TaskScheduler, name: str) -> LimitStats:
    (found,) = [limit for limit in scheduler.stats().limits if limit.name == name]
    return found


async def answered(scheduler: TaskScheduler, headers: Mapping[str, str], times: int = 1) -> None:
    async def call() -> None:
        scheduler.observe(200, headers)

    for _ in range(times):
        await (await scheduler.start_task(call()))


class Job:
    """Calls without an end at a provider that lets so many requests a minute pass. It tells
    of another limit on them, or of none."""

    def __init__(self, amount: int, scheduler: TaskScheduler, tells: int = 0) -> None:
        self.scheduler = scheduler
        self.headers = told(tells, "requests") if tells else {}
        self.provider = SimulatedProvider([])
        self.allow(amount)

    def allow(self, amount: int) -> None:
        bucket = TokenBucket("requests", amount, 60.0, capacity=10)
        self.provider._limits = (bucket,)
        self.provider._enforced = [(bucket, bucket)]

    async def run(self, seconds_: float) -> tuple[float, float]:
        """Returns the calls per second that have passed, and the part of those refused, in the last
        half of the time."""
        task = asyncio.ensure_future(self._feed())
        await asyncio.sleep(seconds_ / 2)
        since = seconds()
        await asyncio.sleep(seconds_ / 2)
        task.cancel()
        late = [each.refused for each in self.provider.arrivals if each.time >= since]
        return late.count(False) / (seconds_ / 2), late.count(True) / len(late)

    async def _feed(self) -> None:
        while True:
            task = await self.scheduler.start_task(self._call(), 1)
            task.add_done_callback(lambda done: done.cancelled() or done.exception())

    @auto_backoff(max_retries=50)
    async def _call(self) -> None:
        try:
            await self.provider.call(prompt_tokens=1, output_tokens=0)
        except RateLimitError:
            self.scheduler.observe(429, self.headers)
            raise RetryException from None
        self.scheduler.observe(200, self.headers)


@pytest.mark.parametrize("adapt", [True, "bounded"])
def test_a_limit_of_which_nothing_is_learned_is_held_from_the_next_call_on(adapt: Adapt) -> None:
    async def main() -> list[float]:
        scheduler, times = TaskScheduler(adapt=adapt), []

        async def call() -> None:
            times.append(seconds())
            scheduler.observe(200, {})

        scheduler.set_limit(Limit("requests", 300, per=60))
        assert scheduler.limits == (Limit("requests", 300, per=60),)
        limit = limit_of(scheduler, "requests")
        assert (limit.rate, limit.bound, limit.configured) == (5, scheduler.limits[0], None)
        await asyncio.gather(*(scheduler.submit(call()) for _ in range(50)))
        scheduler.learn_limit("requests")
        assert scheduler.limits == scheduler.stats().limits == ()
        await asyncio.gather(*(scheduler.submit(call()) for _ in range(50)))
        return times

    times = run(main())
    assert times[:50] == pytest.approx([times[0] + 0.2 * i for i in range(50)], abs=1e-6)
    assert times[-1] - times[49] < 0.1  # and nothing holds them any more


def test_waiting_calls_are_held_to_the_bound_at_once() -> None:
    async def main() -> None:
        scheduler = TaskScheduler(adapt=True)
        tasks = [scheduler.submit(asyncio.sleep(1)) for _ in range(100)]
        await asyncio.sleep(0.5)
        before = scheduler.stats().admitted
        scheduler.set_limit(Limit("requests", 6, per=60))
        await asyncio.sleep(9)
        assert scheduler.stats().admitted == before + 1
        scheduler.learn_limit("requests")
        await asyncio.gather(*tasks)

    run(main())


def test_a_told_limit_is_followed_below_the_bound_only_and_has_a_way_back() -> None:
    async def main() -> None:
        scheduler = TokenRateScheduler(adapt=True)
        await answered(scheduler, told(60_000))
        assert limit_of(scheduler, "tokens").rate == 1000
        scheduler.set_limit(Limit("tokens", 30_000, 60, capacity=500))
        assert (limit_of(scheduler, "tokens").rate, limit_of(scheduler, "tokens").level) == (
            500,
            500,
        )
        await answered(scheduler, told(60_000))
        assert (limit_of(scheduler, "tokens").rate, limit_of(scheduler, "tokens").level) == (
            500,
            500,
        )
        await answered(scheduler, told(20_000), times=3)
        assert limit_of(scheduler, "tokens").rate == pytest.approx(20_000 / 60)
        await answered(scheduler, told(90_000), times=3)
        assert limit_of(scheduler, "tokens").rate == 500
        scheduler.learn_limit("tokens")
        assert limit_of(scheduler, "tokens").rate == 1500  # as it was told meanwhile
        assert limit_of(scheduler, "tokens").capacity == 90_000
        assert limit_of(scheduler, "tokens").bound is None

    run(main())


def test_a_found_limit_is_bounded_and_goes_on_from_the_same_rate() -> None:
    async def main() -> None:
        scheduler = TaskScheduler(adapt=True)
        job = Job(600, scheduler)
        await job.run(300)
        scheduler.set_limit(Limit("requests", 300, 60, capacity=2))
        assert limit_of(scheduler, "requests").rate <= 5
        assert limit_of(scheduler, "requests").capacity <= 2
        assert await job.run(300) == (pytest.approx(5, rel=0.02), 0)
        scheduler.learn_limit("requests")
        await job.run(2)
        assert limit_of(scheduler, "requests").rate == pytest.approx(10, rel=0.25)
        passed, refused = await job.run(120)
        assert passed > 9
        assert refused < 0.05

    run(main())


def test_refusals_lower_a_limit_below_its_bound_and_nothing_raises_it_above() -> None:
    async def main() -> None:
        scheduler = TaskScheduler(adapt=True)
        scheduler.set_limit(Limit("requests", 600, 60, capacity=2))
        job = Job(240, scheduler)
        passed, refused = await job.run(400)
        assert passed == pytest.approx(4, rel=0.07)
        assert refused < 0.1
        job.allow(6000)
        passed, _ = await job.run(1200)
        assert passed == pytest.approx(10, rel=0.02)

    run(main())


def test_refusals_that_answers_do_not_explain_lift_no_bound() -> None:
    """The answers tell of a limit that is higher than the bound, and refusals of a lower one."""

    async def main() -> None:
        scheduler = TokenRateScheduler(adapt=True)
        job = Job(240, scheduler, tells=60_000)
        scheduler.set_limit(Limit("requests", 600, 60, capacity=600))
        await job.run(400)
        job.allow(6000)
        passed, _ = await job.run(1200)
        assert passed == pytest.approx(10, rel=0.02)

    run(main())


@pytest.mark.parametrize("adapt", [True, "bounded"])
def test_a_limit_that_is_given_is_bounded_by_a_change_and_a_guess_once_it_is_learned(
    adapt: Adapt,
) -> None:
    async def main() -> None:
        scheduler = TokenRateScheduler(limits=[Limit("tokens", 60_000, 60, 100)], adapt=adapt)
        scheduler.set_limit(Limit("tokens", 30_000, 60, 100))
        await answered(scheduler, told(90_000), times=3)
        assert limit_of(scheduler, "tokens").rate == 500
        scheduler.learn_limit("tokens")
        assert limit_of(scheduler, "tokens").rate == 1500
        assert scheduler.limits == (Limit("tokens", 30_000, 60, 100),)

    run(main())


def test_a_limit_of_a_name_is_known_by_whether_it_is_one_of_days() -> None:
    scheduler = TaskScheduler(limits=[Limit("requests", 60, 60)], adapt="bounded")
    scheduler.set_limit(Limit("requests", 5000, per=86_400))
    assert scheduler.limits == (Limit("requests", 60, 60), Limit("requests", 5000, 86_400))
    scheduler.learn_limit("requests", per=86_400)
    assert scheduler.limits == (Limit("requests", 60, 60),)


def test_a_limit_that_cannot_be_learned_is_refused() -> None:
    scheduler = TaskScheduler(adapt=True)
    said = r"limit must be like one of \[\], or a learned one \(requests per minute, .*'images'"
    with pytest.raises(ValueError, match=said):
        scheduler.set_limit(Limit("images", 5))
    with pytest.raises(ValueError, match=said):
        scheduler.learn_limit("images")
    with pytest.raises(ValueError, match="cannot be kept"):
        scheduler.set_limit(Limit("tokens", 1e300))
    assert scheduler.limits == ()
    with pytest.raises(ValueError, match="limits are learned with adapt=True or"):
        TokenRateScheduler(max_tps=5).learn_limit("tokens")
