"""`xtremeflow run`: what a call costs it, how it starts and goes on, and what it makes of limits.

Every row is a process of its own that runs the command; its CPU (user and system) and its peak
memory are the system's (wait4), from its start to its end.

- the job, a tenth of it: so many lines of one short message, without limits, 64 calls at a time, to
  a server in another process that answers each at once, with 600 bytes.
- its start: the seconds from the end of the command's import to the arrival of its first request.
- going on: a job of as many lines of which the first half are done (their results lie in the
  output); the seconds from the start of the process to the arrival of the first new request.
- at a strict provider: the job of `./dev demo`. `xtremeflow serve` as OpenAI, whose buckets start
  full with a minute's amount and which charges `max_completion_tokens`, its clock eight times
  faster. "ideal / wall" is the shortest time in which the limits allow the job, divided by the time
  it took; "wasted" is the share of the attempts that were refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.measure import ROOT, Numbers, middle, rounds
from bench.peers import OURS
from bench.report import Figure, Section

LARGEST = 200_000  # requests, unless more are asked for
RUN = [sys.executable, "-m", "xtremeflow", "run"]
# What the command does, with the moment at which its import was over.
TIMED = """
import sys, time
from xtremeflow.run.command import main
print(time.monotonic(), flush=True)
sys.exit(main(sys.argv[1:]))
"""
RESULT = (
    '{"id": "xf-%d-%016x", "custom_id": "line-%d", "response": {"status_code": 200, "request_id": '
    '"req_1", "body": {"id": "chatcmpl-9f1c2b7a4d", "choices": [{"index": 0, "message": {"role": '
    '"assistant", "content": "%s"}}], "usage": {"prompt_tokens": 412, "completion_tokens": 17}}}, '
    '"error": null, "xtremeflow": {"line": %d, "attempts": 1, "started": 1795564561.5, "seconds": '
    '0.84, "usage": {"input_tokens": 412, "output_tokens": 17, "cached": 0}, "charged": {}}}\n'
)


def line(number: int) -> bytes:
    content = f"Say {number}"
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": content}]}).encode()


def write_requests(path: Path, requests: int) -> None:
    with path.open("wb") as file:
        for number in range(1, requests + 1):
            file.write(line(number) + b"\n")


class Done(NamedTuple):
    said: Any
    cpu: float  # s
    peak: float  # bytes


def run_to_end(command: Sequence[str]) -> Done:
    """Runs it, and reads what it says as JSON."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdout is not None
    said = process.stdout.read()
    status, cpu, peak = ended(process)
    if status:
        raise RuntimeError(f"{command} ended with status {status}")
    return Done(json.loads(said), cpu, peak)


