"""What refusals have shown of the limits so far, and what rates follow from it."""

from __future__ import annotations

from xtremeflow.learning.blockade import Blockade
from xtremeflow.learning.gauge import Amounts, Gauge, Ledger
from xtremeflow.learning.rates import CALLS, Empty, Estimate, errors, estimate, explaining
from xtremeflow.learning.windows import FIRST_WINDOWS, WINDOW, Windows

MEMORY = 300.0  # s that refusals are remembered
LASTS = 3_600.0  # s that a window's rate can be relied on
BLOCKED = 0.3  # of the rate: if less passes, nothing passes
BLOCKED_CALLS = 2.0  # besides these
ENOUGH = 2  # intervals to compare
COMPARED = 6
NEARLY = 2.0  # s
STANDSTILL = 20.0  # s: who does not let anything pass for longer is out of order
FIRST_DOUBT = 0.05  # of what a window has let pass, relative
WEIGHT = 0.5
OVERRATED = 1.25  # the most that the last minute's use is believed beyond the rate
SMALL = 5.0  # s of the rate: the capacity of a bucket that is soon full,
SMALL_HORIZON = 20.0  # s: and the time in which its rate shows
BEGINNINGS = 8  # refusals that may tell how much could be used at once
CUSHION = 2.0  # s of the rate that are left to the provider after a refusal
CUSHION_CALLS = 1.5  # or so many calls, if that is more
DEBT = 5.0  # s of the rate: more is not waited for


