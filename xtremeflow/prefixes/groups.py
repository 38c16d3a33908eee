"""The groups of a client's calls that share a prefix, found in their bodies."""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any, NamedTuple, Protocol, TypeAlias
from urllib.parse import urlsplit

from xtremeflow._core import Branch
from xtremeflow.prefixes.marks import Ends
from xtremeflow.prefixes.prompt import Prompt, api_of, marked_prompt_of, prompt_of
from xtremeflow.prefixes.tree import CHUNK, Node, Window, digests_at, digests_of, shared
from xtremeflow.providers import PROVIDERS, Provider, provider_at
from xtremeflow.providers.openai import only_marked
from xtremeflow.providers.provider import CacheRules
from xtremeflow.values.arguments import check_flag, check_text
from xtremeflow.values.limits import MINUTE, Limit
from xtremeflow.values.usage import Usage

logger = logging.getLogger("xtremeflow")

WINDOW = 4096  # calls that are compared
_BYTES_PER_TOKEN = 4  # as long as nothing else is known
_DENSITY = 1 / _BYTES_PER_TOKEN
_HIT = 0.8  # of the expected tokens; fewer are those of a template that all prompts have
_MISSES = 2  # of a group's calls, the first of which may have met a cold machine
_WITHOUT = 3  # groups without a hit and none with one, after which prefixes are of no use
_MOST_TRUNKS = 8  # that one prefix goes on from, the longest ones
_MOST_PLACES = 1000  # URLs and models that are remembered
_UNKNOWN = CacheRules(minimum=1024, unit=128)  # of a server that is not known


@dataclass(frozen=True, kw_only=True)
class Prefixes:
    """How a client, or a transport, finds the prefixes that its calls share.

    Args:
        provider: the provider behind the address, such as "openai" or "vllm", for a gateway or a
            server of your own. None: the one whose address it is. If the address belongs to no
            known provider, no call is sent as a stream, and none gets a `prompt_cache_key`.
        mark: whether to mark the end of the part that calls share, by a `cache_control` at
            Anthropic and a `prompt_cache_breakpoint` at OpenAI from gpt-5.6 on. Bodies with a mark
            of their own stay as they are.
    """

    provider: str | None = None
    mark: bool = False

    def __post_init__(self) -> None:
        check_text("provider", self.provider)
        if self.provider is not None and self.provider not in PROVIDERS:
            raise ValueError(
                f"provider must be None or one of {', '.join(PROVIDERS)}, got {self.provider!r}"
            )
        check_flag("mark", self.mark)


class Place(NamedTuple):
    """The facts about a URL.

    api       see `api_of`
    provider  None if no known provider has that address
    least     bytes of the shortest body whose prompt may be cached
    rules     of the models that calls have named; None has no cache
    """

    api: str
    provider: Provider | None
    least: int
    rules: dict[str, CacheRules | None]


