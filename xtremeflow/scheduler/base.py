"""TaskScheduler: the native queue with a number of slots, and what all schedulers can do."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine, Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal, TypeAlias, TypeVar, overload

from xtremeflow import _core
from xtremeflow._core import current_call, report_token_usage
from xtremeflow.answers.answer import Answer
from xtremeflow.answers.headers import observed
from xtremeflow.answers.table import judged
from xtremeflow.answers.usage import usage_of
from xtremeflow.answers.verdict import Meaning, Verdict
from xtremeflow.batches.map import map_calls
from xtremeflow.learning.costs import Costs
from xtremeflow.learning.estimates import Estimate, Estimator
from xtremeflow.learning.learner import PLACES, UNLIMITED, Learner
from xtremeflow.learning.rules import UNITS, ChargeRule
from xtremeflow.learning.saved import Learned, restored, saved
from xtremeflow.scheduler.stats import Stats, stats_from
from xtremeflow.values.arguments import check_int, check_number
from xtremeflow.values.limits import Cost, Limit

T = TypeVar("T")
R = TypeVar("R")
Adapt: TypeAlias = bool | Literal["bounded"]
Headers: TypeAlias = Mapping[str, str] | Iterable[tuple[str | bytes, str | bytes]]

logger = logging.getLogger("xtremeflow")

UNSHOWN = 30  # calls without an answer after which a scheduler that adapts says so


class TaskScheduler(_core.Scheduler):
    """Runs coroutines in order of submission, no more than ``max_concurrency`` at a time.

    Args:
        max_concurrency: Calls in flight at a time, at least 1; ``None`` is no limit. May be
            changed later by assignment.
        limits: Rate limits that every call must pass as well.
        burst_ratio: Seconds of its rate that a limit without a capacity allows at once.
        adapt: Whether limits are learned that are not given: from what the provider's answers tell
            of them, or where they tell nothing from what is refused. Then every answer is to be
            shown to `observe`: until one has told of a limit only a few calls are in flight.
            ``True``: the limits given are only what is assumed until answers say otherwise.
            ``"bounded"``: they stay upper bounds.
        learned: What `learned` of an earlier scheduler was, to begin with; goes with ``adapt``.

    Raises:
        TypeError, ValueError: An argument is of the wrong type or out of its range.
    """

    def __init__(
        self,
        max_concurrency: int | None = None,
        *,
        limits: Iterable[Limit] = (),
        burst_ratio: float = 0.0,
        adapt: Adapt = False,
        learned: Mapping[str, Any] | None = None,
    ) -> None:
        check_number("burst_ratio", burst_ratio, zero=True)
        if adapt not in (True, False, "bounded"):
            raise ValueError(f"adapt must be True, False or 'bounded', got {adapt!r}")
        if learned is not None and not adapt:
            raise ValueError("learned is of use with adapt=True or adapt='bounded' only")
        before = Learned() if learned is None else restored(learned)
        self._burst_ratio = burst_ratio
        self._limits = list(limits)
        self._adapt: Adapt = adapt
        self._learner: Learner | None = None
        self._costs = Costs(before.charges)
        super().__init__(
            limits=[self._defined(limit) for limit in self._limits],
            max_concurrency=max_concurrency,
            places=[name for name, _ in PLACES] if adapt else (),
        )
        names = self.limit_names
        self._on_tokens = [(index, name) for index, name in enumerate(names) if name in UNITS]
        self._units = tuple(unit for unit in UNITS if unit == "tokens" or unit in names)
        if adapt:
            self._following(before)
            self._alarm_after(UNSHOWN)

    def _following(self, before: Learned | None = None) -> Learner:
        if self._learner is None:
            self._learner = Learner(
                self,
                [Limit(*self._defined(limit)) for limit in self._limits],
                bounded=self._adapt is not True,
                places=bool(self._adapt),
                learned=before,
            )
        return self._learner

    def _unshown(self) -> None:
        logger.warning(
            "%d calls have ended and %r was shown no answer, so it learns nothing and lets only "
            "a few calls in at a time: call scheduler.observe(status, headers, body) for each "
            "answer, or send the calls by xtremeflow.http, which does so",
            UNSHOWN,
            self,
        )

    def _defined(self, limit: Limit) -> tuple[str, float, float, float]:
        if not isinstance(limit, Limit):
            raise TypeError(f"a limit must be a Limit object, got {limit!r}")
        capacity = limit.capacity
        if capacity is None:
            capacity = self._burst_ratio * limit.rate
        return limit.name, float(limit.amount), float(limit.per), float(capacity)

    @overload
    def map(
        self,
        fn: Callable[[T], Coroutine[Any, Any, R]],
        items: Iterable[T] | AsyncIterable[T],
        *,
        estimated_tokens: Cost | Callable[[T], Cost] = 0,
        priority: int = 0,
        timeout: float | None = None,
        ordered: bool = True,
        return_exceptions: Literal[False] = False,
        window: int | None = None,
    ) -> AsyncGenerator[R, None]: ...
    @overload
    def map(
        self,
        fn: Callable[[T], Coroutine[Any, Any, R]],
        items: Iterable[T] | AsyncIterable[T],
        *,
        estimated_tokens: Cost | Callable[[T], Cost] = 0,
        priority: int = 0,
        timeout: float | None = None,
        ordered: bool = True,
        return_exceptions: Literal[True],
        window: int | None = None,
    ) -> AsyncGenerator[R | BaseException, None]: ...
    def map(
        self,
        fn: Callable[[T], Coroutine[Any, Any, R]],
        items: Iterable[T] | AsyncIterable[T],
        *,
        estimated_tokens: Cost | Callable[[T], Cost] = 0,
        priority: int = 0,
        timeout: float | None = None,
        ordered: bool = True,
        return_exceptions: bool = False,
        window: int | None = None,
    ) -> AsyncGenerator[Any, None]:
        """Call ``fn`` on every item, each call admitted by this scheduler, and yield the results.

        See `xtremeflow.batches.map.map_calls`, which says it all.
        """
        return map_calls(
            self,
            fn,
            items,
            estimated_tokens=estimated_tokens,
            priority=priority,
            timeout=timeout,
            ordered=ordered,
            return_exceptions=return_exceptions,
            window=window,
        )

    async def wait_pending(self) -> None:
        """Wait until no call waits or is in flight, those that start meanwhile included.

        Called from within a call of this scheduler, it waits for all the others. The results and
        exceptions stay in the tasks.
        """
        await self._drained()

    def observe(
        self,
        status: int,
        headers: Headers,
        body: Any = None,
        *,
        sent_at: float | None = None,
        received_at: float | None = None,
        model: str | None = None,
        usage: Any = None,
    ) -> Verdict:
        """Learn from an answer what the provider says of its limits, and keep to it.

        To be called for every answer, good or bad, with the headers as the HTTP client has them.
        Amounts lower than a limit here lower it; what is left corrects its bucket, calls that the
        answer could not or may not know of taken into account. Whether limits can be raised, and
        new ones come, is what ``adapt`` says. What the answer means for its call
        is kept until the attempt ends, for `auto_backoff`. Headers that make no sense are passed
        over.

        Args:
            status: The HTTP status, 100 to 599.
            headers: A mapping, or pairs, of names to values.
            body: JSON, as text or parsed. Of an answer that is no error it matters only whether
                there is one in it.
            sent_at: When the call was sent, in seconds on the running loop's clock (``loop.time()``
                or, for uvloop, ``time.monotonic()``). By default when the current call was
                dispatched; outside a call then only amounts are learned, not what is left of them.
            received_at: When its headers came, by default now.
            model: Of which the charges are learned, by default that of the call's `estimate`; or
                any other key, where models share a limit.
            usage: What the call has used, if that is known: `settle` is called with it.

        Returns:
            What the answer means, see `xtremeflow.answers.verdict.Verdict`.

        Raises:
            TypeError, ValueError: The status or a time is of the wrong type or out of its range.
        """
        check_int("status", status, 100)
        if sent_at is not None:
            check_number("sent_at", sent_at, zero=True)
        if received_at is not None:
            check_number("received_at", received_at, zero=True)
        answer = Answer(status, headers, body, sent_at=sent_at, received_at=received_at)
        verdict = self._answered(answer, model)
        if usage is not None:
            self.settle(usage, model=model)
        return verdict

    def _answered(self, answer: Answer, model: str | None = None) -> Verdict:
        """What `observe` does, of an answer that is made."""
        sent_at, received_at = answer.sent_at, answer.received_at
        self._alarm_after(0)
        verdict = self._following().answered(answer, judged(answer))
        call = self._current()
        if call is not None:
            call.verdict = verdict
        if verdict.meaning is Meaning.PASSED and (seen := observed(answer)):
            came = self._now() if received_at is None else received_at
            sent = call.dispatched_at if sent_at is None and call is not None else sent_at
            if sent is not None:
                self._costs.told(_key(model, call), seen, sent, came)
        return verdict

    def settle(
        self, usage: Any, *, model: str | None = None, rule: ChargeRule | None = None
    ) -> dict[str, int]:
        """Settle the current call by what it has used, learn from that, and say what it has cost
        of limits on tokens.

        That is what the provider is believed to charge: see `stats().charges`. While it is not
        known, nothing is given back; where its answers do not tell what is left, the usage is what
        counts. `report_token_usage` settles by what you say.

        Args:
            usage: The answer's, in any provider's words: the decoded answer or its ``usage``, or
                such objects of an SDK. Nothing is settled if there is none in it.
            model: As for `observe`.
            rule: How it is charged, where you know better than what is believed.

        Raises:
            RuntimeError: The running code belongs to no call of this scheduler.
        """
        call = self._current()
        if call is None:
            raise RuntimeError("only a call of this scheduler can be settled")
        used = usage_of(usage)
        if used is None:
            return {}
        estimate, sent_at = call.extra["estimated_tokens"], call.dispatched_at
        key = _key(model, call)
        settled = self._costs.settled(key, estimate, used, sent_at, self._now(), rule)
        report_token_usage({unit: settled.amounts[unit] for unit in self._units}).close()
        for index, name in self._on_tokens:
            if name in settled.ascertained:
                self._ascertain(index, *settled.ascertained[name])
            if settled.withheld[name]:
                self._withhold(index, settled.withheld[name])
        return settled.amounts

    def estimate(
        self,
        request: str | int | Mapping[str, Any],
        *,
        model: str | None = None,
        most: int | None = None,
    ) -> Estimate:
        """What a call is likely to take of the limits: what `start_task` and the like are to be
        given as ``estimated_tokens``. It is learned from what `settle` is told.

        Args:
            request: The body, decoded; or just the text of the prompt; or its size as measured.
            model: By default what the body says.
            most: The most tokens that the answer may have, by default what the body says.

        Raises:
            TypeError, ValueError: An argument is of the wrong type or out of its range.
        """
        if not isinstance(request, (str, int, Mapping)):
            raise TypeError(f"request must be a decoded body, a text or a size, got {request!r}")
        if most is not None:
            check_int("most", most, 0)
        return self._costs.estimate(request, model, most, self.active_tasks, self._units)

    @property
    def estimator(self) -> Estimator:
        """What `estimate` has learned; may be replaced, by one with a tokenizer for example."""
        return self._costs.estimator

    @estimator.setter
    def estimator(self, estimator: Estimator) -> None:
        if not isinstance(estimator, Estimator):
            raise TypeError(f"estimator must be an Estimator, got {estimator!r}")
        self._costs.estimator = estimator

    def charge_by(self, rule: ChargeRule, *, until_learned: bool = False) -> None:
        """Say how the provider charges tokens, for good, or only until its answers show it. What
        the rule leaves open is learned in any case."""
        if not isinstance(rule, ChargeRule):
            raise TypeError(f"rule must be a ChargeRule, got {rule!r}")
        self._costs.charge_by(rule, until_learned=until_learned)

    def _current(self) -> _core.Call | None:
        call = current_call()
        return call if call is not None and call.scheduler is self else None

    @property
    def adapt(self) -> Adapt:
        """Whether limits that only the provider's answers tell of are followed, as was given."""
        return self._adapt

    @property
    def limits(self) -> tuple[Limit, ...]:
        """The rate limits, as they are configured."""
        return tuple(self._limits)

    @property
    def learned(self) -> dict[str, Any]:
        """What is known of the provider's limits by now, to be written as JSON and to be given to
        the next scheduler as ``learned``. Empty without ``adapt``."""
        if self._learner is None:
            return saved(Learned())
        return saved(replace(self._learner.learned, charges=self._costs.learned))

    def set_limit(self, limit: Limit) -> None:
        """Replace the limit of the same name; the bucket's level stays, up to the new capacity.

        Where several limits have that name, the one of the same period is meant. Calls that wait
        are looked at again at once.

        Raises:
            ValueError: There is no such limit.
        """
        definition = self._defined(limit)
        named = [i for i, own in enumerate(self._limits) if own.name == limit.name]
        if len(named) > 1:
            named = [i for i in named if self._limits[i].per == limit.per]
        if not named:
            raise ValueError(f"limit must be like one of {self._limits!r}, got {limit!r}")
        self._retune(named[0], definition)
        self._limits[named[0]] = limit
        if self._learner is not None:
            self._learner.configure(named[0], Limit(*definition))

    def stats(self) -> Stats:
        """Return what has happened so far, and what left quota idle."""
        snapshot = self._snapshot()
        charges, learner = self._costs.beliefs, self._learner
        if learner is None:
            return stats_from(snapshot, self._limits, charges=charges)
        return stats_from(
            snapshot,
            self._limits,
            learner.reasons,
            learner.confidence,
            learner.slots,
            charges,
        )

    def __repr__(self) -> str:
        stats, slots = self.stats(), self.max_concurrency
        parts = [
            f"{limit.name} {limit.rate:g}/s" + (" (learned)" if limit.learned else "")
            for limit in stats.limits
            if limit.rate < UNLIMITED
        ]
        if stats.learned_concurrency is not None:
            parts.append(f"{stats.learned_concurrency} at a time (learned)")
        elif slots is not None:
            parts.append(f"{slots} at a time")
        limits = ", ".join(parts) or "no limits"
        return (
            f"<{type(self).__name__}: {limits}; {self.waiting} waiting, "
            f"{self.active_tasks} in flight>"
        )

    @property
    def semaphore(self) -> Slots:
        """The free slots, for programs that look at the semaphore of version 0.4.4."""
        return Slots(self)


def _key(model: str | None, call: _core.Call | None) -> str:
    """By what a call's charges are learned."""
    if model is None and call is not None:
        estimate = call.extra["estimated_tokens"]
        model = estimate.model if isinstance(estimate, Estimate) else None
    return model or ""


class Slots:
    """A view of a scheduler's slots that answers as the asyncio.Semaphore of 0.4.4 did."""

    def __init__(self, scheduler: _core.Scheduler) -> None:
        self._scheduler = scheduler

    @property
    def _value(self) -> int | None:
        total = self._scheduler.max_concurrency
        return None if total is None else max(0, total - self._scheduler.active_tasks)

    def locked(self) -> bool:
        """Whether a new call would have to wait for a slot."""
        return self._value == 0

    def __repr__(self) -> str:
        free = self._value
        return f"<Slots, {'no limit' if free is None else f'{free} free'}>"
