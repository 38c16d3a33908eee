"""A bank of explicit models of a limit that nobody tells: which of them foretells refusals best.

When a call is refused, each model says what the limit is. A bucket was empty at the last refusal
and is empty now, so what has passed meanwhile is what came in. A window of S seconds is used up, so
its limit is what has passed in S seconds. The right model says the same at every refusal, however
the calls were paced meanwhile; the others do not. So the one is believed that errs the least.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, sqrt

from xtremeflow.learning.rates.ledger import Ledger
from xtremeflow.learning.reading import Amounts
from xtremeflow.values.limits import MINUTE

BUCKET = inf
SPANS = (BUCKET, 10.0, MINUTE)  # s that a model looks back; BUCKET: to the last refusal
LEARN = 0.4  # the weight of the latest refusal in how much a model errs
UNTRIED = 0.5  # the error of what was said only once
DRIFT = 0.01  # by which a limit may change from one refusal to the next, relative
USUAL = 0.005  # by how much less a model must err than one that is before it in SPANS


@dataclass
class Model:
    """span    seconds that it looks back
    rate    units per second, as it says; 0: nothing yet
    doubt   by how much that may be wrong by chance, relative to it
    error   by how much more than that it differs from refusal to refusal
    untried the same before it has said it twice
    """

    span: float
    rate: float = 0.0
    doubt: float = 1.0
    error: float = 0.0
    untried: float = UNTRIED

    def see(self, rate: float, doubt: float) -> None:
        """It says another time what the rate is, and how sure that is."""
        weight = 1.0
        if self.rate > 0:
            off, expected = abs(rate - self.rate) / max(rate, self.rate), doubt + self.doubt
            self.error += LEARN * (max(0.0, off - expected) - self.error)
            self.untried = 0.0
            if off <= 2 * expected:  # else it is another limit now
                weight = self.doubt**2 / (self.doubt**2 + doubt**2)
        self.rate += weight * (rate - self.rate)
        self.doubt = min(1.0, max(DRIFT, doubt * sqrt(weight)))

    def contradict(self) -> None:
        self.error += LEARN * (1.0 - self.error)


class Bank:
    """The models of each limit."""

    def __init__(self, limits: int) -> None:
        self._models = [[Model(span) for span in SPANS] for _ in range(limits)]
        self._anchor: tuple[float, Amounts] | None = None  # when a level was last about nothing
        self._costs: Sequence[float] = (0.0,) * limits

    def known(self, i: int, rate: float, doubt: float) -> None:
        """Begin with that bucket."""
        self._models[i][0] = Model(BUCKET, rate, doubt, untried=0.0)

    def refused(self, time: float, amounts: Amounts, costs: Sequence[float], past: Ledger) -> None:
        """A call sent at `time`, before which `amounts` had been admitted, was refused."""
        since, then = self._anchor or (time, amounts)
        for i, cost in enumerate(costs):
            for model in self._models[i]:
                if model.span == BUCKET:
                    passed, seconds = amounts[i] - then[i], time - since
                else:
                    passed, seconds = amounts[i] - past.at(time - model.span)[i], model.span
                is_new = model.rate == 0 or time - since >= min(seconds, model.span / 2)
                if passed > 0 and cost > 0 and seconds > 0 and is_new:
                    model.see(passed / seconds, (cost + self._costs[i]) / (2 * passed))
        self._anchor, self._costs = (time, amounts), costs

    def still_empty(self, time: float, amounts: Amounts) -> None:
        """Notes that the bucket was still empty at `time`."""
        if self._anchor is not None and time > self._anchor[0]:
            self._anchor = time, amounts

    def blocked(self, seconds: float, time: float, amounts: Amounts) -> None:
        """Nothing had passed for so long, until `time`. A window that is used up explains that if
        it is longer; a bucket does not, as the cost of a call comes in soon."""
        for models in self._models:
            for model in models:
                if model.span == BUCKET or model.span < seconds:
                    model.contradict()
        self._anchor = time, amounts

    def best(self, i: int) -> Model:
        """The one that errs the least."""
        return min(
            self._models[i],
            key=lambda model: (
                model.error + model.doubt + model.untried + USUAL * SPANS.index(model.span)
            ),
        )
