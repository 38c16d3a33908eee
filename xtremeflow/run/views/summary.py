"""The summary of a run: for people, for programs, and as an exit status."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xtremeflow.cli.amounts import counted, duration
from xtremeflow.cli.parser import USAGE
from xtremeflow.run.input.requests import Json
from xtremeflow.run.output.counts import Counts
from xtremeflow.run.views import prefixes
from xtremeflow.run.views.view import explained, explained_concurrency
from xtremeflow.scheduler.stats import LearnedConcurrency, LimitStats, PrefixStats
from xtremeflow.values.amounts import shown

DONE, SOME_FAILED, STOPPED = 0, 1, 3  # exit statuses, beside those of all commands


@dataclass(frozen=True)
class Summary:
    """The outcome of a run. `left` is the number of lines not done yet, None if it is unknown.
    `unusable` says that the input stopped the run. `input_price` is in US dollars for a million
    tokens."""

    counts: Counts
    seconds: float
    left: int | None
    stopped: str | None
    to_be_mended: bool
    unusable: bool
    signal: int | None
    results: Path
    errors_path: Path
    errors: dict[str, int] = field(default_factory=dict[str, int])
    cooldowns: int = 0
    cooldown_seconds: float = 0.0
    limits: tuple[LimitStats, ...] = ()
    margin: float = 0.0
    concurrency: LearnedConcurrency | None = None
    learned: dict[str, Json] = field(default_factory=dict[str, Json])
    prefixes: PrefixStats | None = None
    input_price: float | None = None
    command: str = ""

    @property
    def exit_status(self) -> int:
        if self.signal is not None:
            return 128 + self.signal
        if self.unusable:
            return USAGE
        if self.stopped is not None or self.counts.unsaved:
            return STOPPED
        return SOME_FAILED if self.counts.failed or self.counts.bad else DONE

    @property
    def outcome(self) -> str:
        if self.signal is not None:
            return "interrupted"
        words = {DONE: "done", SOME_FAILED: "some failed"}
        return words.get(self.exit_status, "stopped")

    def as_json(self) -> Json:
        counts = self.counts
        about: dict[str, Any] = {
            "outcome": self.outcome,
            "exit_status": self.exit_status,
            "stopped": self.stopped,
            "seconds": round(self.seconds, 3),
            "lines": counts.read,
            "done_before": counts.done_before,
            "succeeded": counts.succeeded,
            "failed": counts.failed,
            "bad_lines": counts.bad,
            "unsaved": counts.unsaved,
            "left": self.left,
            "attempts": counts.attempts,
            "refused": counts.refused,
            "cooldowns": self.cooldowns,
            "cooldown_seconds": round(self.cooldown_seconds, 3),
            "input_tokens": counts.input_tokens,
            "output_tokens": counts.output_tokens,
            "cached_tokens": counts.cached_tokens,
            "utilisation": self._utilisation(),
            "limits": [_limit_json(limit, self._used(limit)) for limit in self.limits],
            "margin_seconds": round(self.margin, 6),
            "concurrency": None
            if self.concurrency is None
            else {
                "calls": self.concurrency.calls,
                "learned": self.concurrency.learned,
                "confidence": self.concurrency.confidence,
            },
            "prefixes": None
            if self.prefixes is None
            else prefixes.as_json(self.prefixes, self.input_price),
            "errors_by_code": self.errors,
            "learned": self.learned,
            "results": str(self.results),
            "errors": str(self.errors_path),
        }
        return about

    def _utilisation(self) -> dict[str, float]:
        """Returns by name the utilisation of the limit that was used most."""
        found: dict[str, float] = {}
        for limit in self.limits:
            found[limit.name] = max(found.get(limit.name, 0.0), self._used(limit))
        return found

    def _used(self, limit: LimitStats) -> float:
        """Returns the share of the allowed units that calls used without being refused."""
        allowed = limit.capacity + limit.rate * self.seconds
        return round(self.counts.passed(limit) / allowed, 4) if allowed > 0 else 0.0

    def as_text(self) -> str:
        counts = self.counts
        head = {
            "done": "All done",
            "some failed": "Done, but not everything succeeded",
            "stopped": f"Stopped: {self.stopped}",
            "interrupted": f"Interrupted: {self.stopped}",
        }[self.outcome]
        rate = counts.succeeded / self.seconds if self.seconds else 0.0
        lines = [f"{head.removesuffix('.')}."]  # the provider's words may end a sentence
        done = f"  {counted(counts.succeeded, 'call')} in {duration(self.seconds)}"
        done += f" ({shown(60 * rate)}/min)" if counts.succeeded else ""
        if counts.attempts and not counts.succeeded:
            done += f": {counted(counts.attempts, 'attempt')}, of which none succeeded"
        if counts.done_before:
            done += f", {counts.done_before:,} were done before"
        lines.append(done)
        if counts.reported:
            tokens = f"  {counts.input_tokens:,} tokens in, {counts.output_tokens:,} out"
            if counts.cached_tokens:
                tokens += f"; {counts.cached_tokens:,} of the input from a cache"
            lines.append(tokens)
        if counts.refused:
            share = counts.refused / max(1, counts.attempts)
            lines.append(
                f"  {counts.refused:,} of {counts.attempts:,} attempts were refused ({share:.1%}); "
                f"{duration(self.cooldown_seconds)} of cooldowns"
            )
        for limit in self.limits:
            if limit.learned is not None:
                lines.append(f"  limit of {limit.name.replace('_', ' ')}: {explained(limit)}")
        if self.concurrency is not None:
            said = explained_concurrency(self.concurrency)
            lines.append(f"  limit of concurrency: {said}")
        if self.prefixes is not None:
            calls, tokens = prefixes.described(self.prefixes, self.input_price)
            lines += [f"  prefixes: {calls}", f"    {tokens}"]
        if counts.failed or counts.bad:
            parts = [f"{count:,} {code}" for code, count in sorted(self.errors.items())]
            if counts.bad:
                parts.append(counted(counts.bad, "bad line"))
            lines.append(f"  not done: {', '.join(parts)}; see {self.errors_path}")
        if counts.unsaved:
            lines.append(f"  {counts.unsaved:,} answers could not be written and are lost")
        lines.append(f"  results: {self.results}")
        if self.exit_status not in (DONE, SOME_FAILED, USAGE):
            left = "what is left" if self.left is None else f"the {self.left:,} that are left"
            if self.to_be_mended:  # and the fault may be in the command
                lines.append(f"Mend that first. Then the command does {left}.")
            else:
                lines.append(f"To do {left}, give the same command again:\n  {self.command}")
        elif counts.failed:
            lines.append("The same command tries those that failed again.")
        return "\n".join(lines)


def _limit_json(limit: LimitStats, utilisation: float) -> Json:
    configured = limit.configured
    return {
        "name": limit.name,
        "rate": limit.rate,
        "capacity": limit.capacity,
        "configured": None if configured is None else {
            "rate": configured.rate, "capacity": configured.capacity,
        },
        "learned": limit.learned,
        "confidence": limit.confidence,
        "utilisation": utilisation,
    }  # fmt: skip
