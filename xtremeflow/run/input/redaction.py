"""Strikes a secret out of texts of others, in every form in which they may quote it.

Providers quote keys whole, escaped as JSON or as in a URL, in the base64 of an `Authorization`
header that they echo, and truncated (`sk-ab****wxyz`, `sk-ab...`).
"""

from __future__ import annotations

import re
from base64 import b64encode, urlsafe_b64encode

STRUCK = b"[key]"
_SHOWN = 4  # characters of the key beside a mask; fewer are no secret
# Stars, dots and the like, also the typographic ones, as UTF-8 and as JSON's escapes.
_MASK = re.compile(
    rb"(?:[*.#]{2,}|[xX]{3,}|\xe2\x80\xa6|\xe2\x80\xa2|\xc2\xb7|\\u2026|\\u2022|\\u00b7)+"
)
_ESCAPES = re.compile(rb"%([0-9a-fA-F]{2})|\\u00([0-9a-fA-F]{2})|\\(/)")


class Redaction:
    """Strikes out one secret of ASCII characters without quotes, blanks and backslashes."""

    def __init__(self, secret: bytes) -> None:
        self._forms = (secret, *_in_base64(secret))
        self._secret = secret
        self._head, self._tail = secret[: _SHOWN - 1], secret[-_SHOWN:]

    def __call__(self, text: bytes) -> bytes:
        """Strikes the secret out. Returns `text` itself if it is not in there. JSON stays JSON."""
        for form in self._forms:
            if form in text:
                text = text.replace(form, STRUCK)
        if b"%" in text or (b"\\" in text and (b"\\u00" in text or b"\\/" in text)):
            plain = _ESCAPES.sub(_unescaped, text)
            if any(form in plain for form in self._forms):
                text = re.sub(b"|".join(map(_escaped, self._forms)), STRUCK, text)
        if self._head in text or self._tail in text:
            text = self._without_truncated(text)
        return text

    def _without_truncated(self, text: bytes) -> bytes:
        """Removes beginnings of the secret before a mask, and ends of it behind one."""
        parts: list[bytes] = []
        kept = 0
        for mask in _MASK.finditer(text):
            start, end = mask.span()
            lengths = range(len(self._secret), 0, -1)
            begin = next((n for n in lengths if text.endswith(self._secret[:n], kept, start)), 0)
            rest = next((n for n in lengths if text.startswith(self._secret[-n:], end)), 0)
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


def _escaped(form: bytes) -> bytes:
    """Returns a pattern of the form with any of its characters escaped, as in JSON or in a URL."""
    return b"".join(
        rb"(?:%s|%%%s|\\u00%s%s)"
        % (re.escape(bytes([c])), _hex(c), _hex(c), rb"|\\/" if c == ord("/") else b"")
        for c in form
    )


def _unescaped(match: re.Match[bytes]) -> bytes:
    digits = match[1] or match[2]
    return match[3] if digits is None else bytes([int(digits, 16)])


def _hex(code: int) -> bytes:
    return b"".join(
        b"[%s%s]" % (digit, digit.upper()) if digit.isalpha() else digit
        for digit in (b"%x" % (code // 16), b"%x" % (code % 16))
    )
