"""The picture of docs/learning.md: how a limit is found and followed, on a virtual clock.

python -m bench.learning_plot docs/learning.png
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.learning_edges import CHANGE, moving
from bench.learning_world import World

BIN = 10.0  # s


def main(argv: Sequence[str]) -> int:
    from matplotlib.figure import Figure  # no pyplot: no global state, no display

    if len(argv) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    panels = [
        ("the limit stays: found from the first answer", 1.0),
        ("the limit is halved after five minutes", 0.5),
        ("the limit is doubled after five minutes", 2.0),
    ]
    figure: Any = Figure(figsize=(9, 7.5), layout="constrained")
    axes = figure.subplots(len(panels), 1, sharex=True)
    for ax, (title, factor) in zip(axes, panels, strict=True):
        _draw(ax, title, factor, moving(factor, seed=1))
    axes[-1].set_xlabel("time since the start of the job (s)")
    figure.savefig(Path(argv[0]), dpi=110)
    return 0


def _draw(ax: Any, title: str, factor: float, world: World) -> None:
    after = world.amounts["tpm"] / 60
    before = after / factor
    edges = [BIN * i for i in range(int(2 * CHANGE / BIN) + 1)]
    rates = [world.used("tpm", a, b) * after for a, b in pairwise(edges)]
    ax.stairs(rates, edges, fill=True, color="#2563eb", alpha=0.75, label="tokens admitted")
    ax.plot(
        [0, CHANGE, CHANGE, 2 * CHANGE],
        [before, before, after, after],
        color="#111827",
        linestyle="--",
        linewidth=1.2,
        label="the provider's limit",
    )
    refused = world.refused(0.0)
    attempts = world.provider.stats.attempts
    ax.plot(
        refused,
        [-0.15 * before] * len(refused),
        linestyle="none",
        marker="|",
        markersize=9,
        color="#dc2626",
        label=f"refused ({len(refused):,} of {attempts:,} attempts)",
    )
    ax.set_ylim(-0.3 * before, 3 * before)
    ax.set_ylabel("tokens per second")
    ax.set_title(title, loc="left", fontsize=10)
    ax.legend(loc="upper right", fontsize=8)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
