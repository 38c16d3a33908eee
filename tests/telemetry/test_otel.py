"""Spans and metrics, as the SDK's own in-memory exporters see them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics
from opentelemetry.semconv.attributes import error_attributes
from opentelemetry.trace import SpanKind, StatusCode

from xtremeflow import (
    Limit,
    RetryException,
    TaskScheduler,
    TokenRateScheduler,
    auto_backoff,
    http,
    report_token_usage,
)
from xtremeflow.otel import instrument
from xtremeflow.serve import serve
from xtremeflow.telemetry import otel
from xtremeflow.telemetry.measures import MEASURES
from xtremeflow.testing import run


class Telemetry:
    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = provider.get_tracer("test")
        self.reader = InMemoryMetricReader()
        self._meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.meter = self._meters.get_meter("test")

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()

    @property
    def span(self) -> ReadableSpan:
        [span] = self.spans
        return span

    def metrics(self) -> dict[str, Any]:
        data = self.reader.get_metrics_data()
        if data is None:
            return {}
        [resource] = data.resource_metrics
        [scope] = resource.scope_metrics
        return {metric.name: metric for metric in scope.metrics}

    def close(self) -> None:
        self._meters.shutdown()


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    one = Telemetry()
    yield one
    one.close()


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def events(span: ReadableSpan) -> list[tuple[str, dict[str, Any]]]:
    return [(event.name, dict(event.attributes or {})) for event in span.events]


# ---- metrics ----


def test_the_meter_observes_every_measure_of_a_scheduler_in_one_look(telemetry: Telemetry) -> None:
    class Watched(TaskScheduler):
        asked = 0

        def stats(self) -> Any:
            self.asked += 1
            return super().stats()

    async def main() -> None:
        scheduler = Watched(2, limits=[Limit("tokens", 600, 60, capacity=600)])
        instrument(scheduler, meter=telemetry.meter)
        await (await scheduler.start_task(asyncio.sleep(1), 20, prefix="p"))
        scheduler._save(100, 40.0)  # as a client does that knows the provider
        for times in (1, 2):
            metrics = telemetry.metrics()
            assert scheduler.asked == times
        by_name = {measure.name: measure for measure in MEASURES}
        assert set(metrics) <= set(by_name)
        shown = {name for name in by_name if "learned" not in name and ".share." not in name}
        assert shown - {"xtremeflow.limit.confidence"} == set(metrics)
        for name, metric in metrics.items():
            assert (metric.unit, metric.description) == (by_name[name].unit, by_name[name].meaning)
        [point] = metrics["xtremeflow.limit.used"].data.data_points
        assert point.value == 20
        assert point.attributes == {"xtremeflow.scheduler": "default", "xtremeflow.limit": "tokens"}
        assert metrics["xtremeflow.limit.used"].data.is_monotonic
        ended = {
            point.attributes["xtremeflow.outcome"]: point.value
            for point in metrics["xtremeflow.calls.ended"].data.data_points
        }
        assert ended == {"succeeded": 1, "failed": 0, "cancelled": 0, "expired": 0}

    run(main())


def test_each_call_is_recorded(telemetry: Telemetry) -> None:
    async def main() -> None:
        scheduler = TaskScheduler(1)
        instrument(scheduler, meter=telemetry.meter, tracer=telemetry.tracer, provider="openai")
        usage = {"usage": {"prompt_tokens": 30, "completion_tokens": 5}}

        async def call() -> None:
            await asyncio.sleep(2)
            scheduler.settle(usage)

        await asyncio.gather(*[scheduler.submit(call()) for _ in range(2)])
        metrics = telemetry.metrics()
        [duration] = metrics["gen_ai.client.operation.duration"].data.data_points
        assert (duration.count, duration.sum) == (2, pytest.approx(2 + 4))
        assert duration.attributes["gen_ai.provider.name"] == "openai"
        assert duration.attributes["gen_ai.operation.name"] == "chat"
        tokens = {
            point.attributes["gen_ai.token.type"]: point.sum
            for point in metrics["gen_ai.client.token.usage"].data.data_points
        }
        assert tokens == {"input": 60, "output": 10}
        [wait] = metrics["xtremeflow.call.wait"].data.data_points
        assert (wait.count, wait.sum) == (2, pytest.approx(2))

    run(main())


def test_a_span_tells_the_usage_that_its_call_reports(telemetry: Telemetry) -> None:
    async def main() -> None:
        scheduler = TokenRateScheduler(max_tpm=60_000, max_rpm=600, burst_ratio=60)
        instrument(scheduler, tracer=telemetry.tracer)

        async def call(usage: int | None) -> None:
            if usage is not None:
                await report_token_usage(usage)

        for usage in (700, None):
            await scheduler.submit(call(usage), 1000)
        told = [attributes(span) for span in telemetry.spans]
        assert [each["xtremeflow.cost.tokens"] for each in told] == [700, 1000]
        assert [each["xtremeflow.cost.requests"] for each in told] == [1, 1]

    run(main())


def test_a_span_tells_the_tokens_that_the_cache_has_read_and_written(telemetry: Telemetry) -> None:
    usage = {
        "input_tokens": 10,
        "cache_read_input_tokens": 900,
        "cache_creation_input_tokens": 90,
        "output_tokens": 5,
    }

    async def main() -> None:
        scheduler = TaskScheduler()
        instrument(scheduler, tracer=telemetry.tracer)

        async def call() -> None:
            scheduler.settle(usage)

        await scheduler.submit(call())

    run(main())
    told = attributes(telemetry.span)
    assert {
        name.removeprefix("gen_ai.usage."): n for name, n in told.items() if "usage" in name
    } == {
        "input_tokens": 1000,
        "cache_read.input_tokens": 900,
        "cache_creation.input_tokens": 90,
        "output_tokens": 5,
    }


def test_several_schedulers_share_their_instruments(
    telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        schedulers = {"one": TaskScheduler(1), "other": TaskScheduler(1)}
        instrument(schedulers, meter=telemetry.meter, tracer=telemetry.tracer)
        for scheduler in schedulers.values():
            await scheduler.submit(asyncio.sleep(1))
        metrics = telemetry.metrics()
        for name in ("gen_ai.client.operation.duration", "xtremeflow.calls.submitted"):
            points = metrics[name].data.data_points
            assert {each.attributes["xtremeflow.scheduler"] for each in points} == set(schedulers)
        with pytest.raises(ValueError, match="has a tracer already"):
            instrument({"new": TaskScheduler(1), **schedulers}, tracer=telemetry.tracer)

    run(main())
    assert caplog.records == []


# ---- spans ----


def test_a_call_is_one_span_with_its_wait_its_cooldown_and_its_retry(telemetry: Telemetry) -> None:
    async def main() -> None:
        scheduler = TaskScheduler(1)
        instrument(scheduler, tracer=telemetry.tracer)
        attempts = []

        @auto_backoff()
        async def call() -> str:
            attempts.append(1)
            await asyncio.sleep(1)
            if len(attempts) == 1:
                raise RetryException(retry_after=5)
            return "done"

        blocker = scheduler.submit(asyncio.sleep(3))
        assert await (await scheduler.start_task(call())) == "done"
        await blocker

    run(main())
    first, span = telemetry.spans
    assert events(first) == [
        ("xtremeflow.admitted", {"xtremeflow.wait": 0, "xtremeflow.attempt": 1})
    ]
    assert span.kind is SpanKind.CLIENT
    assert span.status.status_code is StatusCode.UNSET
    names = [name for name, _ in events(span)]
    assert names == ["xtremeflow.admitted", "xtremeflow.cooldown", "xtremeflow.admitted"]
    waited, cooled, again = [told for _, told in events(span)]
    assert waited["xtremeflow.wait"] == pytest.approx(3)
    assert cooled["xtremeflow.cooldown.left"] == pytest.approx(5)
    assert again == {"xtremeflow.wait": pytest.approx(5), "xtremeflow.attempt": 2}
    assert attributes(span)["xtremeflow.attempts"] == 2
    assert attributes(span)["xtremeflow.wait"] == pytest.approx(8)


def test_spans_within_a_call_are_its_children_and_it_is_its_callers(telemetry: Telemetry) -> None:
    async def main() -> None:
        scheduler = TaskScheduler(1)
        instrument(scheduler, tracer=telemetry.tracer)

        async def call() -> None:
            with telemetry.tracer.start_as_current_span("inner"):
                await asyncio.sleep(0)

        with telemetry.tracer.start_as_current_span("outer"):
            await (await scheduler.start_task(call()))

    run(main())
    inner, call, outer = telemetry.spans
    assert (inner.name, call.name, outer.name) == ("inner", "chat", "outer")
    assert inner.parent is not None
    assert call.parent is not None
    assert inner.parent.span_id == call.context.span_id
    assert call.parent.span_id == outer.context.span_id


def test_a_call_that_fails_says_how(telemetry: Telemetry) -> None:
    class Failure(Exception):
        status_code = 500

    async def main() -> None:
        scheduler = TaskScheduler(1)
        instrument(scheduler, tracer=telemetry.tracer)

        async def call(error: Exception) -> None:
            raise error

        for error in (ValueError("no"), Failure()):
            with pytest.raises(type(error)):
                await scheduler.submit(call(error))

    run(main())
    assert [attributes(span)["error.type"] for span in telemetry.spans] == ["ValueError", "500"]
    assert {span.status.status_code for span in telemetry.spans} == {StatusCode.ERROR}


@pytest.mark.parametrize("how", ["timeout", "cancelled", "start_task"])
def test_a_call_that_is_not_admitted_has_a_span_that_ends(how: str, telemetry: Telemetry) -> None:
    async def main() -> None:
        scheduler = TaskScheduler(1)
        blocker = scheduler.submit(asyncio.sleep(10))
        await asyncio.sleep(0)
        instrument(scheduler, tracer=telemetry.tracer)
        if how == "start_task":
            with pytest.raises(asyncio.TimeoutError):
                await scheduler.start_task(asyncio.sleep(1), timeout=2)
        else:
            task = scheduler.submit(asyncio.sleep(1), timeout=2 if how == "timeout" else None)
            await asyncio.sleep(1)
            if how == "cancelled":
                task.cancel()
            with pytest.raises((asyncio.TimeoutError, asyncio.CancelledError)):
                await task
        await blocker

    run(main())
    assert attributes(telemetry.span)["error.type"] == "not_admitted"
    assert attributes(telemetry.span)["xtremeflow.attempts"] == 0


def test_a_cancelled_call_ends_its_span(telemetry: Telemetry) -> None:
    async def main() -> None:
        scheduler = TaskScheduler(1)
        instrument(scheduler, tracer=telemetry.tracer)
        task = scheduler.submit(asyncio.sleep(10))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert scheduler.stats().cancelled == 1

    run(main())
    assert attributes(telemetry.span)["error.type"] == "CancelledError"


def test_an_instrumented_scheduler_refuses_bad_calls_as_before(telemetry: Telemetry) -> None:
    async def main() -> None:
        scheduler = TaskScheduler(1)
        instrument(scheduler, tracer=telemetry.tracer)
        with pytest.raises(TypeError, match="coro must be a coroutine"):
            scheduler.submit(3)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="unexpected keyword argument 'prio'"):
            scheduler.submit(asyncio.sleep(0), prio=1)  # type: ignore[call-arg]
        assert scheduler.active_tasks == 0

    run(main())
    assert attributes(telemetry.span)["error.type"] in ("TypeError", "not_admitted")


def test_batches_and_names_work_as_before(telemetry: Telemetry) -> None:
    async def main() -> None:
        scheduler = TaskScheduler(2)
        instrument(scheduler, tracer=telemetry.tracer)

        async def double(number: int) -> int:
            await asyncio.sleep(1)
            return 2 * number

        assert [each async for each in scheduler.map(double, range(3))] == [0, 2, 4]
        task = scheduler.submit(double(1))
        assert "double" in repr(task)
        assert await task == 2

    run(main())
    assert len(telemetry.spans) == 4


def test_a_call_over_http_tells_its_model_its_usage_and_its_refusals(telemetry: Telemetry) -> None:
    async def main() -> None:
        scheduler = TaskScheduler(4)
        instrument(scheduler, meter=telemetry.meter, tracer=telemetry.tracer, provider="openai")
        settings: Any = {"limits": {"rpm": 1, "tpm": None}, "speed": 120.0}
        body = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hi"}]}
        async with (
            serve("openai", **settings) as server,
            http.Client(scheduler=scheduler) as client,
        ):
            for _ in range(2):
                answer = await client.post(f"{server.base_url}/chat/completions", json=body)
                assert answer.status == 200

    asyncio.run(main())
    span, refused = telemetry.spans
    told = attributes(span)
    assert span.name == "chat gpt-5-mini"
    assert told["gen_ai.request.model"] == "gpt-5-mini"
    assert told["gen_ai.provider.name"] == "openai"
    assert told["gen_ai.usage.input_tokens"] > 0
    assert told["gen_ai.usage.output_tokens"] > 0
    assert "error.type" not in told
    names = [name for name, _ in events(refused)]
    assert names[0] == names[-1] == "xtremeflow.admitted"
    assert "xtremeflow.cooldown" in names
    assert attributes(refused)["xtremeflow.attempts"] >= 2
    assert "gen_ai.client.token.usage" in telemetry.metrics()


def test_an_answer_that_is_an_error_is_the_spans(telemetry: Telemetry) -> None:
    async def main() -> None:
        scheduler = TaskScheduler(4)
        instrument(scheduler, tracer=telemetry.tracer)
        async with (
            serve("openai", only_key="right") as server,
            http.Client(scheduler=scheduler) as client,
        ):
            answer = await client.post(f"{server.base_url}/chat/completions", json={"model": "m"})
            assert answer.status == 401

    asyncio.run(main())
    assert attributes(telemetry.span)["error.type"] == "401"


def test_a_stream_by_a_real_sdk_is_a_span_until_its_end(telemetry: Telemetry) -> None:
    openai = pytest.importorskip("openai")
    httpx2 = pytest.importorskip("httpx2")

    async def main() -> None:
        scheduler = TaskScheduler(4)
        instrument(scheduler, tracer=telemetry.tracer)
        async with (
            serve("openai") as server,
            openai.AsyncOpenAI(
                api_key="any", base_url=server.base_url, max_retries=0,
                http_client=httpx2.AsyncClient(transport=http.transport(scheduler=scheduler)),
            ) as client,
        ):  # fmt: skip
            stream = await client.chat.completions.create(
                model="gpt-5-mini", messages=[{"role": "user", "content": "hi"}], stream=True,
                stream_options={"include_usage": True},
            )  # fmt: skip
            assert telemetry.spans == ()
            async for _ in stream:
                pass

    asyncio.run(main())
    told = attributes(telemetry.span)
    assert telemetry.span.name == "chat gpt-5-mini"
    assert told["gen_ai.usage.output_tokens"] > 0


def test_a_scheduler_is_instrumented_once(telemetry: Telemetry) -> None:
    scheduler = TaskScheduler(1)
    with pytest.raises(ValueError, match="a meter, a tracer, or both"):
        instrument(scheduler)
    instrument(scheduler, tracer=telemetry.tracer)
    with pytest.raises(ValueError, match="has a tracer already"):
        instrument(scheduler, tracer=telemetry.tracer)


def test_the_names_are_the_conventions_own() -> None:
    """All gen_ai names of the module exist in the conventions' package."""
    used = set(re.findall(r'"(gen_ai\.[a-z_.]+|error\.type)"', Path(otel.__file__).read_text()))
    known = {
        value
        for module in (gen_ai_attributes, gen_ai_metrics, error_attributes)
        for value in vars(module).values()
        if isinstance(value, str)
    }
    assert used
    assert used <= known


def test_the_page_lists_the_names_of_spans_and_events() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "observability.md").read_text("utf-8")
    source = Path(otel.__file__).read_text("utf-8")
    names = re.findall(r'"((?:gen_ai|xtremeflow)\.[a-z_.]+)"', source)
    assert [name for name in names if f"`{name}`" not in page and name not in OF_TOKENS] == []


OF_TOKENS = {"gen_ai.token.type"}  # an attribute of a histogram, not of a span
