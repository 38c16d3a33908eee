"""Strikes a secret out of texts of others, in every form in which they may quote it.

Providers and gateways quote keys whole, in capitals or small letters, as hexadecimal digits, in the
base64 of an `Authorization` header that they echo, and truncated (`sk-ab****wxyz`, `sk-ab...`). All
of this may be escaped, also more than once: as JSON within JSON, in a URL, in a page of HTML.
"""

from __future__ import annotations

import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator
from functools import cached_property

STRUCK = b"[key]"
_SHOWN = 4  # characters of the key beside a mask; fewer are no secret
# Stars, dots and the like, also the typographic ones, as UTF-8 and as JSON's escapes.
_MASK = re.compile(
    rb"(?:[*.#]{2,}|[xX]{3,}|\xe2\x80\xa6|\xe2\x80\xa2|\xc2\xb7|\\u2026|\\u2022|\\u00b7)+"
)
# What comes before the code of an escaped character in a URL, and what begins one in JSON; either
# may itself have been escaped again, up to three times.
_PERCENT, _BACKSLASHES = rb"%(?:25){0,3}", rb"\\(?<!\\\\)\\{0,14}"
_ESCAPES = re.compile(
    rb"%s([0-9a-fA-F]{2})|%su00([0-9a-fA-F]{2})|&#[xX]([0-9a-fA-F]{2});|&#([0-9]{2,3});|%s(/)"
    % (_PERCENT, _BACKSLASHES, _BACKSLASHES)
)
_MARKS = (b"%", b"\\u00", b"\\/", b"&#")  # in every text that has one of these


class Redaction:
    """Strikes out one secret of ASCII characters without quotes, blanks and backslashes."""

    def __init__(self, secret: bytes) -> None:
        self._lower = secret.lower()
        self._folded = (self._lower, secret.hex().encode())  # found in any case
        self._exact = _in_base64(secret)
        self._head, self._tail = self._lower[: _SHOWN - 1], self._lower[-_SHOWN:]

    def __call__(self, text: bytes) -> bytes:
        """Strikes the secret out. Returns `text` itself if it is not in there. JSON stays JSON."""
        lower = text.lower()
        if self._is_in(text, lower) or self._is_escaped_in(text):
            text = self._pattern.sub(STRUCK, text)
            lower = text.lower()
        if self._head in lower or self._tail in lower:
            text = self._without_truncated(text, lower)
        return text

    @cached_property
    def _pattern(self) -> re.Pattern[bytes]:
        folded = (_escaped({c, *bytes([c]).upper()} for c in form) for form in self._folded)
        exact = (_escaped({c} for c in form) for form in self._exact)
        return re.compile(b"|".join((*folded, *exact)))

    def _is_escaped_in(self, text: bytes) -> bool:
        if not any(mark in text for mark in _MARKS):
            return False
        plain = _ESCAPES.sub(_unescaped, text)
        return self._is_in(plain, plain.lower())

    def _is_in(self, text: bytes, lower: bytes) -> bool:
        return any(form in lower for form in self._folded) or any(
            form in text for form in self._exact
        )

    def _without_truncated(self, text: bytes, lower: bytes) -> bytes:
        """Removes beginnings of the secret before a mask, and ends of it behind one."""
        secret = self._lower
        parts: list[bytes] = []
        kept = 0
        for mask in _MASK.finditer(text):
            start, end = mask.span()
            lengths = range(len(secret), 0, -1)
            begin = next((n for n in lengths if lower.endswith(secret[:n], kept, start)), 0)
            rest = next((n for n in lengths if lower.startswith(secret[-n:], end)), 0)
            if begin + rest >= _SHOWN:
                parts += (text[kept : start - begin], STRUCK)
                kept = end + rest
        return b"".join((*parts, text[kept:])) if parts else text


def _in_base64(secret: bytes) -> list[bytes]:
    """Returns the strings of which one is in any base64 of a text that has the secret."""
    forms: list[bytes] = []
    for before in range(3):
        padded = bytes(before) + secret
        first = -(-8 * before // 6)  # characters that depend on the bytes before it
        whole = 8 * len(padded) // 6  # and none that depend on the bytes behind
        for encode in (b64encode, urlsafe_b64encode):
            form = encode(padded)[first:whole]
            if form not in forms:
                forms.append(form)
    return forms


def _escaped(form: Iterable[set[int]]) -> bytes:
    """Returns a pattern of characters, each of a set and each escaped or not: see _ESCAPES."""
    return b"".join(
        b"(?:%s)" % b"|".join(pattern for c in sorted(one) for pattern in _ways(c)) for one in form
    )


def _ways(code: int) -> Iterator[bytes]:
    digits = _hex(code)
    yield re.escape(bytes([code]))
    yield _PERCENT + digits
    yield rb"%su00%s" % (_BACKSLASHES, digits)
    yield b"&#(?:%d|[xX]%s);" % (code, digits)
    if code == ord("/"):
        yield _BACKSLASHES + b"/"


def _unescaped(match: re.Match[bytes]) -> bytes:
    *hexadecimal, decimal, slash = match.groups()
    if slash:
        return slash
    code = int(decimal) if decimal else int(next(filter(None, hexadecimal)), 16)
    return bytes([code]) if code < 256 else match[0]


def _hex(code: int) -> bytes:
    return b"".join(
        b"[%s%s]" % (digit, digit.upper()) if digit.isalpha() else digit
        for digit in (b"%x" % (code // 16), b"%x" % (code % 16))
    )
