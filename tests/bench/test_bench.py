"""Every part of the benchmark, in its smoke run: what it measures are numbers, of every library
that is installed. What they are, only an idle machine can tell."""

import ast
import importlib
import json
import math
from pathlib import Path

import pytest

from bench import measure, peers, report
from bench.__main__ import OF_LEARNING, PARTS, WITH_OPTIONS, main
from bench.job import command
from bench.learning import charges
from bench.learning.jobs import edges, tables


@pytest.mark.parametrize("part", PARTS)
def test_a_part_measures_numbers(part, monkeypatch):
    measured = []
    run = measure.run

    def recorded(part, way, environ, **parameters):
        numbers = run(part, way, environ, **parameters)
        measured.append((way, numbers))
        return numbers

    monkeypatch.setattr(measure, "run", recorded)
    module = importlib.import_module(f"bench.{PARTS[part]}")
    section = module.section(quick=True)
    ways = {way for way in module.WAYS if peers.available(way)}
    assert peers.OURS in {way.split(",")[0] for way in ways}
    assert {way for way, _ in measured} == ways
    for way, numbers in measured:
        assert all(math.isfinite(number) for number in numbers.values()), (way, numbers)
    assert {row[0] for row in section.rows} == ways
    assert all(len(row) == len(section.header) for row in section.rows)
    assert section.figures


def test_ways_take_turns(monkeypatch):
    order = []
    monkeypatch.setattr(
        measure, "run", lambda part, way, environ, **_: order.append(way) or {"cpu": 1.0}
    )
    results = measure.rounds("cpu.overhead", ["asyncio", "xtremeflow"], 2)
    assert order == ["asyncio", "xtremeflow"] * 2
    assert results == {"asyncio": [{"cpu": 1.0}] * 2, "xtremeflow": [{"cpu": 1.0}] * 2}


def test_ratios_are_of_the_same_round():
    ours = [{"cpu": 2.0}, {"cpu": 30.0}, {"cpu": 4.0}]  # the machine was busy in the second
    base = [{"cpu": 1.0}, {"cpu": 10.0}, {"cpu": 1.0}]
    assert measure.ratio(ours, base, "cpu") == 3.0
    assert measure.middle(ours, "cpu") == 4.0


def test_a_library_that_is_missing_is_left_out(monkeypatch):
    monkeypatch.setattr(peers, "versions", lambda: {})
    assert not peers.available(peers.TOKEN_THROTTLE)
    assert not peers.available(f"{peers.OLD}, at its best")
    assert peers.available(peers.SEMAPHORE)
    assert peers.available(f"{peers.OURS}, submit")


def test_a_failing_measurement_fails(monkeypatch, capfd):
    with pytest.raises(Exception, match="exit status 1"):
        measure.run("cpu.overhead", "no such way", {}, tasks=100, chunk=10)
    assert "no such way" in capfd.readouterr().err


def test_the_command_prints_its_table_and_writes_no_file_by_itself(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("bench.__main__.RESULTS", tmp_path / "RESULTS.md")
    assert main(["overhead", "--quick"]) == 0
    out = capsys.readouterr().out
    assert "| <= 1.15x |" in out
    assert "- Python: 3." in out
    assert not list(tmp_path.iterdir())


def test_the_job_runners_file_may_be_larger(monkeypatch, capsys):
    asked = []
    section = report.Section("Requests", "", ["way"], [["xtremeflow"]])
    monkeypatch.setattr(
        command, "section", lambda quick, requests: asked.append(requests) or section
    )
    assert main(["run_job", "--requests", "1000000"]) == 0
    assert asked == [1_000_000]
    assert "## Requests" in capsys.readouterr().out


def has_entry(module: Path) -> bool:
    """Whether a module of the benchmark is a part: it has a section, or a command line."""
    for node in ast.parse(module.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name in ("section", "main"):
            first = node.args.args[0].annotation
            if node.name == "section" or "Sequence[str]" in ast.unparse(first or node):
                return True
    return False


def test_every_part_can_be_reached_and_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    there = {
        ".".join(path.relative_to(measure.ROOT).with_suffix("").parts)
        for path in (measure.ROOT / "bench").rglob("*.py")
        if has_entry(path)
    }
    reached = {f"bench.{module}" for module in PARTS.values()}
    reached |= {*WITH_OPTIONS.values(), *OF_LEARNING.values(), "bench.__main__"}
    assert there == reached
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    listed = {line[:18].rstrip(): line[18:].strip() for line in lines}
    assert listed.keys() == {*PARTS, *WITH_OPTIONS, *(f"learning {part}" for part in OF_LEARNING)}
    assert all(listed.values())


def test_an_unknown_part_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["overheads"])
    assert "no part 'overheads', only overhead, queued" in capsys.readouterr().err


def test_numbers_come_as_json(capsys):
    measure._main("cpu.queued", "asyncio.Semaphore", '{"tasks": 100, "slots": 5, "batches": 1}')
    assert json.loads(capsys.readouterr().out)["cpu"] > 0


@pytest.mark.parametrize("profile", tables.WITH_HEADERS)
def test_limits_that_are_not_given_are_learned_from_the_answers(profile):
    result = tables.measure(profile, "adapt, nothing configured", 4.0, 0)
    assert result.efficiency > 0.93
    assert result.refused < 0.01
    assert result.lost == 0


@pytest.mark.parametrize("profile", tables.WITH_RATES)
def test_limits_are_found_without_a_word_of_them(profile):
    result = tables.measure(profile, "adapt, nothing configured", 12.0, 0, "nothing")
    assert result.in_use > (0.85 if profile == "mistral" else 0.93)
    assert result.refused < 0.035  # half of them in the first minutes, where nothing is known
    assert result.lost == 0


@pytest.mark.parametrize("way", tables.WAYS)
def test_the_ways_of_a_job_at_an_unknown_provider_end(way):
    result = tables.measure("openai", way, 1.5, 1)
    assert result.lost == 0
    assert 0.3 < result.efficiency < 1.1


@pytest.mark.parametrize("tells", ["all", "nothing"])
def test_moving_limits_are_followed(tells):
    last, used = edges.after_a_cut(1, tells)
    assert last < (10 if tells == "all" else 30)
    assert used > 0.95
    assert edges.after_a_rise(1, tells) < 60


@pytest.mark.parametrize("tells", ["all", "nothing"])
def test_an_outage_costs_few_attempts_and_leaves_no_caution(tells):
    attempts, until_one_passes, used = edges.after_an_outage(1, tells)
    assert attempts < 40
    assert until_one_passes < 2.5
    assert used > 1.4  # what came in meanwhile, too


def test_two_users_of_a_key_share_it():
    mine, both = edges.two_users(1)
    assert mine > 0.45
    assert both > 0.93


@pytest.mark.parametrize("profile", ["openai", "groq"])
def test_knowing_the_rule_is_worth_it(profile: str) -> None:
    """A job of two minutes: about as quick as by always refunding, with fewer refusals."""
    learned, always, never = (
        charges.measure(profile, way, adapt=False, minutes=2.0, seed=0)
        for way in ("learned", "always given back", "never given back")
    )
    assert learned.beliefs[-1][1].rule.settles == charges.RIGHT[profile].settles
    assert learned.efficiency > always.efficiency - 0.02
    assert learned.efficiency > never.efficiency + 0.2
    assert learned.refused <= always.refused


def test_a_missing_browser_is_named(monkeypatch, capsys):
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(SystemExit):
        main(["paint"])
    assert "chromium, chromedriver" in capsys.readouterr().err
