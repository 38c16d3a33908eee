"""OpenTelemetry: the measures of schedulers for a meter, and a span for each call for a tracer.

The names are those of the semantic conventions for generative AI where they have one:
https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/ and gen-ai-metrics. They are typed
here, since the conventions' package calls its module of them unstable.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Generator, Iterable, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from xtremeflow._core import Call, current_call
from xtremeflow.answers.answer import Answer
from xtremeflow.answers.attempt import FOLLOWED
from xtremeflow.answers.usage import usage_of
from xtremeflow.learning.costs.estimates import Estimate
from xtremeflow.scheduler import TaskScheduler
from xtremeflow.telemetry.measure import InstrumentKind, Measure, Reader
from xtremeflow.telemetry.measures import MEASURES, Look, look, named_schedulers
from xtremeflow.values.extras import extra
from xtremeflow.values.usage import Usage

with extra("otel"):
    from opentelemetry.metrics import CallbackOptions, Meter, Observation
    from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer, use_span

T = TypeVar("T")

# Buckets that the conventions ask for.
_DURATIONS = [
    0.01,
    0.02,
    0.04,
    0.08,
    0.16,
    0.32,
    0.64,
    1.28,
    2.56,
    5.12,
    10.24,
    20.48,
    40.96,
    81.92,
]
_TOKENS = [4.0**power for power in range(14)]


def instrument(
    schedulers: TaskScheduler | Mapping[str, TaskScheduler],
    *,
    meter: Meter | None = None,
    tracer: Tracer | None = None,
    provider: str | None = None,
    operation: str = "chat",
) -> None:
    """Tells OpenTelemetry of a scheduler's calls, and of its queue and limits.

        instrument(scheduler, meter=metrics.get_meter("app"), tracer=trace.get_tracer("app"))

    The meter observes all measures when it is read. With a tracer each call becomes one span, from
    its submission to its end with all its retries. The wait for the admission and each cooldown
    are events of the span. Spans that the call itself makes are the span's children. With
    both, each call's duration, usage and wait are recorded too. docs/observability.md lists all
    names.

    Call it before the scheduler's first call, and once for each scheduler.

    Args:
        schedulers: A scheduler, or several by the names that they get in the attribute
            ``xtremeflow.scheduler``. A single one is named ``default``.
        meter: A meter of OpenTelemetry's API; None for no metrics.
        tracer: A tracer; None for no spans.
        provider: The attribute ``gen_ai.provider.name``: ``openai``, ``anthropic``,
            ``azure.ai.openai``, ``gcp.gemini``, ``mistral_ai``, ``groq``, ``deepseek``.
        operation: The attribute ``gen_ai.operation.name``: ``chat``, ``embeddings``.

    Raises:
        TypeError: An argument is no scheduler.
        ValueError: Neither a meter nor a tracer is given, or a scheduler has a tracer already.
    """
    by_name = named_schedulers(schedulers)
    if meter is None and tracer is None:
        raise ValueError("instrument needs a meter, a tracer, or both")
    if tracer is not None:
        for scheduler in by_name.values():
            if "_exchange" in vars(scheduler):
                raise ValueError(f"{scheduler!r} has a tracer already")
    if meter is not None:
        _observe(meter, by_name)
    if tracer is not None:
        recorder = _Recorder(meter)
        fixed = {"gen_ai.operation.name": operation}
        if provider is not None:
            fixed["gen_ai.provider.name"] = provider
        for name, scheduler in by_name.items():
            _Traced(scheduler, tracer, recorder, fixed | {"xtremeflow.scheduler": name})


# ---- metrics ----


class _Source:
    """A scheduler for several instruments, which are asked one by one. All those of one collection
    see one look at it: a new one is taken when an instrument comes that has had this one."""

    def __init__(self, name: str, scheduler: TaskScheduler) -> None:
        self.name = name
        self.reader: Reader[Look] = Reader()
        self._scheduler = scheduler
        self._seen: Look | None = None
        self._given: set[str] = set()

    def look(self, instrument: str) -> Look:
        if self._seen is None or instrument in self._given:
            self._seen = look(self._scheduler)
            self._given.clear()
        self._given.add(instrument)
        return self._seen


def _observe(meter: Meter, schedulers: Mapping[str, TaskScheduler]) -> None:
    sources = [_Source(name, scheduler) for name, scheduler in schedulers.items()]
    for measure in MEASURES:
        make = (
            meter.create_observable_counter
            if measure.kind is InstrumentKind.COUNTER
            else meter.create_observable_gauge
        )
        make(
            measure.name,
            callbacks=[partial(_observations, measure, sources)],
            unit=measure.unit,
            description=measure.meaning,
        )


def _observations(
    measure: Measure[Look], sources: Iterable[_Source], _: CallbackOptions
) -> Iterable[Observation]:
    for source in sources:
        for labels, value in source.reader.read(measure, source.look(measure.name)):
            attributes = {"xtremeflow.scheduler": source.name}
            for label, text in zip(measure.labels, labels, strict=True):
                attributes[f"xtremeflow.{label}"] = text
            yield Observation(value, attributes)


class _Recorder:
    """Records each call that has ended, if there is a meter."""

    def __init__(self, meter: Meter | None) -> None:
        self._meter = meter
        if meter is None:
            return
        self._duration = meter.create_histogram(
            "gen_ai.client.operation.duration", "s", "Duration of a call with its retries",
            explicit_bucket_boundaries_advisory=_DURATIONS,
        )  # fmt: skip
        self._usage = meter.create_histogram(
            "gen_ai.client.token.usage", "{token}", "Tokens of a call",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )  # fmt: skip
        self._wait = meter.create_histogram(
            "xtremeflow.call.wait", "s", "Time of a call in the queue",
            explicit_bucket_boundaries_advisory=_DURATIONS,
        )  # fmt: skip

    def record(
        self, attributes: Mapping[str, Any], seconds: float, wait: float, usage: Usage | None
    ) -> None:
        if self._meter is None:
            return
        self._duration.record(seconds, attributes)
        self._wait.record(wait, attributes)
        if usage is not None:
            for kind, tokens in (("input", usage.input), ("output", usage.output)):
                self._usage.record(tokens, {**attributes, "gen_ai.token.type": kind})


# ---- spans ----


class _Following:
    """One call and its span. Times are in seconds on the scheduler's clock."""

    def __init__(self, traced: _Traced) -> None:
        self._traced = traced
        self._now = traced.scheduler._now
        self._began = self._asked = self._now()
        self._wait = 0.0
        self._attempts = 0
        self._usage: Usage | None = None
        self._failure: str | None = None
        self._is_over = False
        self._attributes = dict(traced.fixed)
        name = self._attributes["gen_ai.operation.name"]
        self.span = traced.tracer.start_span(
            name, kind=SpanKind.CLIENT, attributes=self._attributes
        )

    def estimated(self, estimate: Any) -> None:
        """Notes the call's estimate, which may know its model."""
        if isinstance(estimate, Estimate) and estimate.model:
            self._attributes["gen_ai.request.model"] = estimate.model
            self.span.set_attribute("gen_ai.request.model", estimate.model)
            self.span.update_name(f"{self._attributes['gen_ai.operation.name']} {estimate.model}")

    def now(self) -> float:
        return self._now()

    def is_of(self, traced: _Traced) -> bool:
        return self._traced is traced

    @contextmanager
    def ending(self) -> Generator[None, None, None]:
        """Ends the span with the block, as its exception says."""
        try:
            yield
        except BaseException as error:
            self.fails(_kind(error))
            raise
        finally:
            self.ended()

    @contextmanager
    def within(self) -> Generator[None, None, None]:
        """Makes the span the current one, and the call followed, within the block."""
        token = FOLLOWED.set(self)
        try:
            with use_span(self.span, record_exception=False, set_status_on_exception=False):
                yield
        finally:
            FOLLOWED.reset(token)

    # The interface of `xtremeflow.answers.attempt.Followed`.

    def rests(self, call: Call) -> None:
        if call.scheduler is self._traced.scheduler:
            left = self._traced.scheduler.stats().cooldown_left
            if left > 0:
                self.span.add_event("xtremeflow.cooldown", {"xtremeflow.cooldown.left": left})
            self._asked = self._now()

    def resumes(self, call: Call) -> None:
        if call.scheduler is self._traced.scheduler:
            self.admitted(self._now())

    def admitted(self, when: float) -> None:
        """Notes the admission of an attempt at this moment."""
        wait = max(0.0, when - self._asked)
        self._wait += wait
        self._attempts += 1
        self.span.add_event(
            "xtremeflow.admitted",
            {"xtremeflow.wait": wait, "xtremeflow.attempt": self._attempts},
        )

    def used(self, usage: Usage) -> None:
        self._usage = usage

    def cost(self, amounts: Mapping[str, int]) -> None:
        """Notes the cost of each limit: the estimate, or what was reported in its place."""
        for name, amount in amounts.items():
            self.span.set_attribute(f"xtremeflow.cost.{name}", amount)

    def fails(self, kind: str) -> None:
        self._failure = kind

    def ended(self) -> None:
        """Ends the span. Only the first time counts."""
        if self._is_over:
            return
        self._is_over = True
        span, usage = self.span, self._usage
        span.set_attribute("xtremeflow.attempts", self._attempts)
        span.set_attribute("xtremeflow.wait", self._wait)
        if usage is not None:
            span.set_attribute("gen_ai.usage.input_tokens", usage.input)
            span.set_attribute("gen_ai.usage.output_tokens", usage.output)
            if usage.cached:
                span.set_attribute("gen_ai.usage.cache_read.input_tokens", usage.cached)
            if usage.written:
                span.set_attribute("gen_ai.usage.cache_creation.input_tokens", usage.written)
        if self._failure is not None:
            self._attributes["error.type"] = self._failure
            span.set_attribute("error.type", self._failure)
            span.set_status(Status(StatusCode.ERROR))
        seconds = self._now() - self._began
        self._traced.recorder.record(self._attributes, seconds, self._wait, usage)
        span.end()