class Evidence:
    """Of so many limits, the first of them on requests."""

    def __init__(self, limits: int) -> None:
        self.ledger = Ledger(limits)
        self.windows = Windows()
        self._empties: list[Empty] = []
        self._beginnings: list[Empty] = []

    def __bool__(self) -> bool:
        return bool(self._empties)

    @property
    def last(self) -> Empty:
        """The last time that the level was nothing."""
        return self._empties[-1]

    # -- what happens

    def refused(self, time: float, amounts: Amounts, rates: dict[int, float]) -> None:
        """A call that was sent then was refused; `rates` are those believed in, by limit."""
        if self._empties:  # a call may have come before the end of a wait that was told
            time = max(time, self._empties[-1].time)
        empty = Empty(time, amounts)
        if self._empties and not self._passes(empty, rates):
            self._empties[-1] = empty
        else:
            self._empties.append(empty)
        if len(self._beginnings) < BEGINNINGS:
            self._beginnings.append(empty)
        recent = [e for e in self._empties[:-2] if e.time > time - MEMORY]
        self._empties = [*recent, *self._empties[-2:]]

    def _passes(self, empty: Empty, rates: dict[int, float]) -> bool:
        """Whether more than next to nothing has passed since the level was nothing."""
        last, costs = self._empties[-1], self.ledger.costs
        return any(
            empty.amounts[i] - last.amounts[i]
            >= BLOCKED * rate * (empty.time - last.time) + BLOCKED_CALLS * costs[i]
            for i, rate in rates.items()
        )

    def also_refused(self, gauge: Gauge) -> None:
        """Of calls refused together the first answer has counted; this one was sent before."""
        last = self._empties[-1]
        costs = (reading.cost for reading in gauge.readings)
        amounts = tuple(a - c for a, c in zip(last.amounts, costs, strict=True))
        self._empties[-1] = last._replace(amounts=amounts)

    def lasted(self, time: float, amounts: Amounts | None = None) -> None:
        """The level was still nothing then."""
        last = self._empties[-1]
        self._empties[-1] = Empty(time, last.amounts if amounts is None else amounts)

    def judge_windows(self, blockade: Blockade, limits: set[int]) -> None:
        """Compare a refusal, for want of one of the limits, with what is thought of windows."""
        windows = self.windows
        if windows.low is None:
            return
        if blockade.tries > 1:
            if blockade.last >= windows.next(blockade.first)[1]:
                windows.contradicted()
        elif (amounts := self.ledger.at(windows.previous(blockade.first))) is not None:
            pairs = zip(self._empties[-1].amounts, amounts, strict=True)
            windows.used_up(tuple(now - then for now, then in pairs), limits)

    # -- what follows

    def suspicion(self) -> dict[int, float]:
        """How badly each limit explains the refusals; empty if there were not enough of them."""
        costs, amounts = self.ledger.costs, self.windows.amounts
        if self.windows.known and len(amounts) >= ENOUGH:
            return errors([WINDOW] * len(amounts), amounts, costs)
        if len(self._empties) > ENOUGH:
            return explaining(self._empties[-COMPARED:], costs)
        return {}

    def doubles(self) -> set[int]:
        """The limits of which just the same is used as of one before them."""
        last = self._empties[-1].amounts
        return {i for i, amount in enumerate(last) if amount > 0 and amount in last[:i]}

    def rate(
        self, i: int, blockade: Blockade, begun: float, old: Estimate | None, unexpected: bool
    ) -> tuple[Estimate, str]:
        """The rate of limit `i`, and how it is known.

        old         what was believed before
        unexpected  whether the refusal came although less was used than was thought to be there
        """
        amount, cost = self._empties[-1].amounts[i], self.ledger.costs[i]
        boundary = self._window(blockade.first)
        if boundary is not None:
            assert self.windows.low is not None
            rate = (amount - boundary.amounts[i]) / WINDOW
            width = self.windows.high - self.windows.low
            doubt = (CALLS * cost + rate * width) / WINDOW
            return Estimate(rate, doubt, LASTS), "as windows let pass"
        ended = self._empties[-1].time - begun
        for window in FIRST_WINDOWS:
            if blockade.tries > 1 and blockade.first - begun < window <= ended + NEARLY:
                rate = amount / max(window, ended)
                doubt = FIRST_DOUBT * rate + CALLS * cost / window
                return Estimate(rate, doubt, window), "as the first window let pass"
        lasted = self._empties[-1].time - blockade.first
        if unexpected and lasted > STANDSTILL and blockade.tries > 1 and old is not None:
            return old, "as before nothing passed for long"
        if len(self._empties) > 1:
            found = estimate(self._empties, i, cost)
            if not unexpected:
                found = self._or_more(found, i, begun, blockade.first)
            return found, "as passed between refusals"
        if old is not None:
            return old, "as was assumed"
        rate = amount / (WINDOW + self._empties[-1].time - begun)
        return Estimate(rate, rate), "as passed until the first refusal"

    def _window(self, time: float) -> Empty | None:
        """The last boundary before that time, and what was admitted until then."""
        if not self.windows.known:
            return None
        boundary = self.windows.previous(time)
        amounts = self.ledger.at(boundary)
        return None if amounts is None else Empty(boundary, amounts)

    def _or_more(self, found: Estimate, i: int, begun: float, time: float) -> Estimate:
        """What is left unused is lost where a minute slides, or a bucket is small. Then what
        passed between refusals is less than the limit, and what passed lately is the limit."""
        is_small = self.burst(i, found.rate, begun) < SMALL * found.rate
        horizon = SMALL_HORIZON if is_small else WINDOW
        then = self.ledger.at(time - horizon)
        if then is None or time - self._beginnings[0].time < horizon:
            return found
        lately = (self._empties[-1].amounts[i] - then[i]) / horizon
        if not is_small:
            lately = found.rate + WEIGHT * (min(lately, OVERRATED * found.rate) - found.rate)
        return found._replace(rate=max(found.rate, lately))

    def level(self, i: int, rate: float, gauge: Gauge) -> float:
        """What may be used at once: what came in since the level was nothing, less what was used,
        and less a cushion, for estimates are not exact."""
        since, burst = self._empties[-1], self.burst(i, rate, gauge.first)
        cushion = max(CUSHION_CALLS * self.ledger.costs[i], min(CUSHION * rate, burst / 2))
        window = self._window(gauge.now)
        if window is not None:
            since, cushion = window, 0.0
        come = rate * (gauge.now - since.time)
        used = self.ledger.admitted(gauge)[i] - since.amounts[i]
        return max(min(come, max(burst, 2 * cushion)) - cushion - used, -DEBT * rate)

    def burst(self, i: int, rate: float, begun: float) -> float:
        """The units that could be used at once at the beginning."""
        used = (empty.amounts[i] - rate * (empty.time - begun) for empty in self._beginnings)
        return max(0.0, *used)
