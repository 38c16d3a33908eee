"""`./dev bench`: measures everything, prints the figures and writes bench/RESULTS.md.

./dev bench                     all parts, about ten minutes on an idle machine
./dev bench overhead queued     only these, printed and not written
./dev bench --requests 1000000  with a larger job for `run`
./dev bench --quick             a smoke run of seconds, whose numbers mean nothing
./dev bench --list              the names of all parts, and what each measures
./dev bench learning ...        limits that have to be learned: ./dev bench learning --help
./dev bench prefix ...          prompts that share a prefix: ./dev bench prefix --help
./dev bench soak ...            is anything ever lost? ./dev bench soak --help
./dev bench http ...            the CPU of a call, by HTTP client: ./dev bench http --help
./dev bench paint ...           how soon the dashboard is seen in a browser: --help
./dev bench threads ...         what a second thread brings, without the GIL: --help
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bench.learning.__main__ import WITH_OPTIONS as OF_LEARNING
from bench.measure import ROOT
from bench.peers import versions, versions_apart
from bench.report import Section, figures_table

PARTS = {
    "overhead": "cpu.overhead",
    "queued": "cpu.queued",
    "memory": "cpu.memory",
    "pacing": "cpu.pacing",
    "scrape": "cpu.scrape",
    "page": "cpu.page",
    "prefixes": "cpu.prefixes",
    "job": "job.libraries",
    "run_job": "job.command",
    "share": "share.processes",
    "members": "share.members",
}
WITH_OPTIONS = {  # of their own
    "http": "bench.http.calls",
    "learning": "bench.learning.__main__",
    "paint": "bench.paint",
    "prefix": "bench.prefix.jobs",
    "soak": "bench.soak.__main__",
    "threads": "bench.cpu.threads",
}
RESULTS = ROOT / "bench" / "RESULTS.md"


def main(argv: Sequence[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in WITH_OPTIONS:
        status: int = importlib.import_module(WITH_OPTIONS[argv[0]]).main(argv[1:])
        return status
    parser = argparse.ArgumentParser(
        prog="./dev bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="only see that it works")
    parser.add_argument("--list", action="store_true", help="only print the parts' names")
    parser.add_argument("--requests", type=int, metavar="N", help="lines of run_job's largest file")
    parser.add_argument("--kills", type=int, metavar="N", help="of members: so many are killed")
    options = parser.parse_args(argv)
    if options.list:
        print(_listed())
        return 0
    for part in options.parts:
        if part not in PARTS:
            parser.error(f"there is no part {part!r}, only {', '.join(PARTS)}")

    began = time.monotonic()
    before = _load()
    sections = []
    for part in options.parts or PARTS:
        print(f"bench: {part} ...", file=sys.stderr, flush=True)
        section = importlib.import_module(f"bench.{PARTS[part]}").section
        if part == "run_job" and options.requests is not None:
            section = partial(section, requests=options.requests)
        if part == "members" and options.kills is not None:
            section = partial(section, kills=options.kills)
        sections.append(section(options.quick))
        print(sections[-1].markdown(), flush=True)
    summary = _summary(sections, before, time.monotonic() - began)
    print(summary)
    if not options.parts and not options.quick:
        RESULTS.write_text("\n".join([summary, *[section.markdown() for section in sections]]))
    return 0


def _listed() -> str:
    """Returns a line for each part: its name, and the title of its module or package."""
    parts = {part: f"bench.{module}" for part, module in PARTS.items()} | WITH_OPTIONS
    parts |= {f"learning {part}": module for part, module in OF_LEARNING.items()}
    lines = []
    for part, name in sorted(parts.items()):
        documented = importlib.import_module(name.removesuffix(".__main__"))
        title = " ".join((documented.__doc__ or "").split("\n\n")[0].split())
        lines.append(f"{part:<18} {title}")
    return "\n".join(lines)


def _summary(sections: Sequence[Section], load_before: str, seconds: float) -> str:
    figures = [figure for section in sections for figure in section.figures]
    return "\n".join(
        [
            "# Results of `./dev bench`",
            "",
            figures_table(figures),
            "",
            *_where(load_before, seconds),
            "",
        ]
    )


def _where(load_before: str, seconds: float) -> list[str]:
    found = versions_apart() | versions()
    packages = ", ".join(
        name if version in name else f"{name} {version}" for name, version in found.items()
    )
    return [
        f"- machine: {_processor()}, {os.cpu_count()} CPUs, {platform.machine()}",
        f"- load average before: {load_before}, after: {_load()}",
        f"- system: {platform.system()} {platform.release()}, {' '.join(platform.libc_ver())}",
        f"- Python: {platform.python_version()} ({platform.python_compiler()})",
        f"- packages: {packages}",
        f"- measured: {time.strftime('%Y-%m-%d', time.gmtime())}, in {seconds:.0f} s",
    ]


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    sys.exit(main())
