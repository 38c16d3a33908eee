"""Values that satisfy a JSON schema, for the arguments of tools and for structured outputs."""

from __future__ import annotations

from typing import Any

from xtremeflow.serve.asking import Json
from xtremeflow.serve.fields import BadRequestError, is_array, is_object, object_field

SHALLOW = 8  # beyond that depth only what is required is there, so that recursion ends
DEEPEST = 50
LARGEST = 10_000  # values


def instance(schema: Json) -> Any:
    """A value for a schema of the kind that tools and structured outputs have.

    Raises BadRequestError for one that is none, or has no end.
    """
    return _Instance(schema).of(schema, 0)


class _Instance:
    def __init__(self, root: Json) -> None:
        self._root = root
        self._values = 0

    def of(self, schema: Any, depth: int) -> Any:
        self._values += 1
        if depth > DEEPEST or self._values > LARGEST:
            raise BadRequestError("the schema is too deep or too large")
        if schema is True:
            return "text"
        if not is_object(schema):
            raise BadRequestError(f"a schema must be an object, got {schema!r:.100}")
        if "$ref" in schema:
            return self.of(self._resolve(schema["$ref"]), depth + 1)
        if "const" in schema:
            return schema["const"]
        for key in ("enum", "anyOf", "oneOf", "allOf"):
            options = schema.get(key)
            if is_array(options) and options:
                return options[0] if key == "enum" else self.of(_choice(options, depth), depth + 1)
        return self._typed(schema, depth)

    def _typed(self, schema: Json, depth: int) -> Any:
        kind = schema.get("type", "object" if "properties" in schema else "string")
        kind = str(kind[0] if is_array(kind) and kind else kind).lower()  # Gemini writes OBJECT
        if kind == "object":
            return self._object(schema, depth)
        if kind == "array":
            count = _number(schema, "minItems", 0 if depth > SHALLOW else 1)
            return [self.of(schema.get("items", True), depth + 1) for _ in range(int(count))]
        if kind == "integer":
            return int(_number(schema, "minimum", 1))
        if kind == "number":
            return float(_number(schema, "minimum", 1.5))
        return {"boolean": True, "null": None}.get(kind, "text")

    def _object(self, schema: Json, depth: int) -> Json:
        required = schema.get("required")
        return {
            name: self.of(part, depth + 1)
            for name, part in object_field(schema, "properties").items()
            if depth <= SHALLOW or (is_array(required) and name in required)
        }

    def _resolve(self, reference: Any) -> Any:
        found: Any = self._root
        for step in str(reference).removeprefix("#").split("/")[1:]:
            if not is_object(found) or step not in found:
                raise BadRequestError(f"the schema has nothing at {reference!r:.100}")
            found = found[step]
        return found


def _choice(options: list[Any], depth: int) -> Any:
    """The first; deep down null, where it is among them."""
    nothing = [option for option in options if is_object(option) and option.get("type") == "null"]
    return nothing[0] if nothing and depth > SHALLOW else options[0]


def _number(schema: Json, name: str, default: float) -> float:
    value = schema.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e15:
        raise BadRequestError(f"'{name}' must be a number, got {value!r:.100}")
    return value
