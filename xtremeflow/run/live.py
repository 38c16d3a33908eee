"""The live view in a terminal, drawn with rich."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import rich.live
from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from xtremeflow.run.amounts import duration, shown
from xtremeflow.run.monitor import Gauge, Snapshot
from xtremeflow.run.views import explained, explained_concurrency

_BLOCKS = "▁▂▃▄▅▆▇█"
_ASCII = "_.-=+*#@"
_NAMES = 14  # columns
_FIGURES = 26
_SPARE = 4  # columns between


class Live:
    interval = 0.25

    def __init__(self, title: str, console: Console | None = None) -> None:
        self._title = title
        self._console = console or Console(stderr=True, highlight=False)
        self._blocks = _ASCII if self._console.options.ascii_only else _BLOCKS
        self._live = rich.live.Live(
            console=self._console, auto_refresh=False, redirect_stdout=False, redirect_stderr=True
        )

    def start(self) -> None:
        self._live.start()

    def update(self, now: Snapshot) -> None:
        self._live.update(self.draw(now), refresh=True)

    def stop(self) -> None:
        self._live.stop()

    def draw(self, now: Snapshot) -> RenderableType:
        width = self._console.width
        # The bar and the sparkline share what the names and figures leave.
        room = max(8, width - _NAMES - _FIGURES - _SPARE)
        spark = room // 2 if room >= 24 else 0
        bar = room - spark
        table: Any = Table.grid(padding=(0, 1), pad_edge=False)
        table.add_column(width=_NAMES, no_wrap=True)
        table.add_column(width=bar)
        table.add_column(width=_FIGURES, no_wrap=True, overflow="crop")
        if spark:
            table.add_column(width=spark, no_wrap=True)
        table.add_row("lines", self._progress_bar(now, bar), self._progress(now))
        for gauge in now.gauges:
            name = gauge.name.replace("_", " ")
            row: list[RenderableType] = [name, _gauge_bar(gauge, bar), _figures(gauge)]
            if spark:
                row.append(Text(self._sparkline(gauge, spark), style="cyan"))
            table.add_row(*row)
        parts = [self._head(now), table, *self._limits(now), self._counts(now), self._state(now)]
        return Group(*parts)

    def _head(self, now: Snapshot) -> Text:
        head = Text(self._title, style="bold", no_wrap=True, overflow="crop")
        times = f"   {duration(now.elapsed)}"
        if now.left is not None and not now.stopping:
            times += f", {duration(now.left)} left"
        head.truncate(max(10, self._console.width - len(times)), overflow="crop")
        return head.append(times, style="not bold")

    def _progress_bar(self, now: Snapshot, width: int) -> ProgressBar:
        total = now.total
        return ProgressBar(
            total=total or None,
            completed=now.done,
            width=width,
            pulse=total is None,
            animation_time=now.elapsed,
        )

    def _progress(self, now: Snapshot) -> str:
        if now.total is None:
            return f"{now.done:,}"
        share = now.done / now.total if now.total else 1.0
        return f"{now.done:,}/{now.total:,} {share:.0%}"

    def _sparkline(self, gauge: Gauge, width: int) -> str:
        history = gauge.history[-width:]
        top = gauge.limit or max(history, default=0.0)
        if top <= 0:
            return ""
        steps = len(self._blocks) - 1
        return "".join(self._blocks[round(min(value / top, 1.0) * steps)] for value in history)

    def _limits(self, now: Snapshot) -> list[Text]:
        """What each limit is, and why."""
        rows = [(f"{limit.name.replace('_', ' ')} limit", explained(limit)) for limit in now.limits]
        if now.learned_concurrency is not None:
            said = explained_concurrency(
                now.learned_concurrency,
                now.concurrency_learned,
                now.concurrency_confidence,
                now.concurrency,
            )
            rows.append(("concurrency", said))
        if now.margin:
            rows.append(("margin", f"{1000 * now.margin:.3g} ms of each rate are kept in reserve"))
        width = max((len(name) for name, _ in rows), default=0)
        return [
            Text(f"{name:<{width}} {said}", "dim", no_wrap=True, overflow="crop")
            for name, said in rows
        ]

    def _counts(self, now: Snapshot) -> Text:
        counts = now.counts
        share = counts.refused / counts.attempts if counts.attempts else 0.0
        most = now.concurrency if now.learned_concurrency is None else now.learned_concurrency
        slots = "" if most is None else f"/{most:,}"
        return _joined(
            [
                (f"in flight {now.in_flight:,}{slots}", ""),
                (f"waiting {now.waiting:,}", ""),
                (f"refused {counts.refused:,} ({share:.1%})", "yellow" if counts.refused else ""),
                (f"failed {counts.failed:,}", "red" if counts.failed else ""),
                (f"bad lines {counts.bad:,}", "red" if counts.bad else ""),
            ]
        )

    def _state(self, now: Snapshot) -> Text:
        if now.stopping:
            said, style = f"stopping: {now.stopping}; waiting for the calls in flight", "yellow"
        elif now.cooldown:
            said, style = f"cooldown: {duration(now.cooldown)} left", "yellow"
        elif now.held_back_by:
            said, style = f"held back by: {now.held_back_by}", "green"
        else:
            said, style = "nothing holds it back", ""
        return Text(said, style, no_wrap=True, overflow="crop")


def _gauge_bar(gauge: Gauge, width: int) -> RenderableType:
    if not gauge.limit:
        return Text("")
    return ProgressBar(
        total=gauge.limit,
        completed=min(gauge.rate, gauge.limit),
        width=width,
        complete_style="green",
        finished_style="green",
    )


def _figures(gauge: Gauge) -> str:
    if not gauge.limit:
        return f"{shown(gauge.rate)}/s, no limit"
    return f"{shown(gauge.rate)}/s of {shown(gauge.limit)}/s {gauge.rate / gauge.limit:.0%}"


def _joined(parts: Sequence[tuple[str, str]]) -> Text:
    text = Text(no_wrap=True, overflow="crop")
    for i, (part, style) in enumerate(parts):
        text.append("   " if i else "").append(part, style=style)
    return text
