"""The gain by a second thread: every way is measured. Tests do not judge the figure."""

import sys
from pathlib import Path

import pytest

from bench.__main__ import main
from bench.cpu import threads


def test_each_way_is_measured_with_one_thread_and_with_two(
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ["--python", sys.executable, "--calls", "1000", "--rounds", "1"]
    assert main(["threads", *options]) == 0
    which, *table = capsys.readouterr().out.splitlines()
    assert which.startswith("CPython ")
    rows = [line.strip("| ").split(" | ") for line in table[2:]]
    assert [row[:2] for row in rows] == [
        [way, number]
        for way in ("tasks", "a scheduler each", "one scheduler")
        for number in ("1", "2")
    ]
    assert all(float(row[2].replace(",", "")) > 0 for row in rows)


def test_it_measures_the_package_of_the_interpreter_and_not_the_one_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "xtremeflow.py").write_text(
        "import asyncio\n"
        "class TokenRateScheduler:\n"
        "    def __init__(self, *limits): open(__file__ + '.used', 'w').close()\n"
        "    def submit(self, coro, tokens): return asyncio.create_task(coro)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    rate, cpu = threads.measured(sys.executable, threads.ONE, 1, 1)
    assert rate > 0
    assert cpu > 0
    assert (tmp_path / "xtremeflow.py.used").exists()
