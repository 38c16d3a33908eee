"""JSON in and out is the same with each library, where JSON ends too."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from xtremeflow.http import Client, _json
from xtremeflow.http._url import full_url

ABSURD = 10**400


def of_library(name: str) -> tuple[Callable[[Any], bytes], Callable[[bytes | str], Any]]:
    if name == "json":
        return _json._standard_encode, _json._standard_decode
    if name == "lenient":  # as orjson and msgspec are, whether they are installed or not

        def encode(value: Any) -> bytes:
            if isinstance(value, list) and ABSURD in value:
                raise TypeError("Integer exceeds 64-bit range")
            return json.dumps(value).replace("NaN", "null").replace("Infinity", "null").encode()

        def decode(text: bytes | str) -> Any:
            if "NaN" in str(text) or text[:1] in (b"\xef", b"\xff"):
                raise RuntimeError("strict")
            return json.loads(text)

        return _json.with_checks(encode), _json.with_fallback(decode)
    library = pytest.importorskip(name)
    if name == "orjson":
        return _json.with_checks(library.dumps), _json.with_fallback(library.loads)
    return _json.with_checks(library.json.encode), _json.with_fallback(library.json.decode)


libraries = pytest.mark.parametrize("name", ["json", "lenient", "orjson", "msgspec"])


@libraries
def test_a_number_is_sent_as_it_stands_or_refused(name: str) -> None:
    encode, decode = of_library(name)
    told = {"a": [1, 2.5, None, "é\n"]}
    assert json.loads(encode(told)) == decode(encode(told)) == told
    assert json.loads(encode([None, 1.5, ABSURD])) == [None, 1.5, ABSURD]
    assert encode([-1, 2**63, 1e300]).replace(b" ", b"").startswith(b"[-1,9223372036854775808,1e")
    for strange in (float("nan"), float("inf"), -float("inf")):
        for value in ([strange], [{"a": [None, {"b": (1, strange)}]}]):
            with pytest.raises(ValueError, match=f"finite numbers only, not {strange!r}"):
                encode(value)
    assert decode(b"[1e5, 2]") == [1e5, 2]


@libraries
def test_values_that_are_no_json_are_refused(name: str) -> None:
    encode, decode = of_library(name)
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ValueError, match="nested"):
        encode(deep)
    if name != "lenient":
        with pytest.raises(ValueError, match="half a surrogate pair"):
            encode(["\ud800"])
        with pytest.raises(TypeError):
            encode([object()])
    circle: list[Any] = [None]
    circle.append(circle)
    with pytest.raises(ValueError, match=r"(?i)circular|nested"):
        encode(circle)
    for text in (b"", b"{", b'"\xff"', b"[" * 100_000):
        with pytest.raises(ValueError, match=r"Expecting|decode|nested"):
            decode(text)


@libraries
def test_heads_as_servers_send_them_are_read(name: str) -> None:
    _, decode = of_library(name)
    assert decode(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}
    assert decode('{"a": 1}'.encode("utf-16")) == {"a": 1}
    assert str(decode(b"[NaN]")) == "[nan]"
    assert decode(rb'"\ud800"') == "\ud800"


def test_a_call_with_such_a_number_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="finite numbers only, not inf"):
        Client().post("http://localhost/", json={"temperature": float("inf")})
    with pytest.raises(ValueError, match=r"params\['t'\] must be a finite number, not nan"):
        full_url("", "http://localhost/", {"t": float("nan")})