class _Traced:
    """A scheduler whose calls have spans. Its methods are replaced by ones that make them, so a
    scheduler without a tracer pays nothing."""

    def __init__(
        self,
        scheduler: TaskScheduler,
        tracer: Tracer,
        recorder: _Recorder,
        fixed: Mapping[str, str],
    ) -> None:
        self.scheduler = scheduler
        self.tracer = tracer
        self.recorder = recorder
        self.fixed = fixed
        for name in ("start_task", "submit"):
            setattr(scheduler, name, partial(self._start, getattr(scheduler, name)))
        for name, method in (
            ("_exchange", self._exchange),
            ("_foreseen", self._foreseen),
            ("_open", self._open),
            ("_end", self._end),
            ("settle", self._settle),
        ):
            setattr(scheduler, name, partial(method, getattr(scheduler, name)))

    def _start(self, start: Callable[..., T], /, *args: Any, **options: Any) -> T:
        """Does the work of `start_task` and `submit`."""
        given = list(args)
        coro: Any = given[0] if given else options.get("coro")
        if not asyncio.iscoroutine(coro):
            return start(*args, **options)  # which refuses it
        following = _Following(self)
        following.estimated(given[1] if len(given) > 1 else options.get("estimated_tokens"))
        if given:
            given[0] = _Call(coro, following)
        else:
            options["coro"] = _Call(coro, following)
        try:
            return start(*given, **options)
        except BaseException as error:
            following.fails(_kind(error))
            following.ended()
            raise

    def _exchange(
        self,
        exchange: Callable[..., Coroutine[Any, Any, Any]],
        coro: Coroutine[Any, Any, Any],
        terms: Callable[[Any], Any],
        answered: Callable[..., Any],
        request: object,
    ) -> Coroutine[Any, Any, Any]:
        """Does the work of `_exchange`: a request of the HTTP client."""
        following = _Following(self)

        def priced(request: Any) -> Any:
            found = terms(request)
            following.estimated(found[2])
            return found

        def seen(request: Any, call: Call, asked: float, sent: float | None, *outcome: Any) -> Any:
            if sent is not None:
                following.admitted(sent)
            result = answered(request, call, asked, sent, *outcome)
            following.cost(call.held)
            return result

        return _exchanged(following, exchange(coro, priced, seen, request))

    def _open(
        self,
        open: Callable[..., Coroutine[Any, Any, T]],
        coro: Coroutine[Any, Any, T],
        terms: tuple[Any, ...],
    ) -> Coroutine[Any, Any, T]:
        """Does the work of `_open`: a stream of the HTTP client."""
        following = _Following(self)
        following.estimated(terms[2])
        return _opened(following, open(_admitted(following, coro), terms))

    def _end(self, end: Callable[[Call], None], call: Call) -> None:
        following = self._following()
        if following is not None:
            following.cost(call.held)
        end(call)
        if following is not None:
            following.ended()

    def _settle(self, settle: Callable[..., T], usage: Any, **options: Any) -> T:
        result = settle(usage, **options)
        following, used = self._following(), usage_of(usage)
        if following is not None and used is not None:
            following.used(used)
        return result

    def _foreseen(
        self, foreseen: Callable[..., tuple[int, ...] | None], call: Call | None, status: int,
        head: object, body: object, sent_at: float | None, received_at: float | None, settle: int,
    ) -> tuple[int, ...] | None:  # fmt: skip
        """Does the work of `_foreseen`, which may settle the call."""
        settled_by = foreseen(call, status, head, body, sent_at, received_at, settle)
        following = self._following()
        if settled_by and following is not None:
            following.used(Usage(*settled_by))
        return settled_by

    def _following(self) -> _Following | None:
        """Returns what follows the running code's call, if that is one of this scheduler."""
        following = FOLLOWED.get()
        if isinstance(following, _Following) and following.is_of(self):
            return following
        return None


