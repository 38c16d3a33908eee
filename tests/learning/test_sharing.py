"""Several jobs on one key: the law of headers lets them share it, virtual clock."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import count

import pytest

from xtremeflow import RetryException, TokenRateScheduler, auto_backoff
from xtremeflow.testing import LatencyModel, RateLimitError, SimulatedProvider, TokenBucket, run

RATE = 10.0  # calls per second
LATENCY = LatencyModel(round_trip=0.06, first_token=1.5, jitter=0.3)


class Jobs:
    """Clients whose queues are never empty, `apart` seconds after each other. Each has at most
    `calls` calls that wait or are in flight."""

    def __init__(self, clients: int, apart: float, calls: int = 300) -> None:
        self.bucket = TokenBucket("requests", 60 * RATE, 60.0)
        self.provider = SimulatedProvider([self.bucket], latency=LATENCY)
        self.began = asyncio.get_running_loop().time()
        self.passed: list[list[float]] = [[] for _ in range(clients)]
        self.refused: list[float] = []
        self.apart, self.calls = apart, calls

    def now(self) -> float:
        return asyncio.get_running_loop().time() - self.began

    def headers(self) -> dict[str, str]:
        now = round(self.provider.now() * 1e9)
        return {
            "x-ratelimit-limit-requests": f"{60 * RATE:.0f}",
            "x-ratelimit-remaining-requests": str(max(0, self.bucket.remaining(now))),
            "x-ratelimit-reset-requests": f"{(self.bucket.reset(now) or 0) // 10**6}ms",
        }

    async def client(self, number: int) -> None:
        await asyncio.sleep(number * self.apart)
        scheduler = TokenRateScheduler(adapt=True)

        @auto_backoff(max_retries=1_000)
        async def call(key: int) -> None:
            try:
                await self.provider.call(prompt_tokens=1, output_tokens=1, key=key)
            except RateLimitError as error:
                self.refused.append(self.now())
                scheduler.observe(429, {**self.headers(), **error.response.headers})
                raise RetryException(retry_after=error.retry_after) from None
            scheduler.observe(200, self.headers())
            self.passed[number].append(self.now())

        window = asyncio.Semaphore(self.calls)
        for index in count():
            await window.acquire()
            task = scheduler.submit(call(1_000_000 * number + index))
            task.add_done_callback(lambda _: window.release())

    async def run(self, seconds: float) -> None:
        tasks = [asyncio.ensure_future(self.client(i)) for i in range(len(self.passed))]
        await asyncio.wait(tasks, timeout=seconds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def shares(self, since: float, until: float) -> list[float]:
        """Of what the provider lets pass in that time."""
        whole = RATE * (until - since)
        return [sum(since <= t < until for t in times) / whole for times in self.passed]


@pytest.mark.parametrize(("clients", "apart"), [(2, 0.0), (2, 3.0), (2, 60.0), (4, 0.0), (4, 6.0)])
def test_all_get_the_same_and_nothing_is_refused(clients: int, apart: float) -> None:
    async def main() -> Jobs:
        jobs = Jobs(clients, apart)
        await jobs.run(180.0 + clients * apart)
        return jobs

    jobs = run(main())
    since = 60.0 + clients * apart
    shares = jobs.shares(since, since + 120.0)
    assert min(shares) > 0.8 / clients
    assert 0.95 < sum(shares) < 1.05
    assert not [time for time in jobs.refused if time >= since]


@pytest.mark.parametrize(
    ("clients", "apart", "calls", "jitter"),
    [(2, 0.5, 600, 0.3), (4, 3.0, 600, 0.3), (4, 0.0, 300, 0.0)],
)
def test_long_queues_that_begin_together_are_hardly_refused(
    clients: int, apart: float, calls: int, jitter: float
) -> None:
    """Each fits into what its first answers tell, and not beside the others."""

    async def main() -> Jobs:
        jobs = Jobs(clients, apart, calls)
        jobs.provider = SimulatedProvider([jobs.bucket], latency=replace(LATENCY, jitter=jitter))
        await jobs.run(20.0 + clients * apart)
        return jobs

    jobs = run(main())
    assert len(jobs.refused) <= 0.01 * sum(map(len, jobs.passed))


class Seconds(Jobs):
    """The headers tell of a minute's bucket, and a second's part of it is enforced; refusals tell
    waits of whole seconds."""

    def __init__(self, clients: int, apart: float) -> None:
        super().__init__(clients, apart)
        self.bucket = TokenBucket("requests", 60 * RATE, 60.0, capacity=RATE)
        self.provider = SimulatedProvider(
            [self.bucket], latency=replace(LATENCY, uplink_jitter=0.04)
        )

    def headers(self) -> dict[str, str]:
        return {
            "anthropic-ratelimit-requests-limit": f"{60 * RATE:.0f}",
            "anthropic-ratelimit-requests-remaining": f"{59 * RATE:.0f}",
            "anthropic-ratelimit-requests-reset": "1970-01-01T00:00:01Z",
            "retry-after": "1",
        }


@pytest.mark.parametrize("clients", [1, 2, 4])
def test_a_bucket_that_is_not_told_is_shared_by_refusals(clients: int) -> None:
    async def main() -> Jobs:
        jobs = Seconds(clients, 3.0)
        await jobs.run(300.0)
        return jobs

    jobs = run(main())
    shares = jobs.shares(60.0, 300.0)
    assert min(shares) > 0.7 / clients
    assert 0.95 < sum(shares) < 1.05
    assert sum(time >= 60.0 for time in jobs.refused) < 0.04 * RATE * 240.0


def test_one_alone_uses_all_of_it() -> None:
    async def main() -> Jobs:
        jobs = Jobs(1, 0.0)
        await jobs.run(180.0)
        return jobs

    jobs = run(main())
    assert jobs.shares(0.0, 60.0)[0] > 1.6  # of 2: what the bucket held, and what came in
    assert jobs.shares(60.0, 180.0)[0] > 0.97
    assert not jobs.refused
