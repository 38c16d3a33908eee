"""`./dev bench learning`: see the package."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

import bench.learning
from bench.learning import perverse, sharing
from bench.learning.ways import WAYS

PARTS = ("perverse", "sharing")
WITH_OPTIONS = {  # of their own
    "jobs": "bench.learning.jobs.tables",
    "slots": "bench.learning.slots.tables",
    "charges": "bench.learning.charges",
    "http": "bench.learning.over_http",
    "plot": "bench.learning.plot",
}


def main(arguments: Sequence[str]) -> int:
    part, *rest = arguments or [""]
    if part in WITH_OPTIONS:
        status: int = importlib.import_module(WITH_OPTIONS[part]).main(rest)
        return status
    if part not in PARTS:
        part, rest = "", list(arguments)
    parser = argparse.ArgumentParser(
        prog=f"./dev bench learning {part}".rstrip(),
        description=bench.learning.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if part:
        parser.add_argument("names", nargs="*", metavar="TEXT", help="only those with it in them")
    add = parser.add_argument
    add("--seeds", type=int, default=10, metavar="N", help="of each (default: 10)")
    add("--minutes", type=float, default=10.0, metavar="N", help="of each run (default: 10)")
    add("--ways", default="", metavar="TEXT", help="only those with it in their name")
    add("--jobs", type=int, choices=sharing.JOBS, help="on one key (default: both)")
    add("--processes", type=int, default=os.cpu_count() or 1, metavar="N", help="(default: CPUs)")
    options = parser.parse_args(rest)
    names = options.names if part else []
    size = (options.minutes, options.seeds, options.processes)
    if part in ("", "perverse"):
        providers = chosen(parser, perverse.PROVIDERS, names)
        print(perverse.tables(providers, chosen(parser, WAYS, [options.ways]), *size))
    if part in ("", "sharing"):
        providers = chosen(parser, sharing.PROVIDERS, names)
        jobs_on_a_key = [options.jobs] if options.jobs else list(sharing.JOBS)
        ways = chosen(parser, sharing.SHARING, [options.ways])
        print(sharing.tables(providers, ways, jobs_on_a_key, *size))
    return 0


def chosen(
    parser: argparse.ArgumentParser, names: Sequence[str], texts: Sequence[str]
) -> list[str]:
    """The names that have one of the texts in them; all, if there are no texts."""
    found = [name for name in names if not texts or any(text in name for text in texts)]
    if not found:
        parser.error(
            f"nothing has {' or '.join(texts)!r} in its name; there are: {'; '.join(names)}"
        )
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
