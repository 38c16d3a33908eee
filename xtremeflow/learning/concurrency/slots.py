"""How many calls a provider takes at once, from which of them it refuses.

A provider that limits concurrency refuses what exceeds K calls in flight, and says nothing of K. A
call refused with c in flight shows that K < c, so the calls are kept one below the lowest such c:
there nothing is refused. Whether K has grown only more calls can show. Most of those are refused,
so they come out of a budget, which gets smaller as long as the limit stays.

That it is concurrency is for `Crowds` to find out. Whether it is still, shows in where calls are
refused: always with about as many in flight, and never before another call has ended since the last
refusal. Else it was another provider, or has become another limit.
"""

from __future__ import annotations

from xtremeflow.learning.concurrency.knee import Knee

FIRST_CALLS = 8  # in flight, until more is known
SOON, LATE = 8, 256  # answers for each refusal that finding out may cost: at first, and later on
CALM = 8.0  # s after a cut without trying for more
DEBT = 3.0  # refusals beyond that which are made up for later
DELAY = 0.125  # s until a refusal is known here, until one has shown it,
SLOW = 1.0  # and at the most
SPACED = 20  # after a cut: the part of them that may be added until a refusal is known
SLACK = 4  # calls, see _slack
SCORE, MOST = 3.0, 8.0  # how well refusals agree: at first, and at the most. Each at the usual
OUTLIER = 1.5  # level adds 1, each elsewhere takes that off; below 0 it is not concurrency
REST = 60.0  # s until concurrency is considered again, then twice as long


