"""The gain by a second thread: every way is measured. Tests do not judge the figure."""

import sys

import pytest

from bench.__main__ import main


def test_each_way_is_measured_with_one_thread_and_with_two(
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ["--python", sys.executable, "--calls", "1000", "--rounds", "1"]
    assert main(["threads", *options]) == 0
    which, *table = capsys.readouterr().out.splitlines()
    assert which.startswith("CPython ")
    rows = [line.strip("| ").split(" | ") for line in table[2:]]
    assert [row[:2] for row in rows] == [
        [way, threads]
        for way in ("tasks", "a scheduler each", "one scheduler")
        for threads in ("1", "2")
    ]
    assert all(float(row[2].replace(",", "")) > 0 for row in rows)
