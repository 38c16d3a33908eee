"""The picture of docs/prefixes.md: tokens read from the cache over time, on a virtual clock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from bench.prefix.world import Kind, World
from xtremeflow.testing import run

Read = tuple[float, int]  # when an answer began, and the tokens that its call read from the cache

_MILLION = 1e6
_STYLES: Sequence[dict[str, Any]] = [
    {"color": "#94a3b8", "linewidth": 1.8},
    {"color": "#16a34a", "linewidth": 2.2},
]


def draw(
    folder: Path, kinds: Sequence[Kind], ways: Mapping[str, Callable[[World], Awaitable[None]]]
) -> None:
    """Writes prefixes.png: a panel for each kind of job, in it a line for each of two ways."""
    from matplotlib.figure import Figure  # no pyplot: no global state, no display

    rows = (len(kinds) + 1) // 2
    figure: Any = Figure(figsize=(10, 3.1 * rows), layout="constrained")
    axes = figure.subplots(rows, 2, squeeze=False).flatten()
    for ax, kind in zip(axes, kinds, strict=False):
        _draw(ax, kind, {name: _read(kind, way) for name, way in ways.items()})
    for ax in axes[len(kinds) :]:
        ax.axis("off")
    figure.supylabel("tokens read from the cache so far (millions)", fontsize=10)
    figure.supxlabel("time since the start of the job (s)", fontsize=10)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "prefixes.png", dpi=110)


def _read(kind: Kind, way: Callable[[World], Awaitable[None]]) -> tuple[list[Read], float]:
    """Plays the job. Returns what was read, and how long the job took."""

    async def main() -> tuple[list[Read], float]:
        clock = asyncio.get_running_loop().time
        world, start = World(kind), clock()
        await way(world)
        read = [usage.cached for usage in world.usages]
        moments = [moment - start for moment in world.begun]
        return sorted(zip(moments, read, strict=True)), clock() - start

    return run(main())


def _draw(ax: Any, kind: Kind, ways: Mapping[str, tuple[list[Read], float]]) -> None:
    possible = World(kind).possible / _MILLION
    for (name, (calls, end)), style in zip(ways.items(), _STYLES, strict=True):
        read = [0.0, *(tokens / _MILLION for tokens in accumulate(tokens for _, tokens in calls))]
        times = [0.0, *(moment for moment, _ in calls), end]
        label = f"{name}: {read[-1] / possible:.0%}, done after {end:,.0f} s"
        ax.step(times, [*read, read[-1]], where="post", label=label, **style)
        ax.plot(end, read[-1], marker="o", markersize=5, color=style["color"], clip_on=False)
    ax.axhline(possible, color="#111827", linestyle="--", linewidth=1, label="all that can be read")
    ax.set_title(kind.name, loc="left", fontsize=10)
    ax.set_ylim(-0.04 * possible, 1.55 * possible)
    ax.set_xlim(left=0)
    ax.grid(axis="y", alpha=0.25)
    ax.legend(loc="upper left", fontsize=8, framealpha=0.9)
