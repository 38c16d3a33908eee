"""JSON by the fastest library that is installed: orjson, else msgspec, else the standard one."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from .. import _http

__all__ = ["decode", "encode"]


def _standard_encode(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


encode: Callable[[Any], bytes] = _standard_encode
decode: Callable[[bytes | str], Any] = json.loads

try:
    import orjson
except ImportError:
    try:
        import msgspec
    except ImportError:
        pass
    else:
        encode = msgspec.json.encode
        decode = msgspec.json.decode
else:
    encode = orjson.dumps
    decode = orjson.loads

_http.set_loads(decode)
