"""A provider's prefix cache: which part of a prompt is read from it, by each provider's rules."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from xtremeflow.serve.asking import CHARACTERS_PER_TOKEN

MOST_BLOCKS = 200_000  # remembered; the longest unused are forgotten first
MOST_ROUTES = 100_000


@dataclass(frozen=True)
class CacheRules:
    """How a provider's cache works. Lengths are in tokens, times in seconds.

    minimum     shorter prefixes are not cached
    unit        a hit is a multiple of it
    lifetime    after the last use; None is until there is no more room
    usable      whether a prefix can be read as soon as its call is "scheduled", or only once that
                is being "answered"
    delay       and so long after that
    sightings   in how many calls it must have been seen before
    marked      whether only what the request marks is cached (Anthropic's cache_control)
    per_minute  calls of one prompt_cache_key beyond this rate meet a machine with a cold cache
    """

    minimum: int
    unit: int
    lifetime: float | None = None
    usable: Literal["scheduled", "answered"] = "answered"
    delay: float = 0.0
    sightings: int = 1
    marked: bool = False
    per_minute: int | None = None


@dataclass(frozen=True)
class Lookup:
    """What the cache does for one prompt: tokens `read` from it, and `written` to it."""

    read: int = 0
    written: int = 0
    blocks: Sequence[int] = ()  # the hashes of its prefixes, the shortest first


@dataclass(slots=True)
class _Entry:
    sightings: int
    usable: float  # from when on
    used: float  # when last


@dataclass(slots=True)
class _Route:
    """The calls of one key in one minute, which decide on the machine that the next goes to."""

    minute: int
    calls: int = 0


class PrefixCache:
    """Of one account. Every method takes `now` in seconds; `minute` is how long a minute lasts."""

    def __init__(self, rules: CacheRules, minute: float = 60.0) -> None:
        self.rules = rules
        self._minute = minute
        self._entries: OrderedDict[int, _Entry] = OrderedDict()
        self._routes: dict[int, _Route] = {}

    def lookup(
        self, model: str, prompt: str, now: float, *, key: str = "", marks: Sequence[int] = ()
    ) -> Lookup:
        """How much of `prompt` is read from the cache, and what `store` may make of it.

        key    the request's prompt_cache_key
        marks  where the request has cache_control: numbers of characters from the prompt's start
        """
        rules = self.rules
        lengths = self._lengths(len(prompt), marks)
        if not lengths:
            return Lookup()
        digest = hash((model, key, self._machine(model, prompt, key, now)))
        blocks: list[int] = []
        read = start = 0
        for tokens in lengths:
            end = tokens * CHARACTERS_PER_TOKEN
            digest = hash((digest, prompt[start:end]))
            start = end
            if tokens < rules.minimum:
                continue
            blocks.append(digest)
            entry = self._entries.get(digest)
            if entry is not None and entry.usable <= now and self._alive(entry, now):
                read = tokens
        written = lengths[-1] - read if rules.marked else 0
        return Lookup(read, written, blocks)

    def store(self, lookup: Lookup, now: float) -> None:
        """The prompt's prefixes are in the cache from now on, or soon."""
        for digest in lookup.blocks:
            entry = self._entries.get(digest)
            if entry is None or not self._alive(entry, now):
                entry = self._entries[digest] = _Entry(0, math.inf, now)
            entry.sightings += 1
            entry.used = now
            if entry.sightings == self.rules.sightings:
                entry.usable = now + self.rules.delay
            self._entries.move_to_end(digest)
        while len(self._entries) > MOST_BLOCKS:
            self._entries.popitem(last=False)

    def _lengths(self, characters: int, marks: Sequence[int]) -> Sequence[int]:
        """Of the prefixes that may be cached and of those that lead to them, in tokens."""
        rules = self.rules
        whole = characters // CHARACTERS_PER_TOKEN
        if whole < rules.minimum:
            return ()
        if rules.marked:
            tokens = sorted({mark // CHARACTERS_PER_TOKEN for mark in marks})
            return tokens if tokens and tokens[-1] >= rules.minimum else ()
        return range(rules.unit, whole + 1, rules.unit)

    def _alive(self, entry: _Entry, now: float) -> bool:
        return self.rules.lifetime is None or now < entry.used + self.rules.lifetime

    def _machine(self, model: str, prompt: str, key: str, now: float) -> int:
        """Calls go where the key, or else the prompt's beginning, sends them; too many overflow."""
        if self.rules.per_minute is None:
            return 0
        name = hash((model, key or prompt[: self.rules.minimum]))
        minute = int(now // self._minute)
        route = self._routes.get(name)
        if route is None or route.minute != minute:
            if len(self._routes) >= MOST_ROUTES:
                self._routes.clear()
            route = self._routes[name] = _Route(minute)
        route.calls += 1
        return (route.calls - 1) // self.rules.per_minute
