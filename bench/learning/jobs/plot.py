"""The pictures of docs/learning.md: how limits are found and followed, on a virtual clock.

The first is of a provider whose headers tell its limits, the second of one that tells nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.learning.jobs.edges import CHANGE, OUTAGE, moving, sharing
from bench.learning.jobs.world import World

BIN = 10.0  # s
TITLES = {"all": "", "nothing": "nothing is told, "}
TOLD = [
    ("the limit stays: found from the first answer", 1.0),
    ("the limit is halved after five minutes", 0.5),
    ("the limit is doubled after five minutes", 2.0),
]
FOUND = [
    ("nothing is told, the limit stays: found from two refusals", 1.0),
    ("nothing is told, the limit is halved after five minutes", 0.5),
    ("nothing is told, the limit is doubled after five minutes", 2.0),
]


def draw(folder: Path) -> None:
    """Writes learning.png and learning_found.png."""
    told = [_moved(title, factor, "all") for title, factor in TOLD]
    found = [_moved(title, factor, "nothing") for title, factor in FOUND]
    _save(folder / "learning.png", [*told, _shared("all", 1), _down("all")])
    _save(folder / "learning_found.png", [*found, _shared("nothing", 5), _down("nothing")])


def _save(path: Path, panels: Sequence[Callable[[Any], None]]) -> None:
    from matplotlib.figure import Figure  # no pyplot: no global state, no display

    figure: Any = Figure(figsize=(9, 2.5 * len(panels)), layout="constrained")
    axes = figure.subplots(len(panels), 1, sharex=True)
    for ax, panel in zip(axes, panels, strict=True):
        panel(ax)
        ax.set_ylabel("tokens per second")
        ax.legend(loc="upper right", fontsize=8)
    axes[-1].set_xlabel("time since the start of the job (s)")
    figure.savefig(path, dpi=110)


def _moved(title: str, factor: float, tells: str) -> Callable[[Any], None]:
    def draw(ax: Any) -> None:
        world = moving(factor, 1, tells)
        after = world.amounts["tpm"] / 60
        before = after / factor
        _admitted(ax, world, after, "tokens admitted", "#2563eb")
        _limit(ax, before, after)
        _refused(ax, [world], before)
        ax.set_ylim(-0.3 * before, 3 * before)
        ax.set_title(title, loc="left", fontsize=10)

    return draw


def _shared(tells: str, seed: int) -> Callable[[Any], None]:
    def draw(ax: Any) -> None:
        first, second = sharing(seed, tells)
        limit = first.amounts["tpm"] / 60
        _admitted(ax, first, limit, "of the first user", "#2563eb")
        _admitted(ax, second, limit, "of the second user", "#f59e0b")
        _limit(ax, limit, limit)
        _refused(ax, [first], limit)
        ax.set_ylim(-0.3 * limit, 3 * limit)
        title = "a second user of the key after five minutes"
        ax.set_title(TITLES[tells] + title, loc="left", fontsize=10)

    return draw


def _down(tells: str) -> Callable[[Any], None]:
    def draw(ax: Any) -> None:
        world = moving(1.0, 1, tells, OUTAGE)
        limit = world.amounts["tpm"] / 60
        _admitted(ax, world, limit, "tokens admitted", "#2563eb")
        _limit(ax, limit, limit)
        _refused(ax, [world], limit)
        _marks(ax, world.failed, limit, "#111827", f"failed ({len(world.failed)})")
        ax.set_ylim(-0.3 * limit, 3 * limit)
        ax.set_title(
            TITLES[tells] + "the provider is down for 30 s after five minutes",
            loc="left",
            fontsize=10,
        )

    return draw


def _admitted(ax: Any, world: World, limit: float, label: str, color: str) -> None:
    edges = [BIN * i for i in range(int(2 * CHANGE / BIN) + 1)]
    rates = [world.used("tpm", a, b) * limit for a, b in pairwise(edges)]
    ax.stairs(rates, edges, fill=True, color=color, alpha=0.65, label=label)


def _limit(ax: Any, before: float, after: float) -> None:
    ax.plot(
        [0, CHANGE, CHANGE, 2 * CHANGE],
        [before, before, after, after],
        color="#111827",
        linestyle="--",
        linewidth=1.2,
        label="the provider's limit",
    )


def _refused(ax: Any, worlds: Sequence[World], height: float) -> None:
    refused = [time for world in worlds for time in world.refused(0.0)]
    attempts = sum(world.provider.stats.attempts for world in worlds)
    label = f"refused ({len(refused):,} of {attempts:,} attempts)"
    _marks(ax, refused, height, "#dc2626", label)


def _marks(ax: Any, times: Sequence[float], height: float, color: str, label: str) -> None:
    ax.plot(
        times,
        [-0.15 * height] * len(times),
        linestyle="none",
        marker="|",
        markersize=9,
        color=color,
        label=label,
    )
