"""A provider's prefix cache: the part of a prompt that is read from it, by each provider's
rules."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from xtremeflow.providers.provider import CacheRules
from xtremeflow.serve.asking import CHARACTERS_PER_TOKEN

MOST_BLOCKS = 200_000  # kept; those unused for longest are dropped first
MOST_ROUTES = 100_000


@dataclass(frozen=True)
class Lookup:
    """A prompt in the cache: the tokens `read` from it, and `written` to it."""

    read: int = 0
    written: int = 0
    blocks: Sequence[int] = ()  # the hashes of its prefixes, the shortest first


@dataclass(slots=True)
class _Entry:
    sightings: int
    usable: float  # readable from then on
    used: float  # time of the last use


@dataclass(slots=True)
class _Route:
    """The calls of one key in one minute. They decide to which machine the next one goes."""

    minute: int
    calls: int = 0


class PrefixCache:
    """The cache of one account. Every method takes `now`; `minute` is the length of a minute. Both
    are in seconds."""

    def __init__(self, rules: CacheRules, minute: float = 60.0) -> None:
        self.rules = rules
        self._minute = minute
        self._entries: OrderedDict[int, _Entry] = OrderedDict()
        self._routes: dict[int, _Route] = {}

    def lookup(
        self, model: str, prompt: str, now: float, *, key: str = "", marks: Sequence[int] = ()
    ) -> Lookup:
        """Looks `prompt` up in the cache. Pass the result to `store` to cache the prompt.

        key    the request's prompt_cache_key
        marks  places of the request's cache_control, in characters from the prompt's start
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
        """Puts the prompt's prefixes into the cache, where they can be read after the `delay`."""
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
        """Returns the lengths, in tokens, of the prefixes that may be cached and of those that lead
        to them."""
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
        """Returns the machine for a call: that of its key, or else of the prompt's beginning. Calls
        above the rate overflow to others."""
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
