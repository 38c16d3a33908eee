"""How many calls a provider takes at once, from which of them it refuses.

A provider that limits concurrency refuses what exceeds K calls in flight, and says nothing of K. A
call that is refused with c in flight shows that K < c; the lowest such c is what is known of K from
above. Below it nothing is refused, so that is where the calls are kept, one below. Whether K has
grown only more calls can show; most of those are refused, so they come out of a budget.
"""

from __future__ import annotations

from xtremeflow.learning.knee import Knee

FIRST_CALLS = 8  # in flight, until more is known
BUDGET = 0.004  # refusals allowed per answer, for calls beyond what is known to pass
DEBT = 3.0  # refusals, beyond that
PACE = 0.25  # s between two calls more, while it is not known how fast refusals come
SLACK = 4  # calls, see there
DOUBT, MOST = 3.0, 8.0  # score at first, and at the most; a refusal at the usual level adds 1,
WEIGHT = 1.5  # one elsewhere takes off this
REST = 60.0  # s until concurrency is considered again


class Slots:
    """Says how many calls to let in. Times are in seconds on any clock."""

    def __init__(self) -> None:
        self.size: int | None = FIRST_CALLS
        """Calls to let in at a time; None: any number."""
        self.reason = "nothing is known yet"
        """Of the last change of `size` that was not just one call more."""
        self._free = False  # not to be limited unless a refusal says so
        self._edge = FIRST_CALLS
        self._refused_at: int | None = None  # calls in flight: the fewest of which one was refused
        self._knee = Knee()
        self._lowered_at = float("-inf")
        self._before: tuple[int, int | None] = (FIRST_CALLS, None)  # what was believed before that
        self._in_a_row = 0  # refusals of calls sent after each other's, none let pass between
        self._unanswered = 0  # such refusals since the last answer
        self._budget = 1.0
        self._climbing = False
        self._floor = 0  # refusals while climbing say nothing below that
        self._dispatched = 0  # calls, since `_lowered_at`
        self._stepped_at = float("-inf")
        self._delay = PACE / 2  # s, of a refusal
        self._rate = 0.0  # answers per second
        self._answered_at: float | None = None
        self._level: float | None = None  # of calls in flight, at which calls were refused lately
        self._score = DOUBT  # how well refusals agree with one another; below 0 they do not
        self._rest = REST / 2
        self._resting_until = float("-inf")

    @property
    def confidence(self) -> float:
        """From 0 to 1: that it is concurrency that is limited."""
        return 0.0 if self._refused_at is None else self._score / MOST

    @property
    def waiting(self) -> float:
        """How many calls seem to wait at the server for being worked on."""
        return self._knee.waiting

    def open(self) -> None:
        """Another limit is known, which keeps the calls in check."""
        self._free = True
        self._settle()

    # ---- what happens ----

    def answered(
        self, now: float, sent_at: float, crowd: int, in_flight: int, waiting: int
    ) -> None:
        """A call was answered that had been sent with `crowd` in flight, it included; now there are
        `in_flight`, and `waiting` in the queue."""
        self._note_rate(now)
        self._budget = min(1.0, self._budget + BUDGET)
        self._unanswered = 0
        proven = sent_at >= self._lowered_at
        if proven:
            self._in_a_row = 0
        size = self.size
        if size is None:
            return
        if not waiting or in_flight < size:
            self._knee.restart()  # a queue that is empty says nothing
            self._climbing = False
            # It may be empty for a moment only, between answers that come together. As in TCP, no
            # more than twice what is in use is let in before it is used.
            if self._refused_at is None and self._edge <= size < 2 * in_flight:
                self._edge += 1
                self._settle()
            return
        self._dispatched += in_flight == size
        knee, former = self._knee, self._knee.cap
        if knee.answered(now, sent_at, crowd, in_flight):
            assert knee.cap is not None
            if former is None or knee.cap < former:
                self.reason = f"{knee.waiting:.0f} calls seem to wait at the server"
        if self._edge <= size:
            self._grow(now, proven)
        self._settle()

    def refused(self, now: float, sent_at: float, crowd: int) -> bool:
        """A call was refused that had been sent with `crowd` in flight, it included, and without
        word on how long to wait. Returns whether concurrency explains it: then there is nothing to
        wait for but the end of another call.
        """
        if now < self._resting_until:
            return False
        self._delay += (now - sent_at - self._delay) / 4
        self._budget = max(-DEBT, self._budget - 1.0)
        if self.size is None:
            self._edge = crowd
        if sent_at < self._lowered_at:  # on its way when the others were refused
            self._lower(crowd, 1)
            return True
        self._unanswered += 1
        if self._unanswered > 2:  # nothing has ended that could have made room: no such limit
            self._edge, self._refused_at = self._before
            self._settle()
            return False
        if self._dispatched > self._slack:
            self._in_a_row = 0
        if not self._in_a_row:
            self._before = self._edge, self._refused_at
            if crowd < 2 or not self._judge(crowd):
                self._give_up(now)
                return False
            if not self._climbing:
                self._floor = 0
            if self._refused_at is not None:
                self._refused_at = max(self._refused_at, crowd)
        self._in_a_row += 1
        share = crowd >> max(0, 5 - self._in_a_row)
        self._lower(crowd, 1 if self._in_a_row == 1 else max(2, share))
        self._climbing = False
        self._lowered_at = now
        self._dispatched = 0
        return True

    # ---- the edge ----

    def _lower(self, crowd: int, by: int) -> None:
        limit = self._refused_at
        refused_at = max(self._floor, crowd if limit is None else min(crowd, limit))
        if limit is None or refused_at < limit - by:
            self.reason = f"a call was refused with {crowd} in flight"
        self._refused_at = refused_at
        self._edge = max(1, min(self._edge, refused_at - by))
        self._settle()

    @property
    def _slack(self) -> float:
        """By so many the calls in flight differ from those that the provider counts, at the most:
        some have just ended there, or been refused, and nobody knows here."""
        return SLACK + 2 * self._rate * self._delay

    def _grow(self, now: float, proven: bool) -> None:
        limit = self._refused_at
        if limit is None:
            self._edge += 1
        elif self._edge < limit - 1:
            self._edge += proven
        elif self._climbing or self._budget >= 1.0:
            self._climb(now, limit)

    def _climb(self, now: float, limit: int) -> None:
        """Let more in than is known to pass, until one is refused; soon, or the limit has grown."""
        if not self._climbing:
            self._climbing, self._floor = True, limit
        if now - self._stepped_at < 2 * self._delay:
            return
        self._stepped_at = now
        self._edge += 1
        if self._edge - limit >= self._slack:
            self.reason = f"{self._edge - 1} in flight are not refused any more"
            self._refused_at = self._level = None
            self._climbing, self._floor = False, 0

    def _settle(self) -> None:
        cap = self._knee.cap
        if self._free and cap is None and self._refused_at is None:
            self.size = None
            return
        self.size = self._edge if cap is None else min(self._edge, cap)

    def _note_rate(self, now: float) -> None:
        if self._answered_at is not None and now > self._answered_at:
            gap = now - self._answered_at
            self._rate += (1.0 / gap - self._rate) * min(1.0, gap) / 4  # over some seconds
        self._answered_at = now

    # ---- is it concurrency? ----

    def _judge(self, crowd: int) -> bool:
        """A refusal, after calls have passed. False: it is not concurrency."""
        if self._level is None:
            self._level = float(crowd)
        elif abs(crowd - self._level) <= self._slack:
            self._score = min(MOST, self._score + 1.0)
        else:
            self._score -= WEIGHT
        self._level += (crowd - self._level) / 2
        return self._score >= 0.0

    def _give_up(self, now: float) -> None:
        self._refused_at = self._level = None
        self._score = DOUBT
        self._in_a_row = self._floor = 0
        self._climbing = False
        self.reason = "what is refused does not depend on the calls in flight"
        self._rest *= 2
        self._resting_until = now + self._rest
        self._settle()
