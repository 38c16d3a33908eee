"""What requests ask for and what answers say, whatever API they are written for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

CHARACTERS_PER_TOKEN = 4

PASSAGE = (
    "A queue is fair when nobody waits for one who came later, and quick when nobody waits for "
    "nothing. Most are neither: they send too soon, are turned away, and come again with all the "
    "others. Better to know when the door opens, and to be there in that moment. "
)
LONGEST_ANSWER = 100_000  # tokens
DEEPEST_SCHEMA = 50
MEDIA_TOKENS = 85  # of an image, or of another part that is not text


class BadRequestError(Exception):
    """A request that no provider would understand; `param` is where."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


@dataclass(frozen=True)
class Tool:
    """A function that the answer may call, with the JSON schema of its arguments."""

    name: str
    parameters: Json


@dataclass(frozen=True)
class Ask:
    """What a request asks for.

    prompt       all that counts as input, in its order
    answers      how many are wanted (OpenAI's n)
    tool         what the answer has to call
    schema       what the answer has to be an instance of
    cache_key    OpenAI's prompt_cache_key
    marks        where Anthropic's cache_control stands: numbers of characters from the start
    told         the length of the answer, in tokens, where the request says it
    usage        whether a stream tells it
    inputs       the texts to embed
    body         the request itself
    """

    model: str
    prompt: str
    max_tokens: int | None = None
    stream: bool = False
    answers: int = 1
    tool: Tool | None = None
    schema: Json | None = None
    cache_key: str = ""
    marks: Sequence[int] = ()
    told: int | None = None
    usage: bool = True
    inputs: Sequence[str] = ()
    body: Json = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What comes of an Ask. The `text` is that of the arguments where a `tool` is called."""

    id: str
    created: int  # seconds since the epoch
    text: str
    tool: Tool | None
    cut: bool  # at max_tokens
    prompt_tokens: int
    completion_tokens: int  # of all answers
    cached_tokens: int = 0
    cache_written_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


def tokens_in(text: str) -> int:
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def prose(tokens: int) -> str:
    """A text of so many tokens."""
    length = CHARACTERS_PER_TOKEN * min(tokens, LONGEST_ANSWER)
    return (PASSAGE * (length // len(PASSAGE) + 1))[:length]


def instance(schema: Json, root: Json | None = None, depth: int = 0) -> Any:
    """A value that satisfies a JSON schema of the kind that tools and structured outputs have.

    Raises BadRequestError where a reference leads nowhere, or too deep.
    """
    root = schema if root is None else root
    if depth > DEEPEST_SCHEMA:
        raise BadRequestError(f"the schema is nested more than {DEEPEST_SCHEMA} deep")
    if "$ref" in schema:
        return instance(_resolve(str(schema["$ref"]), root), root, depth + 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            return instance(schema[key][0], root, depth + 1)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = str(kind[0] if isinstance(kind, list) else kind).lower()  # Gemini writes OBJECT
    if kind == "object":
        properties: Json = schema.get("properties", {})
        return {name: instance(part, root, depth + 1) for name, part in properties.items()}
    if kind == "array":
        item = instance(schema.get("items", {}), root, depth + 1)
        return [item] * int(schema.get("minItems", 1))
    if kind == "integer":
        return int(schema.get("minimum", 1))
    if kind == "number":
        return float(schema.get("minimum", 1.5))
    return {"boolean": True, "null": None}.get(kind, "text")


def _resolve(reference: str, root: Json) -> Json:
    found: Any = root
    for step in reference.removeprefix("#").strip("/").split("/"):
        found = found.get(step) if isinstance(found, dict) and step else found
    if not isinstance(found, dict):
        raise BadRequestError(f"the schema has nothing at {reference!r}")
    return found


def dumps(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


# How the parsers of the APIs read a request. Each names the field that is wrong.


def text_field(body: Json, name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise BadRequestError(f"'{name}' must be a non-empty string, got {value!r}", name)
    return value


def count_field(body: Json, name: str, least: int = 1) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise BadRequestError(f"'{name}' must be an integer >= {least}, got {value!r}", name)
    return value


def list_field(body: Json, name: str) -> list[Any]:
    value = body.get(name)
    if not isinstance(value, list) or not value:
        raise BadRequestError(f"'{name}' must be a non-empty array, got {value!r:.100}", name)
    return value


def object_in(value: Any, name: str) -> Json:
    if not isinstance(value, dict):
        raise BadRequestError(f"'{name}' must be an object, got {value!r:.100}", name)
    return value


def content_text(content: Any) -> str:
    """All the text of a message's content: a string, or parts that have some."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(content_text(part) for part in content)
    if isinstance(content, dict):
        for name in ("text", "content", "output"):
            if name in content:
                return content_text(content[name])
        if "arguments" in content or "input" in content:
            return json.dumps(content)
        return " " * (MEDIA_TOKENS * CHARACTERS_PER_TOKEN)
    return ""


def told_length(body: Json) -> int | None:
    """`metadata: {"output_tokens": "57"}`, where the API has such a field."""
    metadata = body.get("metadata")
    value = metadata.get("output_tokens") if isinstance(metadata, dict) else None
    return length_of(value, "metadata.output_tokens")


def length_of(value: Any, name: str) -> int | None:
    if value is None:
        return None
    try:
        length = int(value)
    except (TypeError, ValueError):
        length = -1
    if not 0 <= length <= LONGEST_ANSWER:
        raise BadRequestError(
            f"'{name}' must be a number of tokens up to {LONGEST_ANSWER:,}, got {value!r}", name
        )
    return length
