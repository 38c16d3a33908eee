"""Members by their scores, lowest first: in Python what a sorted set is on a server."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort


class Scores:
    """Scores of members, such as the instants at which each speaks again. Equal ones are ordered by
    the members' names. No operation walks through the members."""

    def __init__(self) -> None:
        self._scores: dict[str, int] = {}
        self._order: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._order)

    def __contains__(self, member: str) -> bool:
        return member in self._scores

    def set(self, member: str, score: int) -> None:
        """Gives a member a score, whether or not it has one."""
        self.discard(member)
        self._scores[member] = score
        insort(self._order, (score, member))

    def discard(self, member: str) -> None:
        """Takes a member out, if it is there."""
        score = self._scores.pop(member, None)
        if score is not None:
            del self._order[bisect_left(self._order, (score, member))]

    def first(self) -> tuple[int, str]:
        """Returns the lowest score and its member. There must be one."""
        return self._order[0]

    def above(self, score: int) -> int:
        """Returns how many members have a higher score."""
        return len(self._order) - bisect_right(self._order, score, key=lambda each: each[0])
