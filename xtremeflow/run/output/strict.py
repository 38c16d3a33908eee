"""JSON as servers really send it, read leniently and passed on strictly.

The output is always one line of strict JSON in UTF-8. So a byte order mark is removed, UTF-16 and
UTF-32 are decoded, half of a surrogate pair becomes U+FFFD, raw control characters in a string
become escapes, and `NaN` and the infinities, which JSON does not have, become null. Whole numbers
of thousands of digits, which Python's own parser refuses, get an exponent. All else stays as it
came: other numbers to their last digit, the order and the number of keys.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any, NoReturn

from xtremeflow import _http

_DEEPEST = 500  # levels of arrays and objects; Python's own parser gives up at some 900
_STRING = r'"[^"\\]*(?:\\.[^"\\]*)*"'
_MOST_DIGITS = sys.int_info.default_max_str_digits
_STRINGS_AND_CONSTANTS = re.compile(
    rf"({_STRING})|-?Infinity|NaN|(-?)([0-9]+)((?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)", re.DOTALL
)
_STRINGS_AND_BRACKETS = re.compile(rf"{_STRING}|[\[\]{{}}]".encode(), re.DOTALL)
# All escapes in order, so that the end of `\\ud800` is not taken for one.
_ESCAPES = re.compile(
    r"(?P<pair>\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    r"|(?P<half>\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
    r"|\\.",
    re.DOTALL,
)
_CONTROLS = re.compile("[\x00-\x1f]")
_OPENS = {b"[": 1, b"{": 1, b"]": -1, b"}": -1}


class Document:
    """A body of JSON.

    line      one line of strict JSON in UTF-8
    is_sound  whether it is known to be an object without an error
    """

    __slots__ = ("_value", "is_sound", "line")

    def __init__(self, line: bytes, value: Any = ..., *, is_sound: bool = False) -> None:
        self.line = line
        self.is_sound = is_sound
        self._value = value

    @property
    def value(self) -> Any:
        """The decoded value."""
        if self._value is ...:
            self._value = _decoded(self.line)
        return self._value


def document(body: bytes) -> Document | None:
    """Reads a body. Returns None if it is no JSON, or nested too deep for other programs."""
    if _http.is_sound(body):
        return Document(body, is_sound=True)
    line = _one_line(body)
    if line is not body and _http.is_sound(line):
        return Document(line, is_sound=True)
    if b"\\" not in line or (b"\\ud" not in line and b"\\uD" not in line):
        try:
            value = _decoded(line)
            return None if _is_deep(line) else Document(line, value)
        except RecursionError:
            return None
        except ValueError:
            pass
    line = _mended(body)
    try:
        return None if _is_deep(line) else Document(line, _decoded(line))
    except ValueError:
        return None


def _decoded(line: bytes) -> Any:
    return _DECODER.decode(line.decode())


def quoted(body: bytes) -> bytes:
    """Encodes a body that is no JSON as a JSON string."""
    return encoded(body.decode(_encoding(body), "replace"))


def encoded(value: Any) -> bytes:
    """Encodes a value of our own, whose strings may come from others."""
    text = _ENCODER.encode(value)
    return (_without_halves(text) if "\\ud" in text else text).encode()


def _mended(body: bytes) -> bytes:
    text = body.decode(_encoding(body), "replace").removeprefix("\ufeff")
    return _one_line(_STRINGS_AND_CONSTANTS.sub(_strict, text).encode())


def _encoding(body: bytes) -> str:
    # json's own function finds the encoding by the zeros.
    return json.detect_encoding(body) if b"\0" in body[:4] or body[:1] in b"\xff\xfe" else "utf-8"


def _strict(match: re.Match[str]) -> str:
    string, sign, whole, more = match.groups()
    if whole is not None:
        return match[0] if more or len(whole) <= _MOST_DIGITS else _shortened(sign, whole)
    if string is None:
        return "null"
    string = _CONTROLS.sub(lambda control: f"\\u{ord(control[0]):04x}", string)
    return _without_halves(string) if "\\u" in string else string


def _shortened(sign: str, digits: str) -> str:
    """Returns a whole number with as many digits as a float has."""
    return f"{sign}{digits[0]}.{digits[1:17]}e+{len(digits) - 1}"


def _without_halves(text: str) -> str:
    return _ESCAPES.sub(lambda escape: "\\ufffd" if escape["half"] else escape[0], text)


def _one_line(body: bytes) -> bytes:
    """Removes line ends, which JSON has only between its values."""
    if b"\n" in body or b"\r" in body:
        body = body.replace(b"\r", b" ").replace(b"\n", b" ")
    return body.strip(b" \t")


def _is_deep(line: bytes) -> bool:
    if line.count(b"[") + line.count(b"{") <= _DEEPEST:
        return False
    depth = deepest = 0
    for match in _STRINGS_AND_BRACKETS.finditer(line):
        depth += _OPENS.get(match[0], 0)
        deepest = max(deepest, depth)
    return deepest > _DEEPEST


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


_ENCODER = json.JSONEncoder(allow_nan=False)
_DECODER = json.JSONDecoder(parse_constant=_no_constant)
