"""The history of runs, beside their results: for pictures, for the next run and for people.

`results.runs.jsonl` has a line for each start with the limits, for each cooldown, and for each end
with the summary. No result depends on it: it may be deleted, and a crash may tear it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from xtremeflow.learning.learner import UNLIMITED
from xtremeflow.run.input.requests import Json
from xtremeflow.scheduler.stats import LimitStats
from xtremeflow.values.limits import Limit

logger = logging.getLogger("xtremeflow.run")


def history_path(results: Path) -> Path:
    return results.with_name(f"{results.stem}.runs{results.suffix}")


Known = tuple[str, float, float]  # a limit's name, rate and capacity, or the concurrency's size
_NOTED = 0.02  # the smallest change that is noted, as a share
_STORE = 600.0  # s, for which a bucket's capacity lasts at its rate


class History:
    def __init__(self, results: Path) -> None:
        self._path = history_path(results)
        self._cooldown: list[float] | None = None
        self._limits: list[Known] = []
        self._started = False

    def start(self, now: float, limits: Iterable[Limit], **about: Any) -> None:
        described = [
            {"name": each.name, "amount": each.amount, "per": each.per, "capacity": each.capacity}
            for each in limits
        ]
        self._started = True
        self._add({"event": "start", "time": now, "limits": described, **about})

    def limits(self, now: float, limits: Sequence[LimitStats], learned: Json) -> None:
        """Notes the limits as they are now, and what is learned of them, if that differs from the
        last note."""
        found = [(limit.name, limit.rate, limit.capacity) for limit in limits]
        concurrency = learned.get("concurrency")
        if concurrency is not None:
            found.append(("concurrency", concurrency, 0.0))
        if len(found) != len(self._limits) or any(map(_differ, found, self._limits)):
            self._limits = found
            described = [
                {"name": each.name, "rate": each.rate, "capacity": each.capacity,
                 "learned": each.learned}
                for each in limits
            ]  # fmt: skip
            self._add({"event": "limits", "time": round(now, 3), "limits": described,
                       "concurrency": concurrency, "state": learned})  # fmt: skip

    def cooldown(self, start: float, end: float) -> None:
        """Notes a cooldown. If it overlaps the one before, it extends that."""
        if self._cooldown is not None and start <= self._cooldown[1]:
            self._cooldown[1] = max(self._cooldown[1], end)
            return
        self._flush()
        self._cooldown = [start, end]

    def end(self, now: float, summary: Json, learned: Json) -> None:
        self._flush()
        self._add({"event": "end", "time": now, "summary": summary, "state": learned})

    def _flush(self) -> None:
        if self._cooldown is not None:
            start, end = self._cooldown
            self._add({"event": "cooldown", "time": round(start, 3), "end": round(end, 3)})
            self._cooldown = None

    def _add(self, event: Json) -> None:
        if not self._started:
            return  # a refused run leaves no trace
        try:
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(json.dumps(event) + "\n")
        except OSError as error:
            logger.warning("cannot write %s: %s", self._path, error.strerror)


def last_state(runs: Sequence[PastRun], target: str) -> Json | None:
    """Returns what the last run to this address had learned of its limits."""
    states = [run.state for run in runs if run.target == target and run.state is not None]
    return states[-1] if states else None


def _differ(one: Known, other: Known) -> bool:
    return one[0] != other[0] or any(
        abs(a - b) > _NOTED * max(a, b) for a, b in zip(one[1:], other[1:], strict=True)
    )


@dataclass(frozen=True)
class PastLimit:
    """A limit as it was for some time. The rate is per second; `learned` gives the reason."""

    name: str
    rate: float
    capacity: float
    learned: str | None = None

    @property
    def is_felt(self) -> bool:
        """Whether the limit affects the pace. The limit of a day holds more than a run can use."""
        return self.capacity < _STORE * self.rate and self.rate < UNLIMITED


@dataclass
class PastRun:
    """The history of one run. Times are on the wall clock, in seconds."""

    start: float
    target: str = ""
    end: float | None = None
    state: Json | None = None
    given: list[PastLimit] = field(default_factory=list[PastLimit])
    changes: list[tuple[float, list[PastLimit]]] = field(
        default_factory=list[tuple[float, list[PastLimit]]]
    )
    """The limits over time, with the start of each."""
    concurrency: list[tuple[float, int | None]] = field(
        default_factory=list[tuple[float, int | None]]
    )
    """The calls at a time that the provider was known to take, with their start; None: unknown."""
    cooldowns: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    prefixes: Json | None = None
    """The summary's part about prefixes."""


def past_runs(results: Path) -> list[PastRun]:
    """Reads the runs in their order. Skips lines that cannot be read."""
    runs: list[PastRun] = []
    try:
        lines = history_path(results).read_bytes().splitlines()
    except OSError:
        return runs
    for line in lines:
        try:
            event = cast(Json, json.loads(line))
            if event["event"] == "start":
                limits = [Limit(**each) for each in event["limits"]]
                given = [PastLimit(x.name, x.rate, x.capacity or 0.0) for x in limits]
                runs.append(PastRun(event["time"], event.get("target", ""), given=given))
            elif event["event"] == "limits" and runs:
                found = [PastLimit(**each) for each in event["limits"]]
                runs[-1].changes.append((event["time"], found))
                runs[-1].concurrency.append((event["time"], event.get("concurrency")))
                runs[-1].state = event["state"]
            elif event["event"] == "cooldown" and runs:
                runs[-1].cooldowns.append((event["time"], event["end"]))
            elif event["event"] == "end" and runs:
                runs[-1].end = event["time"]
                runs[-1].state = event.get("state")
                runs[-1].prefixes = event["summary"].get("prefixes")
        except (ValueError, KeyError, TypeError):
            continue
    return runs
