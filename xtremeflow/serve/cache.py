"""A provider's prefix cache: the part of a prompt that is read from it, by each provider's
rules."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from xtremeflow.providers.provider import CacheRules
from xtremeflow.serve.inquiry import CHARACTERS_PER_TOKEN

MOST_BLOCKS = 200_000  # kept; those unused for longest are dropped first
MOST_ROUTES = 100_000


@dataclass(frozen=True)
class Lookup:
    """A prompt in the cache: the tokens `read` from it, and `written` to it.

    blocks    the hashes of its prefixes, the shortest first
    end       the hash of the whole prompt
    rules     those of its model
    at        when it was looked up
    lifetime  of its prefixes, in seconds; None is until there is no more room
    """

    read: int = 0
    written: int = 0
    blocks: Sequence[int] = ()
    end: int = 0
    rules: CacheRules | None = None
    at: float = 0.0
    lifetime: float | None = None


@dataclass(slots=True)
class _Entry:
    sightings: int
    usable: float  # readable from then on
    until: float  # and until then
    tokens: int  # that its block takes


@dataclass(slots=True)
class _Route:
    """The calls of one key in one minute. They decide to which machine the next one goes."""

    minute: int
    calls: int = 0


class _Lengths(NamedTuple):
    """Lengths of a prompt's prefixes, in tokens.

    hashed    each of them goes on from the one before; the last one is all that may be cached
    readable  those that are looked for in the cache
    written   those that are put into it
    """

    hashed: Sequence[int]
    readable: Container[int]
    written: Container[int]


def _by_unit(rules: CacheRules, whole: int) -> _Lengths:
    units = range(rules.unit, whole + 1, rules.unit)
    return _Lengths(units, units, units)


def _marked(rules: CacheRules, marks: Sequence[int], parts: Sequence[int]) -> _Lengths:
    """Returns the marks, and the ends of parts before them at which a mark is looked for."""
    marked = {mark // CHARACTERS_PER_TOKEN for mark in marks}
    ends = sorted({part // CHARACTERS_PER_TOKEN for part in parts} | marked)
    near = set(marked)
    for mark in marked:
        at = ends.index(mark)
        near.update(ends[max(0, at - rules.look_back) : at])
    return _Lengths(sorted(near), near, marked)


def _marked_alone(rules: CacheRules, marks: Sequence[int]) -> _Lengths:
    """Returns the marks. They are hashed as if there were none, since calls without a mark may
    write what is read at one."""
    marked = sorted({mark // CHARACTERS_PER_TOKEN for mark in marks})
    units = range(rules.unit, max(marked, default=0) + 1, rules.unit)
    return _Lengths(units, set(marked), set(marked[-rules.latest :]))


class PrefixCache:
    """The cache of one account. Every method takes `now`; `minute` is the length of a minute. Both
    are in seconds.

    rules  those of a model; None has no cache
    room   tokens that it holds, instead of the rules' own
    """

    def __init__(
        self,
        rules: Callable[[str], CacheRules | None],
        minute: float = 60.0,
        room: int | None = None,
    ) -> None:
        self._rules = rules
        self._minute = minute
        self._room = room
        self._entries: OrderedDict[int, _Entry] = OrderedDict()
        self._tokens = 0  # of all entries
        self._routes: dict[int, _Route] = {}

    def lookup(
        self,
        model: str,
        prompt: str,
        now: float,
        *,
        key: str = "",
        marks: Sequence[int] = (),
        only_marked: bool = False,
        parts: Sequence[int] = (),
        lifetime: float | None = None,
    ) -> Lookup:
        """Looks `prompt` up in the cache. Pass the result to `store` to cache the prompt.

        key       the request's prompt_cache_key
        marks     places that the request marks, in characters from the prompt's start
        only_marked  whether it asks that only these prefixes are cached
        parts     the ends of the prompt's parts, counted as `marks`
        lifetime  that the request asks for
        """
        rules = self._rules(model)
        if rules is None or (rules.keyed and not key):
            return Lookup()
        whole = len(prompt) // CHARACTERS_PER_TOKEN
        if only_marked and rules.latest:
            lengths = _marked_alone(rules, marks)
        elif rules.marked:
            lengths = _marked(rules, marks, parts)
        else:
            lengths = _by_unit(rules, whole)
        if not lengths.hashed or lengths.hashed[-1] < rules.minimum:
            return Lookup()
        digest = hash((model, key, self._machine(rules, model, prompt, key, now)))
        blocks: list[int] = []
        read = start = 0
        for tokens in lengths.hashed:
            end = tokens * CHARACTERS_PER_TOKEN
            digest = hash((digest, prompt[start:end]))
            start = end
            if tokens < rules.minimum:
                continue
            if tokens in lengths.written:
                blocks.append(digest)
            if tokens not in lengths.readable:
                continue
            entry = self._entries.get(digest)
            if entry is not None and entry.usable <= now < entry.until:
                read = tokens
        kept = lengths.hashed[-1] - read if rules.writes else 0
        asked = rules.lifetime if lifetime is None else lifetime
        return Lookup(read, kept, blocks, blocks[-1] if blocks else 0, rules, now, asked)

    def store(self, lookup: Lookup, now: float) -> None:
        """Puts the prompt's prefixes into the cache, where they can be read after the `delay`."""
        rules = lookup.rules
        if rules is None:
            return
        used = lookup.at if rules.from_start else now
        until = math.inf if lookup.lifetime is None else used + lookup.lifetime
        for digest in lookup.blocks:
            entry = self._entries.get(digest)
            if entry is None or entry.until <= now:
                self._forget(digest)
                entry = self._entries[digest] = _Entry(0, math.inf, until, rules.unit)
                self._tokens += entry.tokens
            entry.sightings += 1
            entry.until = max(entry.until, until)
            seen = entry.sightings >= rules.sightings or (rules.ends and digest == lookup.end)
            if seen and entry.usable == math.inf:
                entry.usable = now + rules.delay
        # The end of a prefix goes before its beginning, which other prompts may have, too.
        for digest in reversed(lookup.blocks):
            self._entries.move_to_end(digest)
        room = rules.room if self._room is None else self._room
        while len(self._entries) > MOST_BLOCKS or (room is not None and self._tokens > room):
            self._forget(next(iter(self._entries)))

    def _forget(self, digest: int) -> None:
        entry = self._entries.pop(digest, None)
        if entry is not None:
            self._tokens -= entry.tokens

    def _machine(self, rules: CacheRules, model: str, prompt: str, key: str, now: float) -> int:
        """Returns the machine for a call: that of its key, or else of the prompt's beginning. Calls
        above the rate overflow to others."""
        if rules.per_minute is None:
            return 0
        name = hash((model, key or prompt[: rules.minimum]))
        minute = int(now // self._minute)
        route = self._routes.get(name)
        if route is None or route.minute != minute:
            if len(self._routes) >= MOST_ROUTES:
                self._routes.clear()
            route = self._routes[name] = _Route(minute)
        route.calls += 1
        return (route.calls - 1) // rules.per_minute