@dataclass(slots=True)
class Seen:
    """A call whose prompt was read.

    end   where it ends in the tree
    ends  those of its blocks, if it may be marked
    bare  whether nothing of it is cached unless it gets a mark
    """

    place: Place
    body: dict[str, Any]
    prompt: Prompt
    end: Node
    rules: CacheRules
    ends: Sequence[int] | None = None
    bare: bool = False

    def shared(self, end: Node) -> Node | None:
        """Returns the longest prefix up to `end` that another call has, too, and that is cached;
        None if there is none."""
        least, marks = self.rules.minimum * _BYTES_PER_TOKEN, self.prompt.marks
        if marks:
            return shared(end, bisect_left(marks, least) + 1, 1)
        return shared(end, -(-least // CHUNK))

    def length(self, node: Node) -> int:
        """Returns the bytes of a prefix of its prompt."""
        prompt = self.prompt
        return (
            prompt.marks[node.end - 1] if prompt.marks else min(node.end * CHUNK, len(prompt.text))
        )


@dataclass(slots=True)
class Group:
    """Calls that share a prefix.

    trunk   the key of the shorter prefix that it goes on from, and its tokens; None if there is
            none
    minute  the last one in which a call has come, and the calls in it
    misses  calls that should have found the prefix and did not; None once one has found it
    """

    model: str
    digest: int
    trunk: tuple[Hashable, int] | None = None
    minute: int = -1
    in_minute: int = 0
    misses: int | None = 0


@dataclass(slots=True)
class Grouped:
    """A call of a group.

    key     of the group, for the scheduler
    tokens  that it should read from the cache
    share   these, as a part of its prompt
    life    seconds for which the provider keeps them; None: unknown
    fields  what is added to its body
    seen    what was read of it
    marked  whether its decoded body has a mark now, which its own has not
    led     whether its last attempt went ahead of the others
    """

    group: Group
    key: Hashable
    tokens: int
    share: float
    life: float | None
    seen: Seen
    fields: dict[str, Any] = field(default_factory=dict[str, Any])
    marked: bool = False
    led: bool = False


Allowed: TypeAlias = tuple[float, float]
"""Calls that may be sent at once, and those in a minute beyond them."""


def _allowed_by(limits: Iterable[Limit]) -> Allowed | None:
    """Returns what limits on requests allow; None if there is none."""
    found = [
        (limit.capacity or 0.0, limit.rate * MINUTE) for limit in limits if limit.name == "requests"
    ]
    return min(found, key=sum, default=None)


class GroupsScheduler(Protocol):
    """A scheduler, as far as the groups of its calls need it."""

    @property
    def limits(self) -> Iterable[Limit]: ...

    def _save(self, prompt: int, saved: float) -> None:
        """Notes an answer of a known provider: the tokens of its prompt, and those whose price the
        cache has saved."""

    def _give_way(self, gives_way: bool, /) -> None:
        """Notes whether a machine of the provider serves only some calls of a prefix in a
        minute."""


class Groups:
    """The groups of a client's calls.

    decode     reads JSON
    now        returns seconds
    scheduler  that of the calls; None if they are not sent
    """

    def __init__(
        self,
        prefixes: Prefixes,
        decode: Callable[[bytes], Any],
        now: Callable[[], float],
        scheduler: GroupsScheduler | None = None,
    ) -> None:
        self._prefixes = prefixes
        self._decode = decode
        self._now = now
        self._scheduler = scheduler
        self._window = Window(WINDOW)
        self._ends = Ends(4 * WINDOW)
        self._places: dict[str, Place | None] = {}
        self._groups: OrderedDict[int, Group] = OrderedDict()
        self._without: dict[str, set[int]] = {}  # groups without a hit, by their model
        self._proven: set[str] = set()  # models that have read a prefix
        self._off: set[str] = set()  # those that have not

    # ---- a call that comes ----

    def see(self, url: str, content: bytes, body: dict[str, Any] | None = None) -> Seen | None:
        """Reads the prompt of a call. None if it cannot share a prefix. `body` is the decoded
        content, if it is at hand."""
        place = self._places.get(url)
        if place is None and (url in self._places or (place := self._place(url)) is None):
            return None
        if len(content) < place.least:
            return None
        try:
            return self._seen(place, self._decode(content) if body is None else body, content)
        except (ValueError, RecursionError, AttributeError, TypeError):
            return None  # the provider will say what is wrong with it

    def _seen(self, place: Place, body: dict[str, Any], content: bytes) -> Seen | None:
        model = body.get("model")
        if not isinstance(model, str) or model in self._off:
            return None
        rules = place.rules.get(model)
        if rules is None and (rules := _rules_of(place, model)) is None:
            return None
        if rules.sightings > 1:
            return None  # the calls that follow the first one would miss the prefix, too
        prompt: Prompt | None
        ends: Sequence[int] | None = None
        only = rules.marked or (rules.latest > 0 and only_marked(body))
        has = rules.mark != "" and b'"%s"' % rules.mark.encode() in content
        if only and has:
            prompt = marked_prompt_of(body, rules.mark)
        elif only and not self._prefixes.mark:
            return None
        else:
            prompt = prompt_of(body)
            if rules.mark and self._prefixes.mark and not has:
                ends = self._ends.note(body)
        if prompt is None or len(prompt.text) < rules.minimum * _BYTES_PER_TOKEN:
            return None
        settings, text, marks = prompt.settings, prompt.text, prompt.marks
        digests = digests_at(marks, settings, text) if marks else digests_of(settings, text)
        return Seen(place, body, prompt, self._window.add(digests), rules, ends, only and not has)

    def _place(self, url: str) -> Place | None:
        if len(self._places) >= _MOST_PLACES:
            self._places.clear()
        api, place = api_of(url), None
        if api is not None:
            named = self._prefixes.provider
            provider = (
                provider_at(urlsplit(url).hostname or "") if named is None else PROVIDERS[named]
            )
            rules = [_UNKNOWN]
            if provider is not None:
                known = [provider.cache, *provider.caches.values()]
                rules = [each for each in known if each is not None]
            if rules:
                place = Place(api, provider, min(each.minimum for each in rules), {})
        self._places[url] = place
        return place

    # ---- its group, once the calls that have come together are seen ----

    def grouped(self, seen: Seen, input_tokens: int | None) -> Grouped | None:
        """Returns the call's part in a group; None if it shares no prefix that is worth it.

        input_tokens  those that its prompt is likely to have
        """
        rules, prompt = seen.rules, seen.prompt
        node = seen.shared(seen.end)
        if node is None:
            return None
        marked = self._mark(seen)
        if seen.bare and not marked:
            return None
        length = seen.length(node)
        share = length / prompt.size
        density = _DENSITY if input_tokens is None else input_tokens / prompt.size
        tokens = int(length * density)
        group = self._group(node, seen, density)
        shard = 0 if rules.per_minute is None else self._shard(group, node, seen, rules.per_minute)
        key: Hashable = (group.digest, shard)
        if group.trunk is not None:
            trunk, trunk_tokens = group.trunk
            key = Branch((trunk, key, trunk_tokens))
        life = rules.lifetime_of(prompt.ttl)
        grouped = Grouped(group, key, tokens, share, life, seen, marked=marked)
        provider = seen.place.provider
        if provider is not None and provider.cache_key and not seen.body.get("prompt_cache_key"):
            grouped.fields["prompt_cache_key"] = f"xtremeflow-{group.digest:016x}-{shard}"
        return grouped

    def _mark(self, seen: Seen) -> bool:
        """Marks the end of what the call shares, if it may. Returns whether it has."""
        least = seen.rules.minimum * _BYTES_PER_TOKEN
        return seen.ends is not None and self._ends.mark(
            seen.body, seen.ends, least, seen.rules.mark
        )

    def _group(self, node: Node, seen: Seen, density: float) -> Group:
        digest = node.digest
        group = self._groups.get(digest)
        if group is None:
            trunk = _trunk_of(node, seen, density)
            group = self._groups[digest] = Group(seen.body["model"], digest, trunk)
            if self._scheduler is not None:
                self._scheduler._give_way(seen.rules.per_minute is not None)
            if len(self._groups) > WINDOW:
                self._groups.popitem(last=False)
        return group

    def _shard(self, group: Group, node: Node, seen: Seen, most: int) -> int:
        """Returns which of the group's machines the call goes to. Each takes `most` calls a minute
        from one key, and the others would meet a cold one."""
        provider = seen.place.provider
        if provider is None or not provider.cache_key:
            return 0
        minute = int(self._now() // 60)
        if minute != group.minute:
            group.minute, group.in_minute = minute, 0
        shard = group.in_minute // most
        group.in_minute += 1
        allowed = None if self._scheduler is None else _allowed_by(self._scheduler.limits)
        if allowed is None:
            return shard
        part = node.calls / len(self._window)  # of all calls, as groups take their turns
        return shard % max(1, ceil(part * sum(allowed) / most))

    # ---- its answer ----

    def answered(self, grouped: Grouped, usage: Usage) -> None:
        """Notes what an answer says of the cache. After some groups without a hit their model has
        no groups any more."""
        group, seen = grouped.group, grouped.seen
        if self._scheduler is not None and seen.place.provider is not None:
            self._scheduler._save(usage.input, seen.rules.saved(usage.cached, usage.written))
        if grouped.led or not usage.input:
            return
        if usage.cached > 0 and usage.cached >= _HIT * grouped.share * usage.input:
            group.misses = None
            if len(self._proven) >= _MOST_PLACES:
                self._proven.clear()
            self._proven.add(group.model)
            return
        if group.misses is None or group.model in self._proven:
            return
        group.misses += 1
        if group.misses < _MISSES or group.model in self._off:
            return
        without = self._without.setdefault(group.model, set())
        without.add(group.digest)
        if len(without) >= _WITHOUT:
            self._off.add(group.model)
            logger.warning(
                "prefixes of %s are not looked at any more: %d groups of calls that begin alike "
                "have read nothing of that from the provider's cache",
                group.model,
                len(without),
            )


def _rules_of(place: Place, model: str) -> CacheRules | None:
    if model not in place.rules:
        if len(place.rules) >= _MOST_PLACES:
            place.rules.clear()
        known = place.provider
        place.rules[model] = _UNKNOWN if known is None else known.cache_of(model)
    return place.rules[model]


def _trunk_of(node: Node, seen: Seen, density: float) -> tuple[Hashable, int] | None:
    """Returns the key of the prefix that this one goes on from, and its tokens. None if there is
    none, or if it could not be read: it has no mark of its own, or another key leads to another
    machine."""
    rules = seen.rules
    if (rules.marked and not seen.prompt.marks) or rules.keyed or rules.per_minute is not None:
        return None
    path: list[Node] = []
    above = node.parent
    while above is not None and len(path) < _MOST_TRUNKS:
        above = seen.shared(above)
        if above is not None:
            path.append(above)
            above = above.parent
    trunk: tuple[Hashable, int] | None = None
    for each in reversed(path):
        own = (each.digest, 0)
        key = own if trunk is None else Branch((trunk[0], own, trunk[1]))
        trunk = key, int(seen.length(each) * density)
    return trunk
