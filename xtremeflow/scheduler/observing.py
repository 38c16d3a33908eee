"""What a scheduler does with its provider's answers: it observes, settles and estimates."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, TypeAlias

from xtremeflow import _core
from xtremeflow._core import current_call, report_token_usage
from xtremeflow.answers.answer import Answer
from xtremeflow.answers.headers import observed
from xtremeflow.answers.table import judged
from xtremeflow.answers.usage import usage_of
from xtremeflow.answers.verdict import PASSED, Meaning, Verdict
from xtremeflow.learning.belief import Adapt, Belief
from xtremeflow.learning.costs.costs import Ascertained, Costs
from xtremeflow.learning.costs.estimates import Estimate, Estimator
from xtremeflow.learning.learner import Expected, Learner
from xtremeflow.learning.saved import Learned, saved
from xtremeflow.scheduler.account import SharedAccount
from xtremeflow.scheduler.mapped import Mapped
from xtremeflow.share.member import Member
from xtremeflow.values.arguments import check_fields, check_int, check_number, check_text
from xtremeflow.values.charges import ChargeRule
from xtremeflow.values.limits import Definition, Limit

HeaderFields: TypeAlias = Mapping[str, str] | Iterable[tuple[str | bytes, str | bytes]]

logger = logging.getLogger("xtremeflow")

_NOT_SETTLED = 0  # see _foreseen
UNSHOWN = 30  # calls without an observed answer, after which an adapting scheduler warns


class Observing(Mapped):
    """The native scheduler with what its provider's answers say. TaskScheduler makes its parts."""

    _limits: list[Limit]
    _burst_ratio: float
    _adapt: Adapt
    # Before __init__ a lock without an owner: the native part says that __init__ is missing.
    _learning: AbstractContextManager[bool] = nullcontext(True)
    _learner: Learner | None
    _costs: Costs
    _expects: bool  # something of the next answer
    _share: Member | None
    _account: SharedAccount | None = None  # of the members that it learns with
    _common: Belief | None = None  # the account's, at the begin of this one
    _units: tuple[str, ...]
    _on_tokens: list[tuple[int, str]]
    _prompts: int = 0  # tokens, of the calls with a prefix whose provider's prices are known
    _saved: float = 0.0  # of these, those whose price the cache has saved

    def observe(
        self,
        status: int,
        headers: HeaderFields,
        body: Any = None,
        *,
        sent_at: float | None = None,
        received_at: float | None = None,
        model: str | None = None,
        usage: Any = None,
    ) -> Verdict:
        """Learns the provider's limits from an answer, and keeps to them.

        Call it for every answer, good or bad, with the headers of your HTTP client. If the answer
        tells a lower amount than a limit here, that limit is lowered. The rest that it tells
        corrects the limit's bucket; calls that the answer cannot count are subtracted. ``adapt``
        decides whether limits can be raised and added. The verdict on the answer is kept for
        `auto_backoff` until the attempt ends. Headers that make no sense are ignored.

        Args:
            status: The HTTP status, 100 to 999.
            headers: A mapping, or pairs, of names to values.
            body: JSON, as text or decoded. Of a successful answer it matters only if there is an
                error in it.
            sent_at: When the call was sent, in seconds on the running loop's clock (``loop.time()``
                or, for uvloop, ``time.monotonic()``). By default the dispatch of the current call.
                Without it, outside a call, only amounts are learned, not the rest that is left.
            received_at: When the headers came, by default now.
            model: The model whose charges are learned, by default that of the call's `estimate`; or
                any other key, where models share a limit.
            usage: The usage of the call, if you know it. It is passed to `settle`.

        Returns:
            The meaning of the answer, an `xtremeflow.answers.verdict.Verdict`.

        Raises:
            TypeError, ValueError: An argument is of the wrong type or out of its range.
        """
        check_int("status", status, 100, 999)
        check_fields("headers", headers)
        check_text("model", model)
        if sent_at is not None:
            check_number("sent_at", sent_at, zero=True)
        if received_at is not None:
            check_number("received_at", received_at, zero=True)
        foreseen = None if model is not None else self._foreseen(
            None, status, headers, body, sent_at, received_at, _NOT_SETTLED
        )  # fmt: skip
        if foreseen is not None:
            verdict = PASSED
        else:
            answer = Answer(status, headers, body, sent_at=sent_at, received_at=received_at)
            verdict = self._answered(answer, model)
        if usage is not None:
            self.settle(usage, model=model)
        return verdict

    def _learn_head(self, answer: Answer) -> None:
        """Follows the limits that an answer's head tells, before `_answered` has its body."""
        self._look()
        self._alarm_after(0)
        self._following().told(answer)

    def _answered(self, answer: Answer, model: str | None = None) -> Verdict:
        """Does the work of `observe`, on an Answer."""
        sent_at, received_at = answer.sent_at, answer.received_at
        self._alarm_after(0)
        call = self._current()
        meant = judged(answer)
        with self._learning:
            self._look()
            verdict = self._following().answered(answer, meant)
            if call is not None:
                call.verdict = verdict
            if verdict.meaning is Meaning.PASSED and (seen := observed(answer)):
                came = self._now() if received_at is None else received_at
                sent = call.dispatched_at if sent_at is None and call is not None else sent_at
                if sent is not None:
                    key = _key(model, call)
                    self._costs.told(key, seen, sent, came)
                    self._hand_over(key)
            if verdict.meaning is Meaning.PASSED:
                self._expect()
        return verdict

    # Answers that tell nothing new the native part takes in: csrc/binding/scheduler/foretold.c

    def _shown(self, answer: Answer) -> Verdict:
        """Looks at an answer as far as there is anything to be moved by it."""
        is_told = answer.quotas != [] or self._adapt or answer.status >= 400
        if self.limit_names and is_told:
            return self._answered(answer)
        verdict = judged(answer)
        if verdict.meaning is Meaning.PASSED and not self._expects:
            self._expect()
        return verdict

    def _expect(self) -> None:
        """Tells the native part what the next answer says if it tells nothing new."""
        with self._learning:
            expected = Expected() if self._learner is None else self._learner.expected()
            is_alone = self._share is None and (self._account is None or self._learner is None)
            if expected is not None and is_alone:  # others move what is shared
                self._foretell(*expected, not self.limit_names, PASSED)
                self._expects = True

    def _look(self) -> None:
        """Takes over the answers that the native part has taken in, and has it pass on the next
        ones. Callers that read or change the knowledge call it first."""
        with self._learning:
            self._expects = False
            last = self._unforetell()
            self._catch_up()
            if self._learner is not None:
                for index, remaining, reset in last:
                    self._learner.caught_up(index, remaining, None if reset < 0 else reset)

    def _catch_up(self) -> None:
        """Tells the learner and the costs of the answers that told nothing new."""
        with self._learning:
            unread = self._unread()
            if unread is None:
                return
            if self._learner is not None:
                self._learner.passed(unread.flights)
            for spent in unread.spent:
                self._put_right(self._costs.caught_up(spent))
                self._hand_over(spent.model)

    def _put_right(self, ascertained: Mapping[str, Ascertained]) -> None:
        """Refunds what turned out to have been charged too much."""
        for index, name in self._on_tokens:
            if name in ascertained:
                self._ascertain(index, **ascertained[name]._asdict())

    def _hand_over(self, model: str) -> None:
        """Tells the native part what a model's calls cost, if that has changed."""
        tariff = self._costs.tariff(model)
        if tariff is not None:
            self._charged_as(model, *tariff)

    def _take_back(self) -> None:
        """Has the native part ask what any call costs."""
        self._costs.forget_tariffs()
        self._charged_as(None, None, False, None)

    def _noticed(self, index: int, moved: float) -> float:
        """See `ToldFollower.noticed`."""
        with self._learning:
            return math.inf if self._learner is None else self._learner.noticed(index, moved)

    def settle(
        self, usage: Any, *, model: str | None = None, rule: ChargeRule | None = None
    ) -> dict[str, int]:
        """Settles the current call by its usage, learns from it, and returns the call's cost of the
        limits on tokens, by name.

        The cost follows from the rule by which the provider is believed to charge: see
        `stats().charges`. While the rule is unknown, nothing is refunded. Where the answers do not
        tell what is left, the cost is the usage. `report_token_usage` settles by your own figure.

        Args:
            usage: The usage in any provider's words: the decoded answer or its ``usage``, or such
                an object of an SDK. Without a usage in it, nothing is settled.
            model: As for `observe`.
            rule: The rule of charging, if you know better than the scheduler.

        Raises:
            RuntimeError: The running code belongs to no call of this scheduler.
        """
        check_text("model", model)
        call = self._current()
        if call is None:
            raise RuntimeError("only a call of this scheduler can be settled")
        used = usage_of(usage)
        if used is None:
            return {}
        estimate, sent_at = call.extra["estimated_tokens"], call.dispatched_at
        key = _key(model, call)
        with self._learning:
            self._catch_up()
            by = self._costs.rule(key) if rule is None else rule
            call._read(used.cached, used.written, by.admits_cached_free)
            settled = self._costs.settled(key, estimate, used, sent_at, self._now(), rule)
            report_token_usage({unit: settled.amounts[unit] for unit in self._units}).close()
            self._put_right(settled.ascertained)
            for index, name in self._on_tokens:
                if settled.withheld[name]:
                    self._withhold(index, settled.withheld[name])
            self._hand_over(key)
        return settled.amounts

    def _save(self, prompt: int, saved: float) -> None:
        """Notes the tokens of a call's prompt, and those whose price the cache has saved."""
        with self._learning:
            self._prompts += prompt
            self._saved += saved

    def estimate(
        self,
        request: str | int | Mapping[str, Any],
        *,
        model: str | None = None,
        most: int | None = None,
    ) -> Estimate:
        """Returns the likely cost of a call, for the argument ``estimated_tokens`` of `start_task`,
        `submit` and `map`. It is learned from the usages that `settle` receives.

        One thread estimates, or learns, at a time: a tokenizer of yours holds up the others.

        Args:
            request: The decoded body, the text of the prompt, or its measured size.
            model: The model, by default that of the body.
            most: The most tokens that the answer may have, by default those of the body.

        Raises:
            TypeError, ValueError: An argument is of the wrong type or out of its range.
        """
        if isinstance(request, int):
            check_int("request", request, 0)
        elif not isinstance(request, (dict, str, Mapping)):  # the test of an ABC is slow
            raise TypeError(f"request must be a decoded body, a text or a size, got {request!r}")
        if model is not None:
            check_text("model", model)
        if most is not None:
            check_int("most", most, 0)
        if model is None or not isinstance(request, int):
            with self._learning:
                model, request, most = self._costs.estimator.measured(request, model, most)
        found = self._estimate(Estimate, model, request, most)
        if found is not None:
            return found
        with self._learning:
            return self._costs.estimate(request, model, most, self.active_tasks, self._units)

    @property
    def estimator(self) -> Estimator:
        """The estimator behind `estimate`. Assign another one, for example with a tokenizer."""
        self._catch_up()
        return self._costs.estimator

    @estimator.setter
    def estimator(self, estimator: Estimator) -> None:
        if not isinstance(estimator, Estimator):
            raise TypeError(f"estimator must be an Estimator, got {estimator!r}")
        with self._learning:
            self._catch_up()
            self._take_back()
            self._costs.estimator = estimator

    def charge_by(self, rule: ChargeRule, *, until_learned: bool = False) -> None:
        """States the rule by which the provider charges tokens, for good, or with ``until_learned``
        only until its answers show it. Parts that the rule leaves open are learned in any case."""
        if not isinstance(rule, ChargeRule):
            raise TypeError(f"rule must be a ChargeRule, got {rule!r}")
        with self._learning:
            self._look()
            self._take_back()
            self._costs.charge_by(rule, until_learned=until_learned)

    def _current(self) -> _core.Call | None:
        call = current_call()
        return call if call is not None and call.scheduler is self else None

    @property
    def learned(self) -> dict[str, Any]:
        """The knowledge of the provider's limits so far, which can be written as JSON. Pass it to
        the next scheduler as ``learned``. Empty without ``adapt``."""
        with self._learning:
            if self._learner is None:
                return saved(Learned())
            self._look()
            self._learner.hear()
            return saved(replace(self._learner.learned, charges=self._costs.learned))

    def _following(self, before: Learned | None = None) -> Learner:
        if self._learner is None:
            begin = self._common or self._given()
            self._learner = Learner(
                self if self._account is None else self._account,
                begin.limits,
                begin.uncapped,
                bounded=self._adapt is not True,
                places=bool(self._adapt),
                learned=before,
                account=self._account,
            )
        return self._learner

    def _given(self) -> Belief:
        """Returns the belief before anything is learned."""
        limits = ((self._defined(limit), self._is_capped(limit)) for limit in self._limits)
        return Belief(self._adapt, tuple(limits))

    def _keeps(self, index: int, limit: Definition, /) -> bool:
        """See `learning.reading.Core`. Alone it has no other members."""
        return False

    def _is_low(self, index: int, /) -> bool:
        """See `learning.reading.Core`. Alone its level rises by itself."""
        return False

    def _unshown(self) -> None:
        logger.warning(
            "%d calls have ended and %r was shown no answer, so it learns nothing and lets only "
            "a few calls in at a time: call scheduler.observe(status, headers, body) for each "
            "answer, or send the calls by xtremeflow.http, which does so",
            UNSHOWN,
            self,
        )

    def _is_capped(self, limit: Limit) -> bool:
        """Whether a capacity was given."""
        return limit.capacity is not None or self._burst_ratio > 0

    def _defined(self, limit: Limit) -> tuple[str, float, float, float]:
        if not isinstance(limit, Limit):
            raise TypeError(f"a limit must be a Limit object, got {limit!r}")
        capacity = limit.capacity
        if capacity is None:
            capacity = self._burst_ratio * limit.rate
        return limit.name, float(limit.amount), float(limit.per), float(capacity)


def _key(model: str | None, call: _core.Call | None) -> str:
    """Returns the key under which a call's charges are learned."""
    if model is None and call is not None:
        estimate = call.extra["estimated_tokens"]
        model = estimate.model if isinstance(estimate, Estimate) else None
    return model or ""
