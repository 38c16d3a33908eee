"""JSON by the fastest library that is installed: orjson, else msgspec, else the standard one.

They differ where JSON ends: orjson and msgspec write null for a NaN and refuse whole numbers above
64 bits, and the standard library reads what they refuse. Here they all do the same with the values
that JSON has. Of others, such as a datetime or a dataclass, each encodes those that it knows.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from importlib import import_module
from typing import Any, cast

__all__ = ["decode", "encode"]


def _library(name: str) -> Any:
    """Imports the module, or returns None. Type checkers too need not find it."""
    try:
        return import_module(name)
    except ImportError:
        return None


def _standard_encode(value: Any) -> bytes:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode()
    except RecursionError:
        raise ValueError("json must not be nested as deeply") from None
    except UnicodeEncodeError as error:
        half = error.object[error.start : error.end]
        raise ValueError(f"json must be text, not half a surrogate pair: {half!r}") from None
    except ValueError:
        _check_numbers(value)
        raise


def _standard_decode(text: bytes | str) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply to be decoded") from None


def _check_numbers(value: Any) -> None:
    """Raises ValueError for NaN and infinities, which JSON does not have."""
    values: list[Any] = [value]
    seen: set[int] = set()
    for part in values:
        if isinstance(part, float) and not math.isfinite(part):
            raise ValueError(f"json must hold finite numbers only, not {part!r}")
        if isinstance(part, (dict, list, tuple)) and id(part := cast(Any, part)) not in seen:
            seen.add(id(part))
            values += part.values() if isinstance(part, dict) else part


def with_checks(encode: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """Wraps a library's function so that it refuses NaN and writes every whole number."""

    def encoded(value: Any) -> bytes:
        try:
            text = encode(value)
        except Exception as error:
            try:
                return _standard_encode(value)
            except TypeError:
                raise error from None
        if b"null" in text:
            _check_numbers(value)
        return text

    return encoded


def with_fallback(decode: Callable[[bytes | str], Any]) -> Callable[[bytes | str], Any]:
    """Wraps a library's function so that the standard one reads bodies that it refuses: with a byte
    order mark, in UTF-16, with NaN."""

    def decoded(text: bytes | str) -> Any:
        try:
            return decode(text)
        except Exception:
            return _standard_decode(text)

    return decoded


encode: Callable[[Any], bytes] = _standard_encode
decode: Callable[[bytes | str], Any] = _standard_decode

if orjson := _library("orjson"):
    encode = with_checks(orjson.dumps)
    decode = with_fallback(orjson.loads)
elif msgspec := _library("msgspec"):
    encode = with_checks(msgspec.json.encode)
    decode = with_fallback(msgspec.json.decode)
