"""`xtremeflow run` as a process, against a server in another."""

from __future__ import annotations

import gzip
import json
import logging
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kit.runs import by_line, errors_in, plain, results_in

from xtremeflow.run.command import main

zstandard = pytest.importorskip("zstandard")
KEY = "sk-test-key-that-nobody-may-see"
SERVER = Path(__file__).with_name("server.py")


class Server:
    def __init__(self, log: Path, seconds: float) -> None:
        self._log = log
        self._process = subprocess.Popen(
            [sys.executable, str(SERVER), str(log), str(seconds)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self.url = f"http://127.0.0.1:{self.port}/v1"

    def asked(self, word: str = "asked") -> list[str]:
        return [
            line.split(" ", 1)[1]
            for line in self._log.read_text().splitlines()
            if line.startswith(word + " ")
        ]

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    one = Server(tmp_path / "server.log", 0.0)
    yield one
    one.close()


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Server]:
    one = Server(tmp_path / "server.log", 0.5)
    yield one
    one.close()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "results.jsonl"


def write(path: Path, lines: list[Any]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "xtremeflow", "run", *map(str, arguments)]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "XTREMEFLOW_API_KEY": KEY, **more}


def run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    options.setdefault("env", environment())
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=120, **options
    )


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment(), preexec_fn=hears_ctrl_c,
    )  # fmt: skip


