"""The controls of a running job, for the page and for `xtremeflow ctl`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeGuard

from xtremeflow.learning.reading import PLACES, key_of
from xtremeflow.scheduler import TaskScheduler
from xtremeflow.values.forms import is_object
from xtremeflow.values.limits import DAY, MINUTE, Limit

ACTIONS = ("pause", "resume", "drain", "limit", "concurrency")
MOST_CALLS = 1_000_000  # at a time


class ControlError(Exception):
    """A control cannot be carried out. The message says why."""


class Controls:
    """Carries out controls.

    schedulers  by name
    drain       ends the job once the calls in flight have ended; None where no job can be ended
    """

    def __init__(
        self,
        schedulers: Mapping[str, TaskScheduler],
        drain: Callable[[], None] | None = None,
    ) -> None:
        self._schedulers = schedulers
        self._drain = drain

    @property
    def actions(self) -> list[str]:
        return [each for each in ACTIONS if each != "drain" or self._drain is not None]

    def do(self, order: Any) -> str:
        """Carries out an order, a decoded JSON object, and returns what was done.

        ``{"action": "pause"}``, ``resume``, ``drain``; ``{"action": "concurrency", "calls": 64}``;
        ``{"action": "limit", "name": "tokens", "amount": 2e6}``, with ``per`` where two limits have
        that name, and with a null amount to have it learned. ``scheduler`` names one of several.
        Raises ControlError.
        """
        if not is_object(order) or order.get("action") not in self.actions:
            known = ", ".join(self.actions)
            raise ControlError(f"the action must be one of {known}, got {order!r}")
        action = order["action"]
        if action == "drain":
            assert self._drain is not None
            self._drain()
            return "draining: no more calls are dispatched"
        scheduler = self._scheduler(order.get("scheduler"))
        if action == "pause":
            scheduler.pause()
            return "paused"
        if action == "resume":
            scheduler.resume()
            return "resumed"
        if action == "concurrency":
            return self._set_concurrency(scheduler, order.get("calls"))
        return self._set_limit(scheduler, order)

    def _scheduler(self, name: Any) -> TaskScheduler:
        if name is None and len(self._schedulers) == 1:
            return next(iter(self._schedulers.values()))
        if not isinstance(name, str) or name not in self._schedulers:
            known = ", ".join(self._schedulers)
            raise ControlError(f"the scheduler must be one of {known}, got {name!r}")
        return self._schedulers[name]

    def _set_concurrency(self, scheduler: TaskScheduler, calls: Any) -> str:
        if calls is not None and (type(calls) is not int or not 1 <= calls <= MOST_CALLS):
            raise ControlError(f"calls must be from 1 to {MOST_CALLS:,}, or null, got {calls!r}")
        scheduler.max_concurrency = calls
        return f"calls at a time: {'no limit' if calls is None else f'{calls:,}'}"

    def _set_limit(self, scheduler: TaskScheduler, order: Mapping[str, Any]) -> str:
        name, amount, per = order.get("name"), order.get("amount", 0), order.get("per")
        if amount is not None and not _is_positive(amount):
            raise ControlError(f"amount must be a number above 0, or null, got {amount!r}")
        if per is not None and not _is_positive(per):
            raise ControlError(f"per must be a number of seconds above 0, got {per!r}")
        limit = _found(scheduler, name, per)
        try:
            if amount is None:
                scheduler.learn_limit(limit.name, limit.per)
                return f"{name} in {limit.per:g} s: learned"
            share = amount / limit.amount
            capacity = None if limit.capacity is None else limit.capacity * share
            scheduler.set_limit(replace(limit, amount=amount, capacity=capacity))
        except (ValueError, OverflowError) as error:
            raise ControlError(str(error)) from None
        return f"{name}: {amount:,.10g} in {limit.per:g} s"


def learnable(scheduler: TaskScheduler) -> list[Limit]:
    """Returns the limits without a bound that may be learned, each as if it were 1 a period. A
    bound of them is spaced evenly, as the provider's capacity may be unknown."""
    if not scheduler.adapt:
        return []
    own = set(map(key_of, scheduler.limits))
    return [
        Limit(name, 1.0, DAY if is_daily else MINUTE, capacity=0.0)
        for name, is_daily in PLACES
        if (name, is_daily) not in own
    ]


def _found(scheduler: TaskScheduler, name: Any, per: float | None) -> Limit:
    """Returns the limit of that name and period. Without a period it is the one that has a bound,
    else the one per minute. Raises ControlError."""
    own = [each for each in scheduler.limits if each.name == name]
    found = [each for each in own if per is None or math.isclose(each.per, per)]
    others = learnable(scheduler)
    if not found:
        named = [each for each in others if each.name == name]
        wanted = [each for each in named if per is None or (per > MINUTE) == (each.per > MINUTE)]
        found = [replace(each, per=per or each.per) for each in wanted[:1]]
    if len(found) != 1:
        known = [*scheduler.limits, *others]
        names = ", ".join(f"{limit.name} per {limit.per:g} s" for limit in known)
        raise ControlError(f"the limit must be one of: {names or 'none is set'}; got {name!r}")
    return found[0]


def _is_positive(value: Any) -> TypeGuard[float]:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and 0 < value < math.inf
