"""The growth that a provider refuses as too steep."""

from __future__ import annotations

import asyncio
from math import inf

import pytest

from xtremeflow import RetryException, TokenRateScheduler, auto_backoff
from xtremeflow.answers.verdict import Meaning
from xtremeflow.learning.rates.ramp import BACK, DOUBLING, LATELY, PATIENCE, Ramp
from xtremeflow.testing import run


def test_growth_is_free_until_it_is_refused() -> None:
    ramp = Ramp()
    ramp.passed(1.0, 0.5, 100.0)
    assert ramp.pace == inf


def test_after_a_refusal_the_pace_is_what_passed_and_then_doubles_evenly() -> None:
    ramp = Ramp()
    assert ramp.refused(10.0, 9.9, 4.0) == PATIENCE
    assert ramp.refused(10.1, 9.9, 4.0) == pytest.approx(PATIENCE - 0.1)  # of the same moment
    assert ramp.pace == 4.0 * BACK
    still = 10.0 + 2 * LATELY
    ramp.passed(still, 11.0, 4.0)
    assert ramp.pace == 4.0 * BACK
    for second in range(1, int(DOUBLING) + 1):
        ramp.passed(still + second, still, 4.0)
    assert ramp.pace == pytest.approx(8.0 * BACK)


def test_the_next_growth_is_slower_and_never_far_beyond_what_is_used() -> None:
    paces = []
    ramp = Ramp()
    for _ in range(2):
        ramp.refused(0.0 if not paces else 100.0, -1.0 if not paces else 99.0, 4.0)
        began = 0.0 if not paces else 100.0
        for second in range(1, 20):
            ramp.passed(began + second, began + second - 0.5, 4.0)
        paces.append(ramp.pace)
    assert paces[1] < paces[0]
    for second in range(120, 400):
        ramp.passed(second, second - 0.5, 4.0)
    assert ramp.pace <= 2 * 4.0


def test_tries_become_rarer_while_nothing_passes() -> None:
    ramp = Ramp()
    assert [ramp.refused(now, now - 0.1, 4.0) for now in (1.0, 2.0, 4.0)] == [1.0, 2.0, 4.0]


def test_a_refusal_of_growth_teaches_no_rate() -> None:
    async def main() -> tuple[dict[str, object], list[Meaning], float]:
        scheduler = TokenRateScheduler(adapt=True)
        meanings: list[Meaning] = []
        began = asyncio.get_running_loop().time()

        @auto_backoff()
        async def call() -> None:
            await asyncio.sleep(0.1)
            refused = len(meanings) == 20
            body = {"error": {"code": "slow_down", "message": "Slow down"}} if refused else None
            meanings.append(scheduler.observe(503 if refused else 200, {}, body).meaning)
            if refused:
                raise RetryException

        await asyncio.gather(*[scheduler.submit(call(), 10) for _ in range(60)])
        return scheduler.learned, meanings, asyncio.get_running_loop().time() - began

    learned, meanings, took = run(main())
    assert learned["rates"] == {}
    assert learned["concurrency"] is None
    assert meanings.count(Meaning.STEEP) == 1
    assert meanings.count(Meaning.PASSED) == 60
    assert 1.0 < took < 60.0
