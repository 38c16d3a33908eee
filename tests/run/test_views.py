"""What is to be seen while a run goes on."""

from __future__ import annotations

import io
import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from runkit import Scripted, answered, go, make, plain

from xtremeflow import Limit, LimitStats
from xtremeflow.run.monitor import Gauge, Monitor, Snapshot
from xtremeflow.run.runner import Counts, Runner
from xtremeflow.run.views import LogLines, Quiet, choose, describe

rich_console = pytest.importorskip("rich.console")

SAID = "the provider's answers say 720,000 per 60 s"


def limit(
    name: str,
    rate: float,
    capacity: float,
    configured: Limit | None = None,
    learned: str | None = None,
) -> LimitStats:
    sure = None if learned is None else 1.0 if learned == SAID else 0.914
    return LimitStats(name, rate, capacity, 0.0, 0, 0, 0, 0.0, 0.0, configured, learned, sure)


def snapshot(**more: Any) -> Snapshot:
    history = tuple(float(i) for i in range(0, 12_000, 100))
    standard: dict[str, Any] = {
        "elapsed": 75.0,
        "counts": Counts(read=500, succeeded=400_000, failed=2, bad=1, attempts=450, refused=9),
        "total": 1_000_000,
        "gauges": (
            Gauge("tokens", 11_900.0, 12_000.0, history),
            Gauge("requests", 41.0, 83.3, history),
        ),
        "limits": (
            limit("tokens", 12_000.0, 720_000.0, learned=SAID),
            limit("requests", 83.3, 0.0, Limit("requests", 100.0, 1.0, 0.0), "refusals show it"),
            limit("input_tokens", 1e6, 1e6, Limit("input_tokens", 1e6, 1.0, 1e6)),
        ),
        "margin": 0.0125,
        "in_flight": 123,
        "waiting": 1,
        "concurrency": 1024,
        "learned_concurrency": None,
        "concurrency_learned": None,
        "concurrency_confidence": None,
        "cooldown": 0.0,
        "held_back_by": "tokens",
        "left": 75.0,
        "stopping": None,
    }
    return Snapshot(**{**standard, **more})


def drawn(width: int, now: Snapshot, **console: Any) -> str:
    from xtremeflow.run.live import Live

    encoding = console.pop("encoding", "utf-8")
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, errors="backslashreplace")
    target = rich_console.Console(file=file, width=width, force_terminal=True, **console)
    view = Live("xtremeflow run " + "x" * 30, target)
    target.print(view.draw(now))
    file.flush()
    return raw.getvalue().decode(encoding)


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"total": None, "left": None},
        {"cooldown": 12.3},
        {"stopping": "Ctrl-C"},
        {"gauges": (Gauge("requests", 5e6, None, ()),)},
        {"limits": (), "margin": 0.0},
        {"learned_concurrency": 200},
        {"counts": Counts(succeeded=10**9, attempts=10**9, refused=10**8, failed=10**7)},
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_it_fits_into_its_terminal(width: int, more: Any, encoding: str) -> None:
    text = drawn(width, snapshot(**more), no_color=True, color_system=None, encoding=encoding)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()
    now = snapshot(**more)
    explained = len(now.limits) + (now.learned_concurrency is not None) + (now.margin > 0)
    assert len(lines) == 4 + len(now.gauges) + explained
    assert all(len(line) <= width for line in lines), lines


def test_all_is_told() -> None:
    text = drawn(120, snapshot(), no_color=True, color_system=None)
    for part in ("400,003/1,000,000 40%", "11,900/s of 12,000/s 99%", "41/s of 83/s 49%",
                 "in flight 123/1,024", "refused 9 (2.0%)", "failed 2", "bad lines 1",
                 "held back by: tokens", "1 min 15 s left"):  # fmt: skip
        assert part in text
    for line in (
        f"tokens limit       12,000/s, 720.0k at once; {SAID}",
        "requests limit     83/s, 0 at once; given 100/s; refusals show it; 91% sure",
        "input tokens limit 1.00M/s, 1.00M at once; as given",
        "margin             12.5 ms of each rate are kept in reserve",
    ):
        assert line in text
    assert "█" in text
    assert "cooldown: 3.0 s" in drawn(80, snapshot(cooldown=3.0))


@pytest.mark.parametrize(("given", "said"), [(1024, "; given 1,024"), (None, "")])
def test_learned_concurrency_is_told(given: int | None, said: str) -> None:
    why = "a call was refused with 201 in flight"
    now = snapshot(concurrency=given, learned_concurrency=200, concurrency_learned=why,
                   concurrency_confidence=0.5)  # fmt: skip
    text = drawn(120, now, no_color=True, color_system=None)
    assert f"concurrency        200 calls at a time{said}; {why}; 50% sure" in text
    assert "in flight 123/200" in text
    assert "123 of 200 in flight" in describe(now)


