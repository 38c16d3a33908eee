"""Estimates, and what they are learned from."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest

from xtremeflow.answers.usage import usage_of
from xtremeflow.learning.costs.estimates import Estimate, Estimator, measure_body, most_output
from xtremeflow.values.charges import ChargeRule
from xtremeflow.values.usage import Usage


def plain(text: str = "hello", model: str = "m", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


def test_characters_count_until_something_is_learned() -> None:
    cost = Estimator().estimate(plain("x" * 396))
    assert (cost.input, cost.output, cost.most) == (100, 256, None)
    assert Estimator().estimate(plain("x", max_tokens=9)).output == 9


def test_characters_per_token_and_the_output_are_learned() -> None:
    """Answers of 100 tokens on the average, spread by 30, and 2.5 characters a token."""
    chance = random.Random(1)
    estimator = Estimator()
    for _ in range(300):
        request = plain("x" * chance.randrange(10, 3000))
        cost = estimator.estimate(request)
        written = max(1, round(chance.gauss(100, 30)))
        estimator.learn(cost, Usage(round(cost.size / 2.5), written))
    cost = estimator.estimate(plain("x" * 2496), in_flight=0)
    assert cost.input == pytest.approx(1000, rel=0.02)
    assert cost.output == pytest.approx(160, rel=0.15)  # alone, it allows for two spreads
    many = estimator.estimate(plain("x"), in_flight=9999)
    assert many.output == pytest.approx(100, rel=0.05)
    learned = estimator.learned()["m"]
    assert learned["units_per_token"] == pytest.approx(2.5, rel=0.02)


def test_models_are_told_apart() -> None:
    estimator = Estimator()
    request = plain("x" * 1000, model="a")
    estimator.learn(estimator.estimate(request), Usage(1000, 5))
    assert estimator.estimate(plain("x" * 996, model="b")).input == 250


def test_the_text_of_the_body_is_measured_and_nothing_else() -> None:
    body: Any = {
        "model": "a long name",
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "12345"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                {"type": "image", "source": {"type": "base64", "data": "AAAA"}},
            ]},
        ],
        "system": "123",
        "metadata": {"x": "y"},
    }  # fmt: skip
    assert measure_body(body, lambda text: 100 if text == "12345" else 1) == 106


@pytest.mark.parametrize(
    ("body", "most"),
    [
        ({}, None),
        ({"max_tokens": 5}, 5),
        ({"max_tokens": 5, "n": 3}, 15),
        ({"max_completion_tokens": 7}, 7),
        ({"max_output_tokens": 8}, 8),
        ({"generationConfig": {"maxOutputTokens": 9}}, 9),
        ({"generationConfig": {"maxOutputTokens": 9}, "generation_config": {}}, 9),
        ({"generationConfig": None, "generation_config": {"max_output_tokens": 9}}, 9),
        ({"tools": [{"max_tokens": 9}], "metadata": {"max_tokens": 9}}, None),
        ({"max_tokens": "5"}, None),
    ],
)
def test_the_most_that_may_come(body: Any, most: int | None) -> None:
    assert most_output(body) == most


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        ({"usage": {"prompt_tokens": 3, "completion_tokens": 4}}, Usage(3, 4)),
        ({"usage": {"prompt_tokens": 9, "completion_tokens": 4,
                    "prompt_tokens_details": {"cached_tokens": 8}}}, Usage(9, 4, 8)),
        ({"usage": {"input_tokens": 9, "output_tokens": 4,
                    "input_tokens_details": {"cached_tokens": 8}}}, Usage(9, 4, 8)),
        ({"usage": {"input_tokens": 3, "output_tokens": 4, "cache_read_input_tokens": 10,
                    "cache_creation_input_tokens": 20}}, Usage(33, 4, 10, 20)),
        ({"usage": {"prompt_tokens": 9, "completion_tokens": 4, "prompt_cache_hit_tokens": 5}},
         Usage(9, 4, 5)),
        ({"usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 4,
                            "thoughtsTokenCount": 6, "cachedContentTokenCount": 2}},
         Usage(9, 10, 2)),
        ({"usage": {"prompt_tokens": 3}}, Usage(3, 0)),
        ({"usage": None}, None),
        ({"usage": {"prompt_tokens": "3"}}, None),
        ([], None),
    ],
)  # fmt: skip
def test_usage_in_every_providers_words(body: Any, usage: Usage | None) -> None:
    assert usage_of(body) == usage


@pytest.mark.parametrize("inner", ["usage", None])
def test_usage_of_an_sdks_object(inner: str | None) -> None:
    details = SimpleNamespace(cached_tokens=8)
    usage = SimpleNamespace(prompt_tokens=9, completion_tokens=4, prompt_tokens_details=details)
    assert usage_of(SimpleNamespace(usage=usage) if inner else usage) == Usage(9, 4, 8)


def test_usage_that_is_known_already_and_usage_by_itself() -> None:
    assert usage_of(Usage(1, 2)) == Usage(1, 2)
    assert usage_of({"input_tokens": 3, "output_tokens": 4}) == Usage(3, 4)
    assert usage_of({"promptTokenCount": 3, "candidatesTokenCount": True}) == Usage(3, 0)
    assert usage_of("text") is None


def test_an_embeddings_body_has_no_output() -> None:
    body = {"model": "text-embedding-3-small", "input": ["abcd"] * 100}
    estimate = Estimator().estimate(body)
    assert (estimate.input, estimate.output, estimate.most) == (100, 0, 0)


def test_a_text_is_a_prompt() -> None:
    estimate = Estimator().estimate("x" * 396, model="m", most=50)
    assert (estimate.model, estimate.input, estimate.output, estimate.most) == ("m", 99, 50, 50)
    assert estimate.total == 149


def test_an_estimate_is_what_a_call_holds() -> None:
    estimator = Estimator()
    estimate = estimator.estimate(plain("x" * 396, max_tokens=500), units=["tokens"])
    assert estimate == {"tokens": 600}
    assert isinstance(estimate, Estimate)
    rule = ChargeRule("nothing", settles=True)
    assert estimator.estimate(plain("x" * 396, max_tokens=500), rule=rule)["tokens"] == 356


def test_arguments_that_are_wrong() -> None:
    with pytest.raises(ValueError, match="per_token must be a number above 0, got 0"):
        Estimator(per_token=0)
    with pytest.raises(TypeError, match="measure must be a function of a text, got 4"):
        Estimator(4)  # type: ignore[arg-type]


def test_a_prompt_is_measured_however_deep_its_parts_are() -> None:
    deep: list[Any] = ["1234"]
    for _ in range(100_000):
        deep = [deep]
    assert measure_body({"input": deep}, len) == 4


def test_a_measure_below_zero_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the size of a text must be 0 or more, not -1"):
        measure_body({"prompt": "hello"}, lambda text: -1)
