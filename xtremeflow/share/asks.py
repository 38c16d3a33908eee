"""A member asks the account for chunks and slots, and tells its news with each ask."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from xtremeflow import _core
from xtremeflow.share.agreed import Agreed
from xtremeflow.share.back import Back
from xtremeflow.share.demand import Demand, Wanted, at_most
from xtremeflow.share.keeper import Terms
from xtremeflow.share.offset import US, Offset
from xtremeflow.share.probing import Probing
from xtremeflow.share.records import HAS_LOAN, NO_LOAN, RETURNED, UNWANTED, Ask
from xtremeflow.share.rows import Taken
from xtremeflow.values.limits import ByLimit

BUSY, IDLE = 1.2, 10.0  # seconds between two asks of a member that holds or wants something, or not
RENEWAL = 250_000_000  # ns: a loan is prolonged so long before its end
BUSY_PATIENCE, IDLE_PATIENCE = 2_500_000, 25_000_000  # microseconds


class Reference(NamedTuple):
    """The state of the account to which an ask refers.

    connection  the member's
    epoch       of the account
    operations  of the account, as far as the member knows them
    generation  the episodes of the account that the member knows
    """

    connection: str
    epoch: str
    operations: int
    generation: int


class Asks:
    """The asks of a member, one after the other.

    Args:
        terms: How the share is used.
        clock: Returns ns.
        offset: Of the keeper's clock.
        agreed: The limits and slots of all members.
        probing: The provider's outages.
    """

    def __init__(
        self,
        terms: Terms,
        clock: Callable[[], int],
        offset: Offset,
        agreed: Agreed,
        probing: Probing,
    ) -> None:
        self._clock, self._offset = clock, offset
        self._agreed, self._probing = agreed, probing
        self.demand = Demand(terms, clock)
        self.back = Back(0)
        self.must_speak = self.is_recalled = False
        self._submitted = 0  # calls, by the last ask
        self._number = 0
        self._sent_at = 0  # the last one, in ns
        self._want = 0  # slots, as it told
        self._is_active = False  # as far as the account knows

    def begin(self) -> None:
        """Begins, with the limits that are agreed on."""
        self.back = Back(len(self._agreed.limits))

    def begin_anew(self) -> None:
        """Begins anew, since the account does not know the member any more."""
        self._number = 0
        self.back.clear()

    def collect(self, state: dict[str, Any]) -> None:
        """Takes up what goes back, and how many calls come."""
        self.back.collect(state)
        self.demand.note(state)

    def pause(self, state: dict[str, Any]) -> float:
        """Returns the seconds after which the member has to speak, whatever happens. One that has
        the account speaks when the loan is prolonged."""
        is_busy = state["in_use"] > 0 or state["waiting"] > 0 or state["has_chunk"]
        is_known = state["has_loan"] or not (is_busy or state["slots"])
        return IDLE if is_known and not self._probing.has_news else BUSY

    def next(
        self,
        scheduler: _core.Scheduler,
        state: dict[str, Any],
        reference: Reference,
        last: Taken | None,
        parts: int,
    ) -> Ask | None:
        """Returns an ask, or None if there is nothing to say.

        Args:
            scheduler: The member's,
            state: and how it stands.
            reference: The account, as the member knows it.
            last: The last answer.
            parts: As `Alone.parts`.
        """
        is_due = state["has_loan"] and state["now"] >= self.renewal(state["until"])
        levels = self._returned(scheduler, state, is_due=is_due)
        want, spare = self._slots(state, last)
        calls = self._calls(scheduler, state, last, parts)
        scheduler._lease_asks(calls.count > 0 or self.demand.waits > 0, want, spare)
        returned = state["returned"] + spare
        speaks = self._has_to_speak(state, calls.count, want, returned)
        if levels is None and not is_due and not speaks:
            return None
        count = -1 if self._is_idle(state) else calls.count
        loan, back = self._loan(state, levels, parts), Back(len(self._agreed.limits))
        if loan != HAS_LOAN:  # else what goes back does so after the loan
            back, self.back = self.back, back
        self._number += 1
        self._want, self.must_speak, self._sent_at = want, False, self._clock()
        self._is_active = count >= 0 and (count > 0 or self._is_active)
        ask = Ask(
            number=self._number,
            epoch=reference.epoch,
            operations=reference.operations,
            generation=reference.generation,
            held=state["in_use"],
            want=want,
            returned=returned,
            waits=count,
            exact=calls.exact,
            parts=calls.parts,
            trip=self._offset.trip // US,
            patience=BUSY_PATIENCE if self.pause(state) == BUSY else IDLE_PATIENCE,
            loan=loan,
            tried=self._probing.tell(),
            connection=reference.connection,
            token=uuid.uuid4().hex,
            unused=tuple(back.unused),
            refunded=tuple(back.refunded),
            head=calls.head,
            mean=calls.mean,
            used=tuple(float(used) for used in state["used"]),
            levels=levels or (state["levels"] if loan == HAS_LOAN else ()),
            told=tuple(back.told),
        )
        self._submitted = state["submitted"]
        return ask

    def _returned(
        self, scheduler: _core.Scheduler, state: dict[str, Any], *, is_due: bool
    ) -> ByLimit | None:
        """Returns the account if another member asks, if the loan has lapsed, or if no calls come.
        The result is the levels of its buckets. None: it stays, or is not here. `is_due`: it has to
        be prolonged."""
        is_used = state["waiting"] > 0 or state["submitted"] > self._submitted
        if not self.is_recalled and (not is_due or (is_used and state["has_chunk"])):
            return None
        self.is_recalled = False
        levels = scheduler._lease_return()
        if levels is not None:
            state["has_loan"] = state["has_chunk"] = False
        return levels

    def _loan(self, state: dict[str, Any], levels: ByLimit | None, parts: int) -> int:
        if levels is not None:
            return RETURNED
        if state["has_loan"]:
            return HAS_LOAN
        return UNWANTED if parts > 0 or self.demand.is_paced else NO_LOAN

    def renewal(self, until: int) -> int:
        """Returns when a loan until then has to be prolonged, in ns."""
        return until - max(RENEWAL, 3 * self._offset.trip // 2)

    def again(self, ask: Ask, parts: int) -> Ask:
        """Returns an ask whose answer is not known, to be sent again: for no more than it may ask
        for now. A loan has ended meanwhile."""
        count = at_most(ask.waits, ask.mean, self._agreed.limits, parts)
        return ask._replace(waits=count, loan=UNWANTED)

    def _slots(self, state: dict[str, Any], last: Taken | None) -> tuple[int, int]:
        """Returns how many slots the member would use, and how many of its own it can spare."""
        want = state["in_use"] + state["waiting"]
        if self._agreed.slots < 0:
            return want, 0
        want = min(want, self._agreed.slots)
        fair = last.fair if last is not None else -1
        if fair < 0 or self._probing.told.interval > 0:  # no other one needs any
            return want, 0
        keep = max(state["in_use"], min(want, max(fair, 1)))
        return want, max(0, state["slots"] - keep)

    def _calls(
        self, scheduler: _core.Scheduler, state: dict[str, Any], last: Taken | None, parts: int
    ) -> Wanted:
        """Returns the calls for which the member would ask for a chunk."""
        active = last.active if last is not None else 1
        limits = self._agreed.limits
        wanted = self.demand.calls(state, limits, active, scheduler._lease_ahead)
        count = at_most(wanted.count, wanted.mean, limits, parts)
        if self._probing.told.interval > 0 and state["waiting"] > 0 and not state["has_chunk"]:
            count = max(count, 1)  # also of a call that costs nothing
        return replace(wanted, count=count)

    @staticmethod
    def _is_idle(state: dict[str, Any]) -> bool:
        return state["waiting"] == 0 and not state["has_chunk"]

    def _has_to_speak(self, state: dict[str, Any], count: int, want: int, returned: int) -> bool:
        """Whether there is something to say: calls to ask for, slots that it lacks or gives back,
        units, news of the provider, that it became idle, or only that it is alive."""
        lacks = self._agreed.slots >= 0 and want > state["slots"] and want > self._want
        return (
            (count > 0 and self._probing.may_ask())
            or lacks
            or returned > 0
            or any(self.back.unused)
            or self._probing.is_urgent
            or (self._is_idle(state) and self._is_active)
            or self.must_speak
            or self._clock() - self._sent_at > 0.9e9 * self.pause(state)
        )
