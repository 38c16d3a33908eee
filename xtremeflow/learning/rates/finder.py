"""Finds the rates of limits from admissions and refusals alone, where a provider tells nothing.

After each refusal for a rate, the models of all limits that may have caused it estimate the rate
(models.py). Limits that err clearly more than the best are dropped. The control law (control.py)
then decides the pace.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import inf

from xtremeflow._core import Gauge
from xtremeflow.answers.verdict import Meaning, Verdict
from xtremeflow.learning.ledger import Ledger
from xtremeflow.learning.rates.control import DUE, SHALLOW, Control, Refusal
from xtremeflow.learning.rates.models import Bank
from xtremeflow.learning.rates.ramp import LATELY, Ramp
from xtremeflow.learning.rates.state import Knowledge, State, taken_over, told
from xtremeflow.learning.reading import UNLIMITED, Core, Limits
from xtremeflow.learning.saved import NAMES, LearnedRate
from xtremeflow.values.limits import MINUTE, Limit

FEWEST = 16  # calls: before, a refusal says nothing of a rate
ASSUMED = 0.3  # the doubt of a rate that is configured
RARELY = 0.1  # a limit is none if fewer refusals than that were for it
LATE = 2.0  # times the rate: not refused before that, it was no rate to believe in
FILLING = 1.6  # times the pace, at most, while unused quota is used
STOPPED = 10.0  # s: no bucket stays empty for so long
CHANGE = 0.005  # smaller relative changes of the pace are not passed to the scheduler

Say = Callable[[int, float, float, str], None]


class Found(Knowledge):
    """The knowledge of all limits that may exist, of which members of a share have one."""

    def __init__(self, units: int) -> None:
        self.rates = [0.0] * units
        """The believed rates, in units per second; 0: no limit is known."""
        self.paces = [0.0] * units
        """The paces set last, in units per second."""
        self.guessed = [True] * units
        """Whether no refusal has confirmed the rate."""
        self.refused = [0.0] * units
        """The units of refused calls."""
        self.seconds = 0.0
        """The time since the last episode in which the queue waited, when this was told."""
        self.control, self.bank, self.ramp = Control(), Bank(units), Ramp()


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
        self._indices: list[int] = []  # of the limits in the scheduler
        for name in NAMES:
            index = limits.index((name, False))
            assert index is not None
            self._indices.append(index)
        self._restart()

    def _restart(self) -> None:
        count = len(self._indices)
        self._found, self._ledger = Found(count), Ledger(count, MINUTE)
        # Seconds for which the queue had waited for culprits at the end of the last episode:
        self._held = 0.0

    @property
    def _culprits(self) -> list[int]:
        """Returns the units that are believed to be limited."""
        return [i for i, rate in enumerate(self._found.rates) if rate > 0]

    @property
    def limits(self) -> frozenset[int]:
        """Returns the indices of the limits that are believed in."""
        return frozenset(self._indices[i] for i in self._culprits)

    @property
    def due_at(self) -> float:
        """From when on an answer to a call that passed is worth to be looked at."""
        return 0.0 if self._found.control.is_closed else self._ledger.due_at

    @property
    def rates(self) -> dict[str, LearnedRate]:
        """Returns the believed rates that have proved themselves."""
        learned: dict[str, LearnedRate] = {}
        for i in self._culprits:
            model, rate = self._found.bank.best, self._found.rates[i]
            doubt = model.rates[i].doubt + model.error
            if not self._found.guessed[i] and model.rates[i].rate > 0 and doubt < 1.0:
                learned[NAMES[i]] = LearnedRate(rate, doubt * rate, rate * model.kind.at_once)
        return learned

    def confidence(self, index: int) -> float | None:
        """Returns 1 less the relative doubt of a limit's rate; None if none is found."""
        if index not in self.limits:
            return None
        rate = self.rates.get(NAMES[self._indices.index(index)])
        return None if rate is None else 1.0 - rate.doubt / rate.rate

    def expects(self, gauge: Gauge) -> bool:
        """Whether a call had to be refused now, as more is tried than a rate lets pass."""
        control = self._found.control
        if control.is_searching:
            return False
        is_beyond = control.factor(self._seconds(self._own(gauge))) > 1.0 + SHALLOW
        return control.is_closed or is_beyond

    def begin(self, given: Mapping[str, LearnedRate], learned: Mapping[str, LearnedRate]) -> None:
        """Begins with rates that were given, which are guesses, or learned before. Of the burst of
        the latter some may be left."""
        for i, name in enumerate(NAMES):
            rate = learned.get(name, given.get(name))
            if rate is not None:
                self._know(i, rate.rate, rate.doubt / rate.rate)
                self._found.guessed[i] = name not in learned
        for i, name in enumerate(NAMES):
            if (rate := learned.get(name)) is not None:
                level = max(rate.burst, rate.rate)
                self._set(i, 1.0, "as it was when last used", level=level)

    def replace(self, index: int, limit: Limit) -> None:
        """Notes that the user has replaced a limit."""
        i = self._indices.index(index)
        self._know(i, limit.rate, ASSUMED)
        self._found.guessed[i] = True

    def _know(self, i: int, rate: float, doubt: float) -> None:
        self._found.rates[i] = self._found.paces[i] = rate
        self._found.bank.known(i, rate, doubt)
        self._found.control.know()

    def bind(self, index: int, gauge: Gauge) -> bool:
        """Keeps a limit to its bound, which has changed, and begins growth anew. Returns whether it
        is believed to be a limit."""
        if index not in self.limits:
            return False
        i = self._indices.index(index)
        self._found.paces[i] = 0.0  # it is set anew
        self._mark(self._own(gauge))
        self._set(i, self._found.control.factor(0.0), None)
        return True

    def give_up(self) -> None:
        """Drops all found rates, because the limit was another one."""
        for i in self._culprits:
            self._let_go(i)
        self._restart()

    # -- what members of a share have in common

    def state(self, gauge: Gauge, ahead: float) -> State:
        """Returns what was found, for other members; see `told`. The admissions are the account's,
        which each of them counts by itself."""
        found = self._found
        found.refused, found.seconds = self._ledger.refused, self._seconds(self._own(gauge))
        state: State = told(found, ahead)
        return state

    def restore(self, state: State, gauge: Gauge, ahead: float) -> None:
        """Takes over what another member has found.

        Raises:
            ValueError: It makes no sense, and nothing is changed.
        """
        found: Found = taken_over(Found(len(self._indices)), state, ahead)
        self._found = found
        self._ledger.refused = found.refused
        self._limits.steepest = found.ramp.pace
        self._held = self._waited(self._own(gauge)) - found.seconds

    # -- answers

    def passed(self, gauge: Gauge) -> None:
        """Takes the pass of a call."""
        gauge = self._own(gauge)
        self._ledger.note(gauge.now, gauge.readings)
        blocked = self._found.control.passed(gauge.sent_at)
        if blocked is not None:
            self._mark(gauge)
            if blocked > STOPPED:
                before = self._ledger.before(gauge.readings)
                self._found.bank.blocked(blocked, gauge.sent_at, before)
                self._believe([i for i, cost in enumerate(before) if cost > 0], 1.0)
        if self._found.ramp.pace < inf:
            lately = self._lately(self._ledger.at(gauge.now)[0], gauge.now)
            self._found.ramp.passed(gauge.sent_at, lately)
            self._ramped()
        if not self._found.control.is_closed:
            factor = self._found.control.factor(self._seconds(gauge))
            for i in self._culprits:
                self._set(i, factor, None)

    def refused(self, gauge: Gauge, verdict: Verdict, *, is_told: bool) -> Verdict:
        """Takes a refusal that no told limit explains; `is_told`: although answers tell limits.
        Returns the verdict, with the wait that it advises."""
        gauge, control = self._own(gauge), self._found.control
        before, seconds = self._ledger.before(gauge.readings), self._seconds(gauge)
        factor = control.factor(seconds)
        self._ledger.refuse(gauge.readings)
        is_unlikely = is_told and not self._culprits
        kind, wait = control.refused(
            gauge.now, gauge.sent_at, before[0], seconds, verdict.wait, unlikely=is_unlikely
        )
        is_enough = before[0] >= FEWEST or control.episodes > 1
        # Two of a moment show that a bucket is smaller than told, however few calls passed before.
        is_smaller = kind is Refusal.SAME and is_unlikely and bool(verdict.wait)
        if is_smaller or (kind is Refusal.EPISODE and is_enough):
            self._met(gauge, before, factor)
            if wait is None and self._found.bank.best.kind.slides:
                wait = control.stop
        elif kind is Refusal.SAME:
            self._found.bank.still_empty(gauge.sent_at, before)
        elif kind is Refusal.STILL:
            self._empty()
        if wait is None:
            return replace(verdict, meaning=Meaning.PLACES)
        return verdict if wait == verdict.wait else replace(verdict, advised=wait)

    def too_steep(self, gauge: Gauge, verdict: Verdict) -> Verdict:
        """Takes a refusal of a call because calls have grown too fast. Returns the verdict."""
        gauge = self._own(gauge)
        self._ledger.refuse(gauge.readings)
        lately = self._lately(self._ledger.before(gauge.readings)[0], gauge.sent_at)
        wait = self._found.ramp.refused(gauge.now, gauge.sent_at, lately)
        self._ledger.note(gauge.now, gauge.readings)
        self._ramped()
        return replace(verdict, advised=max(wait, verdict.wait or 0.0))

    # -- what follows

    def _lately(self, calls: float, until: float) -> float:
        """Returns the calls per second until then, at which `calls` had been admitted."""
        return (calls - self._ledger.at(until - LATELY)[0]) / LATELY

    def _ramped(self) -> None:
        pace, index = self._found.ramp.pace, self._indices[0]
        if abs(pace - self._limits.steepest) <= CHANGE * pace:
            return
        self._limits.steepest = pace
        if self._found.rates[0] > 0:
            pace = min(pace, FILLING * self._found.paces[0])
        elif self._told_pace(index):
            return
        self._core._pace(index, pace)

    def _met(self, gauge: Gauge, before: Sequence[float], factor: float) -> None:
        """Notes that a limit was met, at `factor` times the rate."""
        self._found.guessed = [False] * len(self._indices)
        costs = [reading.cost for reading in gauge.readings]
        amounts, units = tuple(before), self._paid(costs, before)
        told = {} if self._culprits else self._told_rates(units)
        for i, rate in told.items():
            self._found.bank.told(i, rate)
        # Few calls say that a bucket is smaller than told, and nothing of its rate.
        if not told or gauge.readings[0].used >= FEWEST:
            self._found.bank.refused(gauge.sent_at, amounts, units, costs, self._ledger)
        self._ledger.note(gauge.now, gauge.readings)
        if self._culprits:
            self._believe(units, factor)
        else:
            first = self._found.bank.first
            for i in told or first.proven(units):
                self._found.rates[i] = told.get(i, first.rates[i].rate)
        self._mark(gauge)
        self._empty()

    def _told_rates(self, units: Sequence[int]) -> dict[int, float]:
        """Returns the rates that are told or given, by unit."""
        known = {i: self._most(self._indices[i]) for i in units}
        return {i: limit.rate for i, limit in known.items() if limit is not None}

    def _paid(self, costs: Sequence[float], amounts: Sequence[float]) -> list[int]:
        """Returns the limits of which a call costs something. Of several with the same past use it
        returns the first."""
        return [i for i, cost in enumerate(costs) if cost > 0 and amounts[i] not in amounts[:i]]

    def _believe(self, units: Sequence[int], factor: float) -> None:
        """Believes the best model. A call was refused at `factor` times its rates."""
        model = self._found.bank.best
        units = model.proven(units)
        for i, rate in enumerate(self._found.rates):
            if i in units and self._found.bank.blame[i] >= RARELY:
                self._found.rates[i] = self._rate(i, model.rates[i].rate, factor)
            elif rate > 0:
                self._let_go(i)
        is_foretold = factor >= DUE and model.error < 0.1
        span = min(model.kind.span, MINUTE) if model.kind.slides else 0.0
        self._found.control.dip(span, identified=span == MINUTE or is_foretold)

    def _rate(self, i: int, rate: float, factor: float) -> float:
        believed = self._found.rates[i]
        if factor >= LATE and not self._found.bank.best.kind.slides:
            return max(rate, self._found.paces[i] / LATE)
        if factor < DUE and believed > 0:
            return min(rate, (1.0 - SHALLOW) * believed)
        return rate or believed

    def _empty(self) -> None:
        """Goes on at the pace of a dip, without a burst."""
        factor = self._found.control.factor(0.0)
        for i in self._culprits:
            self._set(i, factor, f"as {self._how()}", level=0.0)

    def _how(self) -> str:
        span = self._found.bank.best.kind.span
        if self._found.control.is_searching:
            return "passed until the first refusal"
        return "passed between refusals" if span > MINUTE else f"passed in {span:g} s"

    def _set(self, i: int, factor: float, reason: str | None, level: float | None = None) -> None:
        index, paces = self._indices[i], self._found.paces
        most = self._most(index)
        pace = min(factor * self._found.rates[i], UNLIMITED if most is None else most.rate)
        if level is None and abs(pace - paces[i]) <= CHANGE * paces[i]:
            return
        paces[i] = pace
        capacity = pace * self._found.bank.best.kind.at_once
        if most is not None and self._limits.is_capped(index):
            capacity = min(capacity, most.capacity or 0.0)
        definition = (NAMES[i], pace, 1.0, capacity)
        if level is None:
            self._core._retune(index, definition)
        else:
            self._core._begin(index, definition, level, sent_at=self._core._now() + 1.0)
        self._core._pace(index, min(FILLING * pace, self._limits.steep(index)))
        if reason is not None:
            self._say(index, pace, capacity, reason)

    def _let_go(self, i: int) -> None:
        self._found.rates[i] = self._found.paces[i] = 0.0
        self._free(self._indices[i])

    def _mark(self, gauge: Gauge) -> None:
        """Begins growth anew."""
        self._held = self._waited(gauge)

    def _seconds(self, gauge: Gauge) -> float:
        """Returns the seconds since the last episode in which the queue waited for the pace."""
        return max(0.0, self._waited(gauge) - self._held)

    def _waited(self, gauge: Gauge) -> float:
        """Returns the seconds for which the queue has waited for the pace. Calls of other members
        of a share wait for it, too."""
        return gauge.shared + sum(gauge.readings[i].held for i in self._culprits)

    def _own(self, gauge: Gauge) -> Gauge:
        readings = tuple(gauge.readings[index] for index in self._indices)
        return Gauge((gauge.now, gauge.sent_at, gauge.first, gauge.shared, readings))
