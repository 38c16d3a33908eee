"""The usage of a call, in every provider's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from xtremeflow.values.usage import Usage

_INPUT = ("input_tokens", "prompt_tokens", "promptTokenCount", "prompt_token_count")
_OUTPUT = ("output_tokens", "completion_tokens", "candidatesTokenCount", "candidates_token_count")
_THOUGHTS = ("thoughtsTokenCount", "thoughts_token_count")
_TOTAL = ("total_tokens", "totalTokenCount", "total_token_count")
_DETAILS = ("prompt_tokens_details", "input_tokens_details")
_MOST = 10**9  # tokens of one call; a count above it is a mistake and counts as not told
_CACHED = ("prompt_cache_hit_tokens", "cachedContentTokenCount", "cached_content_token_count")


def usage_of(answer: Any) -> Usage | None:
    """Returns the usage that an answer tells, or None.

    `answer` is decoded JSON or an SDK's object: the whole answer, or the usage in it.
    """
    if isinstance(answer, Usage):
        return answer
    usage = answer
    for name in ("usage", "usageMetadata", "usage_metadata"):
        inner = _field(answer, name)
        if inner is not None:
            usage = inner
            break
    said = [_count(usage, *names) for names in (_INPUT, _OUTPUT, _TOTAL)]
    if said == [None, None, None]:
        return None
    read, written, total = (count or 0 for count in said)
    cached = max(
        _count(usage, *_CACHED) or 0,
        *(_count(_field(usage, name), "cached_tokens") or 0 for name in _DETAILS),
    )
    # Anthropic counts the tokens that its cache read and wrote apart from the rest of the input.
    apart = _count(usage, "cache_read_input_tokens") or 0
    kept = _count(usage, "cache_creation_input_tokens") or 0
    read += apart + kept
    written += _count(usage, *_THOUGHTS) or 0
    kept += max(_count(_field(usage, name), "cache_write_tokens") or 0 for name in _DETAILS)
    return Usage(read, max(written, total - read), cached + apart, kept)


def _field(value: Any, name: str) -> Any:
    if type(value) is dict:  # tested first, since the test of an ABC is slow
        return cast("dict[str, Any]", value).get(name)
    if isinstance(value, Mapping):
        return cast("Mapping[str, Any]", value).get(name)
    return getattr(value, name, None)


def _count(usage: Any, *names: str) -> int | None:
    """Returns the largest count, since gateways that translate send the other API's names as 0."""
    largest: int | None = None
    for name in names:
        value = _field(usage, name)
        if value is None or isinstance(value, bool) or not isinstance(value, int):
            continue
        if 0 <= value <= _MOST and (largest is None or value > largest):
            largest = value
    return largest
