"""The making of schedulers: their arguments, refused ones, and their repr."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from kit.calls import result

from xtremeflow import (
    Limit,
    RequestRateScheduler,
    TaskScheduler,
    TokenRateScheduler,
)
from xtremeflow.testing import run


def closed(coro: Any) -> bool:
    return inspect.getcoroutinestate(coro) == inspect.CORO_CLOSED


def test_every_argument_is_optional_and_positions_are_as_documented() -> None:
    assert TokenRateScheduler().limits == ()
    assert RequestRateScheduler().max_concurrency is None
    scheduler = TokenRateScheduler(1000, 10, 7, 0.5)
    assert scheduler.max_concurrency == 7
    named = {limit.name: limit for limit in scheduler.stats().limits}
    assert (named["tokens"].rate, named["tokens"].capacity) == pytest.approx((1000, 500))
    assert (named["requests"].rate, named["requests"].capacity) == pytest.approx((10, 5))
    per_minute = TokenRateScheduler(max_tpm=600, max_rpm=60, burst_ratio=60)
    named = {limit.name: limit for limit in per_minute.stats().limits}
    assert (named["tokens"].rate, named["tokens"].capacity) == pytest.approx((10, 600))
    assert (named["requests"].rate, named["requests"].capacity) == pytest.approx((1, 60))


@pytest.mark.parametrize("argument", ["max_tps", "max_rps", "max_rpm", "max_tpm"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "5"])
def test_bad_rates_are_refused_by_name(argument: str, value: Any) -> None:
    error = TypeError if isinstance(value, str) else ValueError
    with pytest.raises(error, match=f"{argument} must be a number above 0, got {value!r}"):
        TokenRateScheduler(**{argument: value})


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"max_tokens": 5}, TypeError, "unexpected keyword argument 'max_tokens'"),
        ({"burst_ratio": -1}, ValueError, "burst_ratio must be a number, 0 or more, got -1"),
        ({"burst_ratio": None}, TypeError, "burst_ratio must be a number, 0 or more, got None"),
        (
            {"limits": [5]},
            TypeError,
            "limits must be a list of Limit objects, but one .* is 5",
        ),
        ({"limits": Limit("x", 1)}, TypeError, "limits must be a list of Limit objects, got Limit"),
        ({"limits": None}, TypeError, "limits must be a list of Limit objects, got None"),
        ({"limits": [Limit("x", 1e30)]}, ValueError, "cannot be kept"),
    ],
)
@pytest.mark.parametrize("scheduler", [TaskScheduler, RequestRateScheduler, TokenRateScheduler])
def test_bad_constructor_arguments_are_refused_by_name(
    scheduler: Any, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        scheduler(**arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("", 1), ValueError, "name must not be empty"),
        ((5, 1), TypeError, "name must be a string, not 5"),
        (("x", 0), ValueError, "Limit amount must be a number above 0, got 0"),
        (("x", 1, -1), ValueError, "Limit per must be a number above 0, got -1"),
        (("x", 1, 1, -1), ValueError, "Limit capacity must be a number, 0 or more, got -1"),
        (("x", "1"), TypeError, "Limit amount must be a number above 0, got '1'"),
    ],
)
def test_bad_limits_are_refused_by_name(
    arguments: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Limit(*arguments)


def test_a_subclass_has_to_call_init_once() -> None:
    class Forgetful(TaskScheduler):
        def __init__(self) -> None:
            pass

    async def main() -> None:
        scheduler = Forgetful()
        coro = result()
        with pytest.raises(RuntimeError, match=r"Forgetful.__init__\(\) has not been called"):
            scheduler.submit(coro)
        assert closed(coro)
        for use in (scheduler.stats, lambda: scheduler.notify_rate_limit_exceeded(1)):
            with pytest.raises(RuntimeError, match="has not been called"):
                use()
        with pytest.raises(RuntimeError, match="once only"):
            TaskScheduler.__init__(TaskScheduler(1), 2)

    run(main())


def test_its_repr_tells_what_it_allows_and_what_it_does() -> None:
    scheduler = TokenRateScheduler(max_tpm=60_000, max_concurrency=7)
    assert repr(scheduler) == (
        "<TokenRateScheduler: tokens 1000/s, 7 at a time; 0 waiting, 0 in flight>"
    )
    assert "no limits" in repr(TaskScheduler())


def test_its_repr_tells_limits_that_were_learned() -> None:
    async def main() -> None:
        scheduler = TaskScheduler(adapt=True)
        assert "no limits" in repr(scheduler)
        told = {"x-ratelimit-limit-requests": "600", "x-ratelimit-remaining-requests": "500",
                "x-ratelimit-reset-requests": "10s"}  # fmt: skip
        scheduler.observe(200, told)
        assert "requests 10/s (learned)" in repr(scheduler)

    run(main())
