"""Finds the rates of limits from admissions and refusals alone, where a provider tells nothing.

After each refusal for a rate, the models of all limits that may have caused it estimate the rate
(models.py). Limits that err clearly more than the best are dropped. The control law (control.py)
then decides the pace.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf

from xtremeflow._core import Gauge
from xtremeflow.answers.verdict import Meaning, Verdict
from xtremeflow.learning.ledger import Ledger
from xtremeflow.learning.rates.control import DUE, GROWTH, Control, Refusal
from xtremeflow.learning.rates.models import Bank
from xtremeflow.learning.rates.ramp import LATELY, Ramp
from xtremeflow.learning.rates.state import State, indices, items, numbers, restore, told
from xtremeflow.learning.reading import UNLIMITED, Core, Limits
from xtremeflow.learning.saved import NAMES, LearnedRate
from xtremeflow.values.limits import MINUTE, Limit

FEWEST = 16  # calls: before, a refusal says nothing of a rate
ASSUMED = 0.3  # the doubt of a rate that is configured
LATE = 2.0  # times the rate: not refused before that, it was no rate to believe in
EARLY = 0.9  # of the rate that was believed in, after a refusal before it
RARELY = 0.1  # a limit is none if fewer refusals than that were for it
FILLING = 1.6  # times the pace, at most, while unused quota is used
STOPPED = 10.0  # s: no bucket stays empty for so long
CHANGE = 0.005  # smaller relative changes of the pace are not passed to the scheduler

Say = Callable[[int, float, float, str], None]


@dataclass
class Suspect:
    """A limit that may exist.

    index  in the scheduler
    rate   the believed rate in units per second; 0: no limit is known
    pace   the pace set last
    """

    name: str
    index: int
    rate: float = 0.0
    pace: float = 0.0


class RateFinder:
    """Finds the rates of limits.

    most    a function that returns what a limit must not exceed: the told one, or its bound
    free    a function that resets a limit to its state without this law
    repace  a function that sets the pace of a told limit anew; False if none was told
    say     a function that takes a limit's index, rate (per s), capacity and the reason for them
    """

    def __init__(
        self,
        core: Core,
        limits: Limits,
        most: Callable[[int], Limit | None],
        free: Callable[[int], None],
        repace: Callable[[int], bool],
        say: Say,
    ) -> None:
        self._core, self._limits, self._most = core, limits, most
        self._free, self._told_pace, self._say = free, repace, say
        self.suspects: list[Suspect] = []
        for name in NAMES:
            index = limits.index((name, False))
            assert index is not None
            self.suspects.append(Suspect(name, index))
        self._ramp = Ramp()
        self._guesses: set[int] = set()  # rates that no refusal has confirmed
        self._restart()

    def _restart(self) -> None:
        count = len(self.suspects)
        self._control, self._bank, self._ledger = Control(), Bank(count), Ledger(count, MINUTE)
        # Seconds for which the queue had waited for culprits at the end of the last episode:
        self._held = 0.0

    @property
    def culprits(self) -> list[int]:
        """Returns the suspects that are believed to be limits."""
        return [i for i, suspect in enumerate(self.suspects) if suspect.rate > 0]

    @property
    def due_at(self) -> float:
        """From when on an answer to a call that passed is worth to be looked at."""
        return 0.0 if self._control.is_closed else self._ledger.due_at

    @property
    def rates(self) -> dict[str, LearnedRate]:
        """Returns the believed rates that have proved themselves."""
        found: dict[str, LearnedRate] = {}
        for i in self.culprits:
            if i in self._guesses:
                continue
            suspect, model = self.suspects[i], self._bank.best
            doubt = model.rates[i].doubt + model.error
            if model.rates[i].rate > 0 and doubt < 1.0:
                burst = suspect.rate * model.kind.at_once
                found[suspect.name] = LearnedRate(suspect.rate, doubt * suspect.rate, burst)
        return found

    def confidence(self, index: int) -> float | None:
        """Returns 1 less the relative doubt of a limit's rate; None if none is found."""
        for name, rate in self.rates.items():
            if self.suspects[NAMES.index(name)].index == index:
                return 1.0 - rate.doubt / rate.rate
        return None

    def expects(self, gauge: Gauge) -> bool:
        """Whether a call had to be refused now, as more is tried than a rate lets pass."""
        if self._control.is_searching:
            return False
        is_beyond = self._control.factor(self._seconds(self._own(gauge))) > 1.0 + GROWTH
        return self._control.is_closed or is_beyond

    def begin(self, given: Mapping[str, LearnedRate], learned: Mapping[str, LearnedRate]) -> None:
        """Begins with rates that were given, which are guesses, or learned before."""
        self._guesses = {i for i, s in enumerate(self.suspects) if s.name not in learned}
        for i, suspect in enumerate(self.suspects):
            rate = learned.get(suspect.name, given.get(suspect.name))
            if rate is not None:
                self._bank.known(i, rate.rate, rate.doubt / rate.rate)
                suspect.rate = suspect.pace = rate.rate
                self._control.know()

    def resume(self, learned: Mapping[str, LearnedRate]) -> None:
        """Keeps to rates that were learned before. Some of their burst may be left."""
        for i in self.culprits:
            if (rate := learned.get(self.suspects[i].name)) is not None:
                level = max(rate.burst, rate.rate)
                self._set(i, 1.0, "as it was when last used", level=level)

    def replace(self, index: int, limit: Limit) -> None:
        """Notes that the user has replaced a limit."""
        for i, suspect in enumerate(self.suspects):
            if suspect.index == index:
                suspect.rate = suspect.pace = limit.rate
                self._bank.known(i, limit.rate, ASSUMED)
                self._guesses.add(i)
                self._control.know()

    def bind(self, index: int, gauge: Gauge) -> bool:
        """Keeps a limit to its bound, which has changed, and begins growth anew. Returns whether it
        is believed to be a limit."""
        for i in self.culprits:
            if self.suspects[i].index == index:
                self.suspects[i].pace = 0.0  # it is set anew
                self._mark(self._own(gauge))
                self._set(i, self._control.factor(0.0), None)
                return True
        return False

    def give_up(self) -> None:
        """Drops all found rates, because the limit was another one."""
        for i in self.culprits:
            self._let_go(i)
        self._restart()

    # -- what members of a share have in common

    def state(self, gauge: Gauge, ahead: float) -> State:
        """Returns what was found, for other members; see `told`. The admissions are the account's,
        which each of them counts by itself."""
        parts = [self._control, self._bank, self._ramp]
        return {
            "rates": [[suspect.rate, suspect.pace] for suspect in self.suspects],
            "guesses": sorted(self._guesses),
            "refused": told(self._ledger.refused, ahead),
            "seconds": told(self._seconds(self._own(gauge)), ahead),
            "parts": [told(part, ahead) for part in parts],
        }

    def restore(self, state: State, gauge: Gauge, ahead: float) -> None:
        """Takes over what another member has found.

        Raises:
            ValueError: It makes no sense, and nothing is changed.
        """
        count = len(self.suspects)
        control, bank, ramp = Control(), Bank(count), Ramp()
        rates = numbers(state.get("rates"), count, 2)
        (refused,) = numbers([state.get("refused")], 1, count)
        ((seconds,),) = numbers([[state.get("seconds")]], 1, 1)
        guesses = indices(state.get("guesses"), count)
        parts = items(state.get("parts"), 3)
        for part, kept in zip((control, bank, ramp), parts, strict=True):
            restore(part, kept, ahead)
        if not bank.is_sound:
            raise ValueError("models of other limits")
        for suspect, (rate, pace) in zip(self.suspects, rates, strict=True):
            suspect.rate, suspect.pace = rate, pace
        self._control, self._bank, self._ramp = control, bank, ramp
        self._guesses, self._ledger.refused = set(guesses), refused
        self._limits.steepest = ramp.pace
        self._held = self._waited(self._own(gauge)) - seconds

    # -- answers

    def passed(self, gauge: Gauge) -> None:
        """Takes the pass of a call."""
        gauge = self._own(gauge)
        self._ledger.note(gauge.now, gauge.readings)
        blocked = self._control.passed(gauge.sent_at)
        culprits = self.culprits
        if blocked is not None:
            self._mark(gauge)
            if blocked > STOPPED:
                before = self._ledger.before(gauge.readings)
                self._bank.blocked(blocked, gauge.sent_at, before)
                self._believe([i for i, cost in enumerate(before) if cost > 0], 1.0)
        if self._ramp.pace < inf:
            lately = self._lately(self._ledger.at(gauge.now)[0], gauge.now)
            self._ramp.passed(gauge.sent_at, lately)
            self._ramped()
        if not self._control.is_closed:
            factor = self._control.factor(self._seconds(gauge))
            for i in culprits:
                self._set(i, factor, None)

    def refused(self, gauge: Gauge, verdict: Verdict, *, is_told: bool) -> Verdict:
        """Takes a refusal that no told limit explains; `is_told`: although answers tell limits.
        Returns the verdict, with the wait that it advises."""
        gauge, control = self._own(gauge), self._control
        before, seconds = self._ledger.before(gauge.readings), self._seconds(gauge)
        factor = control.factor(seconds)
        self._ledger.refuse(gauge.readings)
        is_unlikely = is_told and not self.culprits
        kind = control.refused(
            gauge.now, gauge.sent_at, before[0], seconds, verdict.wait, unlikely=is_unlikely
        )
        if kind is Refusal.EPISODE and (before[0] >= FEWEST or control.episodes > 1):
            self._met(gauge, before, factor)
        elif kind is Refusal.SAME:
            self._bank.still_empty(gauge.sent_at, before)
        elif kind is Refusal.STILL:
            self._empty()
        if control.wait is None:
            return replace(verdict, meaning=Meaning.PLACES)
        return verdict if control.wait == verdict.wait else replace(verdict, advised=control.wait)

    def too_steep(self, gauge: Gauge, verdict: Verdict) -> Verdict:
        """Takes a refusal of a call because calls have grown too fast. Returns the verdict."""
        gauge = self._own(gauge)
        self._ledger.refuse(gauge.readings)
        lately = self._lately(self._ledger.before(gauge.readings)[0], gauge.sent_at)
        wait = self._ramp.refused(gauge.now, gauge.sent_at, lately)
        self._ledger.note(gauge.now, gauge.readings)
        self._ramped()
        return replace(verdict, advised=max(wait, verdict.wait or 0.0))

    # -- what follows

    def _lately(self, calls: float, until: float) -> float:
        """Returns the calls per second until then, at which `calls` had been admitted."""
        return (calls - self._ledger.at(until - LATELY)[0]) / LATELY

    def _ramped(self) -> None:
        pace, index = self._ramp.pace, self.suspects[0].index
        if abs(pace - self._limits.steepest) <= CHANGE * pace:
            return
        self._limits.steepest = pace
        if self.suspects[0].rate > 0:
            pace = min(pace, FILLING * self.suspects[0].pace)
        elif self._told_pace(index):
            return
        self._core._pace(index, pace)

    def _met(self, gauge: Gauge, before: Sequence[float], factor: float) -> None:
        """Notes that a limit was met, at `factor` times the rate."""
        self._guesses.clear()
        costs = [reading.cost for reading in gauge.readings]
        amounts, units = tuple(before), self._paid(costs, before)
        self._bank.refused(gauge.sent_at, amounts, units, costs, self._ledger)
        self._ledger.note(gauge.now, gauge.readings)
        if self.culprits:
            self._believe(units, factor)
        else:
            for i in units:
                most = self._most(self.suspects[i].index)
                if most is not None:
                    self._bank.told(i, most.rate)
            first = self._bank.first
            for i in first.proven(units):
                self.suspects[i].rate = first.rates[i].rate
        self._mark(gauge)
        self._empty()

    def _paid(self, costs: Sequence[float], amounts: Sequence[float]) -> list[int]:
        """Returns the limits of which a call costs something. Of several with the same past use it
        returns the first."""
        return [i for i, cost in enumerate(costs) if cost > 0 and amounts[i] not in amounts[:i]]

    def _believe(self, units: Sequence[int], factor: float) -> None:
        """Believes the best model. A call was refused at `factor` times its rates."""
        model = self._bank.best
        units = model.proven(units)
        for i, suspect in enumerate(self.suspects):
            if i in units and self._bank.blame[i] >= RARELY:
                suspect.rate = self._rate(suspect, model.rates[i].rate, factor)
            elif suspect.rate > 0:
                self._let_go(i)
        is_foretold = factor >= DUE and model.error < 0.1
        span = min(model.kind.span, MINUTE) if model.kind.slides else 0.0
        self._control.dip(span, identified=span == MINUTE or is_foretold)

    def _rate(self, suspect: Suspect, rate: float, factor: float) -> float:
        if factor >= LATE and not self._bank.best.kind.slides:
            return max(rate, suspect.pace / LATE)
        if factor < DUE and suspect.rate > 0:
            return min(rate, EARLY * suspect.rate)
        return rate or suspect.rate

    def _empty(self) -> None:
        """Goes on at the pace of a dip, without a burst."""
        factor = self._control.factor(0.0)
        for i in self.culprits:
            self._set(i, factor, f"as {self._how()}", level=0.0)

    def _how(self) -> str:
        span = self._bank.best.kind.span
        if self._control.is_searching:
            return "passed until the first refusal"
        return "passed between refusals" if span > MINUTE else f"passed in {span:g} s"

    def _set(self, i: int, factor: float, reason: str | None, level: float | None = None) -> None:
        suspect, most = self.suspects[i], self._most(self.suspects[i].index)
        pace = min(factor * suspect.rate, UNLIMITED if most is None else most.rate)
        if level is None and abs(pace - suspect.pace) <= CHANGE * suspect.pace:
            return
        suspect.pace = pace
        capacity = pace * self._bank.best.kind.at_once
        if most is not None and self._limits.is_capped(suspect.index):
            capacity = min(capacity, most.capacity or 0.0)
        definition = (suspect.name, pace, 1.0, capacity)
        if level is None:
            self._core._retune(suspect.index, definition)
        else:
            began = self._core._now() + 1.0
            self._core._begin(suspect.index, definition, level, sent_at=began)
        self._core._pace(suspect.index, min(FILLING * pace, self._limits.steep(suspect.index)))
        if reason is not None:
            self._say(suspect.index, pace, capacity, reason)

    def _let_go(self, i: int) -> None:
        suspect = self.suspects[i]
        suspect.rate = suspect.pace = 0.0
        self._free(suspect.index)

    def _mark(self, gauge: Gauge) -> None:
        """Begins growth anew."""
        self._held = self._waited(gauge)

    def _seconds(self, gauge: Gauge) -> float:
        """Returns the seconds since the last episode in which the queue waited for the pace."""
        return max(0.0, self._waited(gauge) - self._held)

    def _waited(self, gauge: Gauge) -> float:
        """Returns the seconds for which the queue has waited for the pace. Calls of other members
        of a share wait for it, too."""
        return gauge.shared + sum(gauge.readings[i].held for i in self.culprits)

    def _own(self, gauge: Gauge) -> Gauge:
        readings = tuple(gauge.readings[suspect.index] for suspect in self.suspects)
        return Gauge((gauge.now, gauge.sent_at, gauge.first, gauge.shared, readings))
