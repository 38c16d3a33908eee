"""`--plot` and `xtremeflow plot`: charges against the limits, cooldowns and latency in one picture.

Runs that went on with one file are drawn one after the other, without the time between them.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import math
import sys
import warnings
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

from xtremeflow.cli.parser import USAGE, Parser
from xtremeflow.run.input.requests import Json
from xtremeflow.run.output.history import PastRun, past_runs
from xtremeflow.run.output.results import errors_path
from xtremeflow.run.views.prefixes import of_runs
from xtremeflow.run.views.summary import DONE
from xtremeflow.values.amounts import shown
from xtremeflow.values.text import printable

_BINS = 240
_MOST_POINTS = 20_000  # dots of latencies; a million would be a blot
_GAP = 60.0  # s without a call that count as a gap between runs, if the history has none
_COLORS = {"tokens": "#2563eb", "requests": "#059669"}
_LIMIT, _COOLDOWN, _LATENCY, _FAILED = "#111827", "#f59e0b", "#7c3aed", "#dc2626"
_FLIGHT = "#0891b2"
_READ, _WRITTEN, _FRESH = "#16a34a", "#f59e0b", "#94a3b8"
TOKENS = ("tokens", "input_tokens", "output_tokens")
_MARK = b'"xtremeflow": '


class PlotError(Exception):
    """There is nothing to draw, or no library to draw with. The message says which."""


def _column() -> array[float]:
    return array("d")


@dataclass
class PlottedCalls:
    """The last attempts of all calls, in the order of the files; times are in seconds."""

    started: array[float] = field(default_factory=_column)
    seconds: array[float] = field(default_factory=_column)
    input: array[float] = field(default_factory=_column)
    output: array[float] = field(default_factory=_column)
    charged: dict[str, array[float]] = field(
        default_factory=lambda: {unit: _column() for unit in TOKENS}
    )
    """The amounts that the provider counts against its limits, which may differ from the usage."""
    cached: array[float] = field(default_factory=_column)
    written: array[float] = field(default_factory=_column)
    failed: array[float] = field(default_factory=_column)

    def amounts(self, unit: str) -> Any:
        """Returns the cost of each call of a limit, as an array of numpy."""
        np = _numpy()

        return np.ones(len(self.started)) if unit == "requests" else np.asarray(self.charged[unit])

    def add(self, about: Json) -> None:
        usage = cast(Json, about.get("usage") or {})
        read, written = usage.get("input_tokens", 0), usage.get("output_tokens", 0)
        self.started.append(about["started"])
        self.seconds.append(about["seconds"])
        self.input.append(read)
        self.output.append(written)
        self.cached.append(usage.get("cached", 0))
        self.written.append(usage.get("written", 0))
        used = {"tokens": read + written, "input_tokens": read, "output_tokens": written}
        used.update(about.get("charged") or {})
        for unit, amounts in self.charged.items():
            amounts.append(used[unit])


def _numpy() -> Any:
    return importlib.import_module("numpy")  # which comes with matplotlib


def read_calls(results: Path) -> PlottedCalls:
    """Reads the results, and the times of the errors. Raises PlotError."""
    calls = PlottedCalls()
    try:
        for about in _abouts(results):
            calls.add(about)
        errors = errors_path(results)
        if errors.exists():
            calls.failed.extend(
                about["started"] + about["seconds"]
                for about in _abouts(errors)
                if "started" in about
            )
    except OSError as error:
        raise PlotError(f"cannot read {results}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise PlotError(f"{results} is not the output of xtremeflow run") from None
    if not calls.started:
        raise PlotError(f"there is no result in {results} yet")
    return calls


def _abouts(path: Path) -> Iterator[Json]:
    with open(path, "rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break  # torn
            mark = line.rindex(_MARK)  # it is the last key, so the rest need not be read
            yield cast(Json, json.loads(line[mark + len(_MARK) : -2]))


class TimeAxis:
    """A time axis without the gaps between runs: seconds of running instead of the wall clock."""

    def __init__(self, spans: Sequence[tuple[float, float]]) -> None:
        self.breaks: list[float] = []
        """Where a run begins, but for the first."""
        self._starts: list[float] = []
        self._offsets: list[float] = []
        total = 0.0
        for start, end in spans:
            self._starts.append(start)
            self._offsets.append(total - start)
            total += end - start
            self.breaks.append(total)
        self.end = self.breaks.pop()

    def __call__(self, times: Any) -> Any:
        np = _numpy()

        times = np.asarray(times, dtype=float)
        which = np.searchsorted(self._starts, times, side="right") - 1
        return times + np.asarray(self._offsets)[np.clip(which, 0, None)]


def spans_of(calls: PlottedCalls, runs: Sequence[PastRun]) -> list[tuple[float, float]]:
    """Returns the spans in which a run ran. A long gap between calls separates two runs."""
    np = _numpy()

    started = np.asarray(calls.started)
    order = np.argsort(started, kind="stable")
    started = started[order]
    ended = np.maximum.accumulate(started + np.asarray(calls.seconds)[order])
    begins = np.array([run.start for run in runs if run.start <= started[-1]])
    new_run = started[1:] - ended[:-1] > _GAP
    if begins.size:  # a run's start between two calls
        of_run = np.searchsorted(begins, started, side="right")
        new_run = of_run[1:] != of_run[:-1]
    cuts = np.flatnonzero(new_run) + 1
    firsts = [0, *cuts.tolist()]
    lasts = [*(cuts - 1).tolist(), len(started) - 1]
    spans: list[tuple[float, float]] = []
    for i, (first, last) in enumerate(zip(firsts, lasts, strict=True)):
        end = float(ended[last])
        if i + 1 < len(firsts):
            end = min(end, float(started[firsts[i + 1]]))
        spans.append((float(started[first]), max(end, float(started[first]) + 1e-3)))
    return spans


@dataclass(frozen=True)
class Steps:
    """A limit over time. Each value holds from its moment to the next one's."""

    moments: list[float]
    values: list[float]  # rates per second, or calls at a time; nan for a time without a limit

    @classmethod
    def of(cls, told: Sequence[tuple[float, float]], axis: TimeAxis) -> Steps:
        if all(math.isnan(value) for _, value in told):
            return cls([], [])
        moments = [max(0.0, float(axis(moment))) for moment, _ in told]
        return cls([*moments, axis.end], [*(value for _, value in told), told[-1][1]])

    @classmethod
    def of_rate(cls, unit: str, runs: Sequence[PastRun], axis: TimeAxis) -> Steps:
        told: list[tuple[float, float]] = []
        for run in runs:
            for moment, limits in [(run.start, run.given), *run.changes]:
                rates = [limit.rate for limit in limits if limit.name == unit and limit.is_felt]
                told.append((moment, min(rates, default=math.nan)))
        return cls.of(told, axis)

    @classmethod
    def of_concurrency(cls, runs: Sequence[PastRun], axis: TimeAxis) -> Steps:
        told = [pair for run in runs for pair in [(run.start, None), *run.concurrency]]
        return cls.of([(moment, math.nan if n is None else n) for moment, n in told], axis)

    @property
    def known(self) -> list[float]:
        return [value for value in self.values if not math.isnan(value)]

    def draw(self, ax: Any, what: str, per: str = "") -> None:
        least, most = min(self.known), max(self.known)
        said = f"{shown(most)}{per}"
        if least < most:
            said = f"{shown(least)}{per} to {said}"
        ax.step(self.moments, self.values, where="post", color=_LIMIT, linestyle="--",
                linewidth=1.2, label=f"{what} ({said})")  # fmt: skip


