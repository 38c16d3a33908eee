"""`python -m xtremeflow.demo`: a real workload at a strict provider, beside the usual way."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import logging
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from xtremeflow.demo.job import Job, size_job
from xtremeflow.demo.plot import plot
from xtremeflow.demo.progress import progress
from xtremeflow.demo.result import JobResult, Runner, run_job
from xtremeflow.demo.scheduled import run_scheduled
from xtremeflow.demo.table import describe, table
from xtremeflow.demo.trace import load_trace
from xtremeflow.demo.usual import run_usual, usual_concurrency


def main(argv: Sequence[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(argv)
    if options.plot is not None and importlib.util.find_spec("matplotlib") is None:
        parser.error("the picture needs matplotlib: pip install 'xtremeflow[demo]', or --no-plot")
    try:
        job = size_job(
            load_trace(options.trace),
            seconds=options.seconds,
            minute=options.minute,
            seed=options.seed,
        )
    except (OSError, ValueError) as error:
        parser.error(str(error))
    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    logging.getLogger("xtremeflow.demo").setLevel(logging.INFO)

    print(describe(job), end="\n\n")
    ways: dict[str, Runner] = {"XtremeFlow": run_scheduled}
    if not options.alone:
        concurrency = options.concurrency or usual_concurrency(job)
        ways["semaphore + retries"] = partial(run_usual, concurrency=concurrency)
        print(
            f"beside it the usual way: asyncio.Semaphore({concurrency}) and the official SDKs'\n"
            "retries (after what the 429 announces, else 0.5 s doubled up to 8 s, jittered)\n"
        )
    try:
        results = {name: asyncio.run(_watched(name, job, way)) for name, way in ways.items()}
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    print(f"\n{table(results)}")
    print("\nlateness: an admitted call's arrival after the earliest moment the limits allowed it")
    if options.plot is not None:
        plot(results, options.plot)
        print(f"\npicture: {options.plot}")
    return 0


async def _watched(name: str, job: Job, way: Runner) -> JobResult:
    provider = job.provider()
    async with progress(name, provider, len(job.requests)):
        return await run_job(job, way, provider=provider)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="xtremeflow demo", description=__doc__)
    add = parser.add_argument
    add("--seconds", type=float, default=20.0, help="ideal wall time of the job (default: 20)")
    add(
        "--minute",
        type=float,
        default=5.0,
        help="seconds that the simulated provider's minute lasts (default: 5)",
    )
    add("--trace", type=Path, metavar="CSV", help="another trace than the sample of Azure's")
    add("--plot", type=Path, metavar="FILE", default=Path("demo.png"), help="the picture's file")
    add("--no-plot", dest="plot", action="store_const", const=None, help="draw no picture")
    add(
        "--concurrency",
        type=_positive_int,
        metavar="N",
        help="of the usual way (default: twice what the limits can keep busy)",
    )
    add("--alone", action="store_true", help="leave out the usual way")
    add("--seed", type=int, default=0, help="of the simulated latencies (default: 0)")
    return parser


def _positive_int(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


if __name__ == "__main__":
    sys.exit(main())
