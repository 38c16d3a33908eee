"""TaskScheduler: the native queue with slots, and the methods of all schedulers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from importlib import import_module
from threading import RLock
from types import TracebackType
from typing import TYPE_CHECKING, Any

from xtremeflow.learning.belief import Adapt
from xtremeflow.learning.costs.costs import Costs
from xtremeflow.learning.learner import UNLIMITED, Learner
from xtremeflow.learning.saved import Learned, restored
from xtremeflow.scheduler.debug import is_debugged, watch_slots
from xtremeflow.scheduler.limiting import Limiting
from xtremeflow.scheduler.observing import UNSHOWN
from xtremeflow.scheduler.semaphore import Semaphore
from xtremeflow.scheduler.stats import Stats, stats_from
from xtremeflow.share.keeper import KeptShare
from xtremeflow.values.arguments import check_list, check_number
from xtremeflow.values.charges import UNITS
from xtremeflow.values.limits import Limit

if TYPE_CHECKING:
    from typing_extensions import Self


class TaskScheduler(Limiting):
    """Runs coroutines in the order of their submission, at most ``max_concurrency`` at a time.

    Args:
        max_concurrency: Calls in flight at a time, at least 1; ``None`` is no limit. May be
            changed later by assignment.
        limits: Rate limits that every call must pass as well.
        burst_ratio: Seconds of its rate that a limit without a capacity allows at once.
        adapt: Whether the scheduler learns limits that are not given, from the provider's answers,
            or from refusals where the answers tell nothing. Show it every answer with `observe`:
            until one tells of a limit, only a few calls are in flight. With ``"bounded"`` the given
            limits stay upper bounds. With ``True`` they are only a first guess.
        learned: The value of `learned` of an earlier scheduler, to begin with. Needs ``adapt``.
        share: The account of which this is a member: all schedulers that name the same one have
            limits, slots and cooldowns together, see docs/sharing.md. ``"shm:NAME"`` lies in the
            memory of this machine, ``"file:/PATH"`` in a file, ``"redis://HOST/0#NAME"`` (or a
            RedisShare) on a server, and ``"ray:NAME"`` (or a RayShare) on a Ray cluster. The first
            member's limits count.

    Raises:
        TypeError, ValueError: An argument is of the wrong type or out of its range.
        ShareError: The share cannot be used; the message says why.
    """

    def __init__(
        self,
        max_concurrency: int | None = None,
        *,
        limits: Iterable[Limit] = (),
        burst_ratio: float = 0.0,
        adapt: Adapt = False,
        learned: Mapping[str, Any] | None = None,
        share: str | KeptShare | None = None,
    ) -> None:
        check_number("burst_ratio", burst_ratio, zero=True)
        if not isinstance(adapt, bool) and adapt != "bounded":  # a 1 would be taken for "bounded"
            raise ValueError(f"adapt must be True, False or 'bounded', got {adapt!r}")
        if learned is not None and not adapt:
            raise ValueError("learned is of use with adapt=True or adapt='bounded' only")
        before = Learned() if learned is None else restored(learned)
        self._burst_ratio = burst_ratio
        self._limits: list[Limit] = list(check_list("limits", limits, Limit))
        self._adapt: Adapt = adapt
        self._learning = RLock()  # held by the thread that works with these two
        self._learner: Learner | None = None
        self._expects = False
        self._costs = Costs(before.charges)
        self._let: int | None = None  # calls that the learner lets in, None: all
        self._paused = False
        super().__init__(share, max_concurrency)
        names = self.limit_names
        self._on_tokens = [(index, name) for index, name in enumerate(names) if name in UNITS]
        self._units = tuple(unit for unit in UNITS if unit == "tokens" or unit in names)
        if self._adapt:
            self._following(before)
            self._alarm_after(UNSHOWN)
        if is_debugged():
            watch_slots(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Waits until no call waits or is in flight. If the block raises, it cancels them first."""
        if error is not None:
            for task in self.pending_tasks - {asyncio.current_task()}:
                task.cancel()
            self._end_all()  # the streams that are open have no task
        await self._drained()

    async def wait_pending(self) -> None:
        """Waits until no call waits or is in flight, including calls that start meanwhile.

        Within a call of this scheduler, it waits for all other calls. The results and exceptions
        stay in the tasks.
        """
        await self._drained()

    def pause(self) -> None:
        """Admits no more calls until `resume`. Those in flight go on."""
        self._paused = True
        super()._ramp(0)

    def resume(self) -> None:
        """Admits calls again, after `pause`."""
        self._paused = False
        super()._ramp(self._let)

    @property
    def is_paused(self) -> bool:
        """Whether `pause` keeps calls from being admitted."""
        return self._paused

    def _ramp(self, slots: int | None, /) -> None:
        self._let = slots
        if not self._paused:
            super()._ramp(slots)

    def serve_dashboard(
        self, *, port: int = 0, host: str = "127.0.0.1", token: str | None = None
    ) -> Any:
        """Returns the server of a page that shows this scheduler while it works, and controls it.

            async with scheduler.serve_dashboard(port=8080) as page:
                print(page.url)

        The page needs the extra ``web``. It can pause the scheduler, and change its limits and its
        concurrency; so can ``xtremeflow ctl``.

        Args:
            port: The port to listen on; 0 is any free one.
            host: The address to listen on, by default only that of this machine.
            token: The token that every request has to name. By default a random one, which is part
                of ``page.url``, for all addresses but those of this machine.

        Raises:
            TypeError, ValueError: An argument is of the wrong type or out of its range.
            PageError: The extra ``web`` is not installed.
            OSError: It cannot listen there; raised by ``async with``.
        """
        page: Any = import_module("xtremeflow.web.dashboard")  # of a folder above this one
        return page.serve_dashboard(self, port=port, host=host, token=token)

    @property
    def adapt(self) -> Adapt:
        """The argument ``adapt``: whether limits are learned from the provider's answers."""
        return self._adapt

    def stats(self) -> Stats:
        """Returns a snapshot of the counts so far, and of the causes that left quota idle."""
        self._catch_up()
        snapshot = self._snapshot()
        snapshot["share"] = self._share_stats()
        with self._learning:
            if snapshot["prefixes"] is not None:
                snapshot["prefixes"].update(prompts=self._prompts, saved=self._saved)
            charges, learner = self._costs.beliefs, self._learner
            if learner is None:
                return stats_from(snapshot, self._limits, charges=charges)
            learner.hear()
            return stats_from(
                snapshot,
                self._limits,
                learner.reasons,
                learner.confidence,
                learner.slots,
                charges,
                learner.bounds,
            )

    def __repr__(self) -> str:
        stats, slots = self.stats(), self.max_concurrency
        parts = [
            f"{limit.name} {limit.rate:g}/s" + (" (learned)" if limit.learned else "")
            for limit in stats.limits
            if limit.rate < UNLIMITED
        ]
        if stats.concurrency is not None:
            parts.append(f"{stats.concurrency.calls} at a time (learned)")
        elif slots is not None:
            parts.append(f"{slots} at a time")
        limits = ", ".join(parts) or "no limits"
        return (
            f"<{type(self).__name__}: {limits}; {self.waiting} waiting, "
            f"{self.active_tasks} in flight>"
        )

    @property
    def semaphore(self) -> Semaphore:
        """The free slots, for programs that read the semaphore of version 0.4.4."""
        return Semaphore(self)
