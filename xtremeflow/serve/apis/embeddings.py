"""OpenAI's embeddings."""

from __future__ import annotations

import base64
import math
import sys
from array import array
from random import Random
from typing import Any
from zlib import crc32

from xtremeflow.serve.apis.base import Stream
from xtremeflow.serve.fields import BadRequestError, count_field, text_field
from xtremeflow.serve.inquiry import CHARACTERS_PER_TOKEN, Inquiry, Json, ServedAnswer
from xtremeflow.serve.profiles import Profile
from xtremeflow.values.forms import is_array

DIMENSIONS = 1536
MOST_DIMENSIONS = 4096
MOST_INPUTS = 2048
_RANDOM = Random(0)
_NOISE = array("f", [_RANDOM.gauss(0.0, 1.0) for _ in range(MOST_DIMENSIONS)])


class Embeddings:
    def inquiry(self, body: Json, path: str) -> Inquiry:
        inputs = _inputs(body.get("input"))
        count_field(body, "dimensions", MOST_DIMENSIONS)
        encoding = body.get("encoding_format", "float")
        if encoding not in ("float", "base64"):
            raise BadRequestError(
                f"'encoding_format' must be 'float' or 'base64', got {encoding!r:.100}"
            )
        return Inquiry(
            model=text_field(body, "model"),
            prompt="".join(inputs),
            inputs=inputs,
            told=0,
            body=body,
        )

    def body(self, inquiry: Inquiry, answer: ServedAnswer, profile: Profile) -> Json:
        dimensions = inquiry.body.get("dimensions") or DIMENSIONS
        data: list[Json] = []
        for index, text in enumerate(inquiry.inputs):
            vector = embedding(text, dimensions)
            value: Any = vector.tolist()
            if inquiry.body.get("encoding_format") == "base64":
                value = base64.b64encode(_little_endian(vector)).decode()
            data.append({"object": "embedding", "index": index, "embedding": value})
        usage = {"prompt_tokens": answer.prompt_tokens, "total_tokens": answer.prompt_tokens}
        return {"object": "list", "data": data, "model": inquiry.model, "usage": usage}

    def stream(self, inquiry: Inquiry, answer: ServedAnswer, profile: Profile) -> Stream:
        raise NotImplementedError("embeddings are not streamed")


def _inputs(given: Any) -> list[str]:
    """Reads one text, many, one list of token numbers, or many."""
    if isinstance(given, str) or (given and _is_numbers(given)):
        given = [given]
    if not is_array(given) or not 0 < len(given) <= MOST_INPUTS:
        raise BadRequestError(
            f"'input' must be a string or an array of 1 to {MOST_INPUTS:,} of them"
        )
    texts: list[str] = []
    for item in given:
        if isinstance(item, str) and item:
            texts.append(item)
        elif item and _is_numbers(item):
            texts.append("".join(f"{number:<{CHARACTERS_PER_TOKEN}d}" for number in item))
        else:
            raise BadRequestError(f"'input' must not have {item!r:.100} in it")
    return texts


def _is_numbers(value: Any) -> bool:
    return is_array(value) and all(type(number) is int for number in value)


def embedding(text: str, dimensions: int) -> array[float]:
    """Returns a unit vector, the same for the same text: one fixed noise, rotated."""
    start = crc32(text.encode()) % MOST_DIMENSIONS
    vector = (_NOISE + _NOISE)[start : start + dimensions]
    length = math.sqrt(sum(value * value for value in vector))
    return array("f", [value / length for value in vector])


def _little_endian(vector: array[float]) -> bytes:
    if sys.byteorder == "big":
        vector = array("f", vector)
        vector.byteswap()
    return vector.tobytes()