def plot(results: Path, picture: Path) -> None:
    """Draws the results into a PNG or SVG, by the suffix of `picture`. Raises PlotError."""
    if importlib.util.find_spec("matplotlib") is None:
        raise PlotError("pictures need matplotlib: pip install 'xtremeflow[plot]'")
    from matplotlib.figure import Figure  # no pyplot: no global state, no display

    calls = read_calls(results)
    runs = past_runs(results)
    axis = TimeAxis(spans_of(calls, runs))
    steps = {unit: Steps.of_rate(unit, runs, axis) for unit in (*TOKENS, "requests")}
    units = [*([unit for unit in TOKENS if steps[unit].known] or ["tokens"]), "requests"]
    concurrency = Steps.of_concurrency(runs, axis)
    at = axis(calls.started)
    rows: list[Callable[[Any], None]] = [
        partial(_draw_rate, unit, at, calls.amounts(unit), axis.end, steps[unit]) for unit in units
    ]
    if sum(calls.cached):
        rows.append(partial(_draw_cache, at, calls, runs, axis.end))
    if concurrency.known:
        rows.append(partial(_draw_flight, at, calls, axis.end, concurrency))
    rows.append(partial(_draw_latency, at, calls, axis))
    figure: Any = Figure(figsize=(10, 2.4 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), 1, sharex=True)
    for ax, draw in zip(axes, rows, strict=True):
        draw(ax)
    cooldowns = [pair for run in runs for pair in run.cooldowns]
    for ax in axes:
        for i, (start, end) in enumerate(cooldowns):
            left, right = axis([start, end])
            ax.axvspan(left, right, color=_COOLDOWN, alpha=0.25, lw=0,
                       label="cooldown" if i == 0 else None)  # fmt: skip
        for moment in axis.breaks:
            ax.axvline(moment, color=_LIMIT, linewidth=0.8, linestyle=":")
        ax.grid(axis="y", alpha=0.25)
        ax.legend(loc="upper right", ncols=4, fontsize=8, framealpha=0.9)
    axes[-1].set_xlim(-0.01 * axis.end, 1.02 * axis.end)
    axes[-1].set_xlabel("seconds of running")
    axes[0].set_title(
        _title(results, calls, axis),
        loc="left",
        fontsize=10,
        fontweight="bold",
        parse_math=False,  # a $ in a file's name is no formula
    )
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from")  # a name in any script
            figure.savefig(picture, dpi=120)
    except OSError as error:
        raise PlotError(f"cannot write {picture}: {error.strerror}") from None


