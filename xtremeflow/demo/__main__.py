"""`python -m xtremeflow.demo`: the whole chain, and beside it the usual way."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import importlib.util
import math
import shlex
import signal
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from xtremeflow.cli.amounts import whole
from xtremeflow.cli.commands import INTERRUPTED
from xtremeflow.cli.parser import Parser
from xtremeflow.demo.workload import Workload
from xtremeflow.simulation.ideal import ideal_wall
from xtremeflow.simulation.traces import load_trace
from xtremeflow.values.text import printable

DESCRIPTION = """\
Sends a sample of a real trace to a simulated OpenAI: starts `xtremeflow serve` in a process of its
own, runs `xtremeflow run` on a file of requests, and draws a picture. Then does the same job at the
same provider the usual way, with an asyncio.Semaphore and the retries of the official SDKs.
"""
NEEDED = ("uvicorn", "httptools", "matplotlib")
REQUESTS = "requests.jsonl"
FILES = (
    REQUESTS, "results.jsonl", "results.errors.jsonl", "results.runs.jsonl", "run.png",
    "demo.png",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.write is not None:
        return _write(parser, options)
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        parser.error(f"{', '.join(missing)} missing: pip install 'xtremeflow[demo]'")
    try:
        importlib.import_module("xtremeflow.http")  # looks for libcurl
    except ImportError as error:
        parser.error(str(error))
    try:
        trace = load_trace(options.trace)[: options.requests]
        job = Workload(trace, tpm=options.tpm, rpm=options.rpm, speed=options.speed)
        _prepare(job, options.directory)
    except (OSError, ValueError) as error:
        parser.error(_said(error))
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        return _demo(job, options)
    except KeyboardInterrupt:
        _say(f"Interrupted; the provider is stopped. The files are in {options.directory}.")
        return INTERRUPTED


def _said(error: OSError | ValueError) -> str:
    return f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)


def _write(parser: Parser, options: argparse.Namespace) -> int:
    """Writes only the file of requests, to try `xtremeflow run` with. Overwrites no file."""
    try:
        trace = load_trace(options.trace)[: options.requests]
        job = Workload(trace, tpm=options.tpm, rpm=options.rpm, speed=options.speed)
        job.write(options.write, new=True)
    except FileExistsError:
        parser.error(f"{options.write} is there already: choose another name")
    except (OSError, ValueError) as error:
        parser.error(_said(error))
    print(f"{printable(str(options.write))}: {len(trace):,} requests of a real trace")
    return 0


def _prepare(job: Workload, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name in FILES:  # `run` would go on with those of an earlier demo
        (directory / name).unlink(missing_ok=True)
    job.write(directory / REQUESTS)
    tokens = sum(request.total_tokens for request in job.requests)
    _say(
        f"{directory / REQUESTS}: {len(job.requests):,} requests of a real trace, "
        f"{tokens:,} tokens in all"
    )


def _demo(job: Workload, options: argparse.Namespace) -> int:
    from xtremeflow.demo.outcome import Outcome, table
    from xtremeflow.demo.plot import plot_outcomes
    from xtremeflow.demo.provider import served
    from xtremeflow.demo.scheduled import Stopped, run_scheduled
    from xtremeflow.demo.usual import SDK_RETRIES, run_usual

    directory: Path = options.directory
    requests, results = directory / REQUESTS, directory / "results.jsonl"
    outcomes: dict[str, Outcome] = {}
    with served(job.serve_options()) as base_url:
        _say(f"The provider, whose minute lasts {job.minute:g} s:")
        _show("serve", ["--port", base_url.split(":")[-1].split("/")[0], *job.serve_options()])
        run = [str(requests), "-o", str(results), "--base-url", base_url, *job.run_options()]
        run += ["--plot", str(directory / "run.png")]
        _say("The job, at its limits:")
        _show("run", run)
        try:
            ours = asyncio.run(run_scheduled(run, results, base_url))
        except Stopped as stopped:
            _say(f"Stopped, and the provider with it. The files so far are in {directory}.")
            return stopped.status
        outcomes["XtremeFlow"] = ours
        if not options.alone:
            concurrency = options.concurrency or math.ceil(2 * job.busy())
            retries = options.retries or SDK_RETRIES
            _say(
                f"The same job the usual way: asyncio.Semaphore({concurrency}) and up to {retries} "
                "retries of a call, as\nthe official SDKs make them (after what the 429 announces, "
                "else 0.5 s doubled up\nto 8 s, jittered):"
            )
            outcomes["semaphore + retries"] = asyncio.run(
                run_usual(
                    requests,
                    base_url,
                    concurrency=concurrency,
                    retries=retries,
                    speed=job.speed,
                )
            )
    ideal = ideal_wall(job.costs(), ours.seconds, job.limits())
    plot_outcomes(job, outcomes, ideal, directory / "demo.png")
    _say(table(outcomes, ideal))
    _say(f"{results}: the answers; {directory / 'run.png'}: this run by itself\n"
         f"{directory / 'demo.png'}: the picture")  # fmt: skip
    return 0


def _say(text: str) -> None:
    print(f"\n{text}", flush=True)


def _show(command: str, options: Sequence[str]) -> None:
    lines = textwrap.wrap(
        f"$ xtremeflow {command} {shlex.join(options)}",
        width=76, initial_indent="  ", subsequent_indent="      ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    print(" \\\n".join(lines), flush=True)


def _parser() -> Parser:
    parser = Parser(
        prog="xtremeflow demo",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--directory", type=Path, metavar="DIR", default=Path("xtremeflow-demo"),
        help="directory of the files (default: xtremeflow-demo)",
    )  # fmt: skip
    add("--write", type=Path, metavar="FILE", help="only write the requests there, to try "
        "`xtremeflow run` with")  # fmt: skip
    add("--trace", type=Path, metavar="CSV", help="a trace other than the sample of Azure's")
    add("--requests", type=whole, metavar="N", help="take only the first N requests of the trace")
    add("--tpm", type=whole, default=300_000, metavar="N", help="the provider's tokens per minute "
        "(default: 300000)")  # fmt: skip
    add("--rpm", type=whole, default=250, metavar="N", help="the provider's requests per minute "
        "(default: 250)")  # fmt: skip
    add("--speed", type=_speed, default=8.0, metavar="X", help="factor of the provider's time "
        "(default: 8; 1 takes some four minutes for each way)")  # fmt: skip
    add("--concurrency", type=whole, metavar="N", help="calls at a time of the usual way "
        "(default: twice those that the limits can keep busy)")  # fmt: skip
    add("--retries", type=whole, metavar="N", help="retries of a call of the usual way, "
        "after which the call is lost (default: 2, as of the official SDKs)")  # fmt: skip
    add("--alone", action="store_true", help="skip the usual way")
    return parser


def _speed(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 1000:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most 1000, got {text!r}")
    return value


if __name__ == "__main__":
    sys.exit(main())
