"""Limits that change while calls run: by the user, who sets them or has them learned again."""

from __future__ import annotations

from xtremeflow.learning.learner import PLACES
from xtremeflow.scheduler.account import check_keepable
from xtremeflow.scheduler.sharing import Sharing
from xtremeflow.values.limits import MINUTE, Limit


class Limiting(Sharing):
    """A scheduler whose limits the user may change."""

    def set_limit(self, limit: Limit) -> None:
        """Replaces the limit of the same name. The bucket's level stays, up to the new capacity.

        If several limits have that name, it replaces the one with the same period. Waiting calls
        are considered again at once. With ``adapt`` the limit is an upper bound from now on:
        answers may lower it, and never raise it. It may also be one that is not given, but learned
        or still unknown: on requests, tokens, input and output tokens, and for periods above a
        minute on requests and tokens. `learn_limit` takes the bound back.

        Raises:
            ValueError: No limit has that name and period.
        """
        self._change_limit(limit, bounded=True)

    def learn_limit(self, name: str, per: float = MINUTE) -> None:
        """Takes the bound of a limit back, so that it is learned. The knowledge of it so far
        counts at once. A limit that was given is from now on only a first guess.

        Args:
            name: Of the limit.
            per: Its period in seconds.

        Raises:
            ValueError: No limit has that name and period, or the scheduler has no ``adapt``.
        """
        if not self._adapt:
            raise ValueError("limits are learned with adapt=True or adapt='bounded' only")
        index = self._index_of(Limit(name, 1.0, per))  # whose arguments are checked
        with self._learning:
            assert self._learner is not None
            self._look()
            self._learner.learn(index)

    def _change_limit(self, limit: Limit, *, bounded: bool) -> None:
        """Does the work of `set_limit`; `bounded` is false for what stays a first guess."""
        definition = self._defined(limit)
        check_keepable(definition)
        index = self._index_of(limit)
        with self._learning:
            self._look()
            if index < len(self._limits):
                self._limits[index] = limit
            if self._learner is None:
                self._retune(index, definition)
            else:
                self._learner.configure(
                    index, Limit(*definition), capped=self._is_capped(limit), bounded=bounded
                )
            if index < len(self._limits):
                self._tell_members(index, definition)

    def _index_of(self, limit: Limit) -> int:
        """Returns the index of the limit that has a limit's name, and its period if several have
        that name; or of the place for it. Raises ValueError."""
        named = [i for i, own in enumerate(self._limits) if own.name == limit.name]
        if len(named) > 1:
            named = [i for i in named if self._limits[i].per == limit.per]
        if self._learner is not None:
            place = self._learner.place(limit.name, limit.per)
            named = named if place is None else [place]
        if not named:
            learned = [f"{name} per {'day' if daily else 'minute'}" for name, daily in PLACES]
            also = f", or a learned one ({', '.join(learned)})" if self._adapt else ""
            raise ValueError(
                f"limit must be like one of {self._limits!r}{also}, got {limit.name!r} per "
                f"{limit.per:g} s"
            )
        return named[0]
