"""The outcome of a job done in one way, and the figures of several side by side."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xtremeflow.demo.provider import Observed


@dataclass(frozen=True)
class Outcome:
    """The outcome of a job. `retries`, and `seconds` of the last attempt, are of each answered
    call."""

    wall: float
    calls: int
    retries: Sequence[int]
    seconds: Sequence[float]
    observed: Observed

    @property
    def lost(self) -> int:
        return self.calls - len(self.retries)

    @property
    def wasted(self) -> float:
        """The share of the attempts that were refused."""
        seen = self.observed.seen
        return float(seen["refused"] / max(1, seen["attempts"]))

    @property
    def quota_used(self) -> float:
        """The share used of all tokens that the limit allowed up to the last admission."""
        return float(self.observed.seen["limits"]["tpm"]["quota_used"])


_Row = Callable[[Outcome, float], str]
_ROWS: Mapping[str, _Row] = {
    "shortest possible time": lambda way, ideal: f"{ideal:.2f} s",
    "time it took": lambda way, ideal: f"{way.wall:.2f} s",
    "shortest / taken": lambda way, ideal: "-" if way.lost else f"{ideal / way.wall:.3f}",
    "share of the token quota used": lambda way, ideal: f"{way.quota_used:.1%}",
    "attempts sent": lambda way, ideal: f"{way.observed.seen['attempts']:,}",
    "  of these refused (429)": lambda way, ideal: (
        f"{way.observed.seen['refused']:,} ({way.wasted:.1%})"
    ),
    "  sent before retry-after was over": lambda way, ideal: f"{way.observed.seen['early']:,}",
    "most calls at a time": lambda way, ideal: f"{way.observed.seen['peak_concurrency']:,}",
    "most retries of one call": lambda way, ideal: f"{max(way.retries, default=0):,}",
    "calls lost": lambda way, ideal: f"{way.lost:,}",
}


def table(outcomes: Mapping[str, Outcome], ideal: float) -> str:
    """Formats a table with a line for each figure and a column for each outcome, within 80
    columns."""
    cells = [["", *outcomes]]
    cells += [
        [name, *(text(way, ideal) for way in outcomes.values())] for name, text in _ROWS.items()
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "   ".join(
            [row[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        ).rstrip()
        for row in cells
    ]
    lines.insert(1, "-" * len(max(lines, key=len)))
    return "\n".join(lines)


def json_lines(path: Path) -> list[Any]:
    """Yields the objects in the lines of a file."""
    return [json.loads(line) for line in path.read_bytes().splitlines()]
