"""A bank of explicit models of limits that are not told: which of them foretells refusals best.

When a call is refused, each model says of each unit what its limit is. A window of S seconds is
used up, so its limit is what has passed in S seconds. A bucket that holds S seconds of its rate is
empty, and was full at most at any time before: its rate is the highest of what has passed in T
seconds, over T + S. A large bucket was empty at the last refusal and is so now, so as much has come
in meanwhile as has passed. The right model says the same at every refusal, of the unit that it was
for, however the calls were paced meanwhile; the others do not. So the one is believed that errs
least, and stays believed as long as it foretells the refusals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, sqrt

from xtremeflow.learning.ledger import Ledger
from xtremeflow.learning.rates.state import Knowledge
from xtremeflow.values.limits import MINUTE, ByLimit

LEARN = 0.4  # the weight of the latest refusal in a model's error
UNTRIED = 0.5  # the error of a model that has spoken only once
TOLD = 0.05  # the doubt of a rate that answers tell and refusals contradict, relative to it
DRIFT = 0.01  # by which a limit may change from one refusal to the next, relative
USUAL = 0.015  # by how much less a model must err than one that is before it in KINDS
AT_ONCE = 0.8  # of what passes at once is used so
WIDER = 1.3  # times as long is the next time T that a bucket is looked at for


@dataclass(frozen=True)
class Kind:
    """A kind of limit.

    span    seconds of the rate that it lets pass at once; infinite: a minute's worth, or more
    slides  whether that is all within these seconds: a window
    """

    span: float
    slides: bool

    @property
    def at_once(self) -> float:
        """The seconds of the rate that are used at once."""
        return AT_ONCE * min(self.span, MINUTE / 4 if self.slides else MINUTE / 5)


BUCKET = Kind(inf, slides=False)
KINDS = (Kind(1.0, slides=False), Kind(10.0, slides=False), BUCKET, Kind(10.0, slides=True),
         Kind(MINUTE, slides=True))  # fmt: skip
"""The kinds. The one that costs the least where it is believed wrongly comes first."""


@dataclass
class Rate(Knowledge):
    """The rate of a unit, as found so far.

    rate   units per second; 0: nothing yet
    doubt  by how much that may be wrong by chance, relative to it
    """

    rate: float = 0.0
    doubt: float = 1.0

    def off(self, other: Rate) -> float:
        """Returns by how much another finding differs, relative to the larger; negative if it is
        less."""
        return (other.rate - self.rate) / max(other.rate, self.rate)

    def see(self, other: Rate) -> None:
        """Takes in another finding. It replaces this one if it differs by more than their doubts,
        else it is weighted by them."""
        weight = 1.0
        if self.rate > 0 and abs(self.off(other)) <= 2 * (self.doubt + other.doubt):
            weight = self.doubt**2 / (self.doubt**2 + other.doubt**2)
        self.rate += weight * (other.rate - self.rate)
        self.doubt = min(1.0, max(DRIFT, other.doubt * sqrt(weight)))


class Model(Knowledge):
    """A kind of limit, and what follows from it for each unit."""

    def __init__(self, kind: Kind, units: int) -> None:
        self.kind = kind
        self.rates = [Rate() for _ in range(units)]
        self.error = 0.0
        """By how much more than by chance it differs from refusal to refusal."""
        self.tries = 0
        """The refusals that it had a rate for, whether this was right or not."""
        self.foretold = False
        """Whether it had a rate that explains the latest refusal."""

    def says(
        self, i: int, time: float, amount: float, anchor: tuple[float, float], past: Ledger
    ) -> tuple[float, float]:
        """Returns the rate of unit `i`, if a call sent at `time` was refused, before which `amount`
        had passed, and how much that is based on. At the `anchor` it was refused before."""
        span, since = self.kind.span, time - anchor[0]
        if self.kind.slides:
            passed = amount - past.at(time - span)[i]
            return passed / span, passed
        if span == inf:
            passed = amount - anchor[1]
            return (passed / since, passed) if since > 0 else (0.0, 0.0)
        most, basis, back = 0.0, 0.0, span / 4
        while back <= max(since, span):
            passed = amount - past.at(time - back)[i]
            if passed / (back + span) > most:
                most, basis = passed / (back + span), passed
            back *= WIDER
        return most, basis

    def refused(self, said: dict[int, Rate]) -> int | None:
        """Takes what it says of each unit. Returns the unit that the refusal was for."""
        known = {i: rate for i, rate in said.items() if self.rates[i].rate > 0}
        cause: int | None = None
        self.foretold = False
        if known:
            off = {i: abs(self.rates[i].off(rate)) for i, rate in known.items()}
            cause = min(off, key=lambda i: off[i])
            expected = known[cause].doubt + self.rates[cause].doubt
            self.error += LEARN * (max(0.0, off[cause] - expected) - self.error)
            self.foretold = off[cause] <= expected
            self.tries += 1
        for i, rate in said.items():
            if i == cause or rate.rate > self.rates[i].rate:
                self.rates[i].see(rate)
        return cause

    def proven(self, units: Sequence[int]) -> Sequence[int]:
        """Returns those of which at least half a call's cost has passed, so that chance has not
        made the whole rate. All of them, if there are none such."""
        return [i for i in units if self.rates[i].doubt < 1.0] or units

    def contradict(self) -> None:
        self.foretold = False
        self.error += LEARN * (1.0 - self.error)

    def doubt(self, units: Sequence[int]) -> float:
        """Returns how much it is to be doubted."""
        least = min((self.rates[i].doubt for i in units), default=1.0)
        untried = 0.0 if self.tries else UNTRIED
        return self.error + untried + least + USUAL * KINDS.index(self.kind)


class Bank(Knowledge):
    """All models."""

    TIMES = ("_anchored_at",)

    def __init__(self, units: int) -> None:
        self._models = [Model(kind, units) for kind in KINDS]
        self._anchored_at = -1.0  # when a level was last about nothing; below 0: never
        self._anchor: ByLimit = (0.0,) * units  # what had been admitted by then
        self._costs: Sequence[float] = (0.0,) * units
        self.blame = [UNTRIED] * units
        """How often lately a refusal was for that unit, from 0 to 1."""
        self._believed = 0
        self._paid = [False] * units  # those that the last refusal may have been for

    def known(self, i: int, rate: float, doubt: float) -> None:
        """Begins with a bucket of that rate."""
        model = self._models[KINDS.index(BUCKET)]
        model.rates[i], model.tries = Rate(rate, doubt), 1
        self._paid[i] = True
        self._choose()

    def told(self, i: int, rate: float) -> None:
        """Begins with a rate that is told or given. The bucket may hold less than that says."""
        for model in self._models:
            if not model.kind.slides:
                model.rates[i], model.tries = Rate(rate, TOLD), 1
        self._choose()

    def refused(self, time: float, amounts: ByLimit, units: Sequence[int], costs: Sequence[float],
                past: Ledger) -> None:  # fmt: skip
        """Takes the refusal of a call that was sent at `time`, before which `amounts` had been
        admitted. `units` are those that it may be for."""
        since, then = time, amounts
        if self._anchored_at >= 0:
            since, then = self._anchored_at, self._anchor
        self._paid = [i in units for i in range(len(self._paid))]
        causes: list[int | None] = []
        for model in self._models:
            is_new = time - since >= min(model.kind.span, MINUTE) / 2 or not model.kind.slides
            said: dict[int, Rate] = {}
            for i in units:
                rate, basis = model.says(i, time, amounts[i], (since, then[i]), past)
                if rate > 0 and (is_new or model.rates[i].rate == 0):
                    doubt = (costs[i] + self._costs[i]) / (2 * basis)
                    said[i] = Rate(rate, min(1.0, doubt))
            causes.append(model.refused(said))
        self._choose()
        cause = causes[self._believed]
        if cause is not None:
            for i in units:
                self.blame[i] += LEARN * ((i == cause) - self.blame[i])
        self._anchored_at, self._anchor, self._costs = time, amounts, costs

    def still_empty(self, time: float, amounts: ByLimit) -> None:
        """Notes that the bucket was still empty at `time`."""
        if 0 <= self._anchored_at < time:
            self._anchored_at, self._anchor = time, amounts

    def blocked(self, seconds: float, time: float, amounts: ByLimit) -> None:
        """Notes that no call had passed for so long, until `time`. A window that is used up
        explains that if it is longer. A bucket does not, as the cost of a call comes in soon."""
        for model in self._models:
            if not model.kind.slides or model.kind.span < seconds:
                model.contradict()
        self._choose()
        self._anchored_at, self._anchor = time, amounts

    @property
    def first(self) -> Model:
        """The one whose rates are neither the highest nor the lowest by far, where only one call
        was refused so far."""
        return self._models[1]

    @property
    def best(self) -> Model:
        """The one that is believed."""
        return self._models[self._believed]

    def _choose(self) -> None:
        """Goes on with a model that has foretold the latest refusal, else takes the one that errs
        the least."""
        if not self.best.foretold:
            units = [i for i, paid in enumerate(self._paid) if paid]
            doubts = [model.doubt(units) for model in self._models]
            self._believed = doubts.index(min(doubts))
