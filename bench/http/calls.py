"""CPU of an LLM call by HTTP client: ./dev bench http [--rounds N] [ROW ...]

Each client runs in a process of its own against a server in another; what counts is the client's
CPU time (user and system, all threads). The rounds go round all clients, and the median is given,
so that what else the machine does meets all alike. Ratios are the median of those of each round.
Rows can be chosen by a part of their name.

Calls whose answers tell of limits, by a client with a scheduler that follows them and by one
without, run in one process, in turns of a tenth of the calls. An SDK over this transport and over
one that answers from memory do so too: nearly all of either is the SDK's own work, and how fast
that is differs from one process to the next by more than what is measured.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from operator import truediv
from pathlib import Path
from typing import NamedTuple

from bench.measure import ROOT


class Row(NamedTuple):
    title: str
    job: str
    calls: int
    needs: str = ""  # a module
    tls: bool = False
    in_turns: bool = False  # with the other rows of the same job of which that is said


CALLS = [
    Row("native", "xtremeflow", 20000),
    Row("native, JSON encoded and decoded", "xtremeflow:json", 20000),
    Row("native, through a scheduler with every limit", "xtremeflow:scheduled", 15000),
    Row("wreq", "wreq", 15000, "wreq"),
    Row("bare asyncio.Protocol", "protocol", 20000),
    Row("pycurl.AsyncCurlMulti", "pycurl", 10000, "pycurl"),
    Row("aiohttp", "aiohttp", 5000, "aiohttp"),
    Row("httpx2", "httpx2", 1000, "httpx2"),
    Row("openai, default", "openai:default", 1000, "openai"),
    Row("openai over aiohttp", "openai:aiohttp", 500, "httpx_aiohttp"),
    Row("openai, null transport", "openai:null", 3000, "openai", in_turns=True),
    Row("openai, null transport, at once", "openai:null-at-once", 3000, "openai", in_turns=True),
    Row("openai on this transport", "openai:ours", 3000, "openai", in_turns=True),
    Row("openai, through a scheduler", "openai:scheduled", 3000, "openai", in_turns=True),
    Row("anthropic, default", "anthropic:default", 1000, "anthropic"),
    Row("anthropic, null transport", "anthropic:null", 3000, "anthropic", in_turns=True),
    Row(
        "anthropic, null transport, at once",
        "anthropic:null-at-once",
        3000,
        "anthropic",
        in_turns=True,
    ),
    Row("anthropic on this transport", "anthropic:ours", 3000, "anthropic", in_turns=True),
    Row("anthropic, through a scheduler", "anthropic:scheduled", 3000, "anthropic", in_turns=True),
]
TOLD = [
    *(
        Row(
            f"JSON, {provider} tells limits, {title}", f"told:{provider}-{how}", 6000, in_turns=True
        )
        for provider in ("openai", "anthropic", "azure")
        for how, title in [("alone", "no scheduler"), ("adapt", "adapt=True")]
    ),
    Row("a task that does observe(), openai's head", "told:openai-observe", 6000, in_turns=True),
]
TLS = [
    Row("native, TLS", "xtremeflow", 10000, tls=True),
    Row("pycurl.AsyncCurlMulti, TLS", "pycurl", 8000, "pycurl", tls=True),
    Row("aiohttp, TLS", "aiohttp", 4000, "aiohttp", tls=True),
]
STREAMS = [
    Row(f"{name}, 20 events {title}", f"{job}-stream:{how}", calls, needs)
    for how, title in [("paced", "paced"), ("stream", "in one write")]
    for name, job, calls, needs in [
        ("native", "xtremeflow", 2000, ""),
        ("native, through a scheduler", "scheduled", 2000, ""),
        ("pycurl", "pycurl", 2000, "pycurl"),
        ("aiohttp", "aiohttp", 1000, "aiohttp"),
    ]
]
MANY = [
    *(Row(f"an event, {n} streams at a time", f"many:{n}", 1) for n in (64, 500, 2000)),
    Row("bytes of memory a stream, 2000 at a time", "memory:2000", 1),
]

# (what, against what, at most)
TARGETS = [
    ("native", "wreq", 0.8),
    ("native", "openai, default", 0.02),
    ("native, JSON encoded and decoded", "wreq", 1.0),
    ("native, TLS", "pycurl.AsyncCurlMulti, TLS", 0.7),
    ("openai on this transport", "openai, null transport", 1.15),
    ("anthropic on this transport", "anthropic, null transport", 1.3),
    *(
        (f"JSON, {p} tells limits, adapt=True", f"JSON, {p} tells limits, no scheduler", 1.25)
        for p in ("openai", "anthropic", "azure")
    ),
    ("native, 20 events paced", "pycurl, 20 events paced", 0.9),
    ("native, 20 events in one write", "pycurl, 20 events in one write", 0.7),
    ("an event, 2000 streams at a time", "an event, 64 streams at a time", 1.2),
]


@contextlib.contextmanager
def server(*certificate: str) -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.http.server", *certificate],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    port = process.stdout.readline().strip()
    try:
        yield f"https://localhost:{port}" if certificate else f"http://127.0.0.1:{port}"
    finally:
        process.communicate("")


def processes(rows: list[Row]) -> list[list[Row]]:
    """The rows that each process measures."""
    together: dict[str, list[Row]] = {}
    for row in rows:
        together.setdefault(row.job.partition(":")[0] if row.in_turns else row.title, []).append(
            row
        )
    return list(together.values())


def run(rows: list[Row], base: str, ca: str) -> list[float]:
    first = rows[0]
    job = "+".join([first.job, *(row.job.partition(":")[2] for row in rows[1:])])
    command = [sys.executable, "-m", "bench.http.peers", job, base, str(first.calls)]
    result = subprocess.run(
        [*command, ca] if first.tls else command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    if result.returncode:
        last = result.stderr.strip().splitlines()[-1:]
        print(f"{first.title}: failed: {last}", file=sys.stderr)
        return [float("nan")] * len(rows)
    return [float(line) for line in result.stdout.split()]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("rows", nargs="*", help="parts of the names of the rows to run")
    options = parser.parse_args(argv)
    rows = [
        row
        for row in [*CALLS, *TOLD, *TLS, *STREAMS, *MANY]
        if (not options.rows or any(part in row.title for part in options.rows))
        and (not row.needs or importlib.util.find_spec(row.needs))
        and (not row.tls or importlib.util.find_spec("trustme"))
    ]
    results: dict[str, list[float]] = {row.title: [] for row in rows}
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        plain = stack.enter_context(server())
        ca, secure = "", ""
        if any(row.tls for row in rows):
            import trustme

            authority = trustme.CA()
            issued = authority.issue_cert("localhost")
            ca, cert, key = (str(directory / name) for name in ("ca.pem", "cert.pem", "key.pem"))
            authority.cert_pem.write_to_path(ca)
            issued.cert_chain_pems[0].write_to_path(cert)
            issued.private_key_pem.write_to_path(key)
            secure = stack.enter_context(server(cert, key))
        for _ in range(options.rounds):
            for measured in processes(rows):
                numbers = run(measured, secure if measured[0].tls else plain, ca)
                for row, number in zip(measured, numbers, strict=True):
                    results[row.title].append(number)
    from xtremeflow.http import LIBCURL

    print(f"libcurl {LIBCURL}; CPython {sys.version.split()[0]}; median of {options.rounds} rounds")
    medians = {title: statistics.median(values) for title, values in results.items()}
    for row in rows:
        low, high = min(results[row.title]), max(results[row.title])
        unit = "B " if row.job.startswith("memory") else "us"
        print(f"{row.title:46} {medians[row.title]:9.1f} {unit}   ({low:.1f} to {high:.1f})")
    print()
    for what, base, most in TARGETS:
        if what in medians and base in medians:
            ratio = statistics.median(map(truediv, results[what], results[base]))
            verdict = "reached" if ratio <= most else "MISSED"
            print(f"{what} / {base}: {ratio:.3f} (at most {most}) {verdict}")
    scheduled = "native, through a scheduler with every limit"
    if scheduled in medians and "native" in medians:
        more = medians[scheduled] - medians["native"]
        verdict = "reached" if more <= 10 else "MISSED"
        print(f"a scheduler adds {more:.1f} us to a call (at most 10) {verdict}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
