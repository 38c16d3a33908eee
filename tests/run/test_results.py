"""The results on disk."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from xtremeflow.run.output.results import Done, Log, Results, ResultsError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


def line(number: int, size: int = 10) -> bytes:
    return f'{{"id": "xf-{number}-{number * 7:016x}", "pad": "{"x" * size}"}}\n'.encode()


def test_a_done_line_is_known_by_number_and_fingerprint() -> None:
    done = Done()
    marks = {random.randrange(1, 10**6): random.getrandbits(64) or 1 for _ in range(2000)}
    for number, mark in marks.items():
        done.add(number, mark)
    assert done.count == len(marks)
    assert all(done.get(number) == mark for number, mark in marks.items())
    assert done.get(10**9) == 0


def test_any_cut_is_mended(path: Path) -> None:
    """Whatever the byte at which a crash tore the file."""
    whole = line(1) + line(2) + line(3)
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        results = Results(path)
        results.begin()
        kept = [number for number in (1, 2, 3) if results.done.get(number)]
        results.add(line(4))
        results.close()
        records = [json.loads(one) for one in path.read_bytes().splitlines()]
        assert len(records) == len(kept) + 1
        assert kept == list(range(1, len(kept) + 1))
        ends = [len(line(1)), 2 * len(line(1)), len(whole)]
        assert len(kept) == sum(cut >= end - 1 for end in ends)  # -1: only the line's end lacks


def listing(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.parent.iterdir()}


def test_reading_what_is_done_changes_nothing(path: Path) -> None:
    results = Results(path)
    assert results.done.count == 0
    results.close()
    assert listing(path) == {}
    path.write_bytes(line(1) + line(2)[:-5])
    path.with_name("out.errors.jsonl").write_bytes(line(3))
    before = listing(path)
    results = Results(path)
    assert results.done.count == 1
    results.close()
    assert listing(path) == before


def test_a_run_that_cannot_begin_leaves_nothing_behind(path: Path) -> None:
    results = Results(path)
    path.with_name("out.errors.jsonl").mkdir()  # meanwhile
    with pytest.raises(ResultsError, match="Is a directory"):
        results.begin()
    assert not path.exists()
    results.close()


@pytest.mark.parametrize("foreign", [b"hello", b"sk-key", b'{"a": 1}', b"xf-1", b"0\0"])
@pytest.mark.parametrize("name", ["out.jsonl", "out.errors.jsonl"])
def test_a_foreign_file_is_not_taken_for_a_torn_line(path: Path, name: str, foreign: bytes) -> None:
    path.with_name(name).write_bytes(foreign)
    with pytest.raises(ResultsError, match=r"the end of .* is not a result"):
        Results(path)
    assert listing(path) == {name: foreign}


@pytest.mark.parametrize("foreign", [b"hello\n", b"\n", b'{"id": "batch_req_1"}\n', b"\0\0\n"])
def test_foreign_lines_are_not_touched(path: Path, foreign: bytes) -> None:
    path.write_bytes(line(1) + foreign)
    with pytest.raises(ResultsError, match=r"line 2 of .* is not a result"):
        Results(path)
    assert path.read_bytes() == line(1) + foreign
    path.write_bytes(line(1))
    Results(path).close()  # nothing is left locked


def test_zeros_of_a_power_failure_are_cut_off(path: Path) -> None:
    path.write_bytes(line(1) + bytes(4096))
    results = Results(path)
    assert results.done.count == 1
    results.begin()
    results.close()
    assert path.read_bytes() == line(1)


def test_a_second_user_is_refused(path: Path) -> None:
    first = Results(path)
    first.begin()
    with pytest.raises(ResultsError, match="in use by another run"):
        Results(path)
    first.close()
    Results(path).close()


def test_errors_begin_anew_unless_they_are_kept(path: Path) -> None:
    results = Results(path)
    results.add_error(line(3))
    results.close()
    kept = Results(path, skip_failed=True)
    assert kept.failed_before == 1
    assert kept.done.get(3)
    kept.close()
    anew = Results(path)
    assert anew.done.count == 0
    anew.begin()
    anew.close()
    assert anew.errors_path.read_bytes() == b""


def test_a_write_that_fails_leaves_no_part(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    log = Log(path)
    log.append(line(1))
    write = os.write
    calls = iter([True, False])

    def short(file: int, data: bytes) -> int:
        if next(calls):
            return write(file, data[:7])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", short)
    with pytest.raises(OSError, match="No space"):
        log.append(line(2))
    monkeypatch.undo()
    assert path.read_bytes() == line(1)
    log.append(line(2))
    log.close()
    assert path.read_bytes() == line(1) + line(2)
