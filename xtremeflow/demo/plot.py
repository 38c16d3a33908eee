"""The picture of a job: tokens per second against the limit, one panel for each way of doing it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

from xtremeflow.demo.result import JobResult

BIN = 0.5  # seconds
HEADROOM = 3.0  # the rate axis ends at this many times the limit
COLORS = ("#2563eb", "#d97706", "#059669", "#7c3aed")
LIMIT_COLOR = "#111827"
REFUSED_COLOR = "#dc2626"


def plot(results: Mapping[str, JobResult], path: Path) -> None:
    """Writes the picture of the results of one job, by name, to `path` (PNG, or by its suffix)."""
    from matplotlib.figure import Figure  # no pyplot: no global state, no display

    figure: Any = Figure(figsize=(10, 2.6 * len(results) + 3.2), layout="constrained")
    axes = figure.subplots(
        len(results) + 1, 1, sharex=True, height_ratios=[1] * len(results) + [1.2]
    )
    end = max(result.wall for result in results.values())
    for ax, color, (name, result) in zip(axes, COLORS, results.items(), strict=False):
        _draw_rate(ax, name, result, color)
    _draw_total(axes[-1], results, end)
    axes[-1].set_xlim(-0.01 * end, 1.02 * end)
    axes[-1].set_xlabel("time since the start of the job (s)")
    figure.savefig(path, dpi=120)


def _draw_rate(ax: Any, name: str, result: JobResult, color: str) -> None:
    limit = result.job.limit("tokens")
    rate = limit.amount / limit.per
    bins = [0.0] * (math.ceil(result.wall / BIN) + 1)
    for arrival in result.arrivals:
        if not arrival.refused:
            bins[int(arrival.time / BIN)] += arrival.costs["tokens"] / BIN
    edges = [BIN * i for i in range(len(bins) + 1)]
    top = HEADROOM * rate
    ax.stairs(bins, edges, fill=True, color=color, alpha=0.75, label="admitted")
    ax.axhline(
        rate, color=LIMIT_COLOR, linestyle="--", linewidth=1.2, label=f"limit ({rate:,.0f}/s)"
    )
    refused = [arrival.time for arrival in result.arrivals if arrival.refused]
    ax.plot(
        refused,
        [-0.09 * top] * len(refused),
        linestyle="none",
        marker="|",
        markersize=9,
        color=REFUSED_COLOR,
        alpha=0.6,
        label=f"refused ({len(refused):,} of {result.stats.attempts:,} attempts)",
    )
    burst = max(bins)
    if burst > top:
        ax.annotate(
            f"the full bucket, spent at once:\n{burst:,.0f} tokens/s",
            xy=(edges[bins.index(burst)] + BIN, 0.9 * top),
            xytext=(24, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            arrowprops={"arrowstyle": "->", "color": LIMIT_COLOR},
        )
    ax.axvline(result.wall, color=color, linewidth=1.5, label="end of the job")
    ax.set_ylim(-0.18 * top, top)
    ax.set_ylabel("tokens per second")
    ax.yaxis.set_major_formatter(_thousands)
    ax.yaxis.get_major_locator().set_params(nbins=5)
    ax.set_title(
        f"{name}: {result.wall:.1f} s (ideal {result.ideal_wall:.1f} s), "
        f"{result.wasted:.1%} of the attempts refused",
        loc="left",
        fontsize=10,
        fontweight="bold",
    )
    ax.legend(loc="upper right", ncols=4, fontsize=8, framealpha=0.9)


def _draw_total(ax: Any, results: Mapping[str, JobResult], end: float) -> None:
    job = next(iter(results.values())).job
    limit = job.limit("tokens")
    total = sum(request.total_tokens for request in job.requests)
    full_at = (total - limit.amount) * limit.per / limit.amount
    ax.plot(
        [0, full_at, end],
        [limit.amount, total, total],
        color=LIMIT_COLOR,
        linestyle="--",
        linewidth=1.2,
        label="the most that the limit allows",
    )
    for color, (name, result) in zip(COLORS, results.items(), strict=False):
        admitted = [arrival for arrival in result.arrivals if not arrival.refused]
        times = [arrival.time for arrival in admitted]
        sums = list(accumulate(arrival.costs["tokens"] for arrival in admitted))
        ax.plot([0, *times], [0, *sums], drawstyle="steps-post", color=color, label=name)
    ax.set_ylim(0, 1.05 * total)
    ax.set_ylabel("tokens admitted so far")
    ax.yaxis.set_major_formatter(_thousands)
    ax.set_title("Tokens admitted since the start", loc="left", fontsize=10, fontweight="bold")
    ax.legend(loc="lower right", fontsize=8)


def _thousands(value: float, _: int) -> str:
    return f"{value / 1000:,.0f} k"
