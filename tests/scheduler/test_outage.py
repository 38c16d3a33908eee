"""A provider that is down for a while: few attempts meanwhile, and all at once afterwards."""

from __future__ import annotations

import asyncio
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from xtremeflow import Limit, RetryException, TaskScheduler, auto_backoff
from xtremeflow.refusals import is_outage
from xtremeflow.testing import run


class StatusError(Exception):
    def __init__(self, status: int, headers: dict[str, str] | None = None) -> None:
        super().__init__(f"HTTP {status}")
        self.status_code = status
        self.response = SimpleNamespace(status_code=status, headers=headers or {})


class APIConnectionError(Exception):
    """As the official SDKs call it."""


class Provider:
    """Answers after a second; between `down` and `up` it fails with `error` after `delay`."""

    def __init__(
        self, down: float, up: float, error: Exception | None = None, delay: float = 0.05
    ) -> None:
        self.down, self.up, self.delay = down, up, delay
        self.error = StatusError(503) if error is None else error
        self.sent: list[float] = []
        self.began = asyncio.get_running_loop().time()

    def now(self) -> float:
        return asyncio.get_running_loop().time() - self.began

    async def call(self) -> None:
        self.sent.append(self.now())
        if self.down <= self.now() < self.up:
            await asyncio.sleep(self.delay)
            raise self.error
        await asyncio.sleep(1.0)

    def sent_between(self, start: float, end: float) -> int:
        return sum(start <= at < end for at in self.sent)


async def job(
    provider: Provider, scheduler: TaskScheduler, calls: int, max_retries: int = 30
) -> Counter[str]:
    @auto_backoff(lambda _: True, max_retries=max_retries)
    async def call() -> None:
        await provider.call()

    tasks = [scheduler.submit(call()) for _ in range(calls)]
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    return Counter("ok" if outcome is None else type(outcome).__name__ for outcome in outcomes)


@pytest.mark.parametrize("up", [20.0, 33.0, 40.0, 61.5])
@pytest.mark.parametrize("delay", [0.0, 0.05, 1.0])
def test_few_attempts_meanwhile_and_the_legal_rate_at_once_afterwards(
    up: float, delay: float
) -> None:
    async def main() -> None:
        provider = Provider(10.0, up, delay=delay)
        scheduler = TaskScheduler(limits=[Limit("requests", 20, 1.0, 20)])
        assert await job(provider, scheduler, 2_000) == {"ok": 2_000}
        # In the first moment nobody knows; then one call every two seconds.
        assert provider.sent_between(10.0, up) <= 20 + 20 * delay + (up - 10.0) / 2 + 2
        resumed = up + 2.0 + max(2.0, 2 * delay) + 0.1
        assert provider.sent_between(up, resumed) >= 20
        assert provider.sent_between(resumed, resumed + 20) == pytest.approx(400, abs=1)

    run(main())


def test_calls_that_hang_until_their_timeout() -> None:
    async def main() -> None:
        provider = Provider(10.0, 40.0, TimeoutError(), delay=10.0)
        scheduler = TaskScheduler(50)
        assert await job(provider, scheduler, 2_000) == {"ok": 2_000}
        assert provider.sent_between(11.0, 40.0) <= 15
        assert provider.sent_between(40.0, 44.0) >= 50

    run(main())


def test_a_call_outlasts_what_it_would_have_with_waits_that_double() -> None:
    async def main(up: float) -> Counter[str]:
        return await job(Provider(0.0, up), TaskScheduler(4), 100, max_retries=3)

    assert run(main(12.0)) == {"ok": 100}
    lost = run(main(40.0))["StatusError"]
    assert 1 <= lost <= 12


def test_max_retries_of_0_is_none() -> None:
    async def main() -> None:
        provider = Provider(0.0, 5.0)
        outcomes = await job(provider, TaskScheduler(1), 3, max_retries=0)
        assert outcomes == {"StatusError": 3}
        assert len(provider.sent) == 3

    run(main())


def test_one_failure_among_many_answers_costs_one_short_pause() -> None:
    async def main() -> None:
        provider = Provider(9.98, 10.02)
        scheduler = TaskScheduler(limits=[Limit("requests", 20, 1.0, 20)])
        await job(provider, scheduler, 600)
        assert len(provider.sent) == 601
        assert scheduler.stats().cooldown_seconds == pytest.approx(2.0)
        assert provider.sent_between(0, 14) >= 20 * 14 - 20  # what was not used is made up for

    run(main())


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (StatusError(500), True),
        (StatusError(502), True),
        (StatusError(503), True),
        (StatusError(529), True),
        (StatusError(429), False),
        (StatusError(400), False),
        (RetryException("wait", 3.0), False),
        (ConnectionRefusedError(), True),
        (TimeoutError(), True),
        (asyncio.TimeoutError(), True),
        (APIConnectionError(), True),
        (ValueError(), False),
    ],
)
def test_exceptions_of_an_outage_are_known(error: Any, expected: bool) -> None:
    assert is_outage(error) is expected


def test_an_exception_that_is_odd_is_no_outage() -> None:
    class Odd(Exception):
        @property
        def status_code(self) -> int:
            raise RuntimeError

        @property
        def __class__(self) -> Any:  # type: ignore[override]
            raise RuntimeError

    assert is_outage(Odd()) is False
