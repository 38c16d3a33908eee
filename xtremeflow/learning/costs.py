"""What calls cost: estimated before they are sent, and settled by what they have used."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from xtremeflow.learning.charges import Belief, Charges
from xtremeflow.learning.estimates import Estimate, Estimator, model_of
from xtremeflow.learning.headers import Observation
from xtremeflow.learning.rules import UNKNOWN, Amounts, Rule
from xtremeflow.learning.usage import Usage

# Where answers do not tell what is left, nothing can be learned, and the usage is all there is.
_UNTOLD = Rule("sum", settles=True, cached_free=False)


class Costs:
    """Estimates and charges of a scheduler's calls, learned by model, or by another key."""

    def __init__(self) -> None:
        self.estimator = Estimator()
        self._charges = Charges()
        self._fixed = UNKNOWN
        self._assumed: Rule | None = None
        self._rules: dict[str, tuple[Rule | None, Rule]] = {}  # what follows from what is learned

    @property
    def beliefs(self) -> Mapping[str, Belief]:
        return self._charges.beliefs

    def charge_by(self, rule: Rule, *, until_learned: bool) -> None:
        """The user says how the provider charges, for good or until its answers show it."""
        self._rules.clear()
        self._fixed, self._assumed = (UNKNOWN, rule) if until_learned else (rule, None)

    def rule(self, model: str) -> Rule:
        """How that model's calls are charged, as far as anybody knows."""
        learned = self._charges.rule(model)
        known = self._rules.get(model)
        if known is not None and known[0] is learned:
            return known[1]
        rule = self._fixed if learned is None else self._fixed.over(learned)
        if self._assumed is not None:
            rule = rule.over(self._assumed)
        elif learned is None:
            rule = rule.over(_UNTOLD)
        self._rules[model] = learned, rule
        return rule

    def estimate(
        self,
        request: str | int | Mapping[str, Any],
        model: str | None,
        most: int | None,
        in_flight: int,
        units: Iterable[str],
    ) -> Estimate:
        """See `Estimator.estimate`."""
        if model is None:
            model = model_of(request)
        rule = self.rule(model)
        return self.estimator.estimate(
            request, model=model, most=most, in_flight=in_flight, rule=rule, units=units
        )

    def told(
        self, model: str, seen: Sequence[Observation], sent_at: float, received_at: float
    ) -> None:
        """See `Charges.told`."""
        self._charges.told(model, seen, sent_at, received_at)

    def settled(
        self,
        model: str,
        estimate: object,
        usage: Usage,
        sent_at: float | None,
        ended_at: float | None,
        rule: Rule | None = None,
    ) -> tuple[Amounts, Amounts]:
        """Learn from a call that has ended; say what it has cost of each limit, and by how much
        that may be too much, for all that is known."""
        if isinstance(estimate, Estimate):
            self.estimator.learn(estimate, usage)
        most = _most(estimate, usage)
        if sent_at is not None and ended_at is not None:
            self._charges.ended(model, most, usage, sent_at, ended_at)
        if rule is None:
            rule = self.rule(model)
        amounts = rule.settled(usage, most)
        if rule.is_known:
            return amounts, {}
        least = rule.least(usage, most)
        return amounts, {unit: amounts[unit] - least[unit] for unit in amounts}


def _most(estimate: object, usage: Usage) -> int:
    """The max_tokens that an estimate had in it, of a call that has used so much."""
    if isinstance(estimate, Estimate):
        return estimate.most or 0
    if isinstance(estimate, Mapping):
        amounts = cast("Mapping[str, float]", estimate)
        if "output_tokens" in amounts:
            return math.ceil(amounts["output_tokens"])
        estimate = amounts.get("tokens", 0)
    total = estimate if isinstance(estimate, (int, float)) else 0
    return max(0, math.ceil(total) - usage.input)
