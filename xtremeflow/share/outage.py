"""An outage of the provider, as a timeline keeps it for all members.

It answers no call, or fails every call. Its words and rules are those of csrc/core/outage.h. What
members find counts as if they were one scheduler: so many failures in a row begin it. Then members
get single calls instead of chunks, one an interval. The *prober* is the member that has the first
one, or that has told of the last failure. If it is silent, the next single call goes to another
member, and at once if it is gone. An answer to a call that was sent later than those that have
failed ends the outage.

News may come late, so they carry the instants at which their calls were sent. A failure counts only
if its call was sent later than those that were answered, and in an outage, than those that failed.
"""

from __future__ import annotations

from dataclasses import dataclass

from xtremeflow.share.records import Row, Tried

AFTER = 3  # failures in a row, with no answer between: fewer are chance
UNTRIED = -1


@dataclass
class Outage:
    """Instants and lengths are microseconds."""

    interval: int = 0  # between two single calls; 0: there is no outage
    first: int = UNTRIED  # single call since the last failure
    next: int = 0  # when the next single call may go
    longest: int = 0  # time to a failure; earlier ones count less
    sent: int = 0  # when the latest call was sent that has failed
    failures: int = 0  # in a row
    answered: int = 0  # when the latest call was sent that was answered
    prober: str = ""

    def hear(self, member: str, tried: Tried, now: int, end: int) -> bool:
        """Takes what the member's calls have shown. The cooldown ends at `end`. Returns whether the
        outage has begun or ended by that."""
        before = self.interval > 0
        if tried.answered > 0:
            self._answered(tried.answered)
        if tried.sent > max(self.answered, self.sent if self.interval > 0 else 0):
            self._failed(member, tried, max(end, now + tried.interval))
        return (self.interval > 0) != before

    def _answered(self, sent: int) -> None:
        self.answered = max(self.answered, sent)
        if sent > self.sent or self.interval == 0:
            self.interval = self.next = self.longest = self.sent = self.failures = 0
            self.first, self.prober = UNTRIED, ""

    def _failed(self, member: str, tried: Tried, then: int) -> None:
        self.sent = tried.sent
        if tried.failures == 0:
            return
        self.failures += tried.failures
        longest = self.longest // 2 if self.interval > 0 else self.longest
        self.longest = max(longest, tried.took)
        if self.failures >= AFTER:
            self.interval, self.first, self.next = tried.interval, UNTRIED, then
            self.prober = member

    def admitted(self, member: str, at: int) -> None:
        """Notes that the member has a single call that may go from `at` on."""
        if self.first == UNTRIED:
            self.first, self.prober = at, member
        self.next = at + self.interval

    def left(self, member: str, now: int) -> bool:
        """Notes that the member has gone. Returns whether others may try at once."""
        if self.prober != member:
            return False
        self.prober = ""
        was_tried, self.first = self.first != UNTRIED, UNTRIED
        self.next = now if was_tried else self.next
        return was_tried

    def turn_back(self, back: int) -> None:
        """Follows a clock that was set back."""
        self.next, self.sent = self.next - back, self.sent - back
        self.answered -= back
        self.first = self.first - back if self.first != UNTRIED else UNTRIED

    def told(self) -> Row:
        """Returns what members know of it."""
        return [self.interval, self.next, self.longest, self.sent, self.prober]
