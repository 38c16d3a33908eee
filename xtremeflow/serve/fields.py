"""How the fields of a request are read: each function names the one that is wrong."""

from __future__ import annotations

import json
from typing import Any, TypeGuard

from xtremeflow.serve.asking import CHARACTERS_PER_TOKEN, LONGEST_ANSWER, Json

MEDIA_TOKENS = 85  # of an image, or of another part that is not text


class BadRequestError(Exception):
    """A request that no provider would understand."""


def is_object(value: Any) -> TypeGuard[Json]:
    return isinstance(value, dict)


def is_array(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def object_in(value: Any, name: str) -> Json:
    if not is_object(value):
        raise BadRequestError(f"'{name}' must be an object, got {value!r:.100}")
    return value


def object_field(body: Json, *names: str) -> Json:
    """The first of these fields that is there; empty if none is."""
    name = next((name for name in names if body.get(name) is not None), None)
    return {} if name is None else object_in(body[name], name)


def objects_field(body: Json, name: str) -> list[Json]:
    """An array of objects; empty if it is not there."""
    value = body.get(name)
    if value is None:
        return []
    if not is_array(value):
        raise BadRequestError(f"'{name}' must be an array, got {value!r:.100}")
    return [object_in(item, f"{name}[{index}]") for index, item in enumerate(value)]


def some_objects_field(body: Json, name: str) -> list[Json]:
    """An array of at least one object."""
    objects = objects_field(body, name)
    if not objects:
        raise BadRequestError(f"'{name}' must be a non-empty array")
    return objects


def text_field(body: Json, name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise BadRequestError(f"'{name}' must be a non-empty string, got {value!r:.100}")
    return value


def count_field(body: Json, name: str, most: int | None = None) -> int | None:
    """A whole number from 1 on; None if it is not there."""
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise BadRequestError(f"'{name}' must be an integer of at least 1, got {value!r:.100}")
    if most is not None and value > most:
        raise BadRequestError(f"'{name}' must be at most {most:,}, got {value!r:.100}")
    return value


def length_of(value: Any, name: str) -> int | None:
    """A number of tokens, also as text; None for None."""
    if value is None:
        return None
    try:
        length = int(value)
    except (TypeError, ValueError, OverflowError):
        length = -1
    if not 0 <= length <= LONGEST_ANSWER:
        raise BadRequestError(
            f"'{name}' must be a number of tokens up to {LONGEST_ANSWER:,}, got {value!r:.100}"
        )
    return length


def told_length(body: Json) -> int | None:
    """`metadata: {"output_tokens": "57"}`, where the API has such a field."""
    metadata = object_field(body, "metadata")
    return length_of(metadata.get("output_tokens"), "metadata.output_tokens")


def content_text(content: Any) -> str:
    """All the text of a message's content: a string, or parts that have some."""
    if isinstance(content, str):
        return content
    if is_array(content):
        return "".join(content_text(part) for part in content)
    if is_object(content):
        for name in ("text", "content", "output"):
            if name in content:
                return content_text(content[name])
        if "arguments" in content or "input" in content:
            return json.dumps(content)
        return " " * (MEDIA_TOKENS * CHARACTERS_PER_TOKEN)
    return ""
