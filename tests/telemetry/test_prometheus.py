"""The collector in a real registry, read by prometheus_client's own parser."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse

from xtremeflow import Limit, TaskScheduler, report_token_usage
from xtremeflow.metrics import Collector
from xtremeflow.telemetry.measures import MEASURES
from xtremeflow.telemetry.prometheus import serving
from xtremeflow.testing import run


def scraped(text: str, parser: Any = parse) -> dict[tuple[str, ...], float]:
    """The samples by name and the labels' values, that of `scheduler` left out."""
    return {
        (sample.name, *(v for k, v in sample.labels.items() if k != "scheduler")): sample.value
        for family in parser(text)
        for sample in family.samples
    }


def registry_of(*collectors: Any) -> CollectorRegistry:
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    return registry


async def worked() -> TaskScheduler:
    scheduler = TaskScheduler(
        2, limits=[Limit("tokens", 600, 60, capacity=60), Limit("requests", 60, 60, capacity=10)]
    )

    async def call(fails: bool) -> None:
        await asyncio.sleep(1)
        await report_token_usage(10)
        if fails:
            raise ValueError("a failure")

    tasks = [await scheduler.start_task(call(number == 3), 20) for number in range(4)]
    await asyncio.gather(*tasks, return_exceptions=True)
    return scheduler


@pytest.mark.parametrize(("write", "parser"), [(generate_latest, parse), (openmetrics, parse_open)])
def test_a_scrape_has_what_stats_has(write: Any, parser: Any) -> None:
    async def main() -> None:
        scheduler = await worked()
        seen = scraped(write(registry_of(Collector(scheduler))).decode(), parser)
        stats = scheduler.stats()
        assert seen["xtremeflow_calls_submitted_total",] == 4
        assert seen["xtremeflow_calls_ended_total", "succeeded"] == 3
        assert seen["xtremeflow_calls_ended_total", "failed"] == 1
        assert seen["xtremeflow_calls_in_flight",] == 0
        assert seen["xtremeflow_concurrency_configured",] == 2
        assert seen["xtremeflow_limit_rate", "tokens"] == 10
        assert seen["xtremeflow_limit_used_total", "tokens"] == 40
        assert seen["xtremeflow_limit_refunded_total", "tokens"] == 40
        assert seen["xtremeflow_limit_level", "tokens"] == stats.limits[0].level
        causes = {key[1]: v for key, v in seen.items() if "queue_time" in key[0]}
        assert causes["concurrency"] == pytest.approx(1.0)
        assert sum(causes.values()) == pytest.approx(stats.elapsed)

    run(main())


def test_refunds_between_two_scrapes_do_not_let_a_counter_fall() -> None:
    async def main() -> None:
        scheduler = TaskScheduler(limits=[Limit("tokens", 600, 60, capacity=1000)])
        registry = registry_of(Collector(scheduler))
        go_on = asyncio.Event()

        async def call() -> None:
            await go_on.wait()
            await report_token_usage(10)

        def used() -> float:
            text = generate_latest(registry).decode()
            return scraped(text)["xtremeflow_limit_used_total", "tokens"]

        task = await scheduler.start_task(call(), 100)
        assert used() == 100
        go_on.set()
        await task
        assert scheduler.stats().limits[0].used == 10
        assert used() == 100
        await (await scheduler.start_task(asyncio.sleep(0), 95))
        assert used() == 105

    run(main())


def test_several_schedulers_are_told_apart_by_a_label() -> None:
    one, other = TaskScheduler(1), TaskScheduler(2)
    text = generate_latest(registry_of(Collector({"one": one, "other": other}))).decode()
    assert 'xtremeflow_concurrency_configured{scheduler="one"} 1.0' in text
    assert 'xtremeflow_concurrency_configured{scheduler="other"} 2.0' in text
    families = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(set(families)) == len(families)


def test_a_name_that_is_taken_is_refused_at_registration() -> None:
    registry = registry_of(Collector(TaskScheduler()))
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        registry.register(Collector(TaskScheduler()))
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        Gauge(MEASURES[2].family, "taken", registry=registry)


def test_a_registered_collector_asks_its_scheduler_for_nothing() -> None:
    class Watched(TaskScheduler):
        asked = 0

        def stats(self) -> Any:
            self.asked += 1
            return super().stats()

    scheduler = Watched(1)
    registry = registry_of(Collector(scheduler))
    assert scheduler.asked == 0
    generate_latest(registry)
    assert scheduler.asked == 1


@pytest.mark.parametrize("given", [None, 3, [TaskScheduler()], {"a": 1}, {1: TaskScheduler()}])
def test_a_collector_of_anything_but_schedulers_is_refused(given: Any) -> None:
    with pytest.raises(TypeError, match=r"must (be a scheduler or|map names to)"):
        Collector(given)


def test_scrapes_in_other_threads_while_calls_run() -> None:
    async def main() -> list[float]:
        scheduler = TaskScheduler(8, limits=[Limit("tokens", 6e7, capacity=1e6)])
        registry = registry_of(Collector(scheduler))
        done = threading.Event()
        seen: list[float] = []

        def scrape() -> None:
            while not done.is_set():
                text = generate_latest(registry).decode()
                seen.append(scraped(text)["xtremeflow_calls_submitted_total",])

        threads = [threading.Thread(target=scrape) for _ in range(2)]
        for thread in threads:
            thread.start()
        for _ in range(20):
            tasks = [await scheduler.start_task(asyncio.sleep(0.001), 10) for _ in range(50)]
            await asyncio.gather(*tasks)
        done.set()
        for thread in threads:
            thread.join()
        text = generate_latest(registry).decode()
        assert scraped(text)["xtremeflow_calls_ended_total", "succeeded"] == 1000
        return seen

    assert asyncio.run(main())


@pytest.fixture
def url() -> Iterator[str]:
    with serving("127.0.0.1", 0, [Collector(TaskScheduler(7))]) as url:
        yield url


def test_metrics_are_served_within_the_block(url: str) -> None:
    with urllib.request.urlopen(url) as answer:
        assert answer.headers["content-type"].startswith("text/plain; version=")
        assert scraped(answer.read().decode())["xtremeflow_concurrency_configured",] == 7


@pytest.mark.skipif(shutil.which("promtool") is None, reason="there is no promtool")
def test_promtool_finds_nothing_wrong() -> None:
    async def main() -> bytes:
        return generate_latest(registry_of(Collector(await worked())))

    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=run(main()), capture_output=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
