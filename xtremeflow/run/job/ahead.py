"""A look ahead in the input: lines whose prompts share a prefix, before any of them is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from xtremeflow.http._json import decode
from xtremeflow.http._leading import as_grouped
from xtremeflow.prefixes.groups import Grouped, Groups, GroupsScheduler, Prefixes, Seen
from xtremeflow.providers import PROVIDERS, Provider
from xtremeflow.run.input.requests import RequestLine
from xtremeflow.values.usage import Usage

AHEAD = 512
"""Lines that are looked at together, and calls that may wait in the queue at a time."""


class LookAhead:
    """The lines that were read and are not sent yet, as far as they may share a prefix.

    now, scheduler  see `Groups`
    """

    def __init__(
        self, provider: Provider, now: Callable[[], float], scheduler: GroupsScheduler | None = None
    ) -> None:
        known = provider.name if provider.name in PROVIDERS else None
        self._groups = Groups(Prefixes(provider=known), decode, now, scheduler)
        self._held: list[tuple[RequestLine, Seen]] = []

    def hold(self, request: RequestLine) -> bool:
        """Holds a line back until others are seen. False if it cannot share a prefix."""
        seen = self._groups.see(request.url, request.content, request.body)
        if seen is not None:
            self._held.append((request, seen))
        return seen is not None

    @property
    def is_full(self) -> bool:
        return len(self._held) >= AHEAD

    def taken(self) -> Iterator[tuple[RequestLine, Seen]]:
        """Yields the lines that are held, and holds them no longer."""
        held, self._held = self._held, []
        yield from held

    def grouped(self, seen: Seen, input_tokens: int) -> Grouped | None:
        """Returns a call's part in a group; None if it shares no prefix."""
        return self._groups.grouped(seen, input_tokens)

    def answered(self, grouped: Grouped, usage: Usage) -> None:
        """Notes the usage of a call's answer."""
        self._groups.answered(grouped, usage)


def in_its_group(request: RequestLine, grouped: Grouped) -> RequestLine:
    """Returns the request as its group wants it sent."""
    return replace(request, content=as_grouped(grouped, request.content), grouped=grouped)
