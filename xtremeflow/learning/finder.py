"""Finds the rates of limits from admissions and refusals alone, where a provider tells nothing.

After each refusal the rates are estimated anew (evidence.py), of all limits that may have caused
it; those that explain the refusals badly are let go. Between refusals a little more is tried than
is known to pass (probing.py). Pure: times and amounts come with each answer (gauge.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from xtremeflow.learning.blockade import Blockade
from xtremeflow.learning.evidence import Evidence
from xtremeflow.learning.gauge import Gauge
from xtremeflow.learning.probing import Probing
from xtremeflow.learning.rates import Estimate
from xtremeflow.learning.saved import Rate
from xtremeflow.learning.sharing import Sharing, is_due
from xtremeflow.limits import Limit

CATCH_UP = 10.0  # s: the most of the rate that may be used at once
ALWAYS = 1.0  # s of it that may be
SLOWEST = 5.0  # s between two calls
LEAST_PART = 0.25  # of the estimate before: no refusal lowers it further
LIKELY = 2.0  # by so much worse, and it may be the one as well
CLEAR = 8.0  # by so much worse a limit must explain the refusals to be let go
SLACK = 1.1  # of its rate is what a limit is kept to that explains them less well
FIRST = ("tokens", "input_tokens", "output_tokens", "requests")  # to be suspected
SURE = 0.05  # the doubt of an estimate, relative to it, with which refusals are worth avoiding,
UNSURE = 0.2  # and with which it is worth while to look for a better one at once
MANY = 30  # calls: as much as a window may let pass
BEYOND = 6.0  # s of the estimated rate: if so much more passed, the limit was raised
NO_CUT = 5.0  # s: what blocks for longer is a window that is used up, or an outage
CHANGE = 0.005  # of the pace, that is worth telling the scheduler
MORE = 1.25  # times the estimate: worth telling the user


@dataclass(frozen=True)
class Setting:
    """What a limit is to be from now on.

    rate    units per second; None is: no limit
    level   units that may be used now; None is: as it is
    reason  where that is new
    """

    index: int
    rate: float | None = None
    capacity: float = 0.0
    level: float | None = None
    reason: str | None = None


@dataclass
class Suspect:
    """A limit that may be there.

    index    in the scheduler
    most     what it must not exceed
    belief   of its rate; None is: not limited, as far as is known
    burst    units that could be used at once, as far as is known
    """

    name: str
    index: int
    most: Limit | None = None
    belief: Estimate | None = None
    burst: float = 0.0
    pace: float = 0.0  # as set last
    held: float = 0.0  # what the gauge said when the present growth began


class RateFinder:
    """Of the limits of a scheduler that count requests, tokens, input and output tokens."""

    def __init__(self, suspects: Sequence[Suspect]) -> None:
        self.suspects = list(suspects)
        self.wait = 0.0
        """Seconds that a call that was just refused should wait."""
        self._evidence = Evidence(len(self.suspects))
        self._blockade = Blockade()
        self._probing = Probing()
        self._sharing = Sharing()
        assumed = {i for i, suspect in enumerate(self.suspects) if suspect.belief is not None}
        self._culprits = assumed or set(range(len(self.suspects)))
        self._first: int | None = None  # of them; None: all alike
        if assumed:
            self._probing.steady()

    @property
    def rates(self) -> dict[str, Rate]:
        """What is believed."""
        return {
            s.name: Rate(s.belief.rate, s.belief.doubt, s.burst)
            for s in self.suspects
            if s.belief is not None
        }

    def resume(self, suspect: Suspect) -> Setting:
        """What a limit is to begin with that was known before."""
        assert suspect.belief is not None
        setting = self._setting(suspect, suspect.belief.rate, None, "as it was when last used")
        return replace(setting, level=setting.capacity)

    def replace(self, suspect: Suspect) -> None:
        """The user has given another limit of that name."""
        i = [known.name for known in self.suspects].index(suspect.name)
        suspect.held = self.suspects[i].held
        self.suspects[i] = suspect
        self._culprits |= {i}
        self._sharing = Sharing()

    # -- calls that pass

    def answered(self, gauge: Gauge) -> list[Setting]:
        """A call was let pass."""
        gauge = self._own(gauge)
        self._evidence.ledger.note(gauge)
        opened = self._blockade.passed(gauge.sent_at)
        if gauge.now < gauge.resumes and not opened:
            return []
        reason = self._opened(gauge) if opened else None
        growing = self._growing(gauge)
        factor = self._probing.factor(growing)
        settings: list[Setting] = []
        for i in self._culprits:
            suspect = self.suspects[i]
            if suspect.belief is None:
                continue
            level = self._evidence.level(i, suspect.belief.rate, gauge) if opened else None
            pace = suspect.belief.rate * factor * self._slack(i)
            if pace > MORE * suspect.belief.rate >= suspect.pace:
                reason = f"nothing was refused for {growing:.0f} s: more is tried"
            if level is not None or abs(pace - suspect.pace) > CHANGE * suspect.pace:
                settings.append(self._setting(suspect, pace, level, reason))
        return settings

    def _opened(self, gauge: Gauge) -> str | None:
        """A blockade has ended."""
        blockade, evidence = self._blockade, self._evidence
        self._mark(gauge)
        if not blockade.lasted:
            self._probing.passed(0.0)
            return None
        lost = 0.0 if evidence.windows.known else gauge.sent_at - blockade.first
        self._probing.passed(lost)
        if not self._sharing.active:
            evidence.windows.blocked(blockade.last, gauge.sent_at)
        evidence.lasted(gauge.sent_at, evidence.ledger.before(gauge))
        if self._sharing.is_new and gauge.sent_at - blockade.first > NO_CUT:
            whole = self._sharing.give_up()
            for i in self._culprits & set(whole):
                self.suspects[i].belief = Estimate(whole[i], SURE * whole[i])
        return self._believe(gauge, beyond=False)

    def _growing(self, gauge: Gauge) -> float:
        """Seconds for which the pace has been what the queue waited for, since the last refusal."""
        if self._blockade.closed:
            return 0.0
        held = (gauge.readings[i].held - self.suspects[i].held for i in self._culprits)
        return max(0.0, sum(held))

    def _mark(self, gauge: Gauge) -> None:
        for suspect, reading in zip(self.suspects, gauge.readings, strict=True):
            suspect.held = reading.held

    # -- refusals

    def expects(self, gauge: Gauge) -> bool:
        """Whether a call that was refused had to be, as more was tried than a rate that is known
        well lets pass."""
        if self._probing.is_searching:
            return False
        if self._blockade.closed:
            return self._probing.unexpected == 0
        return self._is_due(self._growing(self._own(gauge)))

    def refused(self, gauge: Gauge, told: float | None) -> list[Setting]:
        """A call was refused; `told` is the wait that the provider asks for, in seconds."""
        gauge = self._own(gauge)
        blockade, evidence = self._blockade, self._evidence
        before, growing = evidence.ledger.before(gauge), self._growing(gauge)
        evidence.ledger.refuse(gauge)
        self._probing.refused()
        if not blockade.refused(gauge.sent_at, gauge.now):
            if gauge.sent_at < blockade.last:
                evidence.also_refused(gauge)
            self.wait = blockade.left(gauge.now)
            return []
        rates = {i: s.belief.rate for i, s in enumerate(self.suspects) if s.belief is not None}
        evidence.refused(gauge.sent_at, before, rates)
        evidence.judge_windows(blockade, self._culprits)
        begun = gauge.first if before[0] >= MANY else None
        blockade.wait(told, gauge.now, begun, evidence.windows)
        self.wait = blockade.left(gauge.now)
        if told is not None:
            evidence.lasted(blockade.last)
        if blockade.tries > 1:
            return []
        beyond = self._probing.excess(growing) > BEYOND and not evidence.windows.known
        expected = self._is_due(growing)
        self._probing.expected(expected)
        let_go = [] if self._sharing.active else self._attribute()
        assert self._first is not None
        known = not self._probing.is_searching
        self._sharing.refused(evidence.last, rates, self._first, expected=expected, known=known)
        reason = self._believe(gauge, beyond)
        self._mark(gauge)
        return let_go + [
            self._setting(self.suspects[i], belief.rate * self._slack(i), 0.0, reason)
            for i in self._culprits
            if (belief := self.suspects[i].belief) is not None
        ]

    def _is_due(self, growing: float) -> bool:
        """Whether a refusal after so many seconds is no surprise."""
        excess = self._probing.excess(growing)
        return is_due(excess, growing, self._doubt) or self._evidence.windows.known

    @property
    def _doubt(self) -> float:
        """Of what is believed, relative to it."""
        beliefs = (suspect.belief for suspect in self.suspects)
        return max((b.doubt / b.rate for b in beliefs if b is not None), default=0.0)

    def _slack(self, i: int) -> float:
        return 1.0 if self._first in (i, None) else SLACK

    def _attribute(self) -> list[Setting]:
        """Choose the limit that explains the refusals best, and let those go that do not."""
        suspicion, costs = self._evidence.suspicion(), self._evidence.ledger.costs
        least = min(suspicion.values(), default=0.0)
        likely = {i for i, error in suspicion.items() if error <= CLEAR * least}
        if not suspicion:
            likely = {i for i, cost in enumerate(costs) if cost > 0}
        likely -= self._evidence.doubles()
        self._culprits = (self._culprits & likely) or likely or self._culprits
        best = [i for i in self._culprits if suspicion.get(i, 0.0) <= LIKELY * least]
        self._first = min(best or self._culprits, key=self._usual)
        return [
            self.freed(suspect)
            for i, suspect in enumerate(self.suspects)
            if i not in self._culprits and suspect.belief is not None
        ]

    def _usual(self, i: int) -> int:
        return FIRST.index(self.suspects[i].name)

    def freed(self, suspect: Suspect) -> Setting:
        """A limit that is not one, or no more than what it must not exceed."""
        suspect.belief = None
        if suspect.most is None:
            return Setting(suspect.index)
        assert suspect.most.capacity is not None
        return Setting(suspect.index, suspect.most.rate, suspect.most.capacity)

    def _believe(self, gauge: Gauge, beyond: bool) -> str:
        """Estimate the rates of all that are suspected; returns how that was done.

        beyond  whether more has passed than was thought possible
        """
        evidence, sharing, how, span = self._evidence, self._sharing, "", 3_600.0
        unexpected = self._probing.unexpected > 0
        for i in self._culprits:
            suspect, old = self.suspects[i], self.suspects[i].belief
            new, how = evidence.rate(i, self._blockade, gauge.first, old, unexpected)
            claim = sharing.claim(i)
            if claim is not None:
                new, how = Estimate(claim, SURE * claim), "half of what it was, after a refusal"
            least = evidence.ledger.costs[i] / SLOWEST
            if old is not None:
                least = max(least, LEAST_PART * old.rate)
            if new.rate < least:
                new = Estimate(least, max(new.doubt, least - new.rate), new.span)
            suspect.belief = new
            suspect.burst = evidence.burst(i, suspect.belief.rate, gauge.first)
            span = min(span, new.span)
        if sharing.active:
            self._probing.share(sharing.start)
        elif beyond or self._doubt > UNSURE:
            self._probing.search()
        elif self._doubt > SURE:
            self._probing.steady()
        else:
            self._probing.plan(gauge.readings[0].used, gauge.now - gauge.first, span)
        return how

    def _setting(
        self, suspect: Suspect, pace: float, level: float | None, reason: str | None
    ) -> Setting:
        suspect.pace = pace
        capacity = min(CATCH_UP * pace, max(suspect.burst, ALWAYS * pace))
        if suspect.most is not None:
            assert suspect.most.capacity is not None
            pace = min(pace, suspect.most.rate)
            capacity = min(capacity, suspect.most.capacity)
        return Setting(suspect.index, pace, capacity, level, reason)

    def _own(self, gauge: Gauge) -> Gauge:
        return gauge._replace(readings=[gauge.readings[s.index] for s in self.suspects])