def _title(results: Path, calls: PlottedCalls, axis: TimeAxis) -> str:
    count = len(calls.started)
    tokens = sum(calls.input) + sum(calls.output)
    title = f"{printable(results.name)}: {count:,} calls, {tokens:,.0f} tokens in {axis.end:,.1f} s"
    return f"{title} of {len(axis.breaks) + 1} runs" if axis.breaks else title


def _draw_rate(unit: str, at: Any, amounts: Any, end: float, limit: Steps, ax: Any) -> None:
    np = _numpy()

    words = unit.replace("_", " ")
    verb = "dispatched" if unit == "requests" else "charged"
    color = _COLORS.get(unit, _COLORS["tokens"])
    width = end / _BINS
    totals, edges = np.histogram(at, bins=_BINS, range=(0.0, end), weights=amounts)
    rates = totals / width
    ax.stairs(rates, edges, fill=True, color=color, alpha=0.7, label=f"{words} {verb}")
    top = 1.15 * float(rates.max(initial=0.0))
    if limit.known:
        limit.draw(ax, "limit", "/s")
        rate = max(limit.known)
        top = max(1.3 * rate, min(top, 3.0 * rate))  # the burst of a full bucket is cut off
        burst = float(rates.max(initial=0.0))
        if burst > top:
            left = float(edges[int(rates.argmax())])
            on_left = left > end / 2  # there is more room on that side
            ax.annotate(
                f"the full bucket at once: {shown(burst)}/s",
                xy=(left if on_left else left + width, 0.75 * top),
                xytext=(-18 if on_left else 18, 0),
                textcoords="offset points",
                ha="right" if on_left else "left",
                va="center",
                fontsize=8,
                arrowprops={"arrowstyle": "->", "color": _LIMIT},
            )
    ax.set_ylim(0, top or 1.0)
    ax.set_ylabel(f"{words} per second")
    ax.yaxis.set_major_formatter(_shown)


def _shown(value: float, _: int) -> str:
    return shown(value)


