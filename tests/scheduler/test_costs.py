"""A scheduler's estimates, and calls settled by what their provider is believed to charge."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from kit.charges import World
from test_observe import bucket, limit_of, virtual

from xtremeflow import (
    ChargeRule,
    Estimator,
    Limit,
    TaskScheduler,
    TokenRateScheduler,
    report_token_usage,
)
from xtremeflow._core import Call, current_call
from xtremeflow.learning.costs.costs import Costs, Settlement
from xtremeflow.testing import run
from xtremeflow.values.charges import UNKNOWN
from xtremeflow.values.usage import Usage

BODY = {"model": "m", "messages": [{"role": "user", "content": "x" * 396}], "max_tokens": 500}
USAGE = {"usage": {"prompt_tokens": 100, "completion_tokens": 20}}


async def call(scheduler: TaskScheduler, cost: Any, usage: Any = USAGE, **more: Any) -> Any:
    """A call that takes a second and is settled; returns what settle() does."""

    async def ask() -> Any:
        await asyncio.sleep(1.0)
        return scheduler.settle(usage, **more)

    return await (await scheduler.start_task(ask(), cost))


@virtual
async def test_an_estimate_names_the_limits_that_there_are() -> None:
    for scheduler, names in (
        (TaskScheduler(), {"tokens"}),
        (TokenRateScheduler(max_tpm=60_000), {"tokens"}),
        (
            TaskScheduler(limits=[Limit("input_tokens", 60_000), Limit("other", 5)]),
            {"tokens", "input_tokens"},
        ),
        (TokenRateScheduler(adapt=True), {"tokens", "input_tokens", "output_tokens"}),
    ):
        estimate = scheduler.estimate(BODY)
        assert set(estimate) == names
        assert estimate["tokens"] == 600
        await call(scheduler, estimate)
        assert scheduler.stats().tokens_used == 120


@virtual
async def test_estimates_are_learned_from_what_is_settled() -> None:
    scheduler = TokenRateScheduler(max_tpm=60_000)
    free = {**BODY, "max_tokens": 9_999}
    assert scheduler.estimate(free).output == 256
    for _ in range(20):
        await call(scheduler, scheduler.estimate(free))
    estimate = scheduler.estimate(free)
    assert estimate.output == 20
    assert estimate.input == pytest.approx(100, abs=1)
    assert scheduler.estimator.learned()["m"]["output_tokens"] == 20
    scheduler.estimator = Estimator(lambda text: 7)
    assert scheduler.estimate("any", model="m", most=5).size == 7


@virtual
async def test_where_answers_tell_nothing_the_usage_counts() -> None:
    scheduler = TokenRateScheduler(max_tpm=60_000)
    amounts = await call(scheduler, scheduler.estimate(BODY))
    assert amounts["tokens"] == 120
    assert limit_of(scheduler, "tokens").used == 120
    assert scheduler.stats().charges == {}


@pytest.mark.parametrize("known", [False, True])
def test_while_it_is_not_known_nothing_is_given_back_but_by_the_answers(known: bool) -> None:
    """A bounded limit goes up by what was withheld; but not where it is known that nothing was."""

    async def main() -> None:
        scheduler = TokenRateScheduler(limits=[Limit("tokens", 60_000, 60.0, 60_000)])
        if known:
            scheduler.charge_by(ChargeRule("sum", settles=False, cached_free=False))

        async def ask() -> None:
            await asyncio.sleep(0.01)
            scheduler.observe(200, bucket("tokens", 60_000, 59_000), usage=USAGE)

        began = asyncio.get_running_loop().time()
        for _ in range(8):
            estimate = scheduler.estimate({**BODY, "max_tokens": 3_900})
            await (await scheduler.start_task(ask(), estimate))
        assert limit_of(scheduler, "tokens").used == 8 * 4_000
        assert scheduler.stats().charges["m"].rule == UNKNOWN
        for _ in range(60):
            await asyncio.sleep(0.1)
            now = asyncio.get_running_loop().time()
            scheduler.observe(200, bucket("tokens", 60_000, 59_900), sent_at=now)
        level = limit_of(scheduler, "tokens").level
        came_in = 1_000 * (asyncio.get_running_loop().time() - began)
        assert level < 28_000 + came_in + 100 if known else level > 59_900 - 5_000

    run(main())


def test_calls_in_doubt_are_settled_once_the_rule_is_known() -> None:
    """All that was withheld until then, of every model; what of it is due; what is in doubt yet."""
    costs, usage = Costs({}), Usage(100, 20, cached=30)

    def settled(model: str, rule: ChargeRule) -> Settlement:
        return costs.settled(model, {"input_tokens": 100, "output_tokens": 500}, usage, 0, 1, rule)

    settles = ChargeRule("sum", settles=True)  # whether cached input counts is not known
    assert settled("a", ChargeRule("sum")).withheld["tokens"] == 600 - 90
    assert settled("b", ChargeRule("sum")).ascertained == {}
    assert settled("a", ChargeRule("sum")).ascertained == {}
    found = settled("a", settles)
    assert found.amounts["tokens"] == 120
    assert found.ascertained["tokens"] == (3 * 510, 2 * 480, 510 + 2 * 30)
    assert found.ascertained["output_tokens"] == (3 * 480, 2 * 480, 480)
    free = ChargeRule("sum", settles=True, cached_free=True)
    assert settled("a", free).ascertained["tokens"] == (510 + 3 * 30, 3 * 30, 510)
    keeps = ChargeRule("sum", settles=False, cached_free=False)
    assert settled("b", keeps).ascertained["tokens"] == (510, 0, 0)
    assert settled("a", free).ascertained == {}


@virtual
async def test_learned_charges_are_there_the_next_time() -> None:
    before = TokenRateScheduler(adapt=True).learned
    before["charges"] = {"m": {"admission": "max", "settles": False, "cached_free": None}}
    scheduler = TokenRateScheduler(adapt=True, learned=json.loads(json.dumps(before)))
    assert scheduler.learned == before
    assert scheduler.estimate(BODY)["tokens"] == 500
    assert (await call(scheduler, scheduler.estimate(BODY)))["tokens"] == 500
    scheduler.charge_by(ChargeRule("sum", settles=True), until_learned=True)
    assert scheduler.estimate(BODY)["tokens"] == 500
    scheduler.charge_by(ChargeRule("sum", settles=True))
    assert (await call(scheduler, scheduler.estimate(BODY)))["tokens"] == 120


@virtual
async def test_the_answers_count_more_than_earlier_knowledge() -> None:
    known = {"m": ChargeRule("sum", settles=False, cached_free=True), "other": ChargeRule("max")}
    costs = Costs(known)
    for answer in World("mistral", in_flight=4).answers(200):
        costs.told("m", answer.seen, answer.sent_at, answer.at)
        costs.settled("m", answer.most, answer.usage, answer.sent_at, answer.at)
    assert costs.rule("m").settles is True
    assert costs.learned == {"m": costs.rule("m"), "other": ChargeRule("max")}


@virtual
async def test_the_users_limits_count_and_the_others_are_learned() -> None:
    scheduler = TokenRateScheduler(max_tpm=60_000)
    scheduler.charge_by(ChargeRule("max", settles=False))
    estimate = scheduler.estimate(BODY)
    assert estimate == {"tokens": 500}
    assert (await call(scheduler, estimate))["tokens"] == 500
    scheduler.charge_by(ChargeRule("sum", settles=False), until_learned=True)
    assert (await call(scheduler, scheduler.estimate(BODY)))["tokens"] == 600


@pytest.mark.parametrize(
    ("cost", "tokens"),
    [(600, 600), ({"tokens": 600}, 600), ({"input_tokens": 100, "output_tokens": 400}, 500)],
)
def test_a_users_own_estimate_is_prompt_and_maximum(cost: Any, tokens: int) -> None:
    """Prompt + max_tokens; or, in parts, just that."""

    async def main() -> None:
        scheduler = TokenRateScheduler(adapt=True)
        scheduler.charge_by(ChargeRule("sum", settles=False))
        assert (await call(scheduler, cost))["tokens"] == tokens

    run(main())


@virtual
async def test_a_report_of_ones_own_comes_after() -> None:
    scheduler = TokenRateScheduler(max_tpm=60_000)

    async def ask() -> None:
        await asyncio.sleep(1.0)
        scheduler.settle(USAGE)
        await report_token_usage(77)

    await (await scheduler.start_task(ask(), 600))
    assert limit_of(scheduler, "tokens").used == 77


@virtual
async def test_a_call_knows_when_it_was_dispatched() -> None:
    scheduler = TokenRateScheduler(max_tps=100, burst_ratio=1)
    times: list[float | None] = []

    async def ask() -> None:
        call = current_call()
        assert call is not None
        calls.append(call)
        await asyncio.sleep(1.0)
        times.append(call.dispatched_at)

    calls: list[Call] = []
    began = asyncio.get_running_loop().time()
    await asyncio.gather(scheduler.submit(ask(), 100), scheduler.submit(ask(), 100))
    assert times == [pytest.approx(began), pytest.approx(began + 1.0)]
    assert [call.dispatched_at for call in calls] == [None, None]


@virtual
async def test_more_cached_than_there_was_costs_nothing() -> None:
    scheduler = TokenRateScheduler(max_tpm=60_000)
    scheduler.charge_by(ChargeRule("input", settles=True, cached_free=True))
    usage = {"input_tokens": 5, "output_tokens": 1, "prompt_cache_hit_tokens": 50}
    assert (await call(scheduler, 600, usage))["tokens"] == 1


@virtual
async def test_an_answer_without_usage_settles_nothing() -> None:
    scheduler = TokenRateScheduler(max_tpm=60_000)
    assert await call(scheduler, 600, {"choices": []}) == {}
    assert limit_of(scheduler, "tokens").used == 600


@virtual
async def test_only_a_call_of_this_scheduler_can_be_settled() -> None:
    scheduler, other = TaskScheduler(), TaskScheduler()
    with pytest.raises(RuntimeError, match="only a call of this scheduler can be settled"):
        scheduler.settle(USAGE)

    async def ask() -> None:
        other.settle(USAGE)

    with pytest.raises(RuntimeError, match="only a call of this scheduler can be settled"):
        await (await scheduler.start_task(ask()))


def test_arguments_that_are_wrong() -> None:
    scheduler = TaskScheduler()
    with pytest.raises(TypeError, match="request must be a decoded body, a text or a size"):
        scheduler.estimate(5.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="most must be 0 or more, got -1"):
        scheduler.estimate("x", most=-1)
    with pytest.raises(TypeError, match="estimator must be an Estimator, got 5"):
        scheduler.estimator = 5  # type: ignore[assignment]
    with pytest.raises(TypeError, match="rule must be a ChargeRule, got 'sum'"):
        scheduler.charge_by("sum")  # type: ignore[arg-type]
