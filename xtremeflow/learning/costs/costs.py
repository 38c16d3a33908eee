"""The costs of calls: estimated before they are sent, and settled by their usage."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

from xtremeflow._core import Spent, Typical
from xtremeflow.answers.headers import Observation
from xtremeflow.learning.costs.charges import LIKELY, BelievedRule, Charges, Parts, parts_of
from xtremeflow.learning.costs.estimates import Estimate, Estimator, model_of
from xtremeflow.values.charges import BY_USAGE, UNITS, UNKNOWN, Amounts, ChargeRule
from xtremeflow.values.usage import Usage

_NOTHING: Amounts = dict.fromkeys(UNITS, 0)
_DOUBTFUL = 4096  # calls kept until their cost is known


class Ascertained(NamedTuple):
    """The truth about calls that may have been charged too much here, in tokens.

    withheld  tokens kept of all of them so far
    due       tokens of these that the provider has refunded
    doubtful  tokens of these that the provider may have refunded
    """

    withheld: int
    due: int
    doubtful: int


class Settlement(NamedTuple):
    """The cost of a call of each limit, by its name, in tokens.

    amounts      the most that it may be, by present knowledge
    withheld     the amount by which that may be too much
    ascertained  the truth about the calls before it, where it became known
    """

    amounts: Amounts
    withheld: Amounts
    ascertained: Mapping[str, Ascertained]


class Tariff(NamedTuple):
    """The facts about a model for the native part: see `Scheduler._charged_as`.

    rule      how its calls are charged; None where the next one is to be looked at, as something
              may turn out
    in_doubt  whether earlier calls may have cost less than was charged here
    typical   the usage of its calls
    """

    rule: ChargeRule | None
    in_doubt: bool
    typical: Typical


@dataclass
class _Doubtful:
    """Calls that may have cost less than their charge here, by `rule`, and by how much."""

    rule: ChargeRule
    withheld: Amounts = field(default_factory=lambda: dict.fromkeys(UNITS, 0))
    calls: deque[Parts] = field(default_factory=lambda: deque[Parts](maxlen=_DOUBTFUL))

    def add(self, calls: Iterable[Parts], withheld: Amounts) -> None:
        self.calls.extend(calls)
        self.withheld = _plus(self.withheld, withheld)

    def judge(self, rule: ChargeRule) -> Amounts:
        """Returns the truth about the calls, now that the rule is known, and keeps those that are
        still in doubt."""
        due = dict.fromkeys(UNITS, 0)
        self.withheld = dict.fromkeys(UNITS, 0)
        calls, self.calls = self.calls, deque[Parts](maxlen=_DOUBTFUL)
        for parts in calls:
            _, _, read, cached, most, _, _, written = parts
            usage = Usage(read, written, cached)
            before = self.rule.settled(usage, most)
            now, withheld = _doubted(rule, usage, most)
            due = {unit: due[unit] + max(0, before[unit] - now[unit]) for unit in due}
            if any(withheld.values()):
                self.add([parts], withheld)
        self.rule = rule
        return due


class Costs:
    """Estimates and charges of a scheduler's calls, learned by model, or by another key.

    known  the charges learned before, by model
    """

    def __init__(self, known: Mapping[str, ChargeRule]) -> None:
        self.estimator = Estimator()
        self._known = known
        self._charges = Charges()
        self._fixed = UNKNOWN
        self._assumed: ChargeRule | None = None
        # By model what is learned, and what follows from that:
        self._rules: dict[str, tuple[ChargeRule | None, ChargeRule]] = {}
        self._doubtful: dict[str, _Doubtful] = {}  # by model
        self._foretold: dict[str, Tariff] = {}  # by model, see tariff()

    @property
    def beliefs(self) -> Mapping[str, BelievedRule]:
        return self._charges.beliefs

    @property
    def learned(self) -> dict[str, ChargeRule]:
        """Returns the charges learned so far, by model."""
        rules = dict(self._known)
        for model, belief in self.beliefs.items():
            if belief.confidence < LIKELY:
                continue
            rules[model] = belief.rule.over(rules.get(model, UNKNOWN))
        return {model: rule for model, rule in rules.items() if rule != UNKNOWN}

    def charge_by(self, rule: ChargeRule, *, until_learned: bool) -> None:
        """Takes the user's word on how the provider charges, for good or until its answers show
        it."""
        self._rules.clear()
        self._fixed, self._assumed = (UNKNOWN, rule) if until_learned else (rule, None)
        self._charges.assume(self._assumed)

    def rule(self, model: str) -> ChargeRule:
        """Returns the rule by which that model's calls are charged, as far as it is known."""
        learned = self._charges.rule(model)
        known = self._rules.get(model)
        if known is not None and known[0] is learned:
            return known[1]
        rule = self._fixed if learned is None else self._fixed.over(learned)
        rule = rule.over(self._known.get(model, UNKNOWN))
        if self._assumed is not None:
            rule = rule.over(self._assumed)
        elif learned is None:
            rule = rule.over(BY_USAGE)  # the rule cannot be learned, so the usage counts
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
        ended_at: float,
        rule: ChargeRule | None = None,
    ) -> Settlement:
        """Learns from a call that has ended, and returns its cost."""
        if isinstance(estimate, Estimate):
            self.estimator.learn(estimate, usage)
        most = _most(estimate, usage)
        parts = parts_of(usage, most, ended_at if sent_at is None else sent_at, ended_at)
        if sent_at is not None:
            self._charges.ended(model, parts)
        if rule is None:
            rule = self.rule(model)
        ascertained = self._ascertained(model, rule)
        amounts, withheld = _doubted(rule, usage, most)
        if withheld is not _NOTHING and any(withheld.values()):
            self._doubt(model, rule, [parts], withheld)
        return Settlement(amounts, withheld, ascertained)

    # -- answers that tell nothing new: see csrc/binding/scheduler/foretold.c

    def tariff(self, model: str) -> Tariff | None:
        """Returns the tariff of a model if that has changed since the last time."""
        rule, doubtful = self.rule(model), self._doubtful.get(model)
        is_open = doubtful is not None and doubtful.rule != rule
        tariff = Tariff(
            None if is_open else rule, doubtful is not None, self.estimator.typical(model)
        )
        if self._foretold.get(model) == tariff:
            return None
        self._foretold[model] = tariff
        return tariff

    def forget_tariffs(self) -> None:
        """Makes each model's tariff count as changed."""
        self._foretold.clear()

    def caught_up(self, spent: Spent) -> Mapping[str, Ascertained]:
        """Calls of a model were settled whose answers told nothing new, and the estimator knows.
        It is the same as told() and settled() for each, in less time. Returns the truth about
        earlier calls, where it became known."""
        charges, model = self._charges, spent.model
        for limit, told in spent.told:
            charges.left(model, limit, told)
        if not spent.calls:
            return {}
        charges.note(model, spent.calls)
        if any(spent.withheld):
            rule = self._foretold[model].rule
            assert rule is not None
            withheld = dict(zip(UNITS, spent.withheld, strict=True))
            self._doubt(model, rule, spent.doubtful, withheld)
        charges.judge(model)
        return self._ascertained(model, self.rule(model))

    def _doubt(
        self, model: str, rule: ChargeRule, calls: Iterable[Parts], withheld: Amounts
    ) -> None:
        """Notes that these calls may have been charged `withheld` too much by that rule."""
        doubtful = self._doubtful.get(model)
        if doubtful is None:
            doubtful = self._doubtful[model] = _Doubtful(rule)
        doubtful.add(calls, withheld)

    def _ascertained(self, model: str, rule: ChargeRule) -> Mapping[str, Ascertained]:
        """Returns the truth about the doubtful calls, if that rule is a new one."""
        doubtful = self._doubtful.get(model)
        if doubtful is None or doubtful.rule == rule:
            return {}
        before = self._withheld()
        due = doubtful.judge(rule)
        after = self._withheld()
        if not doubtful.calls:
            del self._doubtful[model]
        return {unit: Ascertained(before[unit], due[unit], after[unit]) for unit in UNITS}

    def _withheld(self) -> Amounts:
        withheld = dict.fromkeys(UNITS, 0)
        for doubtful in self._doubtful.values():
            withheld = _plus(withheld, doubtful.withheld)
        return withheld


def _plus(a: Amounts, b: Amounts) -> Amounts:
    return {unit: a[unit] + b[unit] for unit in UNITS}


def _doubted(rule: ChargeRule, usage: Usage, most: int) -> tuple[Amounts, Amounts]:
    """Returns the cost of a call by that rule, and the amount by which it may be too much."""
    amounts = rule.settled(usage, most)
    if rule.is_known:
        return amounts, _NOTHING
    least = rule.least(usage, most)
    return amounts, {unit: amounts[unit] - least[unit] for unit in amounts}


def _most(estimate: object, usage: Usage) -> int:
    """Returns the max_tokens of an estimate, for a call with that usage."""
    if isinstance(estimate, Estimate):
        return estimate.most or 0
    if isinstance(estimate, Mapping):
        amounts = cast("Mapping[str, float]", estimate)
        if "output_tokens" in amounts:
            return math.ceil(amounts["output_tokens"])
        estimate = amounts.get("tokens", 0)
    total = estimate if isinstance(estimate, (int, float)) else 0
    return max(0, math.ceil(total) - usage.input)
