"""`./dev bench soak`: nothing is lost, whatever the provider does; and what is lost is found."""

from __future__ import annotations

from typing import Any

import pytest

from bench.__main__ import main
from bench.soak import client, virtual
from bench.soak.phases import HONEST, PHASES, Phase, Stage
from xtremeflow.testing import Quirks

SHORT = 2_000  # calls


def test_nothing_is_lost_whatever_the_provider_does() -> None:
    soaked = virtual.soak(PHASES, SHORT)
    assert soaked.differences == []
    assert [row.phase for row in soaked.rows] == [phase.name for phase in PHASES]
    assert sum(row.calls for row in soaked.rows) > SHORT - len(PHASES) - 1
    assert all(row.lost == 0 for row in soaked.rows)
    assert all(row.attempts == row.calls + row.refused for row in soaked.rows)
    # Else the phase has tried nothing.
    assert {row.phase for row in soaked.rows if row.refused} >= {
        phase.name
        for phase in PHASES
        for stage in phase.stages
        if stage.down or stage.quirks.blocked or stage.quirks.noise_first
    }


def test_the_provider_is_every_way_not_what_it_says() -> None:
    """A quirk that is new has to be in it."""
    honest = Quirks()
    stages = [stage for phase in PHASES for stage in phase.stages]
    for name in vars(honest):
        if name not in ("longest", "growth_over", "growth_free"):
            assert any(getattr(s.quirks, name) != getattr(honest, name) for s in stages), name
    assert {stage.down for stage in stages} == {0, 503, 529}
    assert {stage.scale for stage in stages} > {0.5, 1.0, 2.0}


BLOCKED = Phase("blocked", [Stage(quirks=Quirks(blocked=900.0, headers="none", waits="none"))])


def test_calls_that_are_given_up_are_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(client, "RETRIES", 0)
    monkeypatch.setattr("bench.soak.__main__.PHASES", (BLOCKED,))
    assert main(["soak", "--calls", "20"]) == 1
    said = capsys.readouterr().out
    assert "| blocked |" in said
    assert "DIFFERENCE blocked: client 0: " in said
    assert "20 calls, " in said


def test_quota_that_is_lost_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def one_more(usage: dict[str, int]) -> None:
        await report({name: amount + (name == "tokens") for name, amount in usage.items()})

    report: Any = client.report_token_usage
    monkeypatch.setattr(client, "report_token_usage", one_more)
    (difference,) = virtual.soak([Phase("honest", [HONEST])], 10).differences
    assert difference.startswith("honest: client 0: tokens_used is ")


def test_a_call_that_is_paid_for_twice_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    ask = virtual.Provider.ask

    async def twice(self: virtual.Provider, *call: Any) -> Any:
        if call[1] == 3:
            await ask(self, *call)
        return await ask(self, *call)

    monkeypatch.setattr(virtual.Provider, "ask", twice)
    differences = virtual.soak([Phase("honest", [HONEST])], 10).differences
    assert "honest: call 3 was paid for 2 times" in differences


def test_nothing_is_lost_over_http(capsys: pytest.CaptureFixture[str]) -> None:
    """Of the phases those that are quick in real time."""
    for needed in ("uvicorn", "openai", "httpx2"):
        pytest.importorskip(needed)
    phases = ["5 % refused at random", "waits: zero", "waits: date"]
    assert main(["soak", "http", *phases, "--calls", "30"]) == 0
    assert capsys.readouterr().out.count("\n") == 2 + len(phases)


def test_an_unknown_phase_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, said in ((["friendly"], "no phase has 'friendly'"), (["--calls", "0"], "got 0")):
        with pytest.raises(SystemExit):
            main(["soak", *arguments])
        assert said in capsys.readouterr().err
