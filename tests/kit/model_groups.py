"""Groups of calls that share a prefix, as a plain specification; see csrc/core/group.h."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import takewhile

MISSES = 2
TURN = 14
RENEW = 10_000_000_000  # ns before a group is cold, in which a call may renew its life,
RENEW_PART = 33  # or this part of the life


@dataclass(eq=False)
class Group:
    ttl: int | None  # how long the prefix can be read after a call's dispatch
    trunk: Group | None = None  # its prefix begins with that of this one
    tokens: int = 0  # of the prefix
    closed: bool = False
    sure: bool = False  # an answer says that it can be read, and none has missed it since
    leader: int | None = None  # the number of the call that writes the cache
    led_at: int = 0
    held_until: int = 0
    lapsed_until: int | None = None  # until when it is warm if the hold lapses
    missed_at: int = 0  # calls dispatched earlier do not warm it, but for a leader
    warm_until: int | None = 0  # None: for ever
    renew_at: int | None = None  # it fades from then on
    fades: bool = False  # it is about to be cold, so that a call of it goes before others
    spent: int = 0  # of the bound, by leaders that failed one after another
    turns: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    """By priority: the call that the turn began with, the first that is not of it, calls left."""
    misses: int = 0  # calls in a row that did not find the prefix
    led: int = 0  # holds that have begun,
    lapsed: int = 0  # and that have lapsed while calls waited
    held: int = 0  # ns of all holds at whose end calls waited

    @property
    def warming(self) -> bool:
        return self.leader is not None

    @property
    def path(self) -> list[Group]:
        """Itself, its trunk, the trunk of that, and so on."""
        return [self] if self.trunk is None else [self, *self.trunk.path]

    def since(self, number: int, priority: int) -> int:
        """A call of the turn goes as early as the call that the turn began with."""
        since, until, left = self.turns.get(priority, (0, 0, 0))
        return min(since, number) if left and number < until else number

    def used_up(self, number: int, priority: int) -> bool:
        """Whether a call has waited for its group's turn to end, which has."""
        _, until, left = self.turns.get(priority, (0, 0, 0))
        return not left and number < until

    def admitted(self, number: int, priority: int, at: int, newest: int, hold: int) -> bool:
        """Whether the call leads its group. Then it leads the trunk, too, if that is cold. `hold`
        is the bound of a hold."""
        since, until, left = self.turns.get(priority, (0, 0, 0))
        if not left or number >= until:
            since, until, left = number, newest + 1, TURN
        self.turns[priority] = since, until, left - 1
        led = list(takewhile(lambda group: group.lead(number, at, hold), self.path))
        for group in self.path:
            group.fades, group.renew_at = False, group.fades_at(at)
        return bool(led)

    def fades_at(self, at: int) -> int | None:
        """When it fades if no call is admitted after one that was at `at`."""
        if self.ttl is None:
            return None
        return at + self.ttl - max(min(RENEW, self.ttl // 2), self.ttl // RENEW_PART)

    @property
    def fading(self) -> bool:
        return any(group.fades for group in self.path)

    @property
    def changes_at(self) -> int | None:
        """When its hold lapses, or it begins to fade, or ends."""
        if self.warming:
            return self.held_until
        if self.fades:
            return self.warm_until
        at, end = self.renew_at, self.warm_until
        return at if at is not None and (end is None or at < end) else None

    def change(self, waiting: int) -> None:
        if self.warming:
            self.lapse(waiting)
        else:
            self.fades, self.renew_at = not self.fades, None

    def lead(self, number: int, at: int, hold: int) -> bool:
        if self.warm_until is None or at < self.warm_until:
            return False
        self.sure = False
        if self.spent >= hold:
            self.warm(self.lives(at))
            return False
        self.leader, self.led_at = number, at
        self.held_until = at + hold - self.spent
        self.lapsed_until = self.lives(self.held_until)
        self.led += 1
        return True

    def lives(self, since: int) -> int | None:
        """Until when it is warm that was warm at `since`."""
        return None if self.ttl is None else since + self.ttl

    def warm(self, until: int | None) -> None:
        if self.warm_until is not None:
            self.warm_until = None if until is None else max(self.warm_until, until)
        self.spent = 0

    def end_hold(self, now: int, waiting: int) -> None:
        if self.warming and waiting:
            self.held += now - self.led_at
        self.leader = None

    def lapse(self, waiting: int) -> None:
        self.end_hold(self.held_until, waiting)
        self.warm(self.lapsed_until)
        self.lapsed += waiting > 0

    def lost(self, spends: bool, now: int, waiting: int) -> None:
        """The leader has ended without having warmed the group."""
        self.end_hold(now, waiting)
        self.spent = self.spent + now - self.led_at if spends and waiting else 0

    def looked_up(self, found: bool, now: int) -> None:
        """A call that did not lead has found the prefix in the cache, or not."""
        for group in self.path:
            group.sure = found
        self.misses = 0 if found else self.misses + 1
        if self.misses >= MISSES and not self.warming:
            self.warm_until, self.spent, self.misses = 0, 0, 0
            self.missed_at = now
            self.fades = False
