"""The picture of docs/learning-concurrency.md: how many calls are let in, on a virtual clock."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bench.learning.slots.tables import CHANGE, Event, adapting, play
from bench.learning.slots.world import END, PLACES, World

Steps = list[tuple[float, float]]  # from when on, how many places


def _shrink(factor: float, world: World) -> None:
    world.shrink(factor)


def _slow_down(world: World) -> None:
    world.latency.slower = 3.0


def _set_down(how: str | None, world: World) -> None:
    world.down = how


PANELS: Sequence[tuple[str, str, dict[float, Event], Steps]] = [
    (
        "refuses what exceeds its places (DeepSeek); halved after five minutes",
        "deepseek",
        {CHANGE: partial(_shrink, 0.5)},
        [(0, PLACES), (CHANGE, PLACES / 2)],
    ),
    (
        "the same, doubled after five minutes",
        "deepseek",
        {CHANGE: partial(_shrink, 2.0)},
        [(0, PLACES), (CHANGE, 2 * PLACES)],
    ),
    (
        "the same, out of order for 30 s",
        "deepseek",
        {CHANGE: partial(_set_down, "fails"), CHANGE + 30: partial(_set_down, None)},
        [(0, PLACES), (CHANGE, 0), (CHANGE + 30, PLACES)],
    ),
    (
        "lets wait what exceeds its places (vLLM); three times slower after five minutes",
        "vllm",
        {CHANGE: _slow_down},
        [(0, PLACES)],
    ),
]


def draw(folder: Path) -> None:
    """Writes learning-concurrency.png."""
    from matplotlib.figure import Figure  # no pyplot: no global state, no display

    figure: Any = Figure(figsize=(9, 10), layout="constrained")
    axes = figure.subplots(len(PANELS), 1, sharex=True)
    for ax, (title, kind, events, steps) in zip(axes, PANELS, strict=True):
        _draw(ax, title, play(kind, adapting, 1, events), steps)
    axes[-1].set_xlabel("time since the start of the job (s)")
    figure.savefig(folder / "learning-concurrency.png", dpi=110)


def _draw(ax: Any, title: str, world: World, steps: Steps) -> None:
    seconds = list(range(len(world.held)))
    ax.fill_between(
        seconds, world.held, step="post", color="#2563eb", alpha=0.6, label="calls at the provider"
    )
    ax.step(seconds, world.let_in, where="post", color="#f59e0b", linewidth=1.3, label="let in")
    times = [at for at, _ in steps] + [END]
    ax.step(
        times,
        [places for _, places in steps] + [steps[-1][1]],
        where="post",
        color="#111827",
        linestyle="--",
        linewidth=1.2,
        label="places",
    )
    ax.plot(
        world.refused,
        [-6] * len(world.refused),
        linestyle="none",
        marker="|",
        markersize=8,
        color="#dc2626",
        label=f"refused ({len(world.refused):,} of {len(world.sent):,} attempts)",
    )
    ax.set_ylim(-14, 3 * PLACES)
    ax.set_ylabel("calls")
    ax.set_title(title, loc="left", fontsize=10)
    ax.legend(loc="upper right", fontsize=8, ncols=2)
