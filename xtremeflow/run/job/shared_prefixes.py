"""`--dry-run`: the prefixes that the prompts of an input share, and the piece that parts others."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable

from xtremeflow._core import Branch
from xtremeflow.cli.amounts import counted
from xtremeflow.prefixes.groups import Grouped
from xtremeflow.prefixes.prompt import NEXT, SAID
from xtremeflow.providers import Provider
from xtremeflow.run.input.requests import Json, RequestLine
from xtremeflow.run.job.ahead import LookAhead
from xtremeflow.values.text import printable

_SAMPLE = 200  # prompts that share nothing, of which the difference is looked for
_COMPARED = 8  # of them, each with all the others
_LONGEST_PIECE = 80  # characters in which two prompts may differ
_ALIKE = 200  # characters behind it that are the same again
_PARTS = NEXT + SAID  # between the parts of a prompt
_WORD_END = re.compile(rf"\s|[{_PARTS}\"'<>,;]|$")
_WORD_START = re.compile(rf"[^\s{_PARTS}\"'<>,;]*$")

_KINDS = {
    "a date": re.compile(
        r"\d{4}-\d\d?-\d\d?|\d\d?[./]\d\d?[./]\d{2,4}|"
        r"\b(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*\b"
    ),
    "a time": re.compile(r"\d\d?:\d\d"),
    "an id": re.compile(r"[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}"),
    "a number": re.compile(r"\d+"),
}


class SharedPrefixes:
    """The prefixes that the prompts of an input share. Tokens are estimated, and of the input."""

    def __init__(self, provider: Provider) -> None:
        self.calls = 0
        """Calls that share a prefix."""
        self.tokens = 0
        """Tokens of their prefixes."""
        self.saved = 0.0
        """Tokens whose price a cache saves."""
        self.lines: list[str] = []
        """Prompts that would share one, but for a piece of it."""
        self._look_ahead = LookAhead(provider, lambda: 0.0)
        self._tokens: dict[int, int] = {}
        self._groups: set[int] = set()
        self._led: set[Hashable] = set()
        self._alone: list[str] = []

    @property
    def groups(self) -> int:
        return len(self._groups)

    def add(self, request: RequestLine, input_tokens: int) -> None:
        if self._look_ahead.hold(request):
            self._tokens[request.line] = input_tokens
            if self._look_ahead.is_full:
                self._look()

    def end(self) -> None:
        """Looks at the lines that are held, after the last one."""
        self._look()
        found = difference(self._alone)
        if found is not None:
            self.lines.append(found)

    def _look(self) -> None:
        for request, seen in self._look_ahead.taken():
            grouped = self._look_ahead.grouped(seen, self._tokens.pop(request.line))
            if grouped is None:
                if len(self._alone) < _SAMPLE:
                    self._alone.append(seen.prompt.text.decode("utf-8", "surrogatepass"))
                continue
            self.calls += 1
            self.tokens += grouped.tokens
            self._groups.add(grouped.group.digest)
            read = self._read(grouped)
            self.saved += seen.rules.saved(read, grouped.tokens - read)

    def _read(self, grouped: Grouped) -> int:
        """Returns the tokens that a call reads from the cache. Its prefix is in there then."""
        key, tokens = grouped.key, grouped.tokens
        while True:
            own = key.key if isinstance(key, Branch) else key
            if own in self._led:
                return tokens
            self._led.add(own)
            if not isinstance(key, Branch):
                return 0
            tokens = key.trunk_tokens
            key = key.trunk

    def as_json(self) -> Json:
        return {
            "groups": self.groups,
            "calls": self.calls,
            "shared_tokens": self.tokens,
            "saved_tokens": round(self.saved),
            "broken_by": self.lines,
        }

    def as_lines(self, input_tokens: int) -> list[str]:
        """Formats it as lines of text; none if there is nothing to say."""
        if not self.groups:
            return self.lines
        text = (
            f"{counted(self.calls, 'prompt')} in {counted(self.groups, 'group')} share "
            f"{self.tokens / max(1, input_tokens):.0%} of the input"
        )
        if self.saved > 0:
            text += f"; the cache saves some {self.saved / max(1, input_tokens):.0%} of its price"
        return [text, *self.lines]


def difference(prompts: list[str]) -> str | None:
    """Returns a sentence on the piece in which most of these prompts differ, at a place where they
    are alike before it and behind it; None if there is no such place."""
    best, example = 0, ("", 0)
    for one in prompts[:_COMPARED]:
        places: Counter[int] = Counter()
        pieces: dict[int, str] = {}
        for other in prompts:
            if (found := _piece(one, other)) is not None:
                start, pieces[start] = found
                places[start] += 1
        if places and (most := places.most_common(1)[0])[1] > best:
            best = most[1]
            part = max(one.rfind(mark, 0, most[0]) for mark in _PARTS)
            example = pieces[most[0]], most[0] - part
    if not best:
        return None
    piece, place = example
    kind = next((name for name, form in _KINDS.items() if form.search(piece)), None)
    guess = f", which looks like {kind}" if kind else ""
    shown = printable(piece[:40].rstrip(".:"))
    return (
        f"{best + 1:,} prompts would share a prefix, but differ at character {place:,}: "
        f'one has "{shown}" there{guess}'
    )


def _piece(one: str, other: str) -> tuple[int, str] | None:
    """Returns where two prompts begin to differ, and the words of the first one there, if they are
    alike behind these."""
    letters = enumerate(zip(one, other, strict=False))
    at = next((place for place, (a, b) in letters if a != b), None)
    if at is None:
        return None
    word = _WORD_START.search(one, max(0, at - _LONGEST_PIECE), at)
    start = at if word is None else word.start()
    for end in _word_ends(one, at):
        behind = one[end : end + _ALIKE]
        if len(behind) == _ALIKE and behind in other[at : at + _LONGEST_PIECE + _ALIKE]:
            return start, one[start:end]
    return None


def _word_ends(text: str, at: int) -> list[int]:
    ends = _WORD_END.finditer(text, at, min(len(text), at + _LONGEST_PIECE))
    return [found.start() for found in ends]