def _draw_cache(at: Any, calls: PlottedCalls, runs: Sequence[PastRun], end: float, ax: Any) -> None:
    """Draws the parts of the prompts: read from the cache, written to it, neither."""
    np = _numpy()

    prompts, read, written = map(np.asarray, (calls.input, calls.cached, calls.written))
    totals, edges = np.histogram(at, bins=_BINS // 4, range=(0.0, end), weights=prompts)
    whole, base = max(1.0, float(prompts.sum())), np.zeros(_BINS // 4)
    kinds = [
        ("read from the cache", read, _READ),
        ("written to it", written, _WRITTEN),
        ("neither", prompts - read - written, _FRESH),
    ]
    for name, tokens, color in kinds:
        if not tokens.any():
            continue
        parts, _ = np.histogram(at, bins=edges, weights=tokens)
        top = base + parts / np.maximum(totals, 1.0)
        label = f"{name}: {tokens.sum() / whole:.0%} of all"
        ax.stairs(top, edges, baseline=base, fill=True, color=color, alpha=0.8, label=label)
        base = top
    ax.set_ylim(0, 1.3)
    ax.set_yticks([0.0, 0.5, 1.0], ["0%", "50%", "100%"])
    ax.set_ylabel("prompt tokens")
    told = [run.prefixes for run in runs if run.prefixes is not None]
    if told:
        ax.set_title(of_runs(told), loc="left", fontsize=8)


def _draw_flight(at: Any, calls: PlottedCalls, end: float, limit: Steps, ax: Any) -> None:
    np = _numpy()

    edges = np.linspace(0.0, end, _BINS + 1)
    middles = (edges[1:] + edges[:-1]) / 2
    begun = np.searchsorted(np.sort(at), middles, side="right")
    ended = np.searchsorted(np.sort(at + np.asarray(calls.seconds)), middles, side="right")
    ax.stairs(begun - ended, edges, fill=True, color=_FLIGHT, alpha=0.7, label="calls in flight")
    limit.draw(ax, "learned limit")
    ax.set_ylim(0, 1.3 * max(*limit.known, *(begun - ended)))
    ax.set_ylabel("calls in flight")


def _draw_latency(at: Any, calls: PlottedCalls, axis: TimeAxis, ax: Any) -> None:
    np = _numpy()

    seconds = np.asarray(calls.seconds)
    step = max(1, len(seconds) // _MOST_POINTS)
    ax.plot(at[::step], seconds[::step], linestyle="none", marker=".", markersize=2.5,
            color=_LATENCY, alpha=0.25)  # fmt: skip
    which = np.clip((at / axis.end * (_BINS // 4)).astype(int), 0, _BINS // 4 - 1)
    order = np.argsort(which, kind="stable")
    groups = np.split(seconds[order], np.flatnonzero(np.diff(which[order])) + 1)
    middles = (np.unique(which) + 0.5) * axis.end / (_BINS // 4)
    for share, style in ((50, "-"), (95, "--")):
        values = [np.percentile(group, share) for group in groups]
        ax.plot(middles, values, style, color=_LATENCY, linewidth=1.4, label=f"p{share}")
    if calls.failed:
        moments = axis(calls.failed)
        ax.plot(moments, np.zeros(len(moments)), linestyle="none", marker="x", markersize=5,
                color=_FAILED, label=f"failed ({len(moments):,})", clip_on=False)  # fmt: skip
    ax.set_ylim(bottom=0)
    ax.set_ylabel("latency (s)")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    if not options.results.name:
        parser.error(f"results must be a file, got {str(options.results)!r}")
    picture = options.output or options.results.with_suffix(".png")
    try:
        plot(options.results, picture)
    except PlotError as error:
        print(f"xtremeflow plot: {printable(str(error))}", file=sys.stderr)
        return USAGE
    print(printable(str(picture)))
    return DONE


def picture_path(text: str) -> Path:
    path = Path(text)
    if path.suffix.lower() not in {".png", ".svg"}:
        raise argparse.ArgumentTypeError(f"must end in .png or .svg, got {text!r}")
    return path


def _parser() -> Parser:
    parser = Parser(
        prog="xtremeflow plot",
        description="Draws what `xtremeflow run` has done: tokens and requests per second, and the "
        "calls in flight, against their limits, the tokens read from the provider's cache, the "
        "cooldowns, and the latency.",
    )
    parser.add_argument("results", type=Path, help="the file of results that `run` wrote")
    parser.add_argument(
        "-o",
        "--output",
        type=picture_path,
        metavar="FILE",
        help="the picture, .png or .svg (default: beside the results)",
    )
    return parser
