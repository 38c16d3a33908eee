"""Finds the number of calls that a provider takes at once, from its refusals.

A provider that limits concurrency refuses calls that exceed K in flight, and does not tell K. A
call refused with c in flight shows that K < c. So the calls are kept one below the lowest such c,
where none is refused. Only more calls can show that K has grown. Most of those are refused, so they
come out of a budget, which shrinks as long as the limit stays.

`Crowds` decides whether concurrency is limited. It is no longer so if calls are refused with other
numbers in flight, or before another call has ended since the last refusal. Then the provider is
down, or another limit has taken over.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from xtremeflow.learning.concurrency.knee import Knee

Flights: TypeAlias = tuple[
    Sequence[float], Sequence[float], Sequence[int], Sequence[int], Sequence[int]
]
"""The arguments of `Slots.answered` for several calls, each as a column."""

FIRST_CALLS = 8  # in flight, until more is known
SOON, LATE = 8, 256  # answers for each refusal that tests may cost: at first, and later
CALM = 8.0  # s after a cut without tests
DEBT = 3.0  # refusals beyond the budget that later answers make up for
SLOW = 1.0  # s: the most that counts of the time until a refusal arrives
SLACK = 4  # calls, see _slack
# The confidence, from 0 to 1, that the number in flight is limited: what a refusal at the usual
# number adds, one at another takes off, and it begins with.
ALIKE = 0.1
OTHER = 2 * ALIKE
ASSUMED = 5 * ALIKE


class Slots:
    """Decides the number of calls to let in. Times are in seconds, on any one clock.

    known    the value of `known` of an earlier one, to begin with
    members  of a share: each begins with its part
    """

    def __init__(self, known: int | None = None, members: int = 1) -> None:
        first = max(1, FIRST_CALLS // members if known is None else known)
        self.size: int | None = first
        """Calls to let in at a time; None: any number."""
        self.reason = "nothing is known yet"
        """Of the last change of `size` that was more than one step."""
        self._free = False  # no bound unless a refusal, or waiting, shows one
        self._knee = Knee()
        self._edge = first  # the calls that refusals allow
        self._refused_at: int | None = None  # the number in flight at which a call was refused
        self._floor = 0  # the number known to pass; refusals of tests say nothing below it
        self._climbing = False  # whether tests are running
        self._climbed_at = float("-inf")  # the time of the last test
        self._budget = 1.0  # refusals
        self._thrift = SOON  # answers that pay for one
        # Since the edge was lowered:
        self._lowered_at = float("-inf")
        self._dispatched = 0  # calls
        self._in_a_row = 0  # times in a row, with no passed call between
        self._unanswered = 0  # of these since the last answer
        self._before: tuple[int, int | None] = (first, None)  # edge and refused_at before it
        # Measures of the provider:
        self._delay = 0.0  # s until a refusal arrives
        self._rate = 0.0  # answers per second, lately
        self._answered_at: float | None = None
        # Whether it is still concurrency:
        self._level: float | None = None  # the usual number in flight at refusals
        self._confidence = ASSUMED

    @property
    def known(self) -> int | None:
        """The number of calls that the provider takes, or None if it is unknown."""
        return None if self._refused_at is None and self._knee.cap is None else self.size

    @property
    def confidence(self) -> float | None:
        """The confidence, from 0 to 1, that the number of calls in flight is limited; None if no
        call was refused for that."""
        return None if self._refused_at is None else self._confidence

    def open(self) -> None:
        """Lets in any number of calls, because another limit is known that bounds them, unless
        calls are refused or wait at the server."""
        self._free = True
        self._settle()

    # ---- answers ----

    def answered(
        self, now: float, sent_at: float, crowd: int, in_flight: int, waiting: int
    ) -> None:
        """Takes the answer to a call that was sent with `crowd` in flight, itself included. Now
        there are `in_flight`, the call still included, and `waiting` in the queue."""
        has_passed = self._note([now], sent_at)
        size = self.size
        if size is None:
            return
        if not waiting or in_flight < size:  # the slots do not bound the calls now
            self._knee.restart()
            self._climbing = False
            return
        self._dispatched += in_flight == size
        if self._knee.answered(now, sent_at, crowd, in_flight):
            self.reason = f"{self._knee.waiting:.0f} calls seem to wait at the server"
        if self._edge <= size:
            self._grow(now, has_passed)
        self._settle()

    def all_answered(self, flights: Flights) -> None:
        """Takes the answers to several calls in their order."""
        if self.size is None:
            self._note(flights[0], max(flights[1]))
        else:
            for flight in zip(*flights, strict=True):
                self.answered(*flight)

    def refused(self, now: float, sent_at: float, crowd: int) -> bool:
        """Takes the refusal of a call that was sent with `crowd` in flight, itself included, and
        without a told wait. Returns whether concurrency explains it. Then the call only waits for
        the end of another one.
        """
        self._delay += (min(now - sent_at, SLOW) - self._delay) / 4
        self._budget = max(-DEBT, self._budget - 1.0)
        if self.size is None:
            self._edge = crowd
        if sent_at < self._lowered_at:  # sent before the last cut
            self._lower(crowd, 1)
            return True
        self._unanswered += 1
        if self._unanswered > 2:  # no call has ended to make room, so it is no such limit
            self._edge, self._refused_at = self._before
            self._settle()
            return False
        if self._dispatched > self._slack:  # most have passed
            self._in_a_row = 0
        if self._in_a_row:
            self._floor = 0
        if self.size == 1 or (not self._in_a_row and not self._begin(crowd)):
            self._give_up()
            return False
        self._in_a_row += 1
        # In a row: the limit was cut by an unknown amount. Take off 1, then 1/8, 1/4, 1/2.
        share = crowd >> max(1, 5 - self._in_a_row)
        self._lower(crowd, 1 if self._in_a_row == 1 else max(2, share))
        self._climbing = False
        self._lowered_at, self._dispatched = now, 0
        return True

    # ---- the edge ----

    @property
    def _slack(self) -> float:
        """The number by which the calls in flight here may exceed those that the provider counts,
        since the news of ended and refused calls is still on its way."""
        return SLACK + 2 * self._rate * self._delay

    def _begin(self, crowd: int) -> bool:
        """Takes the first refusal after passed calls. False if it is not for lack of a place."""
        self._before = self._edge, self._refused_at
        if self._climbing:
            self._thrift = min(LATE, 2 * self._thrift)
        else:
            self._floor = 0
        if self._refused_at is not None:
            self._refused_at = max(self._refused_at, crowd)
        return self._agrees(crowd)

    def _lower(self, crowd: int, by: int) -> None:
        limit = self._refused_at
        self._refused_at = max(self._floor, 2, crowd if limit is None else min(crowd, limit))
        if limit is None or self._refused_at < limit - self._slack:
            self.reason = f"a call was refused with {crowd} in flight"
            # Not at once after a cut, whose effect shows by itself.
            self._thrift = SOON if limit is None else max(SOON, min(LATE, int(CALM * self._rate)))
        self._edge = max(1, min(self._edge, self._refused_at - by))
        self._settle()

    def _grow(self, now: float, has_passed: bool) -> None:
        limit = self._refused_at
        if limit is None:
            self._edge += 1
        elif self._edge < limit - 1:
            self._edge += has_passed
        elif self._climbing or self._budget >= 1.0:
            self._climb(now, limit)

    def _climb(self, now: float, limit: int) -> None:
        """Tests: lets in more calls than are known to pass, one by one, until one is refused. If
        none is, the limit has grown."""
        if not self._climbing:
            self._climbing, self._floor = True, limit
        if now - self._climbed_at < 2 * self._delay:
            return
        self._climbed_at = now
        self._edge += 1
        if self._edge - limit >= self._slack:
            self.reason = f"{self._edge - 1} in flight are not refused any more"
            self._forget()

    def _forget(self) -> None:
        self._refused_at = self._level = None
        self._climbing, self._floor = False, 0

    def _settle(self) -> None:
        cap = self._knee.cap
        if self._free and cap is None and self._refused_at is None:
            self.size = None
        else:
            self.size = self._edge if cap is None else min(self._edge, cap)

    def _note(self, answers: Sequence[float], sent_at: float) -> bool:
        """Notes answers by their instants; the last of their calls was sent at `sent_at`. Returns
        whether a call has passed since the edge was lowered."""
        before, rate = self._answered_at, self._rate
        for now in answers:
            if before is not None and now > before:
                gap = now - before
                weight = min(1.0, gap)  # of a rate of 1 / gap, which may overflow
                rate += (weight / gap - weight * rate) / 4  # over some seconds
            before = now
        self._answered_at, self._rate = before, rate
        if self._budget < 1.0:
            self._budget = min(1.0, self._budget + len(answers) / self._thrift)
        self._unanswered = 0
        has_passed = sent_at >= self._lowered_at
        if has_passed:
            self._in_a_row = 0
        return has_passed

    # ---- whether it is still concurrency ----

    def _agrees(self, crowd: int) -> bool:
        """Whether refusals agree well enough, this one included."""
        level = crowd if self._level is None else self._level
        is_usual = abs(crowd - level) <= self._slack
        self._level = (level + crowd) / 2 if is_usual else float(crowd)
        self._confidence = min(1.0, self._confidence + (ALIKE if is_usual else -OTHER))
        return self._confidence >= 0.0

    def _give_up(self) -> None:
        self._forget()
        self._confidence, self._in_a_row = ASSUMED, 0
        self.reason = "what is refused does not depend on the calls in flight"
        self._settle()
