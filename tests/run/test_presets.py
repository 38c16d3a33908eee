"""The charges of the presets, and the tokenizers."""

from __future__ import annotations

from typing import Any

import pytest
from kit.runs import plain
from test_input import good

from xtremeflow.learning.costs.estimates import Estimator
from xtremeflow.providers import PROVIDERS
from xtremeflow.run.input.tokenizer import TokenizerError, tokenizer
from xtremeflow.values.usage import Usage


@pytest.mark.parametrize(
    ("provider", "admission"),
    [
        ("openai", {"tokens": 500, "input_tokens": 100, "output_tokens": 500}),
        ("groq", {"tokens": 600, "input_tokens": 100, "output_tokens": 500}),
        ("mistral", {"tokens": 356, "input_tokens": 100, "output_tokens": 256}),
    ],
)
def test_the_rule_of_each_provider_charges_as_it_documents(
    provider: str, admission: dict[str, int]
) -> None:
    rule = PROVIDERS[provider].rule
    assert Estimator().estimate(plain("x" * 396, max_tokens=500), rule=rule) == admission


@pytest.mark.parametrize(
    ("provider", "unit", "tokens"),
    [("anthropic", "input_tokens", 20), ("groq", "tokens", 30), ("mistral", "tokens", 110)],
)
def test_cache_reads_are_free_in_the_end_where_the_provider_says_so(
    provider: str, unit: str, tokens: int
) -> None:
    assert PROVIDERS[provider].rule.settled(Usage(100, 10, 80), 50)[unit] == tokens


@pytest.mark.parametrize(("provider", "is_free"), [("anthropic", True), ("groq", False)])
def test_cache_reads_are_admitted_free_by_anthropic_alone(provider: str, is_free: bool) -> None:
    assert PROVIDERS[provider].rule.admits_cached_free is is_free


def test_embeddings_have_no_output() -> None:
    body = {"model": "any", "input": "abcd"}
    assert good({"custom_id": "a", "url": "/v1/embeddings?a=b", "body": body}).embeds
    assert not good({"custom_id": "a", "url": "/v1/responses", "body": body}).embeds


def test_a_tokenizer_that_is_not_there() -> None:
    with pytest.raises(TokenizerError, match="--tokenizer"):
        tokenizer("nobody-knows-it")


def test_a_tokenizer_file_counts_the_tokens(tmp_path: Any) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    words = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({"a": 0, "b": 1, "?": 2}, unk_token="?")
    )
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    path = str(tmp_path / "tokenizer.json")
    words.save(path)
    assert tokenizer(path)("a b c a") == 4
    estimator = Estimator(tokenizer(path), per_token=1.0)
    assert estimator.estimate(plain("a b a b a")).input == 6  # and its role
