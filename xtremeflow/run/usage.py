"""What an answer says it has used, in every provider's words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from xtremeflow.run.requests import Json


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens. `input` includes `cached`, those of the prompt that were read from a cache."""

    input: int
    output: int
    cached: int = 0

    @property
    def total(self) -> int:
        return self.input + self.output

    def as_json(self) -> Json:
        return {"input_tokens": self.input, "output_tokens": self.output, "cached": self.cached}


def usage_of(body: Any) -> Usage | None:
    """The usage in a decoded answer; None where it says nothing."""
    if not isinstance(body, dict):
        return None
    answer = cast(Json, body)
    usage = _object(answer.get("usage")) or _object(answer.get("usageMetadata"))
    read = _count(usage, "input_tokens", "prompt_tokens", "promptTokenCount")
    if read is None:
        return None
    written = _count(usage, "output_tokens", "completion_tokens", "candidatesTokenCount") or 0
    details = _object(usage.get("prompt_tokens_details") or usage.get("input_tokens_details"))
    cached = _count(details, "cached_tokens")
    if cached is None:
        cached = _count(usage, "prompt_cache_hit_tokens", "cachedContentTokenCount") or 0
    # Anthropic counts what its cache read and wrote apart from the rest of the input.
    apart = _count(usage, "cache_read_input_tokens") or 0
    return Usage(
        input=read + apart + (_count(usage, "cache_creation_input_tokens") or 0),
        output=written + (_count(usage, "thoughtsTokenCount") or 0),
        cached=cached + apart,
    )


def _object(value: Any) -> Json:
    return cast(Json, value) if isinstance(value, dict) else {}


def _count(usage: Json, *names: str) -> int | None:
    for name in names:
        value = usage.get(name)
        if isinstance(value, int) and value >= 0:
            return int(value)
    return None
