"""TaskScheduler: the native queue with slots, and the methods of all schedulers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Mapping,
)
from dataclasses import replace
from math import isclose
from threading import RLock
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, overload

from xtremeflow import _core
from xtremeflow._core import current_call, report_token_usage
from xtremeflow.answers.answer import Answer
from xtremeflow.answers.headers import observed
from xtremeflow.answers.table import judged
from xtremeflow.answers.usage import usage_of
from xtremeflow.answers.verdict import Meaning, Verdict
from xtremeflow.batches.map import map_calls
from xtremeflow.batches.sync import results_of
from xtremeflow.learning.costs import Costs
from xtremeflow.learning.estimates import Estimate, Estimator
from xtremeflow.learning.learner import PLACES, UNLIMITED, Learner
from xtremeflow.learning.saved import Learned, restored, saved
from xtremeflow.scheduler.debug import is_debugged, watch_slots
from xtremeflow.scheduler.stats import ShareStats, Stats, share_from, stats_from
from xtremeflow.share.member import Member
from xtremeflow.values.arguments import check_int, check_number
from xtremeflow.values.charges import UNITS, ChargeRule
from xtremeflow.values.limits import Cost, Limit

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")
R = TypeVar("R")
Adapt: TypeAlias = bool | Literal["bounded"]
Headers: TypeAlias = Mapping[str, str] | Iterable[tuple[str | bytes, str | bytes]]

logger = logging.getLogger("xtremeflow")

UNSHOWN = 30  # calls without an observed answer, after which an adapting scheduler warns


class TaskScheduler(_core.Scheduler):
    """Runs coroutines in the order of their submission, at most ``max_concurrency`` at a time.

    Args:
        max_concurrency: Calls in flight at a time, at least 1; ``None`` is no limit. May be
            changed later by assignment.
        limits: Rate limits that every call must pass as well.
        burst_ratio: Seconds of its rate that a limit without a capacity allows at once.
        adapt: Whether the scheduler learns limits that are not given, from the provider's answers,
            or from refusals where the answers tell nothing. Show it every answer with `observe`:
            until one tells of a limit, only a few calls are in flight. With ``"bounded"`` the given
            limits stay upper bounds. With ``True`` they are only a first guess.
        learned: The value of `learned` of an earlier scheduler, to begin with. Needs ``adapt``.
        share: The account of which this is a member: all schedulers of this machine that name the
            same one have limits, slots, cooldowns and outages together, see docs/sharing.md.
            ``"shm:NAME"`` lies in shared memory, ``"file:/PATH"`` in a file. The first member's
            limits count.

    Raises:
        TypeError, ValueError: An argument is of the wrong type or out of its range.
        ShareError: The share cannot be used; the message says why.
    """

    def __init__(
        self,
        max_concurrency: int | None = None,
        *,
        limits: Iterable[Limit] = (),
        burst_ratio: float = 0.0,
        adapt: Adapt = False,
        learned: Mapping[str, Any] | None = None,
        share: str | None = None,
    ) -> None:
        check_number("burst_ratio", burst_ratio, zero=True)
        if adapt not in (True, False, "bounded"):
            raise ValueError(f"adapt must be True, False or 'bounded', got {adapt!r}")
        if learned is not None and not adapt:
            raise ValueError("learned is of use with adapt=True or adapt='bounded' only")
        if share is not None and adapt:
            raise ValueError(
                f"a share's limits are given, not learned: adapt must be False, got {adapt!r}"
            )
        before = Learned() if learned is None else restored(learned)
        self._burst_ratio = burst_ratio
        self._limits = list(limits)
        self._adapt: Adapt = adapt
        self._learning = RLock()  # held by whoever works with these two, of several threads
        self._learner: Learner | None = None
        self._costs = Costs(before.charges)
        self._share = None if share is None else Member(share)
        if self._share is None:
            super().__init__(
                limits=[self._defined(limit) for limit in self._limits],
                max_concurrency=max_concurrency,
                places=[name for name, _ in PLACES] if adapt else (),
            )
        else:
            self._enter(self._share, max_concurrency)
        names = self.limit_names
        self._on_tokens = [(index, name) for index, name in enumerate(names) if name in UNITS]
        self._units = tuple(unit for unit in UNITS if unit == "tokens" or unit in names)
        if adapt:
            self._following(before)
            self._alarm_after(UNSHOWN)
        if is_debugged():
            watch_slots(self)

    def _enter(self, share: Member, max_concurrency: int | None) -> None:
        """Join it, with the limits of whoever was first."""
        given = [self._defined(limit) for limit in self._limits]
        with share.joining():
            counts = given if share.alone else share.limits
            slots = max_concurrency if share.alone else share.max_concurrency
            super().__init__(limits=counts, max_concurrency=slots)
            if share.alone:
                share.describe(counts, self.max_concurrency)
            share.join(self)
        if (given, max_concurrency) != (counts, slots):
            self._limits = [Limit(*definition) for definition in counts]
            logger.warning(
                "the share %r has a member, whose limits count: %s; not those given here: %s",
                share.share,
                _described(counts, slots),
                _described(given, max_concurrency),
            )

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
        """Calls ``fn`` on every item, each call admitted by this scheduler, and yields the results.

        `xtremeflow.batches.map.map_calls` describes the arguments.
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

    def map_sync(
        self,
        fn: Callable[[T], Coroutine[Any, Any, R]],
        items: Iterable[T] | AsyncIterable[T],
        **options: Any,
    ) -> Generator[R, None, None]:
        """`map` for code without an event loop: a script, or a notebook, where one runs already.

        The loop has a thread of its own, in which `fn` and `items` are called; it ends with the
        iteration. The arguments are those of `map`.
        """
        results: AsyncGenerator[Any, None] = self.map(fn, items, **options)
        return results_of(results)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Waits until no call waits or is in flight. If the block raises, it cancels them first."""
        if error is not None:
            for task in self.pending_tasks - {asyncio.current_task()}:
                task.cancel()
        await self._drained()

    async def wait_pending(self) -> None:
        """Waits until no call waits or is in flight, including calls that start meanwhile.

        Within a call of this scheduler, it waits for all other calls. The results and exceptions
        stay in the tasks.
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
        """Learns the provider's limits from an answer, and keeps to them.

        Call it for every answer, good or bad, with the headers of your HTTP client. If the answer
        tells a lower amount than a limit here, that limit is lowered. The rest that it tells
        corrects the limit's bucket; calls that the answer cannot count are subtracted. ``adapt``
        decides whether limits can be raised and added. The verdict on the answer is kept for
        `auto_backoff` until the attempt ends. Headers that make no sense are ignored.

        Args:
            status: The HTTP status, 100 to 599.
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

    def _learn_head(self, answer: Answer) -> None:
        """Follows the limits that an answer's head tells, before `_answered` has its body."""
        self._alarm_after(0)
        self._following().told(answer)

    def _answered(self, answer: Answer, model: str | None = None) -> Verdict:
        """Does the work of `observe`, on an Answer."""
        sent_at, received_at = answer.sent_at, answer.received_at
        self._alarm_after(0)
        call = self._current()
        meant = judged(answer)
        with self._learning:
            verdict = self._following().answered(answer, meant)
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
        call = self._current()
        if call is None:
            raise RuntimeError("only a call of this scheduler can be settled")
        used = usage_of(usage)
        if used is None:
            return {}
        estimate, sent_at = call.extra["estimated_tokens"], call.dispatched_at
        key = _key(model, call)
        with self._learning:
            settled = self._costs.settled(key, estimate, used, sent_at, self._now(), rule)
            report_token_usage({unit: settled.amounts[unit] for unit in self._units}).close()
            for index, name in self._on_tokens:
                if name in settled.ascertained:
                    self._ascertain(index, **settled.ascertained[name]._asdict())
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
        if not isinstance(request, (str, int, Mapping)):
            raise TypeError(f"request must be a decoded body, a text or a size, got {request!r}")
        if most is not None:
            check_int("most", most, 0)
        with self._learning:
            return self._costs.estimate(request, model, most, self.active_tasks, self._units)

    @property
    def estimator(self) -> Estimator:
        """The estimator behind `estimate`. Assign another one, for example with a tokenizer."""
        return self._costs.estimator

    @estimator.setter
    def estimator(self, estimator: Estimator) -> None:
        if not isinstance(estimator, Estimator):
            raise TypeError(f"estimator must be an Estimator, got {estimator!r}")
        self._costs.estimator = estimator

    def charge_by(self, rule: ChargeRule, *, until_learned: bool = False) -> None:
        """States the rule by which the provider charges tokens, for good, or with ``until_learned``
        only until its answers show it. Parts that the rule leaves open are learned in any case."""
        if not isinstance(rule, ChargeRule):
            raise TypeError(f"rule must be a ChargeRule, got {rule!r}")
        with self._learning:
            self._costs.charge_by(rule, until_learned=until_learned)

    def _current(self) -> _core.Call | None:
        call = current_call()
        return call if call is not None and call.scheduler is self else None

    @property
    def adapt(self) -> Adapt:
        """The argument ``adapt``: whether limits are learned from the provider's answers."""
        return self._adapt

    @property
    def limits(self) -> tuple[Limit, ...]:
        """The configured rate limits; of a share, as any member has set them."""
        shared = self._shared()
        if shared is not None:
            for index, now in enumerate(shared["limits"]):
                own = self._limits[index]
                _, amount, per, capacity = self._defined(own)
                if not (isclose(amount / per, now["rate"]) and isclose(capacity, now["capacity"])):
                    amount = now["rate"] * own.per
                    self._limits[index] = Limit(own.name, amount, own.per, now["capacity"])
        return tuple(self._limits)

    @property
    def learned(self) -> dict[str, Any]:
        """The knowledge of the provider's limits so far, which can be written as JSON. Pass it to
        the next scheduler as ``learned``. Empty without ``adapt``."""
        with self._learning:
            if self._learner is None:
                return saved(Learned())
            return saved(replace(self._learner.learned, charges=self._costs.learned))

    def set_limit(self, limit: Limit) -> None:
        """Replaces the limit of the same name. The bucket's level stays, up to the new capacity.

        If several limits have that name, it replaces the one with the same period. Waiting calls
        are considered again at once.

        Raises:
            ValueError: No limit has that name and period.
        """
        definition = self._defined(limit)
        named = [i for i, own in enumerate(self._limits) if own.name == limit.name]
        if len(named) > 1:
            named = [i for i in named if self._limits[i].per == limit.per]
        if not named:
            raise ValueError(f"limit must be like one of {self._limits!r}, got {limit!r}")
        with self._learning:
            self._retune(named[0], definition)
            self._limits[named[0]] = limit
            if self._share is not None:
                definitions = [self._defined(each) for each in self.limits]
                self._share.redescribe(definitions, self.max_concurrency)
            if self._learner is not None:
                self._learner.configure(named[0], Limit(*definition))

    def stats(self) -> Stats:
        """Returns a snapshot of the counts so far, and of the causes that left quota idle."""
        snapshot = self._snapshot()
        snapshot["share"] = self._share_stats()
        with self._learning:
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

    def _share_stats(self) -> ShareStats | None:
        if self._share is None:
            return None
        self._share.sweep(self, self._seats())
        shared = self._shared()
        return None if shared is None else share_from(self._share.share, shared)

    def __repr__(self) -> str:
        stats, slots = self.stats(), self.max_concurrency
        parts = [
            f"{limit.name} {limit.rate:g}/s" + (" (learned)" if limit.learned else "")
            for limit in stats.limits
            if limit.rate < UNLIMITED
        ]
        if stats.concurrency is not None:
            parts.append(f"{stats.concurrency.calls} at a time (learned)")
        elif slots is not None:
            parts.append(f"{slots} at a time")
        limits = ", ".join(parts) or "no limits"
        return (
            f"<{type(self).__name__}: {limits}; {self.waiting} waiting, "
            f"{self.active_tasks} in flight>"
        )

    @property
    def semaphore(self) -> Slots:
        """The free slots, for programs that read the semaphore of version 0.4.4."""
        return Slots(self)


def _described(limits: Iterable[tuple[str, float, float, float]], slots: int | None) -> str:
    parts = [
        f"{amount:g} {name} in {per:g} s, {capacity:g} at once"
        for name, amount, per, capacity in limits
    ]
    return "; ".join([*parts, *([] if slots is None else [f"{slots} at a time"])]) or "none"


def _key(model: str | None, call: _core.Call | None) -> str:
    """Returns the key under which a call's charges are learned."""
    if model is None and call is not None:
        estimate = call.extra["estimated_tokens"]
        model = estimate.model if isinstance(estimate, Estimate) else None
    return model or ""


class Slots:
    """A view of a scheduler's slots with the methods of 0.4.4's asyncio.Semaphore."""

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
