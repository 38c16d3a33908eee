"""Requests of all kinds: what is understood, what is refused, and that nothing ever breaks."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.serve import INSTANT, Client
from kit.serve import PATHS as OF_PROFILE

from xtremeflow.serve import PROFILES
from xtremeflow.serve.fields import BadRequestError
from xtremeflow.serve.inquiry import prose, tokens_in
from xtremeflow.serve.schema import instance
from xtremeflow.testing import run

PATHS = (
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/embeddings",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1beta/models/m:generateContent",
    "/v1beta/models/m:streamGenerateContent",
)
# The fields that the parsers look at, and values of all types for them, also sensible ones.
# fmt: off
KEYS = [
    "model", "messages", "role", "content", "type", "text", "stream", "stream_options",
    "include_usage", "n", "max_tokens", "max_completion_tokens", "tools", "function", "name",
    "parameters", "tool_choice", "response_format", "json_schema", "schema", "metadata",
    "output_tokens", "input", "instructions", "max_output_tokens", "dimensions",
    "encoding_format", "system", "cache_control", "input_schema", "output_config", "format",
    "contents", "parts", "generationConfig", "maxOutputTokens", "candidateCount",
    "responseSchema", "toolConfig", "functionCallingConfig", "mode", "allowedFunctionNames",
    "functionDeclarations", "properties", "items", "enum", "anyOf", "$ref", "minItems",
    "prompt_cache_key", "prompt_cache_options", "prompt_cache_breakpoint",
    "comparison_response_id",
]
# fmt: on
keys = st.sampled_from(KEYS)
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 5),
    st.floats(allow_nan=True),
    st.sampled_from(
        ["m", "user", "tool", "function", "json_schema", "object", "array", "#", "\ud800"]
    ),
    st.text(max_size=3),
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=5)),
    max_leaves=20,
)
bodies = st.dictionaries(keys, values, max_size=8).map(
    lambda body: {
        "model": "m",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "hi"}],
        "contents": [{"parts": [{"text": "hi"}]}],
        "input": "hi",
        **body,
    }
)


@settings(max_examples=300)
@given(st.sampled_from(PATHS), bodies)
def test_no_request_breaks_it(path, body):
    profile = "gemini" if "Content" in path else "vllm"

    async def main():
        client = Client(profile, latency=INSTANT)
        got = await client.send(path, body)
        assert got.status in (200, 400)
        stats = client.service.provider.stats
        assert stats.in_flight == stats.failed == stats.abandoned == 0

    run(main())


@given(st.binary(max_size=30), st.sampled_from(list(PROFILES)))
def test_no_bytes_break_it(data, profile):
    async def main():
        assert (await Client(profile).send(OF_PROFILE[profile], data)).status == 400

    run(main())


def test_nesting_without_an_end():
    async def main():
        deep = b'{"model":"m","messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
        assert (await Client("openai").send(PATHS[0], deep)).status == 400

    run(main())


TREE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "value": {"type": "integer", "minimum": 5},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
            },
            "required": ["value", "children", "next"],
        }
    },
    "$ref": "#/$defs/node",
}


def test_answers_satisfy_the_schema_that_was_asked_for():
    for schema, value in (
        ({}, "text"),
        ({"type": "string", "enum": ["b", "a"]}, "b"),
        ({"const": 7}, 7),
        ({"type": ["integer", "null"]}, 1),
        ({"type": "NUMBER", "minimum": 2}, 2.0),
        ({"type": "boolean"}, True),
        ({"type": "null"}, None),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [1, 1]),
        ({"properties": {"a": {"type": "string"}}}, {"a": "text"}),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, 1),
        ({"type": "string", "minLength": 6}, "texttt"),
        ({"type": "string", "maxLength": 2}, "te"),
        ({"type": "string", "format": "email"}, "someone@example.com"),
        ({"type": "integer", "maximum": -3}, -3),
        ({"type": "integer", "exclusiveMinimum": 5}, 6),
        ({"type": "integer", "minimum": 2.5}, 3),
        ({"type": "number", "exclusiveMaximum": 0}, -0.25),
        ({"type": "integer", "multipleOf": 7, "minimum": 1}, 7),
        (
            {"type": "array", "items": {"type": "integer"}, "minItems": 3, "uniqueItems": True},
            [1, 2, 3],
        ),
        (
            {
                "allOf": [
                    {"type": "object", "properties": {"a": {"const": 1}}},
                    {"type": "object", "properties": {"b": {"const": 2}}},
                ]
            },
            {"a": 1, "b": 2},
        ),
        ({"type": "object", "required": ["zz"]}, {"zz": "text"}),
        ({"$defs": {"x": {"const": 3}}, "properties": {"a": {"$ref": "#/$defs/x"}}}, {"a": 3}),
    ):
        assert instance(schema) == value, schema
    tree = instance(TREE)
    assert tree["value"] == 5
    assert tree["children"][0]["next"]["value"] == 5
    json.dumps(tree)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$ref": "#/nowhere"},
        {"properties": 3},
        {"properties": {"a": 3}},
        {"type": "array", "minItems": "many"},
        {"type": "array", "minItems": 10**9},
        {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
    ],
)
def test_schemas_that_have_no_instance(schema):
    with pytest.raises(BadRequestError):
        instance(schema)


@given(st.integers(0, 5000))
def test_prose_has_its_length(tokens):
    assert tokens_in(prose(tokens)) == tokens