class Slots:
    """Says how many calls to let in. Times are in seconds, on any one clock.

    known  what `known` of an earlier one was, to begin with
    """

    def __init__(self, known: int | None = None) -> None:
        first = FIRST_CALLS if known is None else max(1, known)
        self.size: int | None = first
        """Calls to let in at a time; None: any number."""
        self.reason = "nothing is known yet"
        """Of the last change of `size` that was more than one step."""
        self._free = False  # not to be limited unless a refusal, or waiting, says so
        self._knee = Knee()
        self._edge = first  # what refusals allow
        self._refused_at: int | None = None  # calls in flight: with so many one was refused
        self._floor = 0  # refusals of calls beyond what is known to pass say nothing below that
        self._climbing = False  # now such calls are let in,
        self._grown_at = float("-inf")
        self._climbed_at = float("-inf")  # the last one then
        self._budget = 1.0  # refusals
        self._thrift = SOON  # answers for each of them
        # Since the edge was lowered:
        self._lowered_at = float("-inf")
        self._dispatched = 0  # calls
        self._in_a_row = 0  # times that it was, and no call has passed between
        self._unanswered = 0  # of these since the last answer
        self._before: tuple[int, int | None] = (first, None)  # edge and refused_at then
        # What the provider is like:
        self._delay = DELAY
        self._rate = 0.0  # answers per second, lately
        self._answered_at: float | None = None
        # Is it still concurrency?
        self._level: float | None = None  # of calls in flight, at which calls were refused lately
        self._score = SCORE
        self._rest = REST
        self._resting_until = float("-inf")

    @property
    def known(self) -> int | None:
        """How many calls the provider takes; None where nothing has shown it."""
        return None if self._refused_at is None and self._knee.cap is None else self.size

    @property
    def confidence(self) -> float | None:
        """From 0 to 1: that it is the number of calls in flight that is limited; None where none
        was refused for that."""
        return None if self._refused_at is None else max(0.0, self._score) / MOST

    def open(self) -> None:
        """Another limit is known that keeps the calls in check: let in any number, unless calls are
        refused or wait at the server."""
        self._free = True
        self._settle()

    # ---- what happens ----

    def answered(
        self, now: float, sent_at: float, crowd: int, in_flight: int, waiting: int
    ) -> None:
        """A call was answered that had been sent with `crowd` in flight, it included; now there are
        `in_flight`, it still included, and `waiting` in the queue."""
        self._note_rate(now)
        self._budget = min(1.0, self._budget + 1 / self._thrift)
        self._unanswered = 0
        has_passed = sent_at >= self._lowered_at
        if has_passed:
            self._in_a_row = 0
        size = self.size
        if size is None:
            return
        if not waiting or in_flight < size:  # that more calls make no sense is not for the slots
            self._knee.restart()
            self._climbing = False
            return
        self._dispatched += in_flight == size
        if self._knee.answered(now, sent_at, crowd, in_flight):
            self.reason = f"{self._knee.waiting:.0f} calls seem to wait at the server"
        if self._edge <= size:
            self._grow(now, has_passed)
        self._settle()

    def refused(self, now: float, sent_at: float, crowd: int) -> bool:
        """A call was refused that had been sent with `crowd` in flight, it included, and without
        word on how long to wait. Returns whether concurrency explains it: then there is nothing to
        wait for but the end of another call.
        """
        if now < self._resting_until:
            return False
        self._delay += (min(now - sent_at, SLOW) - self._delay) / 4
        self._budget = max(-DEBT, self._budget - 1.0)
        if self.size is None:
            self._edge = crowd
        if sent_at < self._lowered_at:  # it was on its way then
            self._lower(crowd, 1)
            return True
        self._unanswered += 1
        if self._unanswered > 2:  # nothing has ended that could have made room: it is no such limit
            self._edge, self._refused_at = self._before
            self._settle()
            return False
        if self._dispatched > self._slack:  # most have passed
            self._in_a_row = 0
        if self._in_a_row:
            self._floor = 0
        if self.size == 1 or (not self._in_a_row and not self._begin(crowd)):
            self._give_up(now)
            return False
        self._in_a_row += 1
        # In a row: the limit was cut, and who knows how far. 1, then 1/8, 1/4, 1/2 of what is left.
        share = crowd >> max(1, 5 - self._in_a_row)
        self._lower(crowd, 1 if self._in_a_row == 1 else max(2, share))
        self._climbing = False
        self._lowered_at, self._dispatched = now, 0
        return True

    # ---- the edge ----

    @property
    def _slack(self) -> float:
        """By so much the calls in flight here may exceed those that the provider counts: some have
        just ended there, or been refused, and are not known of."""
        return SLACK + 2 * self._rate * self._delay

    def _begin(self, crowd: int) -> bool:
        """Calls have passed, now one is refused. False: for want of something else than a place."""
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
            # Not at once after a cut: what it has left shows by itself.
            self._thrift = SOON if limit is None else max(SOON, min(LATE, int(CALM * self._rate)))
        self._edge = max(1, min(self._edge, self._refused_at - by))
        self._settle()

    def _grow(self, now: float, has_passed: bool) -> None:
        limit = self._refused_at
        if limit is None:
            self._edge += 1
        elif self._edge < limit - 1:
            if has_passed and now - self._grown_at >= SPACED * self._delay / self._edge:
                self._grown_at = now
                self._edge += 1
        elif self._climbing or self._budget >= 1.0:
            self._climb(now, limit)

    def _climb(self, now: float, limit: int) -> None:
        """Let more in than is known to pass, one by one, until a call is refused. If none is, the
        limit has grown."""
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

    def _note_rate(self, now: float) -> None:
        if self._answered_at is not None and now > self._answered_at:
            gap = now - self._answered_at
            weight = min(1.0, gap)  # of a rate of 1 / gap, which may be beyond all numbers
            self._rate += (weight / gap - weight * self._rate) / 4  # over some seconds
        self._answered_at = now

    # ---- is it still concurrency? ----

    def _agrees(self, crowd: int) -> bool:
        """Whether refusals agree well enough, this one taken in."""
        level = self._level
        if level is not None and abs(crowd - level) <= self._slack:
            self._level = (level + crowd) / 2
            self._score = min(MOST, self._score + 1.0)
        else:
            self._level = float(crowd)
            self._score -= 0.0 if level is None else OUTLIER
        return self._score >= 0.0

    def _give_up(self, now: float) -> None:
        self._forget()
        self._score, self._in_a_row = SCORE, 0
        self._resting_until = now + self._rest
        self._rest *= 2
        self.reason = "what is refused does not depend on the calls in flight"
        self._settle()
