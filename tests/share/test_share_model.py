"""Members of an account against their model: the same operations by several, one by one."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from kit.core import Core, SharedMemory
from kit.model_call import ADMITTED, IN_FLIGHT, WAITING, Call
from kit.model_limit import MS, Figures
from kit.shared_model import Account, Member

SECOND = 1000 * MS
MEMBERS = 3

figures = st.tuples(
    st.sampled_from([1, 3, 100, 1_000, 7_000_000_000]),
    st.sampled_from([10 * MS, SECOND, 60 * SECOND]),
    st.sampled_from([0, 1, 5, 100]),
)
seats = st.integers(0, MEMBERS - 1)
spans = st.one_of(
    st.integers(0, 5),
    st.integers(0, 2 * MS),
    st.integers(0, 150 * MS),
    st.sampled_from([100 * MS, 100 * MS + 1]),
    st.integers(0, 3 * SECOND),
)
delays = st.one_of(st.just(0), st.just(0), spans)


class MembersAndModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.started = False

    @initialize(limits=st.lists(figures, max_size=2), slots=st.one_of(st.none(), st.integers(1, 4)))
    def start(self, limits: list[Figures], slots: int | None) -> None:
        self.started = True
        self.figures, self.slots = limits, slots
        self.account = Account(limits, slots)
        self.memory = SharedMemory()
        self.models = [Member(self.account) for _ in range(MEMBERS)]
        self.cores = [self.joined(seat) for seat in range(MEMBERS)]
        self.buried: list[Core] = []

    def joined(self, seat: int) -> Core:
        core = Core(self.figures, self.slots)
        assert core.join(self.memory, seat, self.now)
        return core

    def teardown(self) -> None:
        if not self.started:
            return
        self.everybody_is_served()
        for core in (*self.cores, *self.buried):
            core.close()
        self.memory.close()

    # -- help

    def look(self, seat: int, delay: int = 0) -> int:
        """That member lets time pass, on both sides."""
        self.now += delay
        self.models[seat].poll(self.now)
        self.cores[seat].look(self.now)
        self.compare(seat)
        return self.now

    def compare(self, seat: int) -> None:
        model, core = self.models[seat], self.cores[seat]
        mine, told = model.collect(), core.collect()
        assert told == mine
        event(f"admitted at once: {min(len(mine), 3)}")
        assert [core.state(call.number) for call in model.calls] == [
            call.state for call in model.calls
        ]
        assert core.armed == model.armed
        assert core.in_use == model.in_use
        for index in range(len(self.figures)):
            assert core.level(index, self.now) == model.level(index, self.now)
            assert core.rate(index) == model.rate(index)
        if self.figures:
            assert (core.version, core.belief) == (self.account.version, self.account.belief)
        held = sum(each.in_use for each in self.models)
        granted = sum(each.seat.state == "granted" for each in self.models)
        assert self.account.held == held + granted

    def has(self, *states: str) -> list[tuple[int, Call]]:
        return [
            (seat, call)
            for seat, model in enumerate(self.models)
            for call in model.calls
            if call.state in states
        ]

    def pick(self, data: st.DataObject, *states: str) -> tuple[int, Call]:
        return data.draw(st.sampled_from(self.has(*states)))

    # -- rules

    @rule(data=st.data(), seat=seats, delay=delays, times=st.sampled_from([1, 1, 2, 5]))
    def submit(self, data: st.DataObject, seat: int, delay: int, times: int) -> None:
        now = self.look(seat, delay)
        costs = [data.draw(st.integers(1, 2 * limit[2] + 2)) for limit in self.figures]
        for _ in range(times):
            number = self.models[seat].submit(now, costs)
            assert self.cores[seat].submit(now, costs) == number
            self.compare(seat)

    @rule(seat=seats, delay=spans)
    def wait(self, seat: int, delay: int) -> None:
        self.look(seat, delay)

    @precondition(lambda self: any(model.armed is not None for model in self.models))
    @rule(late=delays, times=st.integers(1, 5))
    def wake(self, late: int, times: int) -> None:
        """The member that is armed first wakes, or somewhat later."""
        for _ in range(times):
            armed = [(model.armed, seat) for seat, model in enumerate(self.models)]
            first = min(((at, seat) for at, seat in armed if at is not None), default=None)
            if first is not None:
                self.look(first[1], max(0, first[0] - self.now) + late)

    @precondition(lambda self: self.has(ADMITTED))
    @rule(delay=delays)
    def dispatch(self, delay: int) -> None:
        for seat, call in self.has(ADMITTED):
            self.look(seat, delay)
            if call.state != ADMITTED:
                continue
            model, core = self.models[seat], self.cores[seat]
            started = model.dispatch(call.number)
            assert core.dispatch(call.number) == started
            if not started:
                model.put_back(self.now, call.number)
                core.put_back(self.now, call.number)
            self.compare(seat)

    @precondition(lambda self: self.has(IN_FLIGHT, WAITING, ADMITTED))
    @rule(data=st.data(), delay=delays, ok=st.booleans())
    def finish(self, data: st.DataObject, delay: int, ok: bool) -> None:
        seat, call = self.pick(data, IN_FLIGHT, WAITING, ADMITTED)
        now = self.look(seat, delay)
        self.models[seat].finish(now, call.number, ok)
        self.cores[seat].finish(now, call.number, ok)
        self.compare(seat)

    @precondition(lambda self: self.has(IN_FLIGHT))
    @rule(data=st.data(), delay=delays)
    def retry(self, data: st.DataObject, delay: int) -> None:
        seat, call = self.pick(data, IN_FLIGHT)
        now = self.look(seat, delay)
        self.models[seat].retry(now, call.number)
        self.cores[seat].retry(now, call.number)
        self.compare(seat)

    @precondition(lambda self: self.figures and self.has(IN_FLIGHT))
    @rule(data=st.data(), delay=delays)
    def settle(self, data: st.DataObject, delay: int) -> None:
        seat, call = self.pick(data, IN_FLIGHT)
        index = data.draw(st.integers(0, len(self.figures) - 1))
        actual = data.draw(st.integers(1, 2 * call.costs[index] + 1))
        now = self.look(seat, delay)
        self.models[seat].settle(now, call.number, index, actual)
        self.cores[seat].settle(now, call.number, index, actual)
        self.compare(seat)

    @precondition(lambda self: self.has(IN_FLIGHT))
    @rule(data=st.data(), delay=delays, told=st.integers(1, 3 * SECOND))
    def refused(self, data: st.DataObject, delay: int, told: int) -> None:
        seat, call = self.pick(data, IN_FLIGHT)
        now = self.look(seat, delay)
        end = self.models[seat].refused(now, call.number, told, 0, True, 10 * SECOND)
        assert self.cores[seat].refused(now, call.number, told, 0, True, 10 * SECOND) == end
        self.compare(seat)

    @precondition(lambda self: self.has(IN_FLIGHT))
    @rule(data=st.data(), delay=delays, base=st.integers(1, SECOND))
    def failed(self, data: st.DataObject, delay: int, base: int) -> None:
        seat, call = self.pick(data, IN_FLIGHT)
        now = self.look(seat, delay)
        end = self.models[seat].failed(now, call.number, None, base, 10 * SECOND)
        assert self.cores[seat].failed(now, call.number, None, base, 10 * SECOND) == end
        self.compare(seat)

    @precondition(lambda self: self.figures)
    @rule(data=st.data(), seat=seats, delay=delays, limit=figures)
    def retune(self, data: st.DataObject, seat: int, delay: int, limit: Figures) -> None:
        index = data.draw(st.integers(0, len(self.figures) - 1))
        now = self.look(seat, delay)
        self.models[seat].retune(now, index, limit)
        self.cores[seat].retune(now, index, limit)
        self.compare(seat)

    @precondition(lambda self: self.figures)
    @rule(
        data=st.data(), seat=seats, delay=delays,
        speed=st.sampled_from([0.0, 0.01, 0.5, 4.0]), scale=st.sampled_from([0.0, 0.001, 0.5, 3.0]),
        fits=st.sampled_from([0.0, 0.5, 1.0]), length=st.one_of(st.none(), spans),
    )  # fmt: skip
    def pace(
        self, data: st.DataObject, seat: int, delay: int, speed: float, scale: float, fits: float,
        length: int | None,
    ) -> None:  # fmt: skip
        index = data.draw(st.integers(0, len(self.figures) - 1))
        now = self.look(seat, delay)
        limit = self.account.limits[index]
        kept = data.draw(st.floats(-1.0, 1.0)) * (limit.capacity + 1)
        law = (speed * limit.amount / limit.per * 1e9, kept, scale * (limit.capacity + 1), fits)
        until = None if length is None else now + length
        self.models[seat].pace(now, index, law, until)
        self.cores[seat].pace(now, index, law, until)
        self.compare(seat)

    @precondition(lambda self: self.figures)
    @rule(
        data=st.data(), seat=seats, delay=delays, limit=figures, off=st.sampled_from([0, 0, -1, 1]),
        level=st.one_of(st.none(), st.integers(-3, 40)), belief=st.binary(max_size=20),
    )  # fmt: skip
    def learn(
        self, data: st.DataObject, seat: int, delay: int, limit: Figures, off: int,
        level: int | None, belief: bytes,
    ) -> None:  # fmt: skip
        index = data.draw(st.integers(0, len(self.figures) - 1))
        now = self.look(seat, delay)
        lesson = (self.account.version + off, index, limit, level, belief)
        done = self.models[seat].learn(now, *lesson)
        assert self.cores[seat].learn(now, *lesson) == done
        assert done == (off == 0)
        self.compare(seat)

    @precondition(lambda self: self.figures)
    @rule(
        data=st.data(), seat=seats, delay=delays, left=st.integers(0, 40),
        used=st.integers(-20, 5), ago=spans,
    )  # fmt: skip
    def lower(
        self, data: st.DataObject, seat: int, delay: int, left: int, used: int, ago: int
    ) -> None:
        index = data.draw(st.integers(0, len(self.figures) - 1))
        now = self.look(seat, delay)
        word = (left, self.account.limits[index].used + used, now - ago)
        self.models[seat].lower(now, index, *word)
        self.cores[seat].lower(now, index, *word)
        self.compare(seat)

    @rule(seat=seats, delay=delays, slots=st.one_of(st.none(), st.integers(1, 4)))
    def set_slots(self, seat: int, delay: int, slots: int | None) -> None:
        now = self.look(seat, delay)
        self.models[seat].set_slots(now, slots)
        self.cores[seat].set_slots(now, slots)
        self.compare(seat)

    @rule(seat=seats, by=seats, delay=delays)
    def a_member_dies_and_another_takes_its_seat(self, seat: int, by: int, delay: int) -> None:
        if seat == by:
            return
        now = self.look(by, delay)
        self.account.bury(self.models[by], self.models[seat], now)
        self.cores[by].bury(seat, now)
        self.account.seats.remove(self.models[seat].seat)
        self.buried.append(self.cores[seat])
        self.models[seat] = Member(self.account)
        self.cores[seat] = self.joined(seat)
        self.look(by)
        self.look(seat)

    # -- the end

    def everybody_is_served(self) -> None:
        """Without a change, each call that waits has its turn: nothing is lost between members."""
        for _ in range(3):
            for seat in range(MEMBERS):
                self.look(seat, SECOND)
        for _ in range(400):
            for seat, call in self.has(ADMITTED, IN_FLIGHT):
                self.look(seat)
                self.models[seat].finish(self.now, call.number, False)
                self.cores[seat].finish(self.now, call.number, False)
                self.compare(seat)
            if not self.has(WAITING, ADMITTED, IN_FLIGHT):
                break
            waiting = {seat for seat, _ in self.has(WAITING)}
            for seat in waiting:
                self.look(seat)
            armed = [at for seat in waiting if (at := self.models[seat].armed) is not None]
            if armed and not self.has(ADMITTED):
                self.now = max(self.now, min(armed))
        assert not self.has(WAITING, ADMITTED, IN_FLIGHT)
        assert self.account.held == 0
        assert all(limit.level <= limit.top for limit in self.account.limits)
        assert all(isinstance(limit.level, Fraction) for limit in self.account.limits)


TestMembersAndModel = MembersAndModel.TestCase
TestMembersAndModel.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
