"""The timeline: its script on a real server answers as the same in Python does."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)
from kit.redis_servers import Server, binaries

from xtremeflow.share.records import HAS_LOAN, RETURNED, Ask, Rest, Row, Tried
from xtremeflow.share.rows import described_from, flat, status_from, taken_from
from xtremeflow.share.script import script
from xtremeflow.share.timeline import Timeline

MEMBERS = ("ada", "bob", "cy")
DAY = 86_400_000  # ms
BEGIN = 1_764_000_000_000_000
_numbers = itertools.count()


class Script:
    """The script on a server, with a clock that the test sets."""

    def __init__(self, server: Server) -> None:
        self.server = server
        text = script()
        clock = "redis.call('TIME')"
        assert text.count(clock) == 1
        self.run = server.client.register_script(
            text.replace(clock, "redis.call('LRANGE', 'clock', 0, 1)")
        )
        self.name = f"t{{{next(_numbers)}}}"
        self.listening = server.client.pubsub(ignore_subscribe_messages=True)
        kinds = ("account", "members", "deadlines", "asked", "line")
        self.keys = [f"{self.name}:{kind}" for kind in kinds]
        self.listening.psubscribe(f"{self.name}:account:news*")
        self.listening.get_message(timeout=1)

    def call(self, now: int, command: str, *arguments: Any) -> Any:
        client = self.server.client
        client.delete("clock")
        client.rpush("clock", now // 1_000_000, now % 1_000_000)
        answer = self.run(keys=self.keys, args=[json.dumps([command, *flat(arguments)])])
        return None if answer is None else json.loads(answer)

    def kept_for(self) -> list[int]:
        """For how many milliseconds keys that exist are kept; -1: without end."""
        found = [int(self.server.client.pttl(key)) for key in self.keys]
        return [each for each in found if each != -2]

    def published(self) -> list[tuple[str, str]]:
        news = []
        self.server.client.publish(f"{self.name}:account:news", "stop")
        while True:
            message = self.listening.get_message(timeout=5)
            if message is None:
                continue
            channel, text = message["channel"].decode(), message["data"].decode()
            if text == "stop":
                return news
            news.append((channel.removeprefix(f"{self.name}:account:news").lstrip(":"), text))

    def close(self) -> None:
        self.listening.close()


def read(row: Row) -> Any:
    """A row as it is understood."""
    return taken_from(row) or described_from(row) or [_read_one(each) for each in row]


def _read_one(value: Any) -> Any:
    try:
        return float(value)
    except ValueError:
        return value


servers: dict[str, Server] = {}


@pytest.fixture(scope="module", autouse=True)
def _servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    for name, binary in binaries().items():
        servers[name] = Server(tmp_path_factory.mktemp(name), binary)
    yield
    for server in servers.values():
        server.kill()
    servers.clear()


figures = st.tuples(
    st.sampled_from([1.0, 3.0, 100.0, 5_000.0]),
    st.sampled_from([1.0, 60.0]),
    st.sampled_from([0.0, 1.0, 20.0]),
)
spans = st.one_of(
    st.integers(0, 10),
    st.integers(0, 300_000),
    st.integers(0, 4_000_000),
    st.sampled_from([-600_000_000, -1_000, 40_000_000]),
)
members = st.sampled_from(MEMBERS)
few = st.integers(0, 3)


class ScriptAndPython(RuleBasedStateMachine):
    """Any sequence of commands, by any members, on a clock that may be set back."""

    server = "valkey"

    @initialize(limits=st.lists(figures, max_size=2), slots=st.sampled_from([-1, 1, 3, 10]))
    def start(self, limits: list[tuple[float, float, float]], slots: int) -> None:
        self.now, self.counts = BEGIN, dict.fromkeys(MEMBERS, 0)
        self.limits = [(f"limit{i}", *each) for i, each in enumerate(limits)]
        self.slots = slots
        self.python, self.script = Timeline(), Script(servers[self.server])
        self.epoch, self.operations, self.generation, self.version = "", 0, 0, 0

    def teardown(self) -> None:
        if hasattr(self, "script"):
            self.script.close()

    def both(self, span: int, command: str, *arguments: Any) -> Any:
        self.now += span
        mine = getattr(self.python, command)(self.now, *arguments)
        told = self.script.call(self.now, command, *arguments)
        assert read(told) == read(mine)
        assert self.script.published() == self.python.published
        self.python.published.clear()
        event(f"{command}: {mine[0]}")
        return read(mine)

    @rule(member=members, span=spans, other=st.booleans())
    def join(self, member: str, span: int, other: bool) -> None:
        limits = [(f"other{name}" if other else name, *rest) for name, *rest in self.limits]
        token = f"epoch{next(_numbers)}"
        belief = f"of {member}"
        answer = self.both(span, "join", member, "7", token, 2_000_000, self.slots, belief, limits)
        self.epoch, self.version = answer.epoch, answer.version
        self.generation = answer.generation

    @rule(
        data=st.data(), member=members, span=spans, held=few, more=few, returned=few,
        count=st.integers(-1, 30), exact=few, parts=few, ahead=st.sampled_from([0, 0, 0, 5]),
        trip=st.sampled_from([0, 150, 90_000, 5_000_000]), repeat=st.booleans(),
        loan=st.sampled_from([0, 1, 1, 1, 2, 3]), later=st.sampled_from([1, -600_000_000]),
    )  # fmt: skip
    def take(
        self, data: st.DataObject, member: str, span: int, held: int, more: int, returned: int,
        count: int, exact: int, parts: int, ahead: int, trip: int, repeat: bool, loan: int,
        later: int,
    ) -> None:  # fmt: skip
        n = len(self.limits)
        units = st.lists(st.integers(0, 40).map(float), min_size=n, max_size=n)
        refunds = st.lists(st.integers(-20, 20).map(float), min_size=n, max_size=n)
        costs = st.lists(st.floats(0, 50), min_size=n, max_size=n)
        ago = st.integers(0, 2_000_000).map(lambda back: self.now + max(0, span) - back)
        tried = Tried(
            data.draw(st.just(0) | st.just(0) | ago), data.draw(few), data.draw(st.just(0) | ago),
            data.draw(st.integers(0, 1_000_000)), data.draw(st.sampled_from([100_000, 2_000_000])),
        )  # fmt: skip
        rest = st.builds(Rest, st.sampled_from([-1.0, 0.0, 3.0, 30.0]), st.floats(-20, 200), ago)
        self.counts[member] += 1
        ask = Ask(
            self.counts[member], self.epoch, self.operations + ahead, self.generation, held,
            held + more, returned, count, exact, parts, trip, 2_000_000, loan, tried,
            "7", f"epoch{next(_numbers)}",
            data.draw(units), data.draw(refunds), data.draw(units), data.draw(costs),
            data.draw(units), data.draw(costs) if loan in (HAS_LOAN, RETURNED) else (),
            data.draw(st.lists(rest, min_size=n, max_size=n)),
        )  # fmt: skip
        answer = self.both(span, "take", member, ask)
        if answer != ["unknown"]:
            self.operations = answer.operations
            if repeat:
                again = self.both(later, "take", member, ask)
                back = max(0, -later)
                assert again.operations == answer.operations
                if answer.chunk is not None:
                    assert again.chunk.start == answer.chunk.start - back

    @rule(data=st.data(), span=spans, wait=st.integers(1, 3_000_000), margin=few)
    def refuse(self, data: st.DataObject, span: int, wait: int, margin: int) -> None:
        level = st.one_of(st.none(), st.floats(-10, 10))
        n = len(self.limits)
        levels = data.draw(st.lists(level, min_size=n, max_size=n))
        answer = self.both(
            span, "refused", self.epoch, self.generation, wait, margin * 1000, levels
        )
        if answer != ["unknown"]:
            self.generation = int(answer[3])

    @rule(data=st.data(), span=spans, limit=figures)
    def retune(self, data: st.DataObject, span: int, limit: Any) -> None:
        index = data.draw(st.integers(-1, len(self.limits) - 1))
        if index < 0:
            limit = (float(data.draw(st.sampled_from([-1, 1, 2, 6]))), 1.0, 1.0)
            self.slots = int(limit[0])
        answer = self.both(span, "retune", index, *limit)
        if answer[0] == "ok":
            self.version = int(answer[2])

    @rule(data=st.data(), span=spans, off=st.sampled_from([0, 0, 0, -1, 1, None]))
    def learn(self, data: st.DataObject, span: int, off: int | None) -> None:
        """Members learn limits and levels; what is learned from an older version does not count."""
        known = range(len(self.limits))
        level = st.one_of(st.none(), st.floats(-10, 40))
        lessons = [
            (i, *data.draw(figures), data.draw(level)) for i in known if data.draw(st.booleans())
        ]
        version = -1 if off is None else max(0, self.version + off)
        belief = data.draw(st.text('aä"{', max_size=9))
        answer = self.both(span, "learn", version, belief, lessons)
        if answer[0] == "ok":
            assert off in (0, None)
            self.version = int(answer[2])
            assert self.both(0, "describe").belief == belief

    @rule(member=members, span=spans)
    def bury(self, member: str, span: int) -> None:
        known = self.python.members if self.python.exists else {}
        seen = known[member].seen if member in known else 0
        self.both(span, "bury", member, seen)

    @rule(member=members, span=spans)
    def leave(self, member: str, span: int) -> None:
        back = [1.0] * (2 * len(self.limits))
        self.both(span, "leave", member, self.epoch, self.generation, *back)
        self.counts[member] = 0

    @rule()
    def look(self) -> None:
        mine, told = self.python.status(self.now), self.script.call(self.now, "status")
        if mine is None:
            assert told is None
            return
        state = status_from(told)
        assert sorted(each["member"] for each in state["members"]) == sorted(
            each["member"] for each in mine["members"]
        )
        for limit, own in zip(state["limits"], mine["limits"], strict=True):
            assert limit["used"] == pytest.approx(own["used"])
            assert limit["level"] == pytest.approx(own["level"], abs=1e-6)
        assert state["belief"] == mine["belief"]
        assert min(self.script.kept_for()) > DAY
        assert (state["outage"], state["prober"]) == (mine["outage"], mine["prober"])


# No shrinking: a failure of this size is found by its seed sooner than by thousands of runs.
_settings = settings(
    max_examples=30,
    stateful_step_count=30,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("name", sorted(binaries()))
def test_the_script_answers_as_the_same_in_python(name: str) -> None:
    machine = type("OnServer", (ScriptAndPython,), {"server": name})
    run_state_machine_as_test(machine, settings=_settings)


def test_the_keys_of_an_account_in_use_are_kept_for_a_day_anew() -> None:
    script = Script(servers["valkey"])
    script.call(BEGIN, "join", "ada", "7", "epoch", 2_000_000, 3, "", [("requests", 1.0, 1.0, 1.0)])
    assert len(script.kept_for()) == 3
    for key in script.keys:
        script.server.client.pexpire(key, 60_000)
    script.call(BEGIN + 3_600_000_001, "retune", 0, 2.0, 1.0, 1.0)
    assert min(script.kept_for()) > DAY
    script.close()