async def _exchanged(following: _Following, exchange: Coroutine[Any, Any, Any]) -> Any:
    with following.ending(), following.within():
        response = await exchange
        usage = usage_of(Answer(response.status, body=response.body).body)
        if usage is not None:
            following.used(usage)
        if response.status >= 400:
            following.fails(str(response.status))
        return response


async def _opened(following: _Following, opening: Coroutine[Any, Any, T]) -> T:
    try:
        with following.within():
            return await opening
    except BaseException as error:
        following.fails(_kind(error))
        following.ended()
        raise


async def _admitted(following: _Following, coro: Coroutine[Any, Any, T]) -> T:
    following.admitted(following.now())
    return await coro


class _Call(Coroutine[Any, Any, Any]):
    """A coroutine that a scheduler starts, with its span. If it is closed before its start, it was
    not admitted."""

    def __init__(self, coro: Coroutine[Any, Any, Any], following: _Following) -> None:
        self._coro = coro
        self._following = following
        self._run = self._running()
        for name in ("__name__", "__qualname__"):
            setattr(self, name, getattr(coro, name, type(coro).__name__))

    async def _running(self) -> Any:
        following = self._following
        with following.ending(), following.within():
            following.admitted(following.now())
            call = current_call()
            try:
                return await self._coro
            finally:
                if call is not None:
                    following.cost(call.held)

    def send(self, value: Any) -> Any:
        return self._run.send(value)

    def throw(self, *error: Any) -> Any:
        return self._run.throw(*error)

    def close(self) -> None:
        if inspect.getcoroutinestate(self._run) == inspect.CORO_CREATED:
            self._run.close()
            self._coro.close()
            self._following.fails("not_admitted")
            self._following.ended()
        else:
            self._run.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._run.__await__()


def _kind(error: BaseException) -> str:
    """Returns the attribute ``error.type``: the HTTP status of an answer, or the class."""
    sent = getattr(error, "sent", None)  # of the transport, whose answer is not raised
    for holder in (error, getattr(sent, "answer", None)):
        for name in ("status_code", "status", "code"):
            status = getattr(holder, name, None)
            if isinstance(status, int) and status >= 400:
                return str(status)
    return type(error).__qualname__
