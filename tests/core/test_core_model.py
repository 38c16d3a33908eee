"""The C core against the reference model: the same operations on a virtual clock, one by one."""

from __future__ import annotations

from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from kit.core import UNLIMITED, Core
from kit.model import Model
from kit.model_admission import CATCH_UP
from kit.model_call import ADMITTED, IN_FLIGHT, RESTING, WAITING, Call
from kit.model_limit import MS, Figures

SECOND = 1000 * MS
SETTINGS = settings(
    max_examples=300,
    stateful_step_count=60,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)

# Figures whose rates are ratios of whole numbers, so that the core has to be exact: from a call a
# minute to several units a nanosecond.
figures = st.tuples(
    st.sampled_from([1, 3, 7, 100, 1_000, 7_000_000_000]),
    st.sampled_from([MS, 10 * MS, SECOND, 60 * SECOND]),
    st.sampled_from([0, 1, 2, 5, 100]),
)
slot_counts = st.one_of(st.none(), st.integers(1, 4))
short_spans = st.integers(0, 15 * MS)
spans = st.one_of(
    st.integers(0, 5),
    st.integers(0, 2 * MS),
    st.integers(0, 30 * MS),
    st.integers(0, 3 * SECOND),
)
# Operations mostly come at the instant at which the clock stands.
delays = st.one_of(st.just(0), st.just(0), spans)


class CoreAndModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.held = self.slots = 0  # slots in use and in all, after the last step
        self.started = False
        self.attempted: set[int] = set()

    @initialize(limits=st.lists(figures, max_size=3), slots=slot_counts)
    def start(self, limits: list[Figures], slots: int | None) -> None:
        self.started = True
        self.core = Core(limits, slots)
        self.model = Model(limits, slots)

    def teardown(self) -> None:
        if self.started:
            self.everybody_comes_to_an_end()
            self.core.close()

    # -- help ------------------------------------------------------------------------------------

    def later(self, delay: int) -> int:
        self.now += delay
        return self.now

    def has(self, *states: str) -> bool:
        return any(call.state in states for call in self.model.calls)

    @property
    def dispatched(self) -> list[Call]:
        """The calls that have made an attempt, whatever has become of them since."""
        return [call for call in self.model.calls if call.number in self.attempted]

    def pick(self, data: st.DataObject, *states: str) -> Call:
        return data.draw(
            st.sampled_from([call for call in self.model.calls if call.state in states])
        )

    def compare(self, arrival: Call | None = None) -> None:
        """Both have done the same since the last comparison."""
        mine, told = self.model.collect(), self.core.collect()
        assert all(self.core.state(number) == self.model.state(number) for number in mine)
        admitted = [number for number in mine if self.model.state(number) == ADMITTED]
        assert [number for number in told if self.core.state(number) == ADMITTED] == admitted
        assert sorted(told) == sorted(mine)  # calls that expire together do so in any order
        event(f"admitted at once: {min(len(admitted), 3)}")
        self.first_come_first_served(admitted, arrival)

    def first_come_first_served(self, admitted: list[int], arrival: Call | None) -> None:
        """Calls that still waited when a call was admitted came after it."""
        waiting = self.model.waiting()
        for number in reversed(admitted):
            call = self.model.calls[number]
            assert all(call.place < other.place for other in waiting if other is not arrival)
            waiting.append(call)

    # -- rules -----------------------------------------------------------------------------------

    @rule(
        data=st.data(),
        delay=delays,
        priority=st.sampled_from([0, 0, 0, -1, 1, -32768, 32767]),
        patience=st.one_of(st.none(), st.none(), spans),
        times=st.sampled_from([1, 1, 3, 8]),
    )
    def submit(
        self, data: st.DataObject, delay: int, priority: int, patience: int | None, times: int
    ) -> None:
        now = self.later(delay)
        costs = [
            data.draw(st.one_of(st.integers(0, 2), st.integers(0, 3 * limit.capacity + 1)))
            for limit in self.model.limits
        ]
        deadline = None if patience is None else now + patience
        for _ in range(times):
            number = self.model.submit(now, costs, priority, deadline)
            assert self.core.submit(now, costs, priority, deadline) == number
            self.compare(self.model.calls[number])

    @rule(delay=spans)
    def wait(self, delay: int) -> None:
        now = self.later(delay)
        self.model.poll(now)
        self.core.poll(now)
        self.compare()

    @precondition(lambda self: self.model.armed is not None)
    @rule(lateness=st.one_of(st.just(0), short_spans, spans), times=st.integers(1, 5))
    def wake(self, lateness: int, times: int) -> None:
        """Sleep until the armed instant, or somewhat longer."""
        for _ in range(times):
            if self.model.armed is not None:
                assert self.model.armed > self.now
                self.wait(self.model.armed - self.now + lateness)

    @precondition(lambda self: self.model.armed is not None)
    @rule()
    def nothing_happens_before_the_armed_instant(self) -> None:
        armed = self.model.armed
        assert armed is not None
        self.wait(armed - 1 - self.now)
        assert self.model.armed == armed

    @rule(back=spans)
    def the_clock_runs_backward(self, back: int) -> None:
        armed = self.model.armed
        earlier = max(0, self.model.now - back)
        self.model.poll(earlier)
        self.core.poll(earlier)
        self.compare()
        assert self.model.armed == armed

    @precondition(lambda self: self.has(ADMITTED))
    @rule(data=st.data(), all_of_them=st.booleans())
    def dispatch(self, data: st.DataObject, all_of_them: bool) -> None:
        if all_of_them:
            self.dispatch_all()
        else:
            self.start_or_put_back(self.pick(data, ADMITTED))

    def dispatch_all(self) -> None:
        for call in self.model.calls:
            if call.state == ADMITTED:
                self.start_or_put_back(call)

    def start_or_put_back(self, call: Call) -> None:
        started = self.model.dispatch(call.number)
        assert self.core.dispatch(call.number) == started
        if started:
            self.attempted.add(call.number)
            assert self.core.ramp_up(self.now) == self.model.ramp_up(self.now)
            self.compare()
        else:
            self.model.put_back(self.now, call.number)
            self.core.put_back(self.now, call.number)
            self.compare(call)

    @precondition(lambda self: self.has(IN_FLIGHT))
    @rule(data=st.data(), delay=delays, ok=st.booleans())
    def finish(self, data: st.DataObject, delay: int, ok: bool) -> None:
        self.end(self.later(delay), self.pick(data, IN_FLIGHT), ok)

    @precondition(lambda self: self.has(WAITING, ADMITTED, RESTING))
    @rule(data=st.data(), delay=delays)
    def cancel(self, data: st.DataObject, delay: int) -> None:
        self.end(self.later(delay), self.pick(data, WAITING, ADMITTED, RESTING), False)

    def end(self, now: int, call: Call, ok: bool) -> None:
        self.model.finish(now, call.number, ok)
        self.core.finish(now, call.number, ok)
        self.compare()

    @precondition(lambda self: self.has(IN_FLIGHT))
    @rule(data=st.data(), delay=delays)
    def rest(self, data: st.DataObject, delay: int) -> None:
        now, call = self.later(delay), self.pick(data, IN_FLIGHT)
        self.model.rest(now, call.number)
        self.core.rest(now, call.number)
        self.compare()

    @precondition(lambda self: self.has(IN_FLIGHT, RESTING))
    @rule(data=st.data(), delay=delays)
    def retry(self, data: st.DataObject, delay: int) -> None:
        now, call = self.later(delay), self.pick(data, IN_FLIGHT, RESTING)
        self.model.retry(now, call.number)
        self.core.retry(now, call.number)
        self.compare(call)

    @precondition(lambda self: self.model.limits and self.dispatched)
    @rule(data=st.data(), delay=delays)
    def report(self, data: st.DataObject, delay: int) -> None:
        """Late ones, too: of a call that has ended, or waits to be repeated."""
        now, call = self.later(delay), data.draw(st.sampled_from(self.dispatched))
        index = data.draw(st.integers(0, len(self.model.limits) - 1))
        actual = data.draw(st.integers(0, 3 * self.model.limits[index].capacity + 3))
        self.model.settle(now, call.number, index, actual)
        self.core.settle(now, call.number, index, actual)
        self.model.poll(now)  # a report that changes nothing is no look at the clock
        self.core.poll(now)
        self.compare()

    @precondition(lambda self: self.dispatched)
    @rule(
        data=st.data(),
        delay=delays,
        told=st.one_of(st.none(), short_spans, spans),
        base=spans.filter(bool),
        exponential=st.booleans(),
        cap=st.sampled_from([MS, 100 * MS, 60 * SECOND]),
        repeated=st.booleans(),
    )
    def refuse(
        self,
        data: st.DataObject,
        delay: int,
        told: int | None,
        base: int,
        exponential: bool,
        cap: int,
        repeated: bool,
    ) -> None:
        now, call = self.later(delay), data.draw(st.sampled_from(self.dispatched))
        end = self.model.refused(now, call.number, told, base, exponential, cap)
        assert self.core.refused(now, call.number, told, base, exponential, cap) == end
        self.compare()
        if repeated and call.state == IN_FLIGHT:
            self.model.retry(now, call.number)
            self.core.retry(now, call.number)
            self.compare(call)

    @precondition(lambda self: self.has(IN_FLIGHT))
    @rule(
        data=st.data(),
        delay=delays,
        told=st.one_of(st.none(), st.none(), short_spans),
        base=st.sampled_from([0, 5, 2 * MS, SECOND]),
        cap=st.sampled_from([MS, 60 * SECOND]),
        alone=st.booleans(),
        times=st.sampled_from([1, 1, 2, 4]),
    )
    def fail(
        self,
        data: st.DataObject,
        delay: int,
        told: int | None,
        base: int,
        cap: int,
        alone: bool,
        times: int,
    ) -> None:
        now = self.later(delay)
        for _ in range(times):
            if not self.has(IN_FLIGHT):
                return
            call = self.pick(data, IN_FLIGHT)
            end = self.model.failed(now, call.number, told, base, cap, alone)
            assert self.core.failed(now, call.number, told, base, cap, alone) == end
            self.compare()
            self.model.retry(now, call.number)
            self.core.retry(now, call.number)
            self.compare(call)

    @rule(delay=delays, length=short_spans)
    def notify(self, delay: int, length: int) -> None:
        """A refusal of a call that is not known here."""
        now = self.later(delay)
        assert self.core.refused(now, None, length) == self.model.refused(now, None, length)
        self.compare()

    @precondition(lambda self: self.model.limits)
    @rule(data=st.data(), delay=delays, limit=figures)
    def retune(self, data: st.DataObject, delay: int, limit: Figures) -> None:
        now = self.later(delay)
        index = data.draw(st.integers(0, len(self.model.limits) - 1))
        self.model.retune(now, index, limit)
        self.core.retune(now, index, limit)
        self.compare()

    @precondition(lambda self: self.model.limits)
    @rule(data=st.data(), delay=delays)
    def set_level(self, data: st.DataObject, delay: int) -> None:
        now = self.later(delay)
        index = data.draw(st.integers(0, len(self.model.limits) - 1))
        capacity = self.model.limits[index].capacity
        units = data.draw(st.integers(-3 * capacity, capacity + 1))
        self.model.set_level(now, index, units)
        self.core.set_level(now, index, units)
        self.compare()

    @precondition(lambda self: self.model.limits)
    @rule(data=st.data(), delay=delays, length=st.one_of(st.just(0), short_spans))
    def shut(self, data: st.DataObject, delay: int, length: int) -> None:
        now = self.later(delay)
        index = data.draw(st.integers(0, len(self.model.limits) - 1))
        self.model.shut(now, index, now + length)
        self.core.shut(now, index, now + length)
        self.compare()

    @precondition(lambda self: self.model.limits)
    @rule(
        data=st.data(),
        delay=delays,
        speed=st.sampled_from([0.0, 0.01, 0.5, 4.0]),
        scale=st.sampled_from([0.0, 0.001, 0.5, 3.0]),
        fits=st.sampled_from([0.0, 0.5, 1.0]),
        length=st.one_of(st.none(), spans),
    )
    def pace(
        self,
        data: st.DataObject,
        delay: int,
        speed: float,
        scale: float,
        fits: float,
        length: int | None,
    ) -> None:
        now = self.later(delay)
        index = data.draw(st.integers(0, len(self.model.limits) - 1))
        limit = self.model.limits[index]
        kept = data.draw(st.floats(-1.0, 1.0)) * (limit.capacity + 1)
        law = (speed * limit.amount / limit.per * 1e9, kept, scale * (limit.capacity + 1), fits)
        until = None if length is None else now + length
        self.model.pace(now, index, law, until)
        self.core.pace(now, index, law, until)
        self.compare()

    @rule(delay=delays, slots=slot_counts)
    def set_slots(self, delay: int, slots: int | None) -> None:
        now = self.later(delay)
        self.model.set_slots(now, slots)
        self.core.set_slots(now, slots)
        self.compare()

    @rule(delay=delays, let_in=slot_counts)
    def limit_to(self, delay: int, let_in: int | None) -> None:
        now = self.later(delay)
        self.model.limit_to(now, let_in)
        self.core.limit_to(now, let_in)
        self.compare()

    @precondition(lambda self: self.model.limits)
    @rule(data=st.data(), delay=delays, limit=figures, ago=spans)
    def replace(self, data: st.DataObject, delay: int, limit: Figures, ago: int) -> None:
        now = self.later(delay)
        index = data.draw(st.integers(0, len(self.model.limits) - 1))
        units = data.draw(st.integers(0, 2 * limit[2] + 1))
        flying = [call.number for call in self.model.flying]
        number = data.draw(st.sampled_from([None, *flying]))
        for each in (self.model, self.core):
            each.replace(now, index, limit, units, max(0, now - ago), number)
        self.compare()

    # -- invariants ------------------------------------------------------------------------------

    @invariant()
    def they_agree(self) -> None:
        if not self.started:
            return
        assert self.core.armed == self.model.armed
        earliest = self.model.now - CATCH_UP
        assert max(self.core.anchor, earliest) == max(self.model.anchor, earliest)
        assert self.core.in_use == self.model.in_use
        states = (WAITING, ADMITTED, IN_FLIGHT, RESTING)
        assert self.core.live == sum(call.state in states for call in self.model.calls)
        for index, limit in enumerate(self.model.limits):
            assert self.core.rate(index) == limit.rate
            assert self.core.used(index) == limit.used
            assert self.core.level(index, self.model.now) == self.model.level(index, self.model.now)

    @invariant()
    def slots_are_kept(self) -> None:
        if not self.started:
            return
        holding = sum(call.state in (ADMITTED, IN_FLIGHT) for call in self.model.calls)
        slots = min(UNLIMITED if n is None else n for n in (self.model.slots, self.model.ramp))
        assert self.core.in_use == holding
        # Fewer slots count from the change on: after what time had admitted, and who is in.
        assert holding <= max(slots, self.slots, self.held)
        self.held, self.slots = holding, slots

    def everybody_comes_to_an_end(self) -> None:
        """No call is forgotten: time and finished calls let all of them in."""
        for _ in range(10 * len(self.model.calls) + 10):
            self.dispatch_all()
            for call in self.model.calls:
                if call.state in (IN_FLIGHT, RESTING):
                    self.end(self.now, call, True)
            if self.model.armed is not None:
                self.wake(0, 1)
            self.they_agree()
        assert not self.model.waiting()
        assert self.core.live == 0
        assert self.core.in_use == 0


def test_the_core_does_what_the_model_does() -> None:
    run_state_machine_as_test(CoreAndModel, settings=SETTINGS)
