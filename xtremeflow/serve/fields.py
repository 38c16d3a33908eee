"""Reading the fields of a request. Each function's error names the field that is wrong."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

from xtremeflow.serve.inquiry import CHARACTERS_PER_TOKEN, LONGEST_ANSWER, Json
from xtremeflow.values.forms import is_array, is_object

DEEPEST = 100  # levels of JSON: far above what any API needs, far below Python's own limit
LARGEST_COUNT = 2**63 - 1
MEDIA_TOKENS = 85  # an image, or another part that is not text, counts as so many


class BadRequestError(Exception):
    """The request is one that no provider would understand."""


def parsed(data: bytes) -> Any:
    """Decodes a body as strict JSON of bounded depth, with strings that can be encoded."""
    try:
        text = data.decode("utf-8-sig")
        value = json.loads(text, parse_constant=_not_json, parse_float=_finite)
        if b"\\u" in data:  # half a surrogate pair, too
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise BadRequestError("the JSON body is nested too deeply") from None
    except ValueError as error:
        raise BadRequestError(f"We could not parse the JSON body: {error}") from None
    level = [value]
    for _ in range(DEEPEST):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return value
    raise BadRequestError("the JSON body is nested too deeply")


def _inside(value: Any) -> list[Any]:
    """Returns the objects and arrays in `value`."""
    parts: Iterable[Any] = ()
    if is_object(value):
        parts = value.values()
    elif is_array(value):
        parts = value
    return [part for part in parts if isinstance(part, (dict, list))]


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text:.40} is too large")
    return value


def _not_json(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def object_in(value: Any, name: str) -> Json:
    if not is_object(value):
        raise BadRequestError(f"'{name}' must be an object, got {value!r:.100}")
    return value


def object_field(body: Json, *names: str) -> Json:
    """Returns the object in the first of these fields that exists, or an empty one."""
    name = next((name for name in names if body.get(name) is not None), None)
    return {} if name is None else object_in(body[name], name)


def objects_field(body: Json, name: str) -> list[Json]:
    """Returns an array of objects, or an empty one if the field is missing."""
    value = body.get(name)
    if value is None:
        return []
    if not is_array(value):
        raise BadRequestError(f"'{name}' must be an array, got {value!r:.100}")
    return [object_in(item, f"{name}[{index}]") for index, item in enumerate(value)]


def some_objects_field(body: Json, name: str) -> list[Json]:
    """Returns an array of at least one object."""
    objects = objects_field(body, name)
    if not objects:
        raise BadRequestError(f"'{name}' must be a non-empty array")
    return objects


def text_field(body: Json, name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise BadRequestError(f"'{name}' must be a non-empty string, got {value!r:.100}")
    return value


def count_field(body: Json, name: str, most: int | None = None, least: int = 1) -> int | None:
    """Returns a whole number of at least `least`, or None if the field is missing."""
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise BadRequestError(
            f"'{name}' must be an integer of at least {least}, got {value!r:.100}"
        )
    most = LARGEST_COUNT if most is None else most
    if value > most:
        raise BadRequestError(f"'{name}' must be at most {most:,}, got {value!r:.100}")
    return value


def length_of(value: Any, name: str) -> int | None:
    """Returns a number of tokens, which may be given as text; None for None."""
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
    """Returns the length of the answer that the request states, or None. The field is
    `metadata: {"output_tokens": "57"}`, in APIs that have metadata."""
    metadata = object_field(body, "metadata")
    return length_of(metadata.get("output_tokens"), "metadata.output_tokens")


def content_text(content: Any) -> str:
    """Returns all text of a message's content, which is a string or a list of parts."""
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
