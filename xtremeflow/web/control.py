"""The controls of a running job, for the page and for `xtremeflow ctl`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeGuard

from xtremeflow.scheduler import TaskScheduler
from xtremeflow.values.forms import is_object

ACTIONS = ("pause", "resume", "drain", "limit", "concurrency")
_MOST_CALLS = 1_000_000


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
        that name. ``scheduler`` names one of several. Raises ControlError.
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
        if calls is not None and (type(calls) is not int or not 1 <= calls <= _MOST_CALLS):
            raise ControlError(f"calls must be from 1 to {_MOST_CALLS:,}, or null, got {calls!r}")
        scheduler.max_concurrency = calls
        return f"calls at a time: {'no limit' if calls is None else f'{calls:,}'}"

    def _set_limit(self, scheduler: TaskScheduler, order: Mapping[str, Any]) -> str:
        name, amount, per = order.get("name"), order.get("amount"), order.get("per")
        if not _is_positive(amount):
            raise ControlError(f"amount must be a number above 0, got {amount!r}")
        if per is not None and not _is_positive(per):
            raise ControlError(f"per must be a number of seconds above 0, got {per!r}")
        if not scheduler.limits:
            raise ControlError(
                f"no limit was given, so none can be changed, got {name!r}: those that are learned "
                "follow the provider's answers"
            )
        found = [
            limit
            for limit in scheduler.limits
            if limit.name == name and (per is None or math.isclose(limit.per, per))
        ]
        if len(found) != 1:
            known = ", ".join(f"{limit.name} per {limit.per:g} s" for limit in scheduler.limits)
            raise ControlError(f"the limit must be one of: {known}; got {name!r}")
        [limit] = found
        try:
            share = amount / limit.amount
            capacity = None if limit.capacity is None else limit.capacity * share
            scheduler.set_limit(replace(limit, amount=amount, capacity=capacity))
        except (ValueError, OverflowError) as error:
            raise ControlError(str(error)) from None
        return f"{name}: {amount:,.6g} in {limit.per:g} s"


def _is_positive(value: Any) -> TypeGuard[float]:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and 0 < value < math.inf
