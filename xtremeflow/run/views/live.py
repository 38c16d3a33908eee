"""The live view in a terminal, drawn with rich."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console, Group, OverflowMethod, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from xtremeflow.cli.amounts import duration
from xtremeflow.run.views.monitor import Meter, Snapshot
from xtremeflow.run.views.prefixes import described
from xtremeflow.run.views.screen import Screen
from xtremeflow.run.views.view import (
    briefly,
    explained,
    explained_concurrency,
    explained_share,
)
from xtremeflow.values.amounts import shown
from xtremeflow.values.limits import MINUTE
from xtremeflow.values.text import printable

_BLOCKS = "▁▂▃▄▅▆▇█"
_ASCII = "_.-=+*#@"
_NAMES = 14  # columns
_FIGURES = 28
_SPARE = 4  # columns between


class Live:
    interval = 0.25

    def __init__(self, title: str, console: Console | None = None) -> None:
        self._title = printable(title)
        self._console = console or Console(file=sys.stderr, highlight=False)
        ascii_only = self._console.options.ascii_only
        self._blocks = _ASCII if ascii_only else _BLOCKS
        self._cut: OverflowMethod = "crop" if ascii_only else "ellipsis"
        self._screen = Screen(self._console.file)

    def start(self) -> None:
        self._screen.start()

    def update(self, now: Snapshot) -> None:
        self._screen.show(self.frame(now))

    def stop(self) -> None:
        self._screen.stop()

    def frame(self, now: Snapshot) -> list[str]:
        """Returns as many lines as the terminal has room for. The first say what goes on or holds
        the run back, the last explain the limits."""
        height = max(2, self._console.height - 1)
        table, limits = self._lines(self._table(now)), self._lines(self._limits(now))
        essential = [self._lines(self._head(now)), self._lines(self._counts(now)),
                     self._lines(self._state(now))]  # fmt: skip
        head, counts, state = essential
        room = height - sum(map(len, essential))
        parts = [*table, *self._lines(self._prefixes(now)), *limits]
        return [*head, *parts[: max(0, room)], *counts, *state][-height:]

    def draw(self, now: Snapshot) -> RenderableType:
        """Returns all lines."""
        limits = [self._limits(now)] if self._explanations(now) else []
        prefixes = [self._prefixes(now)] if now.prefixes is not None else []
        return Group(
            self._head(now),
            self._table(now),
            *prefixes,
            *limits,
            self._counts(now),
            self._state(now),
        )

    def _lines(self, part: RenderableType) -> list[str]:
        with self._console.capture() as capture:
            self._console.print(part, end="")
        return capture.get().splitlines()

    def _table(self, now: Snapshot) -> Table:
        width = self._console.width
        # The bar and the sparkline share the room beside names and figures.
        room = max(8, width - _NAMES - _FIGURES - _SPARE)
        spark = room // 2 if room >= 24 else 0
        bar = room - spark
        table: Any = Table.grid(padding=(0, 1), pad_edge=False)
        table.add_column(width=_NAMES, no_wrap=True)
        table.add_column(width=bar)
        table.add_column(width=_FIGURES, no_wrap=True, overflow=self._cut)
        if spark:
            table.add_column(width=spark, no_wrap=True)
        table.add_row("lines", self._progress_bar(now, bar), self._progress(now))
        for meter in now.meters:
            name = meter.name.replace("_", " ")
            row: list[RenderableType] = [name, _meter_bar(meter, bar), _figures(meter)]
            if spark:
                row.append(Text(self._sparkline(meter, spark), style="cyan"))
            table.add_row(*row)
        return table  # type: ignore[no-any-return]

    def _head(self, now: Snapshot) -> Text:
        head = Text(self._title, style="bold", no_wrap=True, overflow=self._cut)
        times = f"   {duration(now.elapsed)}"
        if now.left is not None and not now.stopping:
            times += f", {duration(now.left)} left"
        head.truncate(max(10, self._console.width - len(times)), overflow=self._cut)
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

    def _sparkline(self, meter: Meter, width: int) -> str:
        history = meter.history[-width:]
        top = meter.limit or max(history, default=0.0)
        if top <= 0:
            return ""
        steps = len(self._blocks) - 1
        return "".join(self._blocks[round(min(value / top, 1.0) * steps)] for value in history)

    def _explanations(self, now: Snapshot) -> list[tuple[str, str]]:
        """Returns the lines that explain each limit."""
        rows = [(f"{limit.name.replace('_', ' ')} limit", explained(limit)) for limit in now.limits]
        if now.learned is not None:
            rows.append(("concurrency", explained_concurrency(now.learned, now.concurrency)))
        if now.margin:
            rows.append(("margin", f"{briefly(now.margin)} of each rate are kept in reserve"))
        if now.share is not None:
            rows.append(("share", explained_share(now.share, now.waited_for_share)))
        return rows

    def _limits(self, now: Snapshot) -> Table:
        """Yields the limits and their reasons. A reason is never cut: it goes on in the next
        line."""
        table: Any = Table.grid(padding=(0, 1), pad_edge=False)
        table.add_column(no_wrap=True, style="dim")
        table.add_column(overflow="fold", style="dim")
        for name, said in self._explanations(now):
            table.add_row(name, Text(printable(said)))
        return table  # type: ignore[no-any-return]

    def _prefixes(self, now: Snapshot) -> Text:
        if now.prefixes is None:
            return Text()
        calls, tokens = described(now.prefixes, now.input_price)
        return Text(f"prefixes: {calls}\n  {tokens}", overflow="fold")

    def _counts(self, now: Snapshot) -> Text:
        counts = now.counts
        share = counts.refused / counts.attempts if counts.attempts else 0.0
        most = now.concurrency if now.learned is None else now.learned.calls
        slots = "" if most is None else f"/{most:,}"
        refused = f"refused {counts.refused:,} ({share:.1%})"
        if now.refusals >= 0.5 / MINUTE:
            refused += f" {shown(MINUTE * now.refusals)}/min"
        return _joined(
            [
                (f"in flight {now.in_flight:,}{slots}", ""),
                (f"waiting {now.waiting:,}", ""),
                (refused, "yellow" if counts.refused else ""),
                (f"failed {counts.failed:,}", "red" if counts.failed else ""),
                (f"bad lines {counts.bad:,}", "red" if counts.bad else ""),
            ]
        )

    def _state(self, now: Snapshot) -> Text:
        if now.stopping:
            said = f"stopping: {printable(now.stopping)}; waiting for the calls in flight"
            return Text(said, "yellow", overflow="fold")
        if now.cooldown:
            return Text(f"cooldown: {duration(now.cooldown)} left", "yellow")
        if now.held_back_by:
            return Text(f"held back by: {now.held_back_by}", "green")
        return Text("nothing holds it back")


def _meter_bar(meter: Meter, width: int) -> RenderableType:
    if not meter.limit:
        return Text("")
    return ProgressBar(
        total=meter.limit,
        completed=min(meter.rate, meter.limit),
        width=width,
        complete_style="green",
        finished_style="green",
    )


def _figures(meter: Meter) -> str:
    rate = shown(MINUTE * meter.rate)
    if not meter.limit:
        return f"{rate}/min, no limit"
    return f"{rate} of {shown(MINUTE * meter.limit)}/min {meter.share}"


def _joined(parts: Sequence[tuple[str, str]]) -> Text:
    text = Text(overflow="fold")
    for i, (part, style) in enumerate(parts):
        text.append("   " if i else "").append(part, style=style)
    return text
