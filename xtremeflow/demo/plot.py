"""The picture: the provider's counts of each way, side by side on the same axes."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any

from xtremeflow.demo.outcome import Outcome
from xtremeflow.demo.provider import Observed
from xtremeflow.demo.workload import Workload

BIN = 1.0  # seconds
HEADROOM = 3.2  # the axis of tokens ends at this many times the limit
INK, QUIET, LINES = "#1f2937", "#6b7280", "#d1d5db"
COLORS = ("#2563eb", "#d97706")
REFUSED = "#dc2626"


def plot_outcomes(job: Workload, outcomes: Mapping[str, Outcome], ideal: float, path: Path) -> None:
    """Draws the outcomes, by name, into `path`, in the format of its suffix (by default PNG)."""
    figure_module: Any = importlib.import_module("matplotlib.figure")  # no pyplot, no display
    rc: Any = importlib.import_module("matplotlib").rc_context
    style = {
        "font.size": 10, "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": LINES,
        "xtick.color": QUIET, "ytick.color": QUIET, "axes.spines.top": False,
        "axes.spines.right": False, "axes.grid": True, "axes.grid.axis": "y",
        "grid.color": "#e5e7eb", "axes.axisbelow": True,
    }  # fmt: skip
    with rc(style):
        columns = len(outcomes)
        figure = figure_module.Figure(figsize=(6 * columns + 0.5, 5.6), layout="constrained")
        axes = figure.subplots(2, columns, sharex=True, sharey="row", squeeze=False)
        end = max(outcome.wall for outcome in outcomes.values())
        edges = [BIN * i for i in range(math.ceil(end / BIN) + 1)]
        for (above, below), color, (name, way) in zip(
            axes.T, COLORS, outcomes.items(), strict=False
        ):
            above.set_title(f"{name}\n", loc="left", fontsize=13, fontweight="bold", color=color)
            above.text(
                0.0,
                1.045,
                _summary(way, ideal),
                transform=above.transAxes,
                fontsize=10,
                color=QUIET,
            )
            _tokens(above, job, way, edges, color)
            _attempts(below, way, edges, color)
            below.set_xlabel("seconds since the first call")
        above, below = axes[:, 0]
        above.set_ylim(0, HEADROOM * job.tpm / job.minute)
        above.set_ylabel("tokens charged per second")
        above.yaxis.set_major_formatter(_thousands)
        below.set_ylabel("attempts per second")
        below.set_xlim(0, edges[-1])
        figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08, wspace=0.04)
        figure.savefig(path, dpi=150)


def _summary(way: Outcome, ideal: float) -> str:
    seen = way.observed.seen
    return (
        f"{way.wall:.1f} s (at best {ideal:.1f});  {seen['refused']:,} of {seen['attempts']:,} "
        f"attempts refused;  {way.lost:,} of {way.calls:,} calls lost"
    )


def _tokens(ax: Any, job: Workload, way: Outcome, edges: list[float], color: str) -> None:
    rates = _rates(way.observed, edges, _charged)
    limit = job.tpm / job.minute
    ax.stairs(rates, edges, fill=True, color=color, alpha=0.85)
    ax.axhline(limit, color=INK, linestyle="--", linewidth=1.3)
    ax.annotate(
        f"limit: {limit:,.0f}/s", xy=(1.0, limit), xycoords=("axes fraction", "data"),
        xytext=(0, 7), textcoords="offset points", ha="right", fontsize=9,
    )  # fmt: skip
    top = HEADROOM * limit
    highest = max(rates)
    if highest > top:
        ax.annotate(
            f"the full bucket at once:\n{highest:,.0f} tokens/s",
            xy=(edges[rates.index(highest) + 1], 0.93 * top), xytext=(20, 0),
            textcoords="offset points", va="center", fontsize=9,
            arrowprops={"arrowstyle": "->", "color": INK},
        )  # fmt: skip


def _attempts(ax: Any, way: Outcome, edges: list[float], color: str) -> None:
    attempts = _rates(way.observed, edges, itemgetter("attempts"))
    refused = _rates(way.observed, edges, itemgetter("refused"))
    admitted = [a - r for a, r in zip(attempts, refused, strict=True)]
    ax.stairs(admitted, edges, fill=True, color=color, alpha=0.85, label="admitted")
    ax.stairs(
        attempts, edges, baseline=admitted, fill=True, color=REFUSED, alpha=0.85,
        label="refused (429)",
    )  # fmt: skip
    ax.legend(loc="upper right", frameon=False, fontsize=9, ncols=2)


def _thousands(value: float, _: int) -> str:
    return f"{value / 1000:,.0f} k"


def _charged(seen: dict[str, Any]) -> int:
    charged: dict[str, int] = seen["charged"]
    return charged.get("tokens", 0)


def _rates(
    observed: Observed, edges: list[float], count: Callable[[dict[str, Any]], int]
) -> list[float]:
    """Returns the growth per second of a count of the provider's, from edge to edge."""
    np: Any = importlib.import_module("numpy")
    counts = [count(sample.seen) for sample in observed.samples]
    at_edges = np.interp([-BIN, *edges[1:]], observed.since_first(), counts)
    return [float(grown) / BIN for grown in np.diff(at_edges)]