def test_without_color_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", drawn(80, snapshot()))
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert re.search(r"\x1b\[[0-9;]*3[0-9]", drawn(80, snapshot()))


def test_a_line_says_it_all() -> None:
    assert describe(snapshot()) == (
        "400,003 of 1,000,000 done (40%), 3 of them failed, "
        "11,900 of 12,000 tokens/s (99%), 41 of 83 requests/s (49%), "
        "123 in flight, 9 refused, margin 12.5 ms, held back by tokens, 1 min 15 s left"
    )


def test_what_is_no_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(choose(quiet=False, plain=False, title=""), LogLines)
    assert isinstance(choose(quiet=True, plain=False, title=""), Quiet)


def test_the_monitor_tells_rates_and_what_holds_back(tmp_path: Path) -> None:
    seen: list[Snapshot] = []

    async def watch(runner: Runner) -> None:
        import asyncio

        loop = asyncio.get_running_loop()
        monitor = Monitor(loop.time())
        for _ in range(60):
            await asyncio.sleep(0.5)
            seen.append(
                monitor.look(
                    loop.time(),
                    runner.counts,
                    runner.scheduler.stats(),
                    total=100,
                    in_flight=runner.in_flight,
                    concurrency=None,
                    stopping=runner.stopped,
                )
            )

    def script(request: Any, attempt: int) -> Any:
        if request.line == 60 and attempt == 1:
            return answered(429, {}, retry_after="10")
        return answered()

    transport = Scripted(script, seconds=0.1)
    runner = make(tmp_path / "o", transport, limits=[Limit("requests", 4, 1.0, 0)])
    go(runner, [plain()] * 100, watch)
    at = {round(now.elapsed, 1): now for now in seen}
    steady = at[12.0]
    requests = next(gauge for gauge in steady.gauges if gauge.name == "requests")
    assert requests.rate == pytest.approx(4.0, rel=0.1)
    assert requests.limit == 4.0
    assert requests.history[-3:] == pytest.approx([4.0] * 3, abs=1.1)
    assert steady.held_back_by == "requests"
    assert steady.left == pytest.approx(100 / 4 - 12, abs=1.5)
    cooling = at[20.0]
    assert cooling.cooldown > 0
    assert cooling.learned_concurrency is None
    assert cooling.held_back_by in ("a cooldown", "requests")
    assert at[23.0].held_back_by == "a cooldown"


def screen(master: int, seconds: float) -> bytes:
    data, end = b"", time.monotonic() + seconds
    while time.monotonic() < end and b"All done" not in data:
        if select.select([master], [], [], 0.1)[0]:
            try:
                data += os.read(master, 65536)
            except OSError:
                break
    return data


@pytest.mark.parametrize(("term", "live"), [("xterm", True), ("dumb", False)])
def test_the_view_in_a_terminal(tmp_path: Path, term: str, live: bool) -> None:
    from test_command import Server, command, environment, write

    server = Server(tmp_path / "server.log", 0.0)
    path = write(tmp_path / "in.jsonl", [plain(f"t{i}") for i in range(30)])
    master, slave = pty.openpty()
    try:
        process = subprocess.Popen(
            command(path, "-o", tmp_path / "o.jsonl", "--base-url", server.url, "--rpm", 2400),
            stdin=slave, stdout=slave, stderr=slave, env=environment(TERM=term, COLUMNS="80"),
        )  # fmt: skip
        data = screen(master, 30.0)
        assert process.wait(timeout=20) == 0
    finally:
        os.close(master)
        os.close(slave)
        server.close()
    assert b"All done" in data
    assert (b"\x1b[" in data) is live
    assert (b"in flight" in data) is live
    if live:
        assert b"30/30 100%" in data
        assert data.rstrip().endswith(b"o.jsonl") or b"\x1b[?25h" in data  # the cursor is back


def test_the_live_view_needs_rich_only(tmp_path: Path) -> None:
    """Without the extra, `run` works and logs lines."""
    code = (
        "import sys; sys.modules['rich'] = None\n"
        "from xtremeflow.run.views import choose, LogLines\n"
        "sys.stderr.isatty = lambda: True\n"
        "import os; os.environ['TERM'] = 'xterm'\n"
        "assert isinstance(choose(quiet=False, plain=False, title=''), LogLines)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
