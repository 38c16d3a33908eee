"""`./dev bench learning`: each way at each provider is measured, and the tables are printed."""

import re
from pathlib import Path

import pytest

from bench.__main__ import main
from bench.learning import over_http, perverse, sharing
from bench.learning.__main__ import PARTS, WITH_OPTIONS
from bench.learning.ways import WAYS
from bench.learning.world import FIRST, Setting, ideal
from xtremeflow.testing import Quirks

NEEDS = {"AWS adaptive mode": "botocore.retries.adaptive"}
OURS, *OTHERS = WAYS


@pytest.mark.parametrize("way", WAYS)
def test_each_way_at_an_honest_provider(way):
    if way in NEEDS:
        pytest.importorskip(NEEDS[way])
    result = perverse.measure("refused requests do not count", way, 1.5, 0)
    assert 0 <= result.refused <= 1
    assert 0.3 < result.first < 1.05


def test_ours_at_an_honest_provider():
    result = perverse.measure("a minute's bucket", OURS, 2.0, 0)
    assert result.in_use > 0.95
    assert result.refused < 0.01
    assert result.lost == 0


def test_ours_where_60_requests_of_a_minute_are_enforced_by_the_second():
    """The first refusals show that the bucket is smaller than the headers say."""
    result = perverse.measure("60 a minute, by the second", OURS, 4.0, 0)
    assert result.first > 0.6
    assert result.in_use > 0.9
    assert result.refused <= 0.01
    assert result.lost == 0


def test_retries_of_the_sdks_lose_calls_where_refused_requests_count():
    result = perverse.measure("a minute's bucket", "40 at a time, SDK retries", 1.5, 0)
    assert result.lost > 100
    assert result.in_use < 0.5


@pytest.mark.parametrize("provider", perverse.PROVIDERS)
def test_an_all_knowing_client_is_never_above_the_limits(provider):
    setting = perverse.PROVIDERS[provider]
    calls = sum(time < FIRST for time, _ in ideal(setting, FIRST))
    assert 0 < calls <= 2 * setting.rpm + 1  # a full bucket, and what comes in the minute


def test_the_ideal_client_keeps_to_a_limit_that_is_enforced_by_the_second():
    setting = Setting("openai", Quirks(quantum=1.0))
    times = [time for time, _ in ideal(setting, 30.0)]
    most = max(sum(at <= time < at + 1 for time in times) for at in times)
    assert most <= 2 * 10 + 1


@pytest.mark.parametrize("way", sharing.SHARING)
def test_two_jobs_on_a_key(way):
    if way in NEEDS:
        pytest.importorskip(NEEDS[way])
    result = sharing.measure("openai", way, 2, 3.0, 1.5, 0)
    assert 0 <= result.least <= 1.0
    assert 0 <= result.together < 2.0


def test_the_tables_are_printed(capsys):
    only = ["--seeds", "1", "--minutes", "1.2", "--ways", "fixed", "--processes", "1"]
    assert main(["learning", "perverse", "static", "second", *only]) == 0
    said = capsys.readouterr().out
    assert "| static headers " in said
    assert "| by the second, headers of the minute " in said
    only[5] = "AIMD"
    assert main(["learning", "sharing", "silent", *only, "--jobs", "2"]) == 0
    assert "| openai, silent: 2 jobs, 300 s apart " in capsys.readouterr().out


def test_an_unknown_world_or_way_is_named(capsys):
    with pytest.raises(SystemExit):
        main(["learning", "perverse", "friendly"])
    assert "nothing has 'friendly' in its name" in capsys.readouterr().err


def test_two_runs_on_one_account(monkeypatch, capsys):
    pytest.importorskip("uvicorn")
    monkeypatch.setattr(over_http, "WARM_UP", 2.0)
    monkeypatch.setattr(over_http, "CALLS", 500)
    assert main(["learning", "http", "--apart", "0", "--seconds", "1"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("| openai: 2 jobs, 0 s apart |")
    assert last.endswith(" 0 |")


def test_the_effect_of_a_constant_is_shown_by_a_part_of_the_benchmark():
    page = Path(__file__).parents[2] / "docs" / "learning-constants.md"
    shown = re.findall(r"^\| `\w+` \| .* \| (?:`(\w+)[^`]*`|-) \|$", page.read_text("utf-8"), re.M)
    assert len(shown) == page.read_text("utf-8").count("\n| `")
    assert set(shown) <= {*PARTS, *WITH_OPTIONS, ""}
