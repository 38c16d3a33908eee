"""Statistics for notebooks: as HTML, and as a figure of matplotlib."""

from __future__ import annotations

import importlib
from html import escape
from typing import TYPE_CHECKING, Any

from xtremeflow.learning.learner import UNLIMITED
from xtremeflow.scheduler.causes import IDLE, causes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from xtremeflow.scheduler.stats import PrefixStats, Stats

_COLOURS = ["#4c78a8", "#f58518", "#e45756", "#72b7b2", "#54a24b", "#b279a2", "#9d755d"]
_NO_COLOUR = "#d3d3d3"
_NO_CALL = "no call waited"
_WORDS = {"share": "other members", "prefix": "prefixes"}


def _held(stats: Stats) -> list[tuple[str, float]]:
    """Returns the causes that left quota idle, in words, and their shares of the time."""
    held = causes(stats)
    idle = held.pop(IDLE)
    told = [(_WORDS.get(cause, cause), share) for cause, share in held.items() if share > 0]
    return [*told, (_NO_CALL, idle)]


def as_html(stats: Stats) -> str:
    """Returns tables: the calls, the limits, and the prefixes that calls share."""
    ended = [
        ("succeeded", stats.succeeded),
        ("failed", stats.failed),
        ("cancelled", stats.cancelled),
        ("expired", stats.expired),
        ("waiting", stats.waiting),
        ("in flight", stats.in_flight),
        ("refused", stats.refused),
        ("retries", stats.retries),
        ("cooldowns", stats.cooldowns),
    ]
    calls = [(name, f"{number:,}") for name, number in ended]
    calls.append(("elapsed", f"{stats.elapsed:,.1f} s"))
    limits = [
        (
            limit.name,
            f"{limit.rate:,.6g}/s",
            f"{limit.capacity:,.6g}",
            f"{limit.level:,.6g}",
            f"{limit.used:,}",
            f"{limit.utilisation:.1%}",
            f"{limit.held_back:.1%}",
        )
        for limit in stats.limits
        if limit.rate < UNLIMITED
    ]
    prefixes = [] if stats.prefixes is None else [_prefixes(stats.prefixes)]
    held = ", ".join(f"{escape(name)} {share:.0%}" for name, share in _held(stats))
    parts = [
        _table([name for name, _ in calls], [[text for _, text in calls]]),
        _table(["limit", "rate", "capacity", "level", "used", "utilisation", "held back"], limits)
        if limits
        else "",
        *prefixes,
        f"<p>Held back by: {held}</p>",
    ]
    return f"<div>{''.join(parts)}</div>"


def _prefixes(told: PrefixStats) -> str:
    def share(value: float | None) -> str:
        return "unknown" if value is None else f"{value:.0%}"

    columns = [
        ("prefixes", f"{told.groups:,}"),
        ("went ahead", f"{told.led:,}"),
        ("found theirs", share(told.hits)),
        ("tokens expected", f"{told.expected:,}"),
        ("read", f"{told.read:,}"),
        ("written", f"{told.written:,}"),
        ("held", f"{told.held_seconds:,.1f} s"),
        ("of the price saved", share(told.saved_share)),
    ]
    return _table([name for name, _ in columns], [[text for _, text in columns]])


def _table(head: list[str], rows: Any) -> str:
    cells = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>"


def _percent(share: float, _: object) -> str:
    return f"{share:.0%}"


def figure(stats: Stats) -> Figure:
    """Returns a figure: how far each limit was used, and what held the queue back.

    Raises ImportError if matplotlib is not installed.
    """
    try:
        module: Any = importlib.import_module("matplotlib.figure")
    except ImportError:
        raise ImportError("plot() needs matplotlib: pip install 'xtremeflow[plot]'") from None
    limits = [limit for limit in stats.limits if limit.rate < UNLIMITED]
    made: Any = module.Figure(figsize=(7.0, 1.6 + 0.35 * max(1, len(limits))), layout="constrained")
    used, held = made.subplots(2, 1, height_ratios=[max(1, len(limits)), 1])
    names = [limit.name for limit in limits]
    used.barh(range(len(limits)), [limit.utilisation for limit in limits], color=_COLOURS[0])
    used.set_yticks(range(len(limits)), names)
    used.invert_yaxis()
    used.set_xlim(0, 1)
    used.xaxis.set_major_formatter(_percent)
    used.set_title(f"Used of what the limits allowed in {stats.elapsed:,.1f} s", fontsize="medium")
    left = 0.0
    for number, (name, share) in enumerate(_held(stats)):
        colour = _NO_COLOUR if name == _NO_CALL else _COLOURS[number % len(_COLOURS)]
        held.barh([0], [share], left=left, color=colour, label=f"{name} {share:.0%}")
        left += share
    held.set_xlim(0, 1)
    held.set_yticks([])
    held.xaxis.set_major_formatter(_percent)
    held.set_title("Held the queue back", fontsize="medium")
    held.legend(fontsize="small", ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.35))
    return made  # type: ignore[no-any-return]