def hears_ctrl_c() -> None:
    """A suite that runs in the background ignores SIGINT, and its children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def until(true: Any, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it has not come to that"
        time.sleep(0.01)


def test_a_file_becomes_results(tmp_path: Path, server: Server, out: Path) -> None:
    lines = [
        {
            "custom_id": f"c{i}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": plain(f"t{i}"),
        }
        for i in range(200)
    ]
    done = run(write(tmp_path / "in.jsonl", lines), "-o", out, "--base-url", server.url, "--json")
    assert done.returncode == 0, done.stderr
    found = results_in(out)
    assert {r["custom_id"] for r in found} == {f"c{i}" for i in range(200)}
    assert all(r["response"]["body"]["echo"] == "t" + r["custom_id"][1:] for r in found)
    assert all(r["response"]["body"]["key"] for r in found)
    summary = json.loads(done.stdout)
    assert summary["succeeded"] == summary["attempts"] == 200
    assert summary["left"] == 0
    assert KEY not in done.stderr + done.stdout


def _feed(form: str, data: bytes) -> bytes:
    if form == "gzip":
        return gzip.compress(data[:100]) + gzip.compress(data[100:])
    if form == "zstd":
        return bytes(zstandard.compress(data[:100]) + zstandard.compress(data[100:]))
    return b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n\r\n").rstrip()


@pytest.mark.parametrize("form", ["plain", "gzip", "zstd"])
@pytest.mark.parametrize("way", ["file", "stdin"])
def test_input_in_every_form(
    tmp_path: Path, server: Server, out: Path, form: str, way: str
) -> None:
    data = b"".join(json.dumps(plain(f"t{i}")).encode() + b"\n" for i in range(50))
    path = tmp_path / "input"
    path.write_bytes(_feed(form, data))
    options = ["-o", out, "--base-url", server.url]
    if way == "file":
        done = run(path, *options)
    else:
        with open(path, "rb") as file:
            done = run("-", *options, stdin=file)
    assert done.returncode == 0, done.stderr
    assert sorted(server.asked()) == sorted(f"t{i}" for i in range(50))


@pytest.mark.parametrize("form", ["gzip", "zstd"])
def test_a_compressed_file_that_breaks_off_is_told(
    tmp_path: Path, server: Server, out: Path, form: str
) -> None:
    data = b"".join(json.dumps(plain(f"{random.random()}")).encode() + b"\n" for _ in range(500))
    path = tmp_path / "input"
    path.write_bytes(_feed(form, data)[:-60])
    done = run(path, "-o", out, "--base-url", server.url)
    assert done.returncode == 2
    assert "breaks off" in done.stderr
    assert len(results_in(out)) == len(server.asked())


def test_standard_input_may_be_slow(server: Server, out: Path) -> None:
    process = subprocess.Popen(
        command("-", "-o", out, "--base-url", server.url), stdin=subprocess.PIPE,
        stderr=subprocess.PIPE, env=environment(), preexec_fn=hears_ctrl_c,
    )  # fmt: skip
    assert process.stdin is not None
    for i in range(3):
        process.stdin.write(json.dumps(plain(f"t{i}")).encode() + b"\n")
        process.stdin.flush()
        until(lambda i=i: len(server.asked("answered")) == i + 1)
    process.send_signal(signal.SIGINT)  # while it waits for the next line
    process.communicate(timeout=20)
    assert process.returncode == 130
    assert len(results_in(out)) == 3


def test_bad_lines_are_told_and_stop_nothing(tmp_path: Path, server: Server, out: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(
        b'{"model": "m"\n\xff\n'
        + json.dumps(plain("good")).encode()
        + b'\n{"custom_id": "x", "url": "http://evil.example/", "body": {}}\n'
    )
    done = run(path, "-o", out, "--base-url", server.url)
    assert done.returncode == 1
    assert server.asked() == ["good"]
    reasons = [e["error"]["message"] for e in errors_in(out)]
    assert reasons[0].startswith("line 1 is not JSON")
    assert reasons[1].startswith("line 2 is not UTF-8")
    assert reasons[2].startswith("line 4 url must be a path")
    assert "3 bad lines" in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--timeout", "0"], "must be more than 0 seconds"),
        (["-o", "."], "--output must name a file, got '.'"),
        (["--key-env", "NO_SUCH_KEY"], "environment variable NO_SUCH_KEY"),
    ],
)
def test_impossible_options_are_refused_before_anything_is_sent(
    tmp_path: Path, server: Server, out: Path, options: list[str], said: str
) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps(plain()) + "\n")
    done = run(path, "-o", out, "--base-url", server.url, *options)
    assert done.returncode == 2
    assert said in done.stderr
    assert not server.asked()


def test_an_input_in_utf_16_is_told(tmp_path: Path, server: Server, out: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps(plain()) + "\n", encoding="utf-16")
    done = run(path, "-o", out, "--base-url", server.url)
    assert done.returncode == 2
    assert "is UTF-16: it must be UTF-8" in done.stderr


def test_a_summary_that_cannot_be_written_is_no_failure(
    tmp_path: Path, server: Server, out: Path
) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps(plain()) + "\n")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command(path, "-o", out, "--base-url", server.url, "--json"), stdout=full,
            stderr=subprocess.PIPE, env=environment(), text=True, timeout=60,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "the summary cannot be written" in done.stderr


def test_closed_standard_streams_are_no_failure(tmp_path: Path, server: Server, out: Path) -> None:
    """Nor does a file of the command take their numbers."""
    path = write(tmp_path / "in.jsonl", [plain()] * 3)
    run_it = command(path, "-o", out, "--base-url", server.url, "--json")
    done = subprocess.run(["sh", "-c", '"$@" <&- >&- 2>&-', "sh", *run_it], env=environment(),
                          timeout=60)  # fmt: skip
    assert done.returncode == 0
    assert len(results_in(out)) == 3


def test_strict_sends_nothing(tmp_path: Path, server: Server, out: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(json.dumps(plain("good")).encode() + b"\nnonsense\n")
    done = run(path, "-o", out, "--base-url", server.url, "--strict")
    assert done.returncode == 2
    assert "line 2 is not JSON" in done.stderr
    assert server.asked() == []


def test_killed_at_any_moment_it_goes_on(tmp_path: Path, out: Path) -> None:
    """No finished call is sent again, none is lost, no line is torn."""
    server = Server(tmp_path / "server.log", 0.02)
    try:
        count = 1500
        path = write(tmp_path / "in.jsonl", [plain(f"t{i}") for i in range(count)])
        arguments = (path, "-o", out, "--base-url", server.url, "--concurrency", 16)
        chance = random.Random(7)
        finished: set[int] = set()
        seen = kills = 0
        while True:
            process = start(*arguments)
            if kills % 4:  # else it may be killed while it starts
                until(lambda p=process, n=seen: p.poll() is not None or len(server.asked()) > n)
            try:
                process.wait(timeout=chance.uniform(0.0, 0.5))
            except subprocess.TimeoutExpired:
                kills += 1
                process.kill()
            process.communicate()
            asked = server.asked()
            assert not {int(text[1:]) + 1 for text in asked[seen:]} & finished, "sent again"
            seen = len(asked)
            whole = out.read_bytes().rpartition(b"\n")[0].splitlines() if out.exists() else []
            finished = set(by_line(json.loads(line) for line in whole))
            if process.returncode == 0:
                break
            assert process.returncode == -signal.SIGKILL
            assert kills < 100
        assert kills >= 3
        assert finished == set(range(1, count + 1))
        assert out.read_bytes().endswith(b"\n")
        unfinished_twice = len(server.asked()) - count
        assert unfinished_twice <= kills * 16
    finally:
        server.close()


def test_a_torn_line_is_cut_off(tmp_path: Path, server: Server, out: Path) -> None:
    path = write(tmp_path / "in.jsonl", [plain(f"t{i}") for i in range(10)])
    options = ("-o", out, "--base-url", server.url)
    assert run(path, *options).returncode == 0
    whole = out.read_bytes()
    for cut in (1, 20, 150):
        out.write_bytes(whole[:-cut])
        done = run(path, *options)
        assert done.returncode == 0, done.stderr
        assert sorted(by_line(results_in(out))) == list(range(1, 11))
    # Of the line that lacked only its end, nothing was missing.
    assert len(server.asked()) == 12


def test_two_runs_on_one_output_refuse_each_other(tmp_path: Path, out: Path) -> None:
    server = Server(tmp_path / "server.log", 60.0)
    try:
        path = write(tmp_path / "in.jsonl", [plain("t")])
        arguments = (path, "-o", out, "--base-url", server.url)
        first = start(*arguments)
        until(lambda: server.asked())
        second = run(*arguments)
        assert second.returncode == 2
        assert "in use by another run" in second.stderr
        assert len(server.asked()) == 1
        first.kill()
        first.communicate()
    finally:
        server.close()


def test_ctrl_c_lets_calls_in_flight_finish(tmp_path: Path, slow: Server, out: Path) -> None:
    path = write(tmp_path / "in.jsonl", [plain(f"t{i}") for i in range(100)])
    arguments = (path, "-o", out, "--base-url", slow.url, "--concurrency", 4)
    process = start(*arguments)
    until(lambda: slow.asked())
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "give the same command again" in said
    assert str(path) in said
    assert len(results_in(out)) == len(slow.asked()) <= 8
    done = run(*arguments, "--concurrency", 100)
    assert done.returncode == 0
    assert sorted(slow.asked()) == sorted(f"t{i}" for i in range(100))


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path, out: Path) -> None:
    server = Server(tmp_path / "server.log", 60.0)
    try:
        path = write(tmp_path / "in.jsonl", [plain(f"t{i}") for i in range(100)])
        process = start(path, "-o", out, "--base-url", server.url)
        until(lambda: server.asked())
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=10)
        assert process.returncode == 130
        assert "Traceback" not in said
        assert results_in(out) == []
    finally:
        server.close()


def test_a_wrong_key_stops_after_a_few_calls_and_is_nowhere_to_be_seen(
    tmp_path: Path, server: Server, out: Path
) -> None:
    path = write(tmp_path / "in.jsonl", [plain(f"t{i}", model="forbidden") for i in range(1000)])
    done = run(path, "-o", out, "--base-url", server.url, "--concurrency", 500)
    assert done.returncode == 3
    assert "the key is not accepted" in done.stderr
    assert len(server.asked()) <= 10
    assert len(errors_in(out)) == len(server.asked())  # the server quotes its request's headers
    for file in tmp_path.iterdir():
        assert file.name == "server.log" or KEY not in file.read_text()
    assert KEY not in done.stderr + done.stdout


def test_no_server_stops_after_a_few_calls(tmp_path: Path, out: Path) -> None:
    path = write(tmp_path / "in.jsonl", [plain(f"t{i}") for i in range(1000)])
    done = run(path, "-o", out, "--base-url", "http://127.0.0.1:9/v1")
    assert done.returncode == 3
    assert "cannot be reached" in done.stderr


def test_budgets_end_cleanly_and_say_what_is_left(
    tmp_path: Path, server: Server, out: Path
) -> None:
    path = write(tmp_path / "in.jsonl", [plain(f"t{i}") for i in range(20)])
    path.write_bytes(path.read_bytes().replace(b"\n", b"\n\n"))  # blank lines are not left
    options = ("-o", out, "--base-url", server.url)
    done = run(path, *options, "--max-requests", 7)
    assert done.returncode == 3
    assert len(results_in(out)) == 7
    assert "the 13 that are left" in done.stderr
    done = run(path, *options, "--deadline", "0.6s", "--rpm", 60)
    assert done.returncode == 3
    assert "deadline" in done.stderr
    assert run(path, *options).returncode == 0
    assert len(server.asked()) == 20


@pytest.mark.parametrize("limit", [2_000, 6_000])
def test_a_full_disk_loses_nothing_that_was_written(
    tmp_path: Path, server: Server, out: Path, limit: int
) -> None:
    path = write(tmp_path / "in.jsonl", [plain(f"t{i}") for i in range(100)])
    arguments = (path, "-o", out, "--base-url", server.url, "--concurrency", 4, "--patience", 1)

    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = run(*arguments, preexec_fn=small)
    assert done.returncode == 3, done.stderr
    assert "cannot be written" in done.stderr
    kept = by_line(results_in(out))
    assert 0 < len(kept) < 100
    assert out.read_bytes().endswith(b"\n")
    before = len(server.asked())
    assert run(*arguments).returncode == 0
    assert sorted(by_line(results_in(out))) == list(range(1, 101))
    assert len(server.asked()) - before == 100 - len(kept)


def test_an_output_that_cannot_be_written(tmp_path: Path, server: Server) -> None:
    path = write(tmp_path / "in.jsonl", [plain()])
    for output, why in (
        (tmp_path / "no" / "such" / "file.jsonl", "No such file"),
        (tmp_path, "Is a directory"),
        (Path("/dev/null"), "not a regular file"),
        (Path("/proc/self/results.jsonl"), ""),
        (path, "is the input"),
        (Path("-"), "must name a file"),
    ):
        done = run(path, "-o", output, "--base-url", server.url)
        assert done.returncode == 2, done.stderr
        assert why in done.stderr
        assert "Traceback" not in done.stderr
    foreign = tmp_path / "foreign.jsonl"
    foreign.write_text('{"mine": 1}\n')
    done = run(path, "-o", foreign, "--base-url", server.url)
    assert done.returncode == 2
    assert "line 1 of" in done.stderr
    assert foreign.read_text() == '{"mine": 1}\n'
    assert server.asked() == []


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "tell where to send"),
        (("--base-url", "http://example.com/v1"), "must begin with https"),
        (("--base-url", "ftp://example.com"), "must be such as https://"),
        (("--base-url", "https://user:secret@example.com"), "without a user"),
        (("--base-url", "http://[::1"), "must be such as https://"),
        (("--base-url", "http://127.0.0.1:99999/v1"), "must be such as https://"),
        (("--base-url", "http://127.0.0.1/a b"), "must be such as https://"),
        (("--base-url", "https://example.com/v1?key=secret"), "must be such as https://"),
        (("--provider", "openai"), "OPENAI_API_KEY"),
        (("--provider", "nobody"), "invalid choice"),
        (("--base-url", "http://127.0.0.1:9", "--rpm", "0"), "a number above 0"),
        (("--base-url", "http://127.0.0.1:9", "--deadline", "yesterday"), "must be a duration"),
        (("--base-url", "http://127.0.0.1:9", "--key-file", "/nowhere"), "cannot read the key"),
        (("--base-url", "http://127.0.0.1:9", "--plot", "x.gif"), ".png or .svg"),
        (("--base-url", "http://127.0.0.1:9", "--tokenizer", "nobody"), "--tokenizer"),
    ],
)
def test_bad_usage_is_told_and_exits_2(
    tmp_path: Path, out: Path, arguments: tuple[str, ...], why: str
) -> None:
    path = write(tmp_path / "in.jsonl", [plain()])
    env = {k: v for k, v in environment().items() if k != "OPENAI_API_KEY"}
    done = run(path, "-o", out, *arguments, env=env)
    assert done.returncode == 2
    assert why in done.stderr
    assert "secret" not in done.stderr
    assert "Traceback" not in done.stderr
    assert not out.exists()


def test_without_libcurl_it_says_what_to_install(out: Path) -> None:
    for arguments in (("--help",), ("in.jsonl", "-o", out, "--dry-run")):
        done = run(*arguments, env={**environment(), "XTREMEFLOW_LIBCURL": "/nowhere"})
        assert done.returncode == 2
        assert re.fullmatch(
            r"xtremeflow run: xtremeflow.http needs libcurl .* `apt install libcurl4`.*\n",
            done.stderr,
        )


def test_an_input_that_is_not_there(out: Path) -> None:
    done = run("nowhere.jsonl", "-o", out, "--base-url", "http://127.0.0.1:9")
    assert done.returncode == 2
    assert "cannot read nowhere.jsonl: No such file" in done.stderr


def test_a_dry_run_sends_and_writes_nothing(tmp_path: Path, server: Server, out: Path) -> None:
    path = write(tmp_path / "in.jsonl", [plain("x" * 396, max_tokens=100)] * 100)
    done = run(path, "-o", out, "--base-url", server.url, "--dry-run", "--json", "--tpm", "1200")
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert found["requests"] == 100
    assert found["input_tokens"] == 10_000
    assert found["output_tokens"] == 10_000
    assert found["shortest_seconds"] == 1_000
    assert found["bound_by"] == "tokens"
    assert server.asked() == []
    assert sorted(file.name for file in tmp_path.iterdir()) == ["in.jsonl", "server.log"]


def test_the_key_may_be_in_a_file(tmp_path: Path, server: Server, out: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    path = write(tmp_path / "in.jsonl", [plain()])
    env = {k: v for k, v in os.environ.items() if k != "XTREMEFLOW_API_KEY"}
    done = run(path, "-o", out, "--base-url", server.url, "--key-file", file, env=env)
    assert done.returncode == 0
    assert results_in(out)[0]["response"]["body"]["key"]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_memory_is_flat(tmp_path: Path, server: Server, out: Path) -> None:
    """40 MB of done lines are passed over without 40 MB of memory."""
    lines = [plain("x" * 4000 + str(i)) for i in range(10_000)]
    path = write(tmp_path / "in.jsonl", lines)
    from xtremeflow.run.input.requests import fingerprint

    with open(out, "wb") as file:
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            if number % 100:
                mark = f"xf-{number}-{fingerprint(line):016x}"
                file.write(f'{{"id": "{mark}", "pad": "{"y" * 2000}"}}\n'.encode())
    measure = (
        "import re, sys; from xtremeflow.cli import main; status = main(sys.argv[1:]);"
        "print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]);"
        "sys.exit(status)"
    )
    arguments = command(path, "-o", out, "--base-url", server.url)[3:]
    done = subprocess.run(
        [sys.executable, "-c", measure, *arguments],
        capture_output=True, text=True, timeout=120, env=environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(server.asked()) == 100
    # The mapped results count (20 MB); anything held per line would come on top.
    assert int(done.stdout) < 90_000  # KiB


def test_a_line_that_was_done_and_is_another_now(tmp_path: Path, server: Server, out: Path) -> None:
    path = write(tmp_path / "in.jsonl", [plain("a"), plain("b")])
    options = ("-o", out, "--base-url", server.url)
    assert run(path, *options).returncode == 0
    write(path, [plain("b"), plain("a"), plain("c")])
    done = run(path, *options)
    assert done.returncode == 2
    assert "line 1 of the input is not the one that was done before" in done.stderr
    assert len(server.asked()) == 2
    write(path, [plain("a"), plain("b"), plain("c")])
    assert run(path, *options).returncode == 0
    assert server.asked()[2:] == ["c"]


def test_a_program_that_calls_the_command_has_its_own_log_back(tmp_path: Path) -> None:
    names = ["xtremeflow", "xtremeflow.run", "xtremeflow.learning"]
    own = logging.NullHandler()
    logs = [logging.getLogger(name) for name in names]
    logs[0].handlers = [own]
    logs[0].setLevel(logging.CRITICAL)
    before = [(log.handlers, log.propagate, log.level) for log in logs]
    requests = tmp_path / "requests.jsonl"
    requests.write_text('{"model": "m", "messages": []}\n')
    arguments = [str(requests), "-o", str(tmp_path / "results.jsonl"), "--dry-run", "--quiet"]
    assert main([*arguments, "--base-url", "http://127.0.0.1:1/v1"]) == 0
    assert main(arguments) == 2  # it does not say where to send them
    assert [(log.handlers, log.propagate, log.level) for log in logs] == before
    assert logs[0].handlers == [own]
