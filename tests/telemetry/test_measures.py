"""The measures: their table in the documentation, their names, and the dashboard's queries."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from xtremeflow import Limit, LimitStats, Stats, TaskScheduler
from xtremeflow.run.views.measures import MEASURES as OF_RUN
from xtremeflow.scheduler.stats import PrefixStats, ShareStats
from xtremeflow.serve.measures import MEASURES as OF_SERVE
from xtremeflow.telemetry.measure import InstrumentKind, Measure, Reader, one
from xtremeflow.telemetry.measures import MEASURES, look

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
ALL: list[Measure[Any]] = [*MEASURES, *OF_RUN, *OF_SERVE]


def rows() -> list[str]:
    page = (DOCS / "observability.md").read_text("utf-8")
    return [line for line in page.splitlines() if line.startswith("| `xtremeflow_")]


def row(measure: Measure[Any]) -> str:
    labels = ", ".join(f"`{label}`" for label in measure.labels)
    return (
        f"| `{measure.series}` | `{measure.name}` | `{measure.unit}` | {labels} "
        f"| {measure.meaning} |"
    )


def test_the_page_lists_all_measures_and_no_others() -> None:
    assert rows() == [row(measure) for measure in ALL]


def test_names_are_unique_and_none_is_the_beginning_of_another() -> None:
    names = [measure.name for measure in ALL]
    assert len(set(names)) == len(names)
    assert [a for a in names for b in names if b.startswith(a + ".")] == []


def test_every_counter_of_a_scheduler_is_measured() -> None:
    """A new field of Stats needs a measure, or a reason here."""
    told_otherwise = {
        "limits",  # one by one
        "charges",  # beliefs, not figures
        "elapsed",  # the scraper has a clock
        "idle", "held_by_concurrency", "held_by_cooldown", "held_by_share",  # queue.time
        "held_by_prefix",  # queue.time
        "succeeded", "failed", "cancelled", "expired",  # calls.ended
        "share", "concurrency", "prefixes",  # their fields
    }  # fmt: skip
    renamed = {"cooldowns": "cooldown_episodes", "cooldown_seconds": "cooldown_time_seconds",
               "cooldown_left": "cooldown_left_seconds", "refused": "attempts_refused",
               "admitted": "attempts_admitted", "submitted": "calls_submitted",
               "waiting": "calls_waiting", "in_flight": "calls_in_flight",
               "margin": "margin_seconds", "begun": "first_token_calls",
               "first_token_seconds": "first_token_time_seconds"}  # fmt: skip
    families = {measure.family.removeprefix("xtremeflow_") for measure in MEASURES}
    for field in fields(Stats):
        if field.name not in told_otherwise:
            assert renamed.get(field.name, field.name) in families, field.name
    of_prefixes = {"prefix_" + field.name for field in fields(PrefixStats)}
    of_prefixes -= {"prefix_bound"}  # a setting, not a figure
    of_prefixes -= {"prefix_expected", "prefix_read", "prefix_written"}  # prefix.tokens
    of_prefixes -= {"prefix_looked_up", "prefix_found"}  # prefix.lookups
    renamed = {"prefix_led": "prefix_leaders", "prefix_lapsed": "prefix_lapses"}
    for name in of_prefixes:
        assert (
            renamed.get(name, name)
            in {each.removesuffix("_seconds") for each in families} | families
        )
    of_share = {"share_" + field.name for field in fields(ShareStats)}
    of_share -= {"share_name", "share_prober"}  # names, not figures
    assert of_share <= {each.removesuffix("_ratio") for each in families}
    of_limits = {"limit_" + field.name for field in fields(LimitStats)}
    of_limits -= {"limit_name", "limit_learned", "limit_held_back"}
    of_limits -= {"limit_configured", "limit_bound"}  # settings, not figures
    assert of_limits <= {family.removesuffix("_ratio") for family in families}


def test_two_limits_of_one_name_are_told_apart() -> None:
    scheduler = TaskScheduler(
        limits=[Limit("tokens", 1), Limit("requests", 6, 60), Limit("tokens", 8640, 86400)]
    )
    [rate] = [measure for measure in MEASURES if measure.name == "xtremeflow.limit.rate"]
    assert list(rate.read(look(scheduler))) == [
        (("tokens",), 1.0),
        (("requests",), 0.1),
        (("tokens#2",), 0.1),
    ]


def test_a_place_for_a_limit_that_is_not_known_yet_is_no_sample() -> None:
    scheduler = TaskScheduler(adapt=True)
    [rate] = [measure for measure in MEASURES if measure.name == "xtremeflow.limit.rate"]
    assert list(rate.read(look(scheduler))) == []


def test_a_held_counter_never_falls() -> None:
    used: Measure[float | None] = Measure(
        "a.used", InstrumentKind.COUNTER, "{token}", "", one(lambda value: value), is_held=True
    )
    reader: Reader[float | None] = Reader()
    values = [[value for _, value in reader.read(used, seen)] for seen in (5, 9, 7, None, 8, 10)]
    assert values == [[5], [9], [9], [], [9], [10]]


# ---- the dashboard ----

DASHBOARD = json.loads((DOCS / "grafana.json").read_text("utf-8"))
QUERIES = [
    (panel["title"], target["expr"], target["legendFormat"])
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
]
SERIES = {measure.series: measure for measure in ALL}


@pytest.mark.parametrize(("title", "query", "legend"), QUERIES)
def test_a_query_of_the_dashboard_asks_for_what_there_is(
    title: str, query: str, legend: str
) -> None:
    names = re.findall(r"xtremeflow_\w+", query)
    assert names
    assert set(names) <= set(SERIES)
    known = {"scheduler", *(label for name in names for label in SERIES[name].labels)}
    assert set(re.findall(r"[{,]\s*(\w+)=", query)) <= known
    assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= known
    for name in names:
        is_rate = re.search(rf"rate\({name}\b", query) is not None
        is_sum = re.search(rf"sum\({name}\b", query) is not None
        assert is_sum or is_rate == (SERIES[name].kind is InstrumentKind.COUNTER)
    assert query.count("(") == query.count(")")
    assert query.count("{") == query.count("}")


def test_the_dashboards_variables_are_those_that_its_queries_use() -> None:
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    text = json.dumps(DASHBOARD)
    used = set(re.findall(r"\$\{?(\w+)", text)) - {"__rate_interval", "__all"}
    assert used == variables
    [asks] = [v["query"] for v in DASHBOARD["templating"]["list"] if v["type"] == "query"]
    assert set(re.findall(r"xtremeflow_\w+", asks)) <= set(SERIES)
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
