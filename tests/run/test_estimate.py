"""Estimates, and what they are learned from."""

from __future__ import annotations

import random
from typing import Any

import pytest
from runkit import plain
from test_input import good

from xtremeflow.run.estimate import Estimator, measure_body, most_output
from xtremeflow.run.providers import PROVIDERS
from xtremeflow.run.tokenizer import TokenizerError, tokenizer
from xtremeflow.run.usage import Usage, usage_of


def test_characters_count_until_something_is_learned() -> None:
    cost = Estimator().estimate(good(plain("x" * 396)))
    assert (cost.input, cost.output, cost.most) == (100, 256, None)
    assert Estimator().estimate(good(plain("x", max_tokens=9))).output == 9


def test_characters_per_token_and_the_output_are_learned() -> None:
    """Answers of 100 tokens on the average, spread by 30, and 2.5 characters a token."""
    chance = random.Random(1)
    estimator = Estimator()
    for _ in range(300):
        request = good(plain("x" * chance.randrange(10, 3000)))
        cost = estimator.estimate(request)
        written = max(1, round(chance.gauss(100, 30)))
        estimator.learn(request, cost, Usage(round(cost.size / 2.5), written))
    cost = estimator.estimate(good(plain("x" * 2496)), in_flight=0)
    assert cost.input == pytest.approx(1000, rel=0.02)
    assert cost.output == pytest.approx(160, rel=0.15)  # alone, it allows for two spreads
    many = estimator.estimate(good(plain("x")), in_flight=9999)
    assert many.output == pytest.approx(100, rel=0.05)
    learned = estimator.learned()["m"]
    assert learned["units_per_token"] == pytest.approx(2.5, rel=0.02)


def test_models_are_told_apart() -> None:
    estimator = Estimator()
    request = good(plain("x" * 1000, model="a"))
    estimator.learn(request, estimator.estimate(request), Usage(1000, 5))
    assert estimator.estimate(good(plain("x" * 996, model="b"))).input == 250


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
        ({"max_tokens": "5"}, None),
    ],
)
def test_the_most_that_may_come(body: Any, most: int | None) -> None:
    assert most_output(body) == most


def test_embeddings_have_no_output() -> None:
    request = good({"model": "text-embedding-3-small", "input": ["abcd"] * 100})
    cost = Estimator().estimate(request)
    assert (cost.input, cost.output) == (100, 0)


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        ({"usage": {"prompt_tokens": 3, "completion_tokens": 4}}, Usage(3, 4)),
        ({"usage": {"prompt_tokens": 9, "completion_tokens": 4,
                    "prompt_tokens_details": {"cached_tokens": 8}}}, Usage(9, 4, 8)),
        ({"usage": {"input_tokens": 9, "output_tokens": 4,
                    "input_tokens_details": {"cached_tokens": 8}}}, Usage(9, 4, 8)),
        ({"usage": {"input_tokens": 3, "output_tokens": 4, "cache_read_input_tokens": 10,
                    "cache_creation_input_tokens": 20}}, Usage(33, 4, 10)),
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


@pytest.mark.parametrize(
    ("provider", "admission"),
    [
        ("openai", {"tokens": 500, "input_tokens": 100, "output_tokens": 500}),
        ("groq", {"tokens": 600, "input_tokens": 100, "output_tokens": 500}),
        ("mistral", {"tokens": 356, "input_tokens": 100, "output_tokens": 256}),
    ],
)
def test_what_a_provider_charges(provider: str, admission: dict[str, int]) -> None:
    cost = Estimator().estimate(good(plain("x" * 396, max_tokens=500)))
    assert PROVIDERS[provider].admission(cost) == admission


def test_cache_reads_are_free_where_they_are() -> None:
    usage = Usage(100, 10, 80)
    assert PROVIDERS["anthropic"].settlement(usage)["input_tokens"] == 20
    assert PROVIDERS["groq"].settlement(usage)["tokens"] == 110


def test_a_tokenizer_that_is_not_there() -> None:
    with pytest.raises(TokenizerError, match="--tokenizer"):
        tokenizer("nobody-knows-it")


def test_a_tokenizer_file(tmp_path: Any) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    words = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({"a": 0, "b": 1, "?": 2}, unk_token="?")
    )
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    path = str(tmp_path / "tokenizer.json")
    words.save(path)
    assert tokenizer(path)("a b c a") == 4
    estimator = Estimator(tokenizer(path), per_token=1.0)
    assert estimator.estimate(good(plain("a b a b a"))).input == 6  # and its role
