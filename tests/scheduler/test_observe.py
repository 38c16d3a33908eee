"""A scheduler that follows what its provider's answers say, on a virtual clock."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xtremeflow import (
    Limit,
    RequestRateScheduler,
    RetryException,
    TaskScheduler,
    TokenRateScheduler,
    auto_backoff,
)
from xtremeflow._core import current_call
from xtremeflow.answers.verdict import Meaning
from xtremeflow.learning.concurrency.slots import FIRST_CALLS
from xtremeflow.scheduler.stats import LimitStats
from xtremeflow.testing import run


def plain(unit: str, limit: object, remaining: object, reset: object) -> dict[str, str]:
    return {
        f"x-ratelimit-limit-{unit}": str(limit),
        f"x-ratelimit-remaining-{unit}": str(remaining),
        f"x-ratelimit-reset-{unit}": str(reset),
    }


def bucket(unit: str, limit: int, remaining: int) -> dict[str, str]:
    """As OpenAI tells of a bucket per minute."""
    return plain(unit, limit, remaining, f"{(limit - remaining) * 60 / limit:.3f}s")


def virtual(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def synchronous() -> None:
        run(test())

    synchronous.__name__ = test.__name__
    return synchronous


def limit_of(scheduler: TaskScheduler, name: str) -> LimitStats:
    (found,) = [limit for limit in scheduler.stats().limits if limit.name == name]
    return found


def seconds() -> float:
    return asyncio.get_running_loop().time()


async def one_call(
    scheduler: TaskScheduler, headers: Any, cost: Any = 0, status: int = 200, **kwargs: Any
) -> None:
    """A call that takes a second and whose answer is observed."""

    async def call() -> None:
        await asyncio.sleep(1.0)
        scheduler.observe(status, headers, **kwargs)

    await (await scheduler.start_task(call(), cost))


# -- configured limits are upper bounds ----------------------------------------------------------


@virtual
async def test_a_lower_limit_is_followed_and_a_higher_one_is_not() -> None:
    scheduler = TokenRateScheduler(limits=[Limit("tokens", 60_000, 60.0, 6_000)])
    await one_call(scheduler, bucket("tokens", 90_000, 80_000))
    assert (limit_of(scheduler, "tokens").rate, limit_of(scheduler, "tokens").capacity) == (
        1_000,
        6_000,
    )
    for _ in range(3):
        await one_call(scheduler, bucket("tokens", 30_000, 20_000))
    limit = limit_of(scheduler, "tokens")
    assert (limit.rate, limit.capacity) == (500, 6_000)
    assert limit.configured == scheduler.limits[0] == Limit("tokens", 60_000, 60.0, 6_000)
    assert limit.learned is not None
    for _ in range(3):
        await one_call(scheduler, bucket("tokens", 90_000, 80_000))
    assert limit_of(scheduler, "tokens").rate == 1_000


@virtual
async def test_a_capacity_that_was_not_given_is_no_bound() -> None:
    """The bucket that answers tell of is used at once, and then the given rate bounds."""
    for adapt in (False, "bounded"):
        scheduler = TokenRateScheduler(max_tpm=30_000, adapt=adapt)
        assert limit_of(scheduler, "tokens").capacity == 0
        await one_call(scheduler, bucket("tokens", 60_000, 40_000), 1_000)
        limit = limit_of(scheduler, "tokens")
        assert (limit.rate, limit.capacity) == (500, 60_000)
        assert limit.level == pytest.approx(40_000, abs=100)
        for _ in range(3):
            await asyncio.sleep(10)
            await one_call(scheduler, bucket("tokens", 60_000, 60_000), 1_000)
        assert limit_of(scheduler, "tokens").level < 40_000 + 500 * 35


@virtual
async def test_a_capacity_that_was_given_is_a_bound() -> None:
    scheduler = TokenRateScheduler(max_tpm=30_000, burst_ratio=2.0)
    await one_call(scheduler, bucket("tokens", 60_000, 40_000), 1_000)
    assert limit_of(scheduler, "tokens").capacity == 1_000
    scheduler.set_limit(Limit("tokens", 30_000, 60.0, 2_000))
    await one_call(scheduler, bucket("tokens", 60_000, 40_000), 1_000)
    assert limit_of(scheduler, "tokens").capacity == 2_000


@virtual
async def test_a_told_rest_lowers_the_level_and_never_raises_it_above_its_own() -> None:
    scheduler = TokenRateScheduler(limits=[Limit("tokens", 60_000, 60.0, 60_000)])
    await one_call(scheduler, bucket("tokens", 60_000, 59_000), 1_000)
    assert limit_of(scheduler, "tokens").level == 60_000
    await one_call(scheduler, bucket("tokens", 60_000, 20_000), 1_000)  # somebody else was there
    assert limit_of(scheduler, "tokens").level == pytest.approx(21_000, abs=100)
    await asyncio.sleep(10)
    await one_call(scheduler, bucket("tokens", 60_000, 59_000), 1_000)
    assert limit_of(scheduler, "tokens").level <= 60_000
    scheduler = TokenRateScheduler(limits=[Limit("tokens", 60_000, 60.0, 0.0)])  # evenly spaced
    for _ in range(3):
        await one_call(scheduler, bucket("tokens", 60_000, 59_000), 5_000)
        assert limit_of(scheduler, "tokens").level <= 0


@virtual
async def test_limits_that_are_not_configured_need_adapt() -> None:
    scheduler = RequestRateScheduler(max_rps=10)
    await one_call(scheduler, bucket("tokens", 60_000, 59_000))
    assert [limit.name for limit in scheduler.stats().limits] == ["requests"]
    assert scheduler.limit_names == ("requests",)


@virtual
async def test_set_limit_is_a_new_bound() -> None:
    scheduler = TokenRateScheduler(limits=[Limit("tokens", 60_000, 60.0, 6_000)])
    await one_call(scheduler, bucket("tokens", 30_000, 20_000))
    scheduler.set_limit(Limit("tokens", 20_000, 60.0, 100))
    assert limit_of(scheduler, "tokens").learned is None
    await one_call(scheduler, bucket("tokens", 30_000, 20_000))
    assert limit_of(scheduler, "tokens").rate == pytest.approx(20_000 / 60)
    scheduler.set_limit(Limit("tokens", 90_000, 60.0, 100))
    await one_call(scheduler, bucket("tokens", 30_000, 20_000))
    assert limit_of(scheduler, "tokens").rate == 500


# -- adapt ---------------------------------------------------------------------------------------


@virtual
async def test_a_limit_that_only_the_answers_know_is_kept_by_calls_submitted_before() -> None:
    scheduler = TokenRateScheduler(adapt=True)
    ends: list[float] = []
    left = 60_000

    async def call() -> None:
        nonlocal left
        left -= 1_000
        headers = bucket("tokens", 60_000, left)  # as of the call's arrival
        await asyncio.sleep(1.0)
        ends.append(seconds())
        if len(ends) == 1:
            scheduler.observe(200, headers)

    began = seconds()
    tasks = [scheduler.submit(call(), 1_000) for _ in range(120)]
    await asyncio.sleep(0.5)
    assert scheduler.active_tasks == FIRST_CALLS
    assert scheduler.max_concurrency is None
    await asyncio.gather(*tasks)
    # 60 until the first answer, and then one a second: the 120th 60 s later, and a second for its
    # answer. Some seconds more, as the last ones are spread over what is left of the bucket.
    assert 60.5 <= ends[-1] - began < 74
    (limit,) = scheduler.stats().limits
    assert (limit.name, limit.rate, limit.capacity) == ("tokens", 1_000, 60_000)
    assert limit.configured is None
    assert limit.learned is not None


@virtual
async def test_a_full_bucket_lets_calls_in_as_they_are_sent() -> None:
    """Some in each turn of the loop, so that it comes to send them: not all before anything is."""
    scheduler = TokenRateScheduler(adapt=True)
    turn = 0
    turns: list[int] = []
    times: list[float] = []

    async def count_turns() -> None:
        nonlocal turn
        for _ in range(100):
            turn += 1
            await asyncio.sleep(0)

    async def call() -> None:
        turns.append(turn)
        times.append(seconds())
        await asyncio.sleep(1.0)
        if turn == 0:
            counting.append(asyncio.create_task(count_turns()))
        scheduler.observe(200, bucket("tokens", 600_000, 590_000))

    counting: list[asyncio.Task[None]] = []
    tasks = [scheduler.submit(call(), 1_000) for _ in range(140)]
    await asyncio.gather(*tasks)
    assert max(turns.count(one) for one in range(1, turn)) <= 2 * 16
    assert times[FIRST_CALLS - 1] == times[0]
    assert times[-1] == times[FIRST_CALLS]  # it costs no time


@virtual
async def test_a_bucket_that_is_not_full_at_first_is_known_from_the_first_answer() -> None:
    scheduler = TokenRateScheduler(adapt=True)
    await one_call(scheduler, bucket("tokens", 60_000, 5_000), 1_000)
    assert limit_of(scheduler, "tokens").level == pytest.approx(5_000)


@virtual
async def test_without_limits_in_the_answers_each_lets_one_more_call_in() -> None:
    scheduler = TokenRateScheduler(adapt=True)

    async def call() -> None:
        await asyncio.sleep(1.0)
        scheduler.observe(200, {"content-type": "application/json"})

    for _ in range(200):
        scheduler.submit(call())
    for least in (FIRST_CALLS, 2 * FIRST_CALLS, 3 * FIRST_CALLS):
        await asyncio.sleep(0.5)
        assert least <= scheduler.active_tasks <= 4 * FIRST_CALLS
        await asyncio.sleep(0.5)
    await scheduler.wait_pending()


@virtual
async def test_answers_overrule_what_was_assumed_unless_it_is_a_bound() -> None:
    assumed = Limit("tokens", 42_000, 60.0, 42_000)
    for adapt, rate in ((True, 1_000), ("bounded", 700)):
        scheduler = TokenRateScheduler(limits=[assumed], adapt=adapt)  # type: ignore[arg-type]
        await one_call(scheduler, bucket("tokens", 60_000, 59_000) | bucket("requests", 60, 59))
        assert limit_of(scheduler, "tokens").rate == rate
        assert limit_of(scheduler, "requests").rate == 1


@virtual
async def test_a_call_pays_limits_that_become_known_only_later() -> None:
    scheduler = TokenRateScheduler(adapt=True)
    costs: list[Any] = [100, {"tokens": 100}, {"input_tokens": 70, "output_tokens": 30}]
    for cost in costs:
        await one_call(scheduler, {}, cost)
    reset = "2030-01-01T00:00:00Z"
    headers = {
        f"anthropic-ratelimit-{unit}-{kind}": value
        for unit in ("requests", "input-tokens", "output-tokens")
        for kind, value in (("limit", "600000"), ("remaining", "500000"), ("reset", reset))
    }
    await one_call(scheduler, headers | bucket("tokens", 600_000, 500_000))
    used = {limit.name: limit.used for limit in scheduler.stats().limits}
    assert used == {"requests": 4, "input_tokens": 100 + 100 + 70, "output_tokens": 30}


@virtual
async def test_a_window_is_not_used_up_at_once() -> None:
    scheduler = TokenRateScheduler(adapt=True)
    await one_call(scheduler, plain("tokens", 60_000, 59_000, 60), 1_000)
    for _ in range(5):
        await one_call(scheduler, plain("tokens", 60_000, 59_000, 60), 1_000)
    limit = limit_of(scheduler, "tokens")
    assert limit.rate * 60 == pytest.approx(0.99 * 60_000)
    assert limit.level <= limit.capacity == pytest.approx(0.05 * 60_000)


@virtual
async def test_answers_of_calls_sent_earlier_are_stale() -> None:
    scheduler = TokenRateScheduler(limits=[Limit("tokens", 60_000, 60.0, 60_000)])
    await one_call(scheduler, bucket("tokens", 60_000, 59_000), 1_000)
    now = seconds()
    scheduler.observe(200, bucket("tokens", 60_000, 30_000), sent_at=now, received_at=now)
    level = limit_of(scheduler, "tokens").level
    assert level == pytest.approx(30_000, abs=100)
    scheduler.observe(200, bucket("tokens", 60_000, 0), sent_at=now - 0.5, received_at=now)
    scheduler.observe(200, bucket("tokens", 60_000, 0))  # nobody knows when it was sent
    assert limit_of(scheduler, "tokens").level == level


@virtual
async def test_a_refusals_body_counts_and_others_do_not() -> None:
    message = "Rate limit reached for m on tokens per min (TPM): Limit 6000, Used 5990, Need 9"
    for status, key, names in ((200, "content", []), (429, "error", ["tokens"])):
        scheduler = TokenRateScheduler(adapt=True)
        scheduler.observe(status, {}, {key: {"message": message}})
        assert [limit.name for limit in scheduler.stats().limits] == names


@pytest.mark.parametrize("given", [None, 90_000])
def test_each_change_is_one_line_of_the_log(
    given: float | None, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        scheduler = TokenRateScheduler(max_tpm=given, adapt=True)
        for _ in range(5):
            await one_call(scheduler, bucket("tokens", 60_000, 59_000))

    with caplog.at_level(logging.INFO, logger="xtremeflow"):
        run(main())
    (record,) = caplog.records
    assert record.getMessage() == (
        "Limit on tokens is now 60k/min, at once 60k: the provider's answers say 60,000 per 60 s"
    )


def test_arguments_that_are_wrong() -> None:
    scheduler = TaskScheduler()
    with pytest.raises(TypeError, match="status must be an integer, got '200'"):
        scheduler.observe("200", {})  # type: ignore[arg-type]
    for status in (99, 1000, 10**30):
        with pytest.raises(ValueError, match=r"status must be .*, got"):
            scheduler.observe(status, {})
    with pytest.raises(ValueError, match="sent_at must be a number, 0 or more, got nan"):
        scheduler.observe(200, {}, sent_at=float("nan"))
    with pytest.raises(TypeError, match="received_at must be"):
        scheduler.observe(200, {}, received_at="now")  # type: ignore[arg-type]
    for headers in (None, 5, "date: now", object()):  # such as the response instead of its headers
        with pytest.raises(
            TypeError, match="headers must be a mapping, or pairs, of names to valu"
        ):
            scheduler.observe(200, headers)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="model must be a text or None, got 5"):
        scheduler.observe(200, {}, model=5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"model must be a text or None, got \['m'\]"):
        scheduler.estimate("hello", model=["m"])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="request must be 0 or more, got -5"):
        scheduler.estimate(-5)
    with pytest.raises(ValueError, match="adapt must be True, False or 'bounded', got 'yes'"):
        TaskScheduler(adapt="yes")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="adapt must be True, False or 'bounded', got 1"):
        TaskScheduler(adapt=1)  # type: ignore[arg-type]


def test_an_adapting_scheduler_is_collected() -> None:
    scheduler = TokenRateScheduler(adapt=True)
    scheduler.observe(200, bucket("tokens", 60_000, 59_000))
    gone = weakref.ref(scheduler)
    del scheduler
    gc.collect()
    assert gone() is None


# -- whatever the answers say ---------------------------------------------------------------------

numbers = st.one_of(
    st.sampled_from(["0", "-1", "nan", "inf", "1e300", "1", "60", "600", "59999", "60000", "6e4"]),
    st.integers(0, 10**7).map(str),
)
answers = st.fixed_dictionaries(
    {},
    optional={
        f"x-ratelimit-{kind}-{unit}": numbers | st.sampled_from(["1s", "6m0s", "1ms", "59.9s"])
        for kind in ("limit", "remaining", "reset")
        for unit in ("requests", "tokens", "tokens-minute", "req-minute")
    },
)
scripts = st.lists(st.tuples(answers, st.floats(0, 5), st.floats(0, 5)), max_size=30)


async def listen(scheduler: TaskScheduler, script: Any) -> None:
    for headers, wait, age in script:
        await asyncio.sleep(wait)
        sent_at = max(0.0, seconds() - age)
        scheduler.observe(200, headers, sent_at=sent_at)


@settings(max_examples=60)
@given(scripts)
def test_no_answer_lets_more_pass_than_the_bound(script: Any) -> None:
    async def main() -> None:
        rate, capacity = 100.0, 1_000.0
        scheduler = TokenRateScheduler(
            limits=[Limit("tokens", rate * 60, 60.0, capacity)], adapt="bounded"
        )
        began = seconds()
        starts: list[float] = []

        async def call() -> None:
            starts.append(seconds() - began)

        tasks = [scheduler.submit(call(), 50) for _ in range(200)]
        await listen(scheduler, script)
        for start, n in zip(starts, range(1, 201), strict=False):
            assert 50 * n <= capacity + rate * (start + 0.01) + 50
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    run(main())


@settings(max_examples=60)
@given(scripts, st.sampled_from([False, True, "bounded"]))
def test_no_answer_stops_the_queue(script: Any, adapt: Any) -> None:
    """It goes on at the pace of the least amount that was told, one a minute at worst, and at the
    right one when that has been told."""

    async def main() -> None:
        limits = [Limit("tokens", 60_000, 60.0, 60_000), Limit("requests", 600, 60.0, 600)]
        scheduler = TokenRateScheduler(limits=limits, adapt=adapt)
        await listen(scheduler, script)
        told = bucket("tokens", 60_000, 59_000) | bucket("requests", 600, 590)
        for _ in range(3):
            began = seconds()
            await asyncio.sleep(0.2)
            scheduler.observe(200, told, sent_at=began)
        began = seconds()
        for _ in range(20):
            await asyncio.wait_for(one_call(scheduler, told, 500), 120)
        assert seconds() - began < 120
        names = {limit.name: limit for limit in scheduler.stats().limits if limit.rate < 2_000}
        assert all(limit.level >= -500 for limit in names.values())

    run(main())


@settings(max_examples=30)
@given(st.integers(0, 2**32))
def test_answers_of_another_model_in_between_do_no_harm(seed: int) -> None:
    async def main() -> None:
        random = Random(seed)
        scheduler = TokenRateScheduler(adapt=True)
        await one_call(scheduler, bucket("tokens", 60_000, 59_000), 1_000)
        for _ in range(50):
            amount, left = random.choice([(60_000, 50_000), (6_000, 0), (900_000, 900_000)])
            await asyncio.sleep(1)
            headers = bucket("tokens", amount, left)
            if amount == 60_000 or random.random() < 0.3:
                scheduler.observe(200, headers, sent_at=seconds() - 0.5)
            scheduler.observe(200, bucket("tokens", 60_000, 50_000), sent_at=seconds() - 0.4)
        limit = limit_of(scheduler, "tokens")
        assert limit.rate == 1_000
        assert limit.level > 40_000

    run(main())


@virtual
async def test_a_verdict_goes_with_its_attempt() -> None:
    """What was learned from one call's refusal is not kept for another's, nor for its next one."""
    scheduler = TokenRateScheduler(max_rps=1_000, adapt=True)
    waits = []

    async def shown() -> None:
        verdict = scheduler.observe(429, {})
        call = current_call()
        assert call is not None
        assert call.verdict is verdict
        assert verdict.meaning is Meaning.RATE

    async def told(seconds: str) -> None:
        call = current_call()
        assert call is not None
        assert call.verdict is None
        scheduler.observe(429, {"retry-after": seconds})
        waits.append(call.verdict.wait)
        await call.retry()
        assert call.verdict is None

    await (await scheduler.start_task(shown()))
    await (await scheduler.start_task(told("7")))
    assert waits == [7.0]


@virtual
async def test_an_answer_may_be_the_first_thing_ever() -> None:
    for status in (429, 503, 529, 500, 400, 200):
        for wait in ("", "-1", "90000", "1, 2", "1900000000", "Fri, 31 Feb 2027 00:00:00 GMT"):
            scheduler = TokenRateScheduler(adapt=True)
            scheduler.observe(status, {"retry-after": wait})
            scheduler.observe(status, {"retry-after": wait})


@virtual
async def test_a_wait_of_0_that_is_never_true_does_not_use_up_the_attempts() -> None:
    """Every refusal says "Retry-After: 0" for 3 s: waits grow, and no call is lost."""
    scheduler = TokenRateScheduler(max_rps=1_000)
    attempts = 0

    @auto_backoff(max_retries=10)
    async def call() -> None:
        nonlocal attempts
        attempts += 1
        if seconds() < start + 3.0:
            raise RetryException(retry_after=0.0)

    start = seconds()
    await asyncio.gather(*(scheduler.submit(call()) for _ in range(40)))
    assert seconds() - start < 5.0
    assert attempts < 40 * 7


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if "was shown no answer" in record.message]


@pytest.mark.parametrize("calls", [29, 30, 90])
def test_who_learns_without_being_shown_an_answer_is_told_so_once(
    caplog: pytest.LogCaptureFixture, calls: int
) -> None:
    async def main() -> None:
        scheduler = TaskScheduler(adapt=True)
        await asyncio.gather(*(scheduler.submit(asyncio.sleep(1)) for _ in range(calls)))

    run(main())
    assert len(warned(caplog)) == (calls >= 30)
    assert all("scheduler.observe(status, headers, body)" in text for text in warned(caplog))


@pytest.mark.parametrize("adapt", [True, False])
def test_who_shows_an_answer_or_learns_nothing_is_not_told_so(
    caplog: pytest.LogCaptureFixture, adapt: bool
) -> None:
    async def main() -> None:
        scheduler = TaskScheduler(adapt=adapt)
        if adapt:
            scheduler.observe(200, {})
        await asyncio.gather(*(scheduler.submit(asyncio.sleep(1)) for _ in range(60)))

    run(main())
    assert warned(caplog) == []
