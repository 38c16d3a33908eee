"""The native estimate is that of the reference in Python, and a call holds what it reserves."""

from __future__ import annotations

import asyncio
import copy
import math
import pickle
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xtremeflow import Limit, TaskScheduler
from xtremeflow._core import Typical
from xtremeflow.learning.costs.estimates import Estimate, Estimator
from xtremeflow.testing import run
from xtremeflow.values.charges import ADMISSIONS, UNITS, ChargeRule
from xtremeflow.values.usage import Usage

TOKENS = st.integers(0, 10**7)
RULES = st.builds(
    ChargeRule,
    st.sampled_from([*ADMISSIONS, None]),
    st.sampled_from([True, False, None]),
    st.sampled_from([True, False, None]),
)


class Reference:
    """The typical usage of a model's calls, as it is specified."""

    def __init__(self, tokens: float, measure: float) -> None:
        self.tokens, self.measure = tokens, measure
        self.reports = self.mean = self.variance = 0.0

    def note(self, size: int, read: int, written: int) -> None:
        keep = 1 - 1 / 500
        self.tokens = keep * self.tokens + read
        self.measure = keep * self.measure + size
        self.reports = keep * self.reports + 1
        weight = 1 / self.reports
        away = written - self.mean
        self.mean += weight * away
        self.variance = (1 - weight) * (self.variance + weight * away * away)

    def expect(self, size: int, in_flight: int) -> tuple[int, int]:
        read = math.ceil(size * self.tokens / self.measure)
        if not self.reports:
            return read, 256
        spread = math.sqrt(self.variance)
        return read, math.ceil(self.mean + 2 * spread / math.sqrt(in_flight + 1))


@given(
    usages=st.lists(st.tuples(TOKENS, TOKENS, TOKENS)), size=TOKENS, in_flight=st.integers(0, 9999)
)
def test_the_typical_usage_is_that_of_the_reference(
    usages: list[tuple[int, int, int]], size: int, in_flight: int
) -> None:
    native, reference = Typical(100.0, 400.0), Reference(100.0, 400.0)
    for usage in usages:
        native.note(*usage)
        reference.note(*usage)
    for name in ("tokens", "measure", "reports", "mean", "variance"):
        assert getattr(native, name) == pytest.approx(getattr(reference, name), rel=1e-12)
    expected = zip(native.expect(size, in_flight), reference.expect(size, in_flight), strict=True)
    assert all(abs(a - b) <= 1 for a, b in expected)  # where a last bit is rounded up


@given(
    rule=RULES,
    usages=st.lists(st.tuples(TOKENS, TOKENS), max_size=4),
    size=TOKENS,
    most=st.none() | TOKENS,
    names=st.sets(st.sampled_from(["requests", *UNITS])),
)
def test_a_scheduler_estimates_as_its_estimator(
    rule: ChargeRule,
    usages: list[tuple[int, int]],
    size: int,
    most: int | None,
    names: set[str],
) -> None:
    scheduler = TaskScheduler(limits=[Limit(name, 1e9) for name in sorted(names)])
    scheduler.charge_by(rule)
    estimator, costs = scheduler.estimator, scheduler._costs
    for read, written in usages:
        estimator.learn(scheduler.estimate(1000, model="m"), Usage(read, written))
    in_python = scheduler.estimate(size, model="m", most=most)
    scheduler._hand_over("m")
    native = scheduler._estimate(Estimate, "m", size, most)
    assert native is not None
    assert repr(native) == repr(in_python)
    assert native == {name: native[name] for name in UNITS if name in names | {"tokens"}}
    assert native == estimator.estimate(
        size, model="m", most=most, rule=costs.rule("m"),
        units=[unit for unit in UNITS if unit in names | {"tokens"}],
    )  # fmt: skip


def test_python_is_asked_for_the_estimates_that_the_native_part_cannot_make() -> None:
    scheduler = TaskScheduler()
    assert scheduler._estimate(Estimate, "m", 100, None) is None  # nothing was handed over
    scheduler._hand_over("m")
    assert scheduler._estimate(Estimate, "m", 10**30, None) is None
    assert scheduler._estimate(Estimate, "m", 100, 10**30) is None
    assert isinstance(scheduler._estimate(Estimate, "m", 100, 5), Estimate)
    assert scheduler.estimate(10**30, model="m").size == 2**62
    scheduler.estimator = Estimator(per_token=1.0)  # another one counts at once
    assert scheduler._estimate(Estimate, "m", 100, None) is None
    assert scheduler.estimate(100, model="m").input == 100


def test_arguments_that_are_wrong() -> None:
    scheduler = TaskScheduler()
    with pytest.raises(TypeError, match="takes a type of Estimated"):
        scheduler._estimate(dict, "m", 100, None)  # type: ignore[type-var]
    with pytest.raises(TypeError, match="typical must be a Typical, not 3"):
        scheduler._charged_as("m", ChargeRule(), False, 3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not of 'dollars'"):
        Estimate("m", 1, 2, None, 4, {"dollars": 3})
    with pytest.raises(ValueError, match="input must be 0 or more, not -1"):
        Estimate("m", -1, 2, None, 4, {})
    with pytest.raises(ValueError, match="must be above 0"):
        Typical(0.0, 1.0)


def test_an_estimate_is_a_value() -> None:
    estimate = Estimate("m", 10, 20, None, 40, {"tokens": 30, "output_tokens": 20})
    assert isinstance(estimate, Mapping)
    assert dict(estimate) == {"tokens": 30, "output_tokens": 20}
    assert list(estimate.values()) == [30, 20]
    assert (estimate.total, len(estimate), estimate.get("input_tokens")) == (30, 2, None)
    for copied in (copy.deepcopy(estimate), pickle.loads(pickle.dumps(estimate))):
        assert repr(copied) == repr(estimate)
    with pytest.raises(AttributeError):
        estimate.input = 3  # type: ignore[misc]


MAPPINGS = [
    {"tokens": 30, "input_tokens": 10, "output_tokens": 20},
    {"tokens": 30},
    {"input_tokens": 10, "output_tokens": 20},
    {"output_tokens": 20},
    {},
]


@pytest.mark.parametrize("amounts", MAPPINGS, ids=lambda amounts: ",".join(amounts))
@pytest.mark.parametrize("adapt", [False, True])
@pytest.mark.parametrize("names", [UNITS, ("tokens", "requests"), ("requests",), ()])
def test_a_call_holds_what_the_same_dict_reserves(
    names: tuple[str, ...], adapt: bool, amounts: dict[str, int]
) -> None:
    async def held(cost: Any) -> Any:
        limits = [Limit(name, 6000, 60.0, 6000) for name in names]
        scheduler = TaskScheduler(limits=limits, adapt=adapt)
        try:
            await scheduler.submit(asyncio.sleep(0), cost)
        except ValueError as error:
            return str(error)
        counts = scheduler._snapshot()
        return [limit["used"] for limit in counts["limits"]], counts["tokens_used"]

    estimate = Estimate("m", 10, 20, None, 40, amounts)
    assert run(held(estimate)) == run(held(amounts))
