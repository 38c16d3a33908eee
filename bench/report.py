"""The output of the benchmark: a table for each part, and DESIGN's figures in one."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Figure:
    """A figure to reach, and what was measured."""

    what: str
    ours: str
    target: str
    reached: bool
    peers: Mapping[str, str]  # by library


@dataclass(frozen=True)
class Section:
    """One part's result: its rows beneath a header, the first column text, the others numbers."""

    title: str
    text: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    figures: Sequence[Figure] = field(default_factory=tuple)

    def markdown(self) -> str:
        return f"## {self.title}\n\n{self.text}\n\n{table(self.header, self.rows)}\n"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table that is also legible as plain text."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = [cells[0].ljust(widths[0])]
        padded += [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        return "| " + " | ".join(padded) + " |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([line(header), line(rule), *map(line, rows)])


def announce(row: Sequence[str]) -> None:
    """Shows a row as soon as it is known; the tables come at the end."""
    print(*row, sep="  ", file=sys.stderr, flush=True)


def figures_table(figures: Sequence[Figure]) -> str:
    """The figures with a column for each of the peers that any of them names."""
    peers = list(dict.fromkeys(peer for figure in figures for peer in figure.peers))
    return table(
        ["figure", "xtremeflow", "to reach", "", *peers],
        [
            [f.what, f.ours, f.target, "ok" if f.reached else "MISSED"]
            + [f.peers.get(peer, "-") for peer in peers]
            for f in figures
        ],
    )
