"""The picture of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kit.runs import Scripted, answered, go, make, plain

from xtremeflow import Limit
from xtremeflow.run.job.budget import Budget
from xtremeflow.run.output.history import History, PastLimit, PastRun, history_path, past_runs
from xtremeflow.run.views.plot import (
    PlotError,
    Steps,
    TimeAxis,
    main,
    plot,
    read_calls,
    spans_of,
)

pytest.importorskip("matplotlib")
PNG = b"\x89PNG\r\n\x1a\n"


def job(path: Path, **options: Any) -> None:
    def script(request: Any, attempt: int) -> Any:
        if request.line % 25 == 0 and attempt == 1:
            return answered(429, {}, retry_after="3")
        return answered(400, {}) if request.line % 40 == 1 else answered()

    limits = [Limit("tokens", 60, 1.0, 600), Limit("requests", 5, 1.0, 50)]
    history = History(path)
    runner = make(path, Scripted(script), limits=limits, on_cooldown=history.cooldown, **options)

    async def note(runner: Any) -> None:
        history.start(runner.wall(), limits)

    go(runner, [plain(str(i)) for i in range(200)], note)
    history.end(runner.wall(), {}, {})


def test_a_picture_of_two_runs(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    job(path, budget=Budget(max_requests=100))
    job(path)
    picture = tmp_path / "picture.png"
    plot(path, picture)
    assert picture.read_bytes().startswith(PNG)
    svg = tmp_path / "picture.svg"
    plot(path, svg)
    text = svg.read_text()
    assert "<svg" in text
    runs = past_runs(path)
    assert len(runs) == 2
    assert all(run.cooldowns and run.end for run in runs)
    assert runs[0].given == [PastLimit("tokens", 60, 600), PastLimit("requests", 5, 50)]
    calls = read_calls(path)
    assert set(calls.amounts("tokens")) == {8}
    assert len(calls.failed) == 5


def test_learned_concurrency_is_drawn(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    job(path)
    plot(path, tmp_path / "without.svg")
    began = past_runs(path)[0].start
    history = History(path)
    history.start(began, [])
    for moment, size in ((5.0, None), (10.0, 8), (20.0, 8), (30.0, 12), (35.0, None)):
        history.limits(began + moment, [], {"concurrency": size})
    wanted = (10, 8), (30, 12), (35, None)
    (_, run) = past_runs(path)
    assert run.concurrency == [(pytest.approx(began + at), n) for at, n in wanted]
    steps = Steps.of_concurrency([run], TimeAxis([(began, began + 40.0)]))
    assert steps.known == [8, 12]
    assert steps.moments == pytest.approx([0.0, 10.0, 30.0, 35.0, 40.0], abs=0.01)
    plot(path, tmp_path / "with.svg")
    pictures = [(tmp_path / name).read_text() for name in ("without.svg", "with.svg")]
    assert ["calls in flight" in picture for picture in pictures] == [False, True]
    assert "learned limit (8 to 12)" in pictures[1]


def test_the_command_puts_it_beside_the_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "results.jsonl"
    job(path)
    assert main([str(path)]) == 0
    assert (tmp_path / "results.png").read_bytes().startswith(PNG)
    assert capsys.readouterr().out.strip() == str(tmp_path / "results.png")
    history_path(path).unlink()  # nothing depends on it
    assert main([str(path), "-o", str(tmp_path / "b.svg")]) == 0


def test_a_file_without_results_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "results.jsonl"
    assert main([str(path)]) == 2
    assert "No such file" in capsys.readouterr().err
    path.write_text("")
    assert main([str(path)]) == 2
    assert "no result" in capsys.readouterr().err
    path.write_text("hello\n")
    assert main([str(path)]) == 2
    assert "is not the output of xtremeflow run" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([str(path), "-o", "x.gif"])
    job(path.with_name("good.jsonl"))
    with pytest.raises(PlotError, match="cannot write"):
        plot(path.with_name("good.jsonl"), tmp_path / "no" / "such.png")


def calls_at(*pairs: tuple[float, float]) -> Any:
    from xtremeflow.run.views.plot import PlottedCalls

    calls = PlottedCalls()
    for started, seconds in pairs:
        calls.add({"started": started, "seconds": seconds})
    return calls


def test_the_time_between_runs_is_left_out() -> None:
    calls = calls_at((1000, 1), (1010, 5), (9000, 2), (9003, 1))
    runs = [PastRun(999.0), PastRun(8999.0)]
    for known in (runs, []):
        spans = spans_of(calls, known)
        assert spans == [(1000, 1015), (9000, 9004)]
    axis = TimeAxis(spans)
    assert axis.breaks == [15]
    assert axis.end == 19
    assert list(axis([1000, 1010, 9000, 9003])) == [0, 10, 15, 18]


def test_runs_close_to_each_other_are_told_apart_by_their_history() -> None:
    calls = calls_at((1000, 1), (1002, 50), (1010, 1))
    spans = spans_of(calls, [PastRun(999.0), PastRun(1005.0)])
    assert spans == [(1000, 1010), (1010, 1052)]


def test_a_name_that_is_no_files_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([""])
    assert "results must be a file, got '.'" in capsys.readouterr().err


def test_tokens_read_from_the_cache_are_drawn_where_there_are_any(tmp_path: Path) -> None:
    def drawn(name: str, script: Any) -> str:
        path = tmp_path / f"{name}.jsonl"
        go(make(path, Scripted(script)), [plain(str(n)) for n in range(20)])
        plot(path, path.with_suffix(".svg"))
        return path.with_suffix(".svg").read_text()

    def cached(request: Any, attempt: int) -> Any:
        usage = {
            "input_tokens": 100,
            "cache_read_input_tokens": 900 if request.line > 4 else 0,
            "cache_creation_input_tokens": 900 if request.line <= 4 else 0,
            "output_tokens": 5,
        }
        return answered(200, {"usage": usage})

    drawn("with", cached)
    calls = read_calls(tmp_path / "with.jsonl")
    sums = (sum(calls.input), sum(calls.cached), sum(calls.written))
    assert sums == (20 * 1000, 16 * 900, 4 * 900)
    rows = [drawn(name, script).count('id="axes_') for name, script in
            [("one", cached), ("two", lambda request, attempt: answered())]]  # fmt: skip
    assert rows == [4, 3]
