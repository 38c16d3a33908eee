"""A scheduler of the core or the model, for rules that both have to keep."""

from __future__ import annotations

from collections.abc import Callable

from kit.core import Core
from kit.model import Model
from kit.model_limit import MS

SECOND = 1000 * MS
Scheduler = Model | Core
Make = Callable[..., Scheduler]
MINUTES = 300 * SECOND


def submit(scheduler: Scheduler, n: int, group: int | None, now: int = 0) -> list[int]:
    return [scheduler.submit(now, [], group=group) for _ in range(n)]


def dispatch(scheduler: Scheduler, *numbers: int) -> None:
    for number in numbers:
        assert scheduler.dispatch(number)
