"""`--dry-run`: the requests that a run would send, their cost, and its shortest time."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from xtremeflow.cli.amounts import counted, duration
from xtremeflow.learning.costs.estimates import Estimator
from xtremeflow.providers import Provider
from xtremeflow.run.input.requests import BadLine, Json, fingerprint, parse
from xtremeflow.run.job.oversize import Room, fitted
from xtremeflow.run.job.shared_prefixes import SharedPrefixes
from xtremeflow.run.output.results import Done
from xtremeflow.values.amounts import shown
from xtremeflow.values.limits import Limit
from xtremeflow.values.text import printable


@dataclass
class Plan:
    """The work of a run. Amounts are of the lines that are not done yet."""

    lines: int = 0
    done_before: int = 0
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    bad: int = 0
    examples: list[BadLine] = field(default_factory=list[BadLine])
    models: Counter[str] = field(default_factory=Counter[str])
    charged: Counter[str] = field(default_factory=Counter[str])
    sharing: SharedPrefixes | None = None

    def add_bad(self, line: BadLine, examples: int) -> None:
        self.bad += 1
        if len(self.examples) < examples:
            self.examples.append(line)

    def shortest(self, limits: Iterable[Limit]) -> tuple[float, str]:
        """Returns the shortest time in seconds that the limits allow, and the limit that binds."""
        least, which = 0.0, ""
        for limit in limits:
            waits = (self.charged[limit.name] - (limit.capacity or 0.0)) / limit.rate
            if waits > least:
                least, which = waits, limit.name
        return least, which

    def as_json(self, limits: Iterable[Limit], *, presets: bool) -> Json:
        seconds, which = self.shortest(limits)
        return {
            "dry_run": True,
            "lines": self.lines,
            "done_before": self.done_before,
            "requests": self.requests,
            "models": dict(self.models),
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "charged": dict(self.charged),
            "bad_lines": self.bad,
            "prefixes": None if self.sharing is None else self.sharing.as_json(),
            "shortest_seconds": round(seconds, 1),
            "bound_by": which or None,
            "limits_assumed": presets and bool(which),
        }

    def as_text(self, limits: Sequence[Limit], *, presets: bool) -> str:
        """Formats the plan. `presets` says that no limits were given and these are the preset's."""
        models = ", ".join(
            f"{count:,} to {printable(name) or '?'}" for name, count in self.models.items()
        )
        lines = [
            f"Would send {counted(self.requests, 'request')}" + (f": {models}" if models else ""),
            f"  {self.done_before:,} of {self.lines:,} lines are done already",
            f"  about {self.input_tokens:,} tokens in and {self.output_tokens:,} out "
            "(before anything is learned from answers)",
        ]
        if self.sharing is not None:
            lines += [f"  {line}" for line in self.sharing.as_lines(self.input_tokens)]
        if self.bad:
            lines.append(f"  {counted(self.bad, 'bad line')}, such as:")
            lines += [f"    line {bad.line} {printable(bad.reason)}" for bad in self.examples]
        seconds, which = self.shortest(limits)
        if which:
            what = which.replace("_", " ")
            lines.append(f"  at the shortest {duration(seconds)}, for the limit of {what}")
            if presets:
                lines.append(
                    "  This assumes the preset's limits, those of a middle tier: "
                    f"{_listed(limits)}. Give yours with --rpm, --tpm ..."
                )
        elif limits:
            lines.append(f"  at once, as far as the limits go: {_listed(limits)}")
        else:
            lines.append(
                "  how long it takes cannot be told: no limit is given (--rpm, --tpm ...), "
                "and no preset has one"
            )
        return "\n".join(lines)


def _listed(limits: Iterable[Limit]) -> str:
    return " and ".join(
        f"{shown(limit.amount)} {limit.name.replace('_', ' ')}/min" for limit in limits
    )


async def plan(
    batches: AsyncGenerator[list[bytes], None],
    done: Done,
    provider: Provider,
    estimator: Estimator,
    limits: Mapping[str, Room],
    *,
    examples: int = 5,
    prefixes: bool = False,
) -> Plan:
    """Reads everything and sends nothing. `limits` has the most that each lets one call take.
    `prefixes` looks at what prompts have in common."""
    found = Plan(sharing=SharedPrefixes(provider) if prefixes else None)
    number = 0
    async with aclosing(batches):
        async for lines in batches:
            for line in lines:
                number += 1
                line = line.strip()
                if not line:
                    continue
                found.lines += 1
                mark = fingerprint(line)
                if done.check(number, mark):
                    found.done_before += 1
                    continue
                request = parse(line, number, mark, provider.paths)
                if isinstance(request, BadLine):
                    found.add_bad(request, examples)
                    continue
                cost = fitted(
                    estimator.estimate(
                        request.body,
                        most=0 if request.embeds else None,
                        in_flight=1_000_000,
                        rule=provider.rule,
                    ),
                    limits,
                    provider.rule,
                )
                if isinstance(cost, str):
                    found.add_bad(BadLine(number, mark, request.custom_id, cost), examples)
                    continue
                found.requests += 1
                found.models[request.model] += 1
                found.input_tokens += cost.input
                found.output_tokens += cost.output
                found.charged.update({**cost, "requests": 1})
                if found.sharing is not None:
                    found.sharing.add(request, cost.input)
    if found.sharing is not None:
        found.sharing.end()
    done.check_end(number)
    return found
