"""JSON by the fastest library that is installed: orjson, else msgspec, else the standard one."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from typing import Any

from .. import _http

__all__ = ["decode", "encode"]


def _library(name: str) -> Any:
    """The module, or None: type checkers too have to do without it."""
    try:
        return import_module(name)
    except ImportError:
        return None


def _standard_encode(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


encode: Callable[[Any], bytes] = _standard_encode
decode: Callable[[bytes | str], Any] = json.loads

if orjson := _library("orjson"):
    encode = orjson.dumps
    decode = orjson.loads
elif msgspec := _library("msgspec"):
    encode = msgspec.json.encode
    decode = msgspec.json.decode

_http.set_loads(decode)
