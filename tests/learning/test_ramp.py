"""The growth that a provider refuses as too steep."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from math import inf

import pytest

from xtremeflow import RetryException, TokenRateScheduler, auto_backoff
from xtremeflow.answers.verdict import Meaning
from xtremeflow.learning.rates.control import PATIENCE
from xtremeflow.learning.rates.ramp import (
    BACK,
    GROWTH,
    LATELY,
    LESS,
    Ramp,
)
from xtremeflow.testing import run


def test_growth_is_free_until_it_is_refused() -> None:
    ramp = Ramp()
    ramp.passed(0.5, 100.0)
    assert ramp.pace == inf


def test_after_a_refusal_the_pace_is_less_than_what_passed_and_then_more_than_what_is_used() -> (
    None
):
    ramp = Ramp()
    assert ramp.refused(10.0, 9.9, 4.0) == 0.0
    assert ramp.refused(10.1, 9.9, 1.0) == 0.0  # of the same moment
    assert ramp.pace == 4.0 * BACK
    ramp.passed(9.95, 8.0)  # sent before that was known
    assert ramp.pace == 4.0 * BACK
    ramp.passed(11.0, 4.0)
    assert ramp.pace == pytest.approx(4.0 * (1.0 + GROWTH))
    ramp.passed(12.0, 2.0)  # less is wanted, for a moment
    assert ramp.pace == pytest.approx(4.0 * (1.0 + GROWTH))


def test_what_is_used_grows_evenly() -> None:
    ramp = Ramp()
    ramp.refused(0.0, -1.0, 4.0)
    used = [0.4] * int(10 * LATELY)  # calls in each tenth of a second
    for tenth in range(600):
        ramp.passed(0.1 * tenth, sum(used[-int(10 * LATELY) :]) / LATELY)
        used.append(0.1 * ramp.pace)
    seconds = [sum(used[i : i + 100]) for i in range(200, 600, 100)]
    growths = [after / before for before, after in pairwise(seconds)]
    assert max(growths) < min(growths) * 1.01
    assert 1.5 < growths[0] < 2.5  # in ten seconds


def test_the_next_growth_is_slower() -> None:
    ramp = Ramp()
    for refusal in range(3):
        ramp.refused(refusal + 0.2, refusal + 0.1, 4.0)
        ramp.passed(refusal + 0.5, 4.0)
        assert ramp.pace == pytest.approx(4.0 * (1.0 + GROWTH * LESS**refusal))


def test_while_nothing_passes_tries_are_apart_and_the_pace_stays() -> None:
    ramp = Ramp()
    waits = [ramp.refused(now, now - 0.1, 4.0 / now) for now in (1.0, 2.0, 4.0, 8.0)]
    assert waits == [0.0, PATIENCE, PATIENCE, PATIENCE]
    assert ramp.pace == 4.0 * BACK


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
