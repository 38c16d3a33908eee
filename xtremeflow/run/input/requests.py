"""A line of the input: a request, or the reason why it is none.

Its keys distinguish three forms: a line of OpenAI's Batch format (`custom_id`, `method`,
`url`, `body`), one of Anthropic's (`custom_id`, `params`), and a request body by itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NoReturn, TypeAlias, cast

from xtremeflow.learning.costs.estimates import embeds, model_of
from xtremeflow.prefixes.groups import Grouped
from xtremeflow.values.forms import is_object

Json: TypeAlias = dict[str, Any]

_PATH = re.compile("/[!-~]*")
_CALL_KEYS = {"method", "url", "body"}
_BATCH_KEYS = {"custom_id", *_CALL_KEYS}


@dataclass(slots=True)  # frozen, it would take three times as long to make
class RequestLine:
    """A request that can be sent. It never changes.

    line         its number in the input, from 1
    fingerprint  of the line's bytes; with the number it identifies the result
    url          the path behind the base URL
    body         the decoded body
    content      the body's bytes as they are sent
    grouped      its part in a group of calls that share a prefix
    """

    line: int
    fingerprint: int
    custom_id: str
    url: str
    body: Json
    content: bytes
    grouped: Grouped | None = None

    @property
    def model(self) -> str:
        return model_of(self.body)

    @property
    def embeds(self) -> bool:
        """Whether the request is for embeddings, so that its answer has no text."""
        return embeds(self.url)


@dataclass(frozen=True, slots=True)
class BadLine:
    line: int
    fingerprint: int
    custom_id: str | None
    reason: str


class _Bad(Exception):
    pass


def fingerprint(line: bytes) -> int:
    """Returns 64 bits of a hash of the line, never 0."""
    return int.from_bytes(blake2b(line, digest_size=8).digest(), "big") or 1


def parse(
    line: bytes, number: int, mark: int, endpoints: Mapping[str, str]
) -> RequestLine | BadLine:
    """Decodes a line that is not blank. `mark` is its fingerprint.

    `endpoints` has the paths for bodies without a url, by their fields: "messages", "input" (and
    "embedding", for models of that name), "prompt", or "" for any.
    """
    custom_id: str | None = None
    try:
        value = _decoded(line)
        custom_id = _custom_id(value, number)
        if not _CALL_KEYS.isdisjoint(value):
            url, body = _batch(value)
            content = _as_it_stands(line, "body", body)
        elif "params" in value and "custom_id" in value:
            body = _object(value, "params")
            url, content = _endpoint(body, endpoints), _as_it_stands(line, "params", body)
        else:
            body = value
            if "custom_id" in body:
                raise _Bad(f"has a custom_id but no body; its keys are {', '.join(value)}")
            url, content = _endpoint(body, endpoints), line
        # Not by `in`, which first takes the bytes for a number, and raises and drops an error.
        if content.find(b"\\ud") >= 0 or content.find(b"\\uD") >= 0:
            _check_pairs(body)
        if body.get("stream"):
            raise _Bad("stream must not be true: a result is one whole answer")
        return RequestLine(number, mark, custom_id, url, body, content)
    except _Bad as error:
        return BadLine(number, mark, custom_id, str(error))


def _decoded(line: bytes) -> Json:
    try:
        text = line.decode()
        if text.startswith("\ufeff"):  # of the second of two files that were joined
            raise _Bad("begins with a byte order mark, which only the whole input may do")
        value, end = _raw_decoded(text)
        if end != len(text):
            raise json.JSONDecodeError("Extra data", text, end)
    except UnicodeDecodeError as error:
        raise _Bad(f"is not UTF-8: {error.reason} at byte {error.start + 1}") from None
    except json.JSONDecodeError as error:
        raise _Bad(f"is not JSON: {error.msg} at character {error.pos + 1}") from None
    except RecursionError:
        raise _Bad("is nested too deep") from None
    except ValueError as error:  # a constant that is not JSON
        raise _Bad(f"is not JSON: {error}") from None
    if not is_object(value):
        raise _Bad(f"must be a JSON object, not {_kind(value)}")
    if not value:
        raise _Bad("is an empty object")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)


def _whole(digits: str) -> int | float:
    try:
        return int(digits)
    except ValueError:  # it has thousands; the number itself is sent as it stands
        return float(digits)


_PATIENT = json.JSONDecoder(parse_constant=_no_constant, parse_int=_whole)


def _raw_decoded(text: str, start: int = 0) -> tuple[Any, int]:
    """Returns the JSON value that begins at `start`, and where it ends. Raises ValueError."""
    try:
        return _DECODER.raw_decode(text, start)
    except json.JSONDecodeError:
        raise
    except ValueError:
        return _PATIENT.raw_decode(text, start)


_KEYS = {key: re.compile(rf'"{key}"[ \t\r]*:[ \t\r]*') for key in ("body", "params")}


def _custom_id(value: Json, number: int) -> str:
    custom_id = value.get("custom_id", f"line-{number}")
    if not isinstance(custom_id, str) or not custom_id:
        raise _Bad(f"custom_id must be a string that is not empty, not {_kind(custom_id)}")
    if not custom_id.isascii():
        _check_pairs(custom_id)
    return custom_id


def _check_pairs(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise _Bad("has half of a surrogate pair, which UTF-8 cannot carry") from None


def _batch(value: Json) -> tuple[str, Json]:
    unknown = set(value) - _BATCH_KEYS
    if unknown:
        raise _Bad(f"has unknown keys beside the batch format's: {', '.join(sorted(unknown))}")
    missing = _BATCH_KEYS - set(value) - {"method"}
    if missing:
        raise _Bad(f"lacks {', '.join(sorted(missing))} of the batch format")
    method = value.get("method", "POST")
    if method != "POST":
        raise _Bad(f"method must be POST, not {json.dumps(method)[:40]}")
    url = value["url"]
    if not isinstance(url, str) or not _PATH.fullmatch(url):
        raise _Bad(f"url must be a path such as /v1/chat/completions, not {json.dumps(url)[:80]}")
    return url, _object(value, "body")


def _object(value: Json, key: str) -> Json:
    if not isinstance(value[key], dict):
        raise _Bad(f"{key} must be a JSON object, not {_kind(value[key])}")
    return cast(Json, value[key])


def _endpoint(body: Json, endpoints: Mapping[str, str]) -> str:
    for field in ("messages", "input", "prompt"):
        if field in body:
            if field == "input" and "embed" in str(body.get("model")):
                field = "embedding"
            break
    else:
        field = ""
    url = endpoints.get(field) or endpoints.get("")
    if url is None:
        raise _Bad(
            "is not a request: there is neither a body nor messages, input or prompt; "
            f"its keys are {', '.join(list(body)[:8])}"
        )
    return url


def _as_it_stands(line: bytes, key: str, value: Json) -> bytes:
    """Returns the value of a key of the line, an object, as its own bytes, because a number may
    have more digits than fit in a float. The last of repeated keys counts."""
    text = line.decode()
    for match in reversed(list(_KEYS[key].finditer(text))):
        try:
            found, end = _raw_decoded(text, match.end())
        except ValueError:
            continue
        if found == value:  # else it is a key of the same name deeper in the line
            return text[match.end() : end].encode()
    raise _Bad(f"{key} must be written without escapes in its name")


def _kind(value: object) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    return json.dumps(value)[:40]
