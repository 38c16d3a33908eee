"""The figures of several results side by side, as plain text that fits 80 columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from xtremeflow.demo.job import Job
from xtremeflow.demo.result import JobResult

ROWS: Mapping[str, Callable[[JobResult], str]] = {
    "ideal wall time": lambda result: f"{result.ideal_wall:.2f} s",
    "actual wall time": lambda result: f"{result.wall:.2f} s",
    "ideal / actual": lambda result: f"{result.efficiency:.3f}",
    "share of the token quota used": lambda result: f"{result.quota_used:.1%}",
    "attempts sent": lambda result: f"{result.stats.attempts:,}",
    "  of these refused (429)": lambda result: f"{result.stats.refused:,} ({result.wasted:.1%})",
    "  sent before retry-after was over": lambda result: f"{result.stats.early:,}",
    "calls never answered": lambda result: f"{result.failed:,}",
    "dispatch lateness p50": lambda result: f"{1000 * result.lateness_at(50):,.1f} ms",
    "dispatch lateness p99": lambda result: f"{1000 * result.lateness_at(99):,.1f} ms",
}


def describe(job: Job) -> str:
    """The job in a few lines."""
    tokens = sum(request.total_tokens for request in job.requests)
    limits = " and ".join(f"{limit.amount:,} {limit.name}" for limit in job.limits)
    per = job.limits[0].per
    return (
        f"{len(job.requests):,} calls of {tokens:,} tokens in all, to a strict provider whose\n"
        f"buckets start full: {limits} per {per:g} s\n"
        f"(its minute, as all its times, is {job.speed:g} times shorter than a real one's)"
    )


def table(results: Mapping[str, JobResult]) -> str:
    """A line for each figure, a column for each named result."""
    cells = [["", *results]]
    cells += [[name, *map(text, results.values())] for name, text in ROWS.items()]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "   ".join(
            [row[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        ).rstrip()
        for row in cells
    ]
    lines.insert(1, "-" * len(max(lines, key=len)))
    return "\n".join(lines)
