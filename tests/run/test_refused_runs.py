"""A run that is refused says why in one line and changes no file; what is said commands nobody."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit.runs import plain
from test_command import KEY, Server, environment, run, write

NOWHERE = "http://127.0.0.1:9/v1"


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    one = Server(tmp_path_factory.mktemp("server") / "server.log", 0.0)
    yield one
    one.close()


def listing(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.iterdir() if file.is_file()}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--bogus", "unrecognized arguments: --bogus (see xtremeflow run --help)"),
        ("--rpm 0", "--rpm: must be a number above 0"),
        ("--rpm " + "9" * 400, "at most 1e+12"),
        ("--rpm 1000G --burst 1000000000", "no scheduler can keep these limits"),
        ("--concurrency 1000000000", "--concurrency must be at most 1,000,000"),
        ("--key-file nowhere", "cannot read the key from nowhere"),
        ("--key-file bad-key", "the key has characters that no key has"),
        ("--key-env NO_SUCH", "environment variable NO_SUCH"),
        ("--key-file key -o key", "key is the key's file"),
        ("-o in.jsonl", "in.jsonl is the input"),
        ("-o in.png", "in.errors.png is the input"),
        ("-o h.jsonl", "h.runs.jsonl is the input"),
        ("-o p.png --plot p.png", "p.png would be the output and the picture"),
        ("--plot nowhere/p.png", "no file can be written there"),
        ("-o nowhere/o.jsonl", "No such file or directory"),
        ("-o loop.jsonl", "Too many levels of symbolic links"),
        ("--key-file loop.jsonl", "cannot read the key from loop.jsonl: Too many levels"),
        ("-o " + "o" * 300, "File name too long"),
        ("-o " + "o" * 248 + ".jsonl", "File name too long"),  # that of the errors
        ("-o notes.txt", "the end of notes.txt is not a result"),
        ("-o lines.txt", "line 1 of lines.txt is not a result"),
        ("-o other.jsonl", "line 1 of the input is not the one that was done before"),
        ("-o longer.jsonl", "the input ends after 2 lines, but line 7 was done before"),
        ("--strict", "has 1 bad line"),
        ("--provider azure --base-url=", "--provider azure needs --base-url"),
        ("--base-url http://example.com", "must begin with https"),
    ],
)
def test_a_refused_run_changes_no_file(tmp_path: Path, options: str, said: str) -> None:
    for name in ("in.jsonl", "in.errors.png", "h.runs.jsonl"):
        (tmp_path / name).write_text(json.dumps(plain("a")) + "\nbad\n")
    (tmp_path / "loop.jsonl").symlink_to("loop.jsonl")
    (tmp_path / "key").write_text(KEY)
    (tmp_path / "bad-key").write_text(f"{KEY} x")
    (tmp_path / "notes.txt").write_text("one line without an end")
    (tmp_path / "lines.txt").write_text("a line\n")
    for name, number in (("other", 1), ("longer", 7)):
        result = f'{{"id": "xf-{number}-00000000000000ff"}}\n{{"id": "xf-'  # torn
        (tmp_path / f"{name}.jsonl").write_text(result)
        (tmp_path / f"{name}.errors.jsonl").write_text('{"id": "xf-2-00000000000000ff"}\n')
    before = listing(tmp_path)
    arguments = options.split()
    source = {"in.png": "in.errors.png", "h.jsonl": "h.runs.jsonl"}.get(arguments[-1], "in.jsonl")
    if "--strict" in arguments:
        arguments += ["-o", "o.jsonl"]
    done = run(source, "-o", "o.jsonl", "--base-url", NOWHERE, *arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert done.stderr.startswith("xtremeflow run: ")
    assert done.stderr.count("\n") == (2 if "--strict" in arguments else 1)
    assert KEY not in done.stderr
    assert listing(tmp_path) == before


@pytest.mark.parametrize("form", ["utf-16", "gzip"])
def test_an_input_that_is_none_changes_no_file(tmp_path: Path, form: str) -> None:
    data = json.dumps(plain()).encode("utf-16") if form == "utf-16" else b"\x1f\x8b\x08 nonsense"
    (tmp_path / "in.jsonl").write_bytes(data)
    done = run("in.jsonl", "-o", "o.jsonl", "--base-url", NOWHERE, cwd=tmp_path)
    assert done.returncode == 2
    assert list(listing(tmp_path)) == ["in.jsonl"]


def test_an_output_in_use_changes_no_file(tmp_path: Path, server: Server) -> None:
    import fcntl

    write(tmp_path / "in.jsonl", [plain()])
    (tmp_path / "o.jsonl").write_text("")
    with open(tmp_path / "o.jsonl", "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for more in ((), ("--dry-run",)):
            done = run("in.jsonl", "-o", "o.jsonl", "--base-url", server.url, *more, cwd=tmp_path)
            assert done.returncode == 2
            assert "in use by another run" in done.stderr
    assert sorted(listing(tmp_path)) == ["in.jsonl", "o.jsonl"]


def test_standard_input_that_is_another_is_refused_before_anything_changes(
    tmp_path: Path, server: Server
) -> None:
    path = write(tmp_path / "in.jsonl", [plain("a"), plain("b", model="forbidden"), plain("c")])
    done = run(path, "-o", "o.jsonl", "--base-url", server.url, cwd=tmp_path)
    assert done.returncode == 1
    before = listing(tmp_path)
    write(path, [plain("c"), plain("b")])
    changed = path.read_bytes()
    with open(path) as file:
        done = run("-", "-o", "o.jsonl", "--base-url", server.url, cwd=tmp_path, stdin=file)
    assert done.returncode == 2
    assert "line 1 of the input is not the one" in done.stderr
    assert listing(tmp_path) == {**before, "in.jsonl": changed}
    assert len(server.asked()) == 3


def test_a_command_that_is_none_is_told_in_one_line() -> None:
    for arguments in (["fly"], ["plot"], ["serve", "--bogus"], ["demo", "--rpm", "x"],
                      ["completion"]):  # fmt: skip
        said = subprocess.run(
            [sys.executable, "-m", "xtremeflow", *arguments], capture_output=True, text=True
        )
        assert said.returncode == 2
        assert said.stderr.count("\n") == 1, said.stderr
        assert "--help)" in said.stderr


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["run", "--help"], ["run", "--dry-run"], ["completion", "bash"],
     ["share", "status", "shm:nobody-is-there"]],
)  # fmt: skip
def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path, arguments: list[str]) -> None:
    if "--dry-run" in arguments:
        lines = [plain(model=f"model-{i}") for i in range(9000)]
        arguments = ["run", str(write(tmp_path / "in.jsonl", lines)), "--dry-run", "-o",
                     str(tmp_path / "o.jsonl"), "--base-url", NOWHERE]  # fmt: skip
    reads, writes = os.pipe()
    os.close(reads)
    with os.fdopen(writes, "wb") as broken:
        done = subprocess.run(
            [sys.executable, "-m", "xtremeflow", *arguments], stdout=broken,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    assert done.stderr == ""
    # argparse, where it writes the help itself, passes over it.
    assert done.returncode in (0, 128 + signal.SIGPIPE)


def test_a_run_whose_reader_has_gone_is_done_all_the_same(tmp_path: Path, server: Server) -> None:
    path = write(tmp_path / "in.jsonl", [plain(f"t{i}") for i in range(20)])
    reads, writes = os.pipe()
    os.close(reads)
    with os.fdopen(writes, "wb") as broken:
        done = subprocess.run(
            [sys.executable, "-m", "xtremeflow", "run", str(path), "-o", str(tmp_path / "o.jsonl"),
             "--base-url", server.url, "--json"],
            stdout=broken, stderr=broken, env=environment(),
        )  # fmt: skip
    assert done.returncode == 0
    assert len((tmp_path / "o.jsonl").read_bytes().splitlines()) == 20


EVIL = "x\x1b]0;title\x07\x1b[2J\x9b31m\u202e"


def test_no_text_of_others_reaches_the_terminal_unescaped(tmp_path: Path, server: Server) -> None:
    """Of the input, of its name, and of what the server says, which quotes the request's head."""
    path = tmp_path / f"{EVIL}$x^2$.jsonl"
    out = tmp_path / f"o{EVIL}$\\frac$.jsonl"
    write(path, [plain("a", model=f"m{EVIL}"), *[plain("b", model="forbidden")] * 9])
    with open(path, "ab") as file:
        file.write(json.dumps({EVIL: 1}).encode() + b"\n")
    options = ["-o", out, "--base-url", server.url]
    picture = tmp_path / "p.svg"
    for more in (["--dry-run"], ["--strict"], ["--plot", picture], ["--json", "--verbose"]):
        done = run(path, *options, *more, env=environment(XTREMEFLOW_API_KEY=KEY))
        said = done.stdout + done.stderr
        assert "Traceback" not in said
        assert said.replace("\n", "").isprintable(), ascii(said)
        assert "--json" in more or "\\x1b]0;title" in said
    assert picture.exists()
    done = subprocess.run(
        [sys.executable, "-m", "xtremeflow", "plot", out, "-o", tmp_path / "q.png"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "q.png").exists()
