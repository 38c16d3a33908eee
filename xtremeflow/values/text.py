"""Text of others, for people: no character of it controls the terminal."""

from __future__ import annotations

import re

# C0, DEL and C1; lone surrogates, which cannot be encoded; and characters that turn the direction
# of writing or end a line unseen.
_COMMANDS = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
_NAMES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def printable(text: str) -> str:
    """Returns the text in one line, with control characters as escapes (`\\x1b`)."""
    return _COMMANDS.sub(_escaped, text)


def printable_lines(text: str) -> str:
    """Returns the same for a text of our own, whose lines stay lines."""
    return "\n".join(map(printable, text.split("\n")))


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    code = ord(character)
    return _NAMES.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
