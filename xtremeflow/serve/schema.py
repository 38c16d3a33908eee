"""Values that satisfy a JSON schema, for the arguments of tools and for structured outputs."""

from __future__ import annotations

import json
import math
from typing import Any

from xtremeflow.serve.fields import BadRequestError, object_field
from xtremeflow.serve.inquiry import CHARACTERS_PER_TOKEN, LONGEST_ANSWER, Json
from xtremeflow.values.forms import is_array, is_object

SHALLOW = 8  # deeper values have only required properties, so that recursion ends
DEEPEST = 50
LARGEST = 10_000  # values
LONGEST = (
    CHARACTERS_PER_TOKEN * LONGEST_ANSWER
)  # characters of a value, and of what it is made from
TOO_LARGE = "the schema is too deep or too large"
TEXTS = {  # by format
    "date": "2026-01-01",
    "date-time": "2026-01-01T00:00:00Z",
    "email": "someone@example.com",
    "ipv4": "192.0.2.1",
    "time": "00:00:00Z",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def instance(schema: Json) -> Any:
    """Returns a value that satisfies a schema of the kind that tools and structured outputs have:
    types, required properties, bounds of numbers, lengths and common formats of texts; not
    patterns.

    Raises BadRequestError for a schema that is not valid, or has no finite value.
    """
    return _Instance(schema).of(schema, 0)


class _Instance:
    def __init__(self, root: Json) -> None:
        self._root = root
        self._values = 0
        self._room = LONGEST

    def _spend(self, characters: int) -> None:
        self._room -= characters
        if self._room < 0:
            raise BadRequestError(TOO_LARGE)

    def of(self, schema: Any, depth: int) -> Any:
        self._values += 1
        if depth > DEEPEST or self._values > LARGEST:
            raise BadRequestError(TOO_LARGE)
        if schema is True:
            return "text"
        if not is_object(schema):
            raise BadRequestError(f"a schema must be an object, got {schema!r:.100}")
        if "$ref" in schema:
            return self.of(self._resolve(str(schema["$ref"])), depth + 1)
        if "const" in schema:
            return self._given(schema["const"])
        for key in ("enum", "anyOf", "oneOf"):
            options = schema.get(key)
            if is_array(options) and options:
                if key == "enum":
                    return self._given(options[0])
                self._spend(len(options))
                return self.of(_choice(options, depth), depth + 1)
        parts = schema.get("allOf")
        if is_array(parts) and parts:
            return self._all(parts, depth)
        return self._typed(schema, depth)

    def _given(self, value: Any) -> Any:
        """Returns a value that the schema itself states."""
        self._spend(len(json.dumps(value)))
        return value

    def _all(self, parts: list[Any], depth: int) -> Any:
        """Returns a value with the properties of all parts, or else one that satisfies the first
        part."""
        values = [self.of(part, depth + 1) for part in parts]
        if all(is_object(value) for value in values):
            return {name: part for value in values for name, part in value.items()}
        return values[0]

    def _typed(self, schema: Json, depth: int) -> Any:
        kind = schema.get("type", "object" if "properties" in schema else "string")
        kind = str(kind[0] if is_array(kind) and kind else kind).lower()  # Gemini writes OBJECT
        if kind == "object":
            return self._object(schema, depth)
        if kind == "array":
            count = _number(schema, "minItems", 0 if depth > SHALLOW else 1)
            items = [self.of(schema.get("items", True), depth + 1) for _ in range(int(count))]
            return _distinct(items) if schema.get("uniqueItems") is True else items
        if kind == "integer":
            return math.floor(_within(schema, 1.0, 1.0))
        if kind == "number":
            return _within(schema, 1.5, 0.25)
        if kind in ("boolean", "null"):
            return True if kind == "boolean" else None
        text = _text(schema)
        self._spend(len(text))
        return text

    def _object(self, schema: Json, depth: int) -> Json:
        given = schema.get("required")
        required = dict.fromkeys(map(str, given)) if is_array(given) else {}
        properties = object_field(schema, "properties")
        self._spend(sum(map(len, required)) + sum(map(len, properties)))
        found = {
            name: self.of(part, depth + 1)
            for name, part in properties.items()
            if depth <= SHALLOW or name in required
        }
        return found | {name: "text" for name in required if name not in properties}

    def _resolve(self, reference: str) -> Any:
        self._spend(len(reference))
        found: Any = self._root
        for step in reference.removeprefix("#").split("/")[1:]:
            if not is_object(found) or step not in found:
                raise BadRequestError(f"the schema has nothing at {reference!r:.100}")
            found = found[step]
        return found


def _choice(options: list[Any], depth: int) -> Any:
    """Returns a value of the first option, or deep down null, if that is an option."""
    nothing = [option for option in options if is_object(option) and option.get("type") == "null"]
    return nothing[0] if nothing and depth > SHALLOW else options[0]


def _number(schema: Json, name: str, default: float) -> float:
    if name not in schema:
        return default
    value = schema[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e15:
        raise BadRequestError(f"'{name}' must be a number, got {value!r:.100}")
    return float(value)


def _within(schema: Json, usual: float, step: float) -> float:
    """Returns a number within the bounds and of the required multiple; `usual` if that is
    allowed."""
    multiple = _number(schema, "multipleOf", 0.0)
    step = multiple if multiple > 1e-9 else step
    low = max(
        _number(schema, "minimum", -math.inf),
        _number(schema, "exclusiveMinimum", -math.inf) + step / 2,
    )
    high = min(
        _number(schema, "maximum", math.inf),
        _number(schema, "exclusiveMaximum", math.inf) - step / 2,
    )
    value = float(min(max(usual, low), high))
    if step == multiple or not value.is_integer():
        up = math.ceil(value / step) * step
        value = up if up <= high else math.floor(value / step) * step
    return value


def _text(schema: Json) -> str:
    text = TEXTS.get(str(schema.get("format")), "text")
    shortest, longest = _number(schema, "minLength", 0), _number(schema, "maxLength", LARGEST)
    if shortest > LARGEST:
        raise BadRequestError(TOO_LARGE)
    return text.ljust(int(shortest), "t")[: int(max(0, longest))]


def _distinct(items: list[Any]) -> list[Any]:
    """Makes numbers and texts all different. Other values stay as they are."""
    if items and all(type(item) in (int, float) for item in items):
        return [item + place for place, item in enumerate(items)]
    if items and all(isinstance(item, str) for item in items):
        return [f"{item}{place or ''}" for place, item in enumerate(items)]
    return items