@contextlib.contextmanager
def fast_server() -> Iterator[str]:
    """The benchmark's own, in a process of its own; yields its base URL."""
    command = [sys.executable, "-m", "bench.http.server"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
        server.communicate()  # closes its input, which ends it


@contextlib.contextmanager
def first_request() -> Iterator[tuple[str, Callable[[], float]]]:
    """Yields a base URL, and what returns when the first request has come there."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def wait() -> float:
            listening.settimeout(60)
            connection, _ = listening.accept()
            with connection:
                connection.recv(1)
                return time.monotonic()

        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1", wait


def job(directory: Path, requests: int) -> Numbers:
    source = directory / "requests.jsonl"
    write_requests(source, requests)
    with fast_server() as base_url:
        options = ["-o", str(directory / "out.jsonl"), "--base-url", base_url, "--json", "--quiet"]
        done = run_to_end([*RUN, str(source), *options])
    assert done.said["succeeded"] == requests
    return {
        "wall": done.said["seconds"],
        "rate": requests / done.said["seconds"],
        "cpu": done.cpu / requests,
        "peak": done.peak,
    }


def tenth(directory: Path, requests: int) -> Numbers:
    return job(directory, requests // 10)


def start(directory: Path, requests: int) -> Numbers:
    write_requests(directory / "requests.jsonl", 10)
    command = [sys.executable, "-c", TIMED, str(directory / "requests.jsonl")]
    first = until_first_request(command, directory)
    return {"wall": first.came - first.imported}


def going_on(directory: Path, requests: int) -> Numbers:
    from xtremeflow.run.input.requests import fingerprint

    write_requests(directory / "requests.jsonl", requests)
    with (directory / "out.jsonl").open("w") as file:
        for n in range(1, requests // 2 + 1):
            file.write(RESULT % (n, fingerprint(line(n)), n, "x" * 400, n))
    command = [sys.executable, "-c", TIMED, str(directory / "requests.jsonl")]
    first = until_first_request(command, directory)
    return {"wall": first.came - first.began, "own": first.cpu}


class First(NamedTuple):
    """When a process began, its import was over and its first request came; its CPU until then."""

    began: float
    imported: float
    came: float
    cpu: float


def until_first_request(command: Sequence[str], directory: Path) -> First:
    with first_request() as (base_url, wait):
        options = ["-o", str(directory / "out.jsonl"), "--base-url", base_url, "--quiet"]
        began = time.monotonic()
        process = subprocess.Popen(
            [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT
        )
        with process:
            assert process.stdout is not None
            imported = float(process.stdout.readline())
            came = wait()
            process.kill()
            cpu = ended(process)[1]
    return First(began, imported, came, cpu)


def ended(process: subprocess.Popen[bytes]) -> tuple[int, float, float]:
    """Waits for its end; returns its status, its CPU in seconds and its peak memory in bytes."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return process.returncode, usage.ru_utime + usage.ru_stime, peak


def strict(directory: Path, requests: int) -> Numbers:
    from xtremeflow.demo.provider import served
    from xtremeflow.demo.scheduled import run_scheduled
    from xtremeflow.demo.workload import Workload
    from xtremeflow.simulation.ideal import ideal_wall
    from xtremeflow.simulation.traces import load_trace

    sent = load_trace()[: min(1000, requests)]
    quick = len(sent) < 1000
    todo = Workload(sent, tpm=300_000, rpm=500, speed=60.0 if quick else 8.0)
    todo.write(directory / "requests.jsonl")
    results = directory / "out.jsonl"
    with served(todo.serve_options()) as base_url:
        options = ["-o", str(results), "--base-url", base_url, "--quiet", *todo.run_options()]
        source = str(directory / "requests.jsonl")
        outcome = asyncio.run(run_scheduled([source, *options], results, base_url))
    return {
        "wall": outcome.wall,
        "rate": len(sent) / outcome.wall,
        "ideal": ideal_wall(todo.costs(), outcome.seconds, todo.limits()) / outcome.wall,
        "wasted": outcome.wasted,
    }


JOB, TENTH = f"{OURS}, the job", f"{OURS}, a tenth of it"
START, GOING_ON, STRICT = (
    f"{OURS}, its start",
    f"{OURS}, going on",
    f"{OURS}, at a strict provider",
)
WAYS: dict[str, Callable[[Path, int], Numbers]] = {
    JOB: job,
    TENTH: tenth,
    START: start,
    GOING_ON: going_on,
    STRICT: strict,
}


def measure(way: str, requests: int) -> Numbers:
    with tempfile.TemporaryDirectory() as directory:
        return WAYS[way](Path(directory), requests)


def section(quick: bool, requests: int = LARGEST) -> Section:
    if quick:
        requests = 100
    results = rounds("job.command", [JOB, TENTH, GOING_ON, STRICT], 1, requests=requests)
    results |= rounds("job.command", [START], 1 if quick else 5, requests=requests)

    def text(way: str, key: str, form: str, scale: float = 1.0) -> str:
        numbers = results[way]
        return form.format(scale * middle(numbers, key)) if key in numbers[0] else "-"

    lines = {JOB: requests, TENTH: requests // 10, GOING_ON: requests}
    rows = [
        [
            way,
            f"{lines[way]:,}" if way in lines else "-",
            text(way, "wall", "{:,.2f} s"),
            text(way, "rate", "{:,.0f}"),
            text(way, "cpu", "{:,.0f} us", 1e6),
            text(way, "peak", "{:,.1f} MB", 1e-6),
            text(way, "ideal", "{:.3f}"),
            text(way, "wasted", "{:.1%}"),
        ]
        for way in WAYS
    ]
    begin, resume = middle(results[START], "wall"), middle(results[GOING_ON], "wall")
    small, large = middle(results[TENTH], "peak"), middle(results[JOB], "peak")
    ideal, wasted = middle(results[STRICT], "ideal"), middle(results[STRICT], "wasted")
    figures = [
        Figure(
            f"run: peak memory with {requests // 10:,} / {requests:,} requests",
            f"{small / 1e6:.1f} / {large / 1e6:.1f} MB",
            "flat (within 1.1x)",
            large <= 1.1 * small,
            {},
        ),
        Figure(
            "run: from its import to the first request",
            f"{1000 * begin:.0f} ms",
            "< 300 ms",
            begin < 0.3,
            {},
        ),
        Figure(
            f"run: going on at the half of {requests:,} lines, to the first new request",
            f"{resume:.1f} s, {middle(results[GOING_ON], 'own'):.1f} s of CPU",
            "< 5 s, of 1,000,000",
            resume < 5,
            {},
        ),
        Figure(
            "run: a whole job at a strict provider: ideal wall / wall",
            f"{ideal:.3f}, {wasted:.1%} wasted",
            ">= 0.98, <= 0.5 % wasted",
            ideal >= 0.98 and wasted <= 0.005,
            {},
        ),
    ]
    return Section(
        "A file of requests",
        __doc__ or "",
        [
            "way",
            "lines",
            "wall",
            "calls/s",
            "CPU per call",
            "peak memory",
            "ideal / wall",
            "wasted",
        ],
        rows,
        figures,
    )
