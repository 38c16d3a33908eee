"""A call, and the single calls of an outage, as a plain specification."""

from __future__ import annotations

from dataclasses import dataclass

from kit.model_groups import Group


@dataclass
class Outage:
    """After some failures in a row single calls are let in, one an interval, until one is answered
    or the first has lived for longer than failures take.
    """

    interval: int = 0  # 0: there is no outage
    first: int | None = None  # single call since the last failure
    next: int = 0
    longest: int = 0  # that a call took to fail
    sent: int = 0  # when the latest of those that failed was dispatched
    failures: int = 0  # in a row

    @property
    def convinced_at(self) -> int:
        assert self.first is not None
        return self.first + max(2 * self.longest, self.interval)

    def ready(self) -> int:
        if not self.interval:
            return 0
        return self.next if self.first is None else min(self.next, self.convinced_at)


WAITING, ADMITTED, IN_FLIGHT, RESTING, EXPIRED, DONE = (
    "waiting", "admitted", "in flight", "resting", "expired", "done",
)  # fmt: skip


@dataclass(eq=False)
class Call:
    costs: list[int]  # what an attempt takes of each limit, later what was reported of it
    priority: int
    number: int  # of its first enqueuing; a retry keeps it
    deadline: int | None  # of its first admission
    state: str = DONE
    priced: bool = True  # its costs are known: a 0 among them is one, too
    generation: int = 0  # of the cooldown, at its dispatch
    resets: int = 0  # at its admission
    dispatched: int = 0
    repeated: bool = False  # its costs are those of its next attempt, not of the last
    refused: bool = False  # this attempt, in the last cooldown
    foreseen: bool = False  # in flight: the level at the end of the cooldown has paid for it
    group: Group | None = None  # of the calls that share its prefix
    led: bool = False  # it led its group when it was last admitted
    saved: int = 0  # admitted: tokens taken off its costs, as it will read them from a cache

    @property
    def place(self) -> tuple[int, int, int]:
        group = self.group
        since = self.number if group is None else group.since(self.number, self.priority)
        return (-self.priority, since, self.number)

    @property
    def flow(self) -> tuple[Group | None, int]:
        return self.group, self.priority

    @property
    def fading(self) -> bool:
        return self.group is not None and self.group.fading

    @property
    def used_up(self) -> bool:
        return self.group is not None and self.group.used_up(self.number, self.priority)

    @property
    def held(self) -> bool:
        return self.group is not None and any(group.warming for group in self.group.path)

    def overdue_at(self, t: int) -> bool:
        return self.deadline is not None and self.deadline < t
