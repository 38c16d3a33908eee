"""`./dev bench soak`: see the package."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

import bench.soak
from bench.report import table
from bench.soak import over_http
from bench.soak.phases import PHASES
from bench.soak.virtual import Row, soak


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="./dev bench soak",
        description=bench.soak.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("phases", nargs="*", metavar="TEXT", help="only phases with it in them")
    parser.add_argument("--calls", type=int, metavar="N", help="in all (default: 1e5; http: 500)")
    options = parser.parse_args(arguments)
    is_http = options.phases[:1] == ["http"]
    if options.calls is not None and options.calls < 1:
        parser.error(f"--calls must be at least 1, got {options.calls}")
    texts = options.phases[is_http:] or [""]
    known = list(over_http.PHASES) if is_http else [phase.name for phase in PHASES]
    names = [name for name in known if any(text in name for text in texts)]
    if not names:
        parser.error(
            f"no phase has {' or '.join(texts)!r} in its name; there are: {'; '.join(known)}"
        )
    if is_http:
        soaked = asyncio.run(over_http.soak(names, options.calls or 500))
    else:
        phases = [phase for phase in PHASES if phase.name in names]
        soaked = soak(phases, options.calls or 100_000)
    print(shown(soaked.rows))
    for difference in soaked.differences:
        print(f"DIFFERENCE {difference}")
    return 1 if soaked.differences else 0


def shown(rows: Sequence[Row]) -> str:
    header = ["phase", "seconds", "calls", "attempts", "refused", "in use", "lost"]
    lines = [
        [
            row.phase,
            f"{row.seconds:,.0f}",
            f"{row.calls:,}",
            f"{row.attempts:,}",
            f"{row.refused / row.attempts:.1%}",
            f"{row.in_use:.2f}",
            f"{row.lost:,}",
        ]
        for row in rows
    ]
    return table(header, lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
