"""The views of a run while it goes on."""

from __future__ import annotations

import asyncio
import io
import os
import pty
import re
import select
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kit.runs import Scripted, answered, go, make, plain

from xtremeflow import Limit, LimitStats
from xtremeflow.run.job.runner import Runner
from xtremeflow.run.output.counts import Counts
from xtremeflow.run.views.monitor import Meter, Monitor, Snapshot
from xtremeflow.run.views.prefixes import as_json, described, of_runs
from xtremeflow.run.views.view import LogLines, Quiet, choose, progress_event, progress_line
from xtremeflow.scheduler.stats import LearnedConcurrency, PrefixStats, ShareStats

rich_console = pytest.importorskip("rich.console")
from xtremeflow.run.views.live import Live  # noqa: E402

PREFIXES = PrefixStats(
    groups=40,
    led=41,
    lapsed=0,
    expected=8_000_000,
    read=7_600_000,
    written=164_000,
    looked_up=1_960,
    found=1_862,
    held_seconds=61.0,
    bound=3.0,
    prompts=9_000_000,
    saved=6_799_000.0,
)
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
        "meters": (
            Meter("tokens", 11_900.0, 12_000.0, history),
            Meter("requests", 41.0, 83.3, history),
        ),
        "refusals": 0.0,
        "limits": (
            limit("tokens", 12_000.0, 720_000.0, learned=SAID),
            limit("requests", 83.3, 0.0, Limit("requests", 100.0, 1.0, 0.0), "refusals show it"),
            limit("input_tokens", 1e6, 1e6, Limit("input_tokens", 1e6, 1.0, 1e6)),
        ),
        "margin": 0.0125,
        "in_flight": 123,
        "waiting": 1,
        "concurrency": 1024,
        "learned": None,
        "cooldown": 0.0,
        "held_back_by": "tokens",
        "left": 75.0,
        "stopping": None,
    }
    return Snapshot(**{**standard, **more})


def view(width: int, encoding: str = "utf-8", **console: Any) -> Live:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="backslashreplace")
    target = rich_console.Console(file=file, width=width, force_terminal=True, **console)
    return Live("xtremeflow run " + "x" * 30, target)


def drawn(width: int, now: Snapshot, **console: Any) -> str:
    live = view(width, **console)
    target = live._console
    target.print(live.draw(now))
    file: Any = target.file
    file.flush()
    text: bytes = file.buffer.getvalue()
    return text.decode(file.encoding)


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"total": None, "left": None},
        {"cooldown": 12.3},
        {"stopping": "Ctrl-C"},
        {"meters": (Meter("requests", 5e6, None, ()),)},
        {"limits": (), "margin": 0.0},
        {"learned": LearnedConcurrency(200, "a call was refused", None)},
        {"counts": Counts(succeeded=10**9, attempts=10**9, refused=10**8, failed=10**7)},
        {"prefixes": PREFIXES, "input_price": 2.5},
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_it_fits_into_its_terminal(width: int, more: Any, encoding: str) -> None:
    text = drawn(width, snapshot(**more), no_color=True, color_system=None, encoding=encoding)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()
    assert all(len(line) <= width for line in lines), lines
    said = " ".join(" ".join(lines).split())
    for reason in ("refusals show it; 91% sure", "held back by: tokens"):
        assert more or reason in said or width < 80


@pytest.mark.parametrize("height", [4, 8, 12, 40])
def test_a_low_terminal_shows_what_matters_most(height: int) -> None:
    now = snapshot(stopping="the provider " + "has much to say " * 8)
    frame = view(60, height=height, no_color=True, color_system=None).frame(now)
    assert len(frame) <= height - 1
    assert "waiting for the calls in flight" in " ".join(" ".join(frame).split())
    assert height < 12 or "xtremeflow run" in frame[0]
    assert (height < 40) or any("tokens limit" in line for line in frame)


def test_the_live_view_tells_of_prefixes_and_of_money_only_where_a_price_is_known() -> None:
    text = drawn(200, snapshot(prefixes=PREFIXES, input_price=2.5), no_color=True)
    assert (
        "prefixes: 40 groups known; 41 calls went ahead; 95% of those that followed found theirs; "
        "held for 1 min 01 s in all 7.6M tokens read of 8M expected, 164k written; "
        "76% of the input's price saved, $17.00"
    ) in " ".join(text.split())
    assert "$" not in drawn(200, snapshot(prefixes=PREFIXES), no_color=True)
    slow = replace(PREFIXES, lapsed=3)
    assert "41 calls went ahead, 3 of them too slow to wait for; 95%" in described(slow, None)[0]
    unknown = replace(PREFIXES, prompts=0, saved=0.0)
    assert "saved" not in drawn(200, snapshot(prefixes=unknown, input_price=2.5), no_color=True)
    dearer = replace(PREFIXES, saved=-41_000.0)
    assert (
        "0.5% more paid for the input, $0.10: its writes were not read" in described(dearer, 2.5)[1]
    )
    now = snapshot(prefixes=PREFIXES, input_price=2.5)
    assert "95% of prefixes found" in progress_line(now)
    told = progress_event(now)["prefixes"]
    assert (told["hits"], told["saved_tokens"], told["saved_usd"]) == (0.95, 6_799_000, 16.9975)
    assert progress_event(snapshot())["prefixes"] is None


def test_the_prefixes_of_several_runs_are_added_up() -> None:
    told = [as_json(PREFIXES, 2.5), as_json(PREFIXES, 2.5)]
    assert of_runs(told) == (
        "prefixes: 82 calls went ahead; 15.2M tokens read of 16M expected, 328k written; "
        "held for 2 min 02 s; 76% of the input's price saved, $33.99"
    )
    unknown = as_json(replace(PREFIXES, prompts=0, saved=0.0), 2.5)
    assert "saved" not in of_runs([unknown])


def test_a_stop_is_told_to_its_last_word() -> None:
    reason = "every call would fail: " + " ".join(f"word{i}" for i in range(60))
    text = drawn(60, snapshot(stopping=reason), no_color=True, color_system=None)
    assert " ".join(text.split()).endswith(f"{reason}; waiting for the calls in flight")


def test_a_cut_line_ends_in_an_ellipsis() -> None:
    text = drawn(40, snapshot(), no_color=True, color_system=None)
    assert "…" in text.splitlines()[0]


def test_more_than_the_limit_is_a_burst_and_no_percentage() -> None:
    assert Meter("tokens", 13.31, 1.0, ()).share == "burst"
    assert Meter("tokens", 1.01, 1.0, ()).share == "100%"
    now = snapshot(meters=(Meter("tokens", 160_000.0, 12_000.0, ()),), margin=2.0, refusals=1.5)
    text = drawn(120, now, no_color=True, color_system=None)
    assert "9.6M of 720k/min burst" in text
    assert "2.0 s of each rate" in text
    assert "refused 9 (2.0%) 90/min" in text


def test_the_live_view_tells_counts_rates_and_limits() -> None:
    text = drawn(120, snapshot(), no_color=True, color_system=None)
    for part in ("400,003/1,000,000 40%", "714k of 720k/min 99%", "2,460 of 4,998/min 49%",
                 "in flight 123/1,024", "refused 9 (2.0%)", "failed 2", "bad lines 1",
                 "held back by: tokens", "1 min 15 s left"):  # fmt: skip
        assert part in text
    for line in (
        f"tokens limit       720k/min, 720k at once; {SAID}",
        "requests limit     4,998/min, 0 at once; given 6,000/min; refusals show it; 91% sure",
        "input tokens limit 60M/min, 1M at once; as given",
        "margin             12 ms of each rate are kept in reserve",
    ):
        assert line in text
    assert "█" in text
    assert "cooldown: 3.0 s" in drawn(80, snapshot(cooldown=3.0))


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (
            ShareStats("shm:openai", 3, 0.414, 90, 2),
            "3 members; 41% of all that was used; 12.0 s waited for the others",
        ),
        (
            ShareStats("shm:openai", 1, 1.0, 9, 0, reachable=False, outages=2),
            "1 member; 100% of all that was used; 12.0 s waited for the others; 2 outages; "
            "no answer now",
        ),
    ],
)
def test_the_live_view_tells_of_the_share(share: ShareStats, said: str) -> None:
    now = snapshot(share=share, waited_for_share=12.0)
    text = drawn(140, now, no_color=True, color_system=None)
    assert f"share              shm:openai: {said}\n" in re.sub(" +\n", "\n", text)


@pytest.mark.parametrize(("given", "said"), [(1024, "; given 1,024"), (None, "")])
def test_learned_concurrency_is_told(given: int | None, said: str) -> None:
    why = "a call was refused with 201 in flight"
    now = snapshot(concurrency=given, learned=LearnedConcurrency(200, why, 0.5))
    text = drawn(120, now, no_color=True, color_system=None)
    assert f"concurrency        200 calls at a time{said}; {why}; 50% sure" in text
    assert "in flight 123/200" in text
    assert "123 of 200 in flight" in progress_line(now)


def test_without_color_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", drawn(80, snapshot()))
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert re.search(r"\x1b\[[0-9;]*3[0-9]", drawn(80, snapshot()))


def test_a_line_says_it_all() -> None:
    assert progress_line(snapshot()) == (
        "400,003 of 1,000,000 done (40%), 3 of them failed, "
        "714k of 720k tokens/min (99%), 2,460 of 4,998 requests/min (49%), "
        "123 in flight, 9 refused (0/min), margin 12 ms, held back by tokens, 1 min 15 s left"
    )


def test_a_file_that_is_no_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(choose(quiet=False, plain=False, title=""), LogLines)
    assert isinstance(choose(quiet=True, plain=False, title=""), Quiet)


def test_the_first_calls_are_no_rate_of_millions_a_minute(tmp_path: Path) -> None:
    seen: list[Snapshot] = []

    async def watch(runner: Runner) -> None:
        loop = asyncio.get_running_loop()
        monitor = Monitor(loop.time())
        for _ in range(3):
            seen.append(monitor.look(
                loop.time(), runner.counts, runner.scheduler.stats(), total=4,
                in_flight=runner.in_flight, concurrency=None, stopping=None,
            ))  # fmt: skip
            await asyncio.sleep(0.001)

    go(make(tmp_path / "o", Scripted(seconds=1.0)), [plain()] * 4, watch)
    rates = [meter.rate for now in seen for meter in now.meters if meter.name == "requests"]
    assert 0.0 < max(rates) <= 4.0


def test_the_monitor_tells_rates_and_what_holds_back(tmp_path: Path) -> None:
    seen: list[Snapshot] = []

    async def watch(runner: Runner) -> None:
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
    requests = next(meter for meter in steady.meters if meter.name == "requests")
    assert requests.rate == pytest.approx(4.0, rel=0.1)
    assert requests.limit == 4.0
    assert requests.history[-3:] == pytest.approx([4.0] * 3, abs=1.1)
    assert steady.held_back_by == "requests"
    assert steady.left == pytest.approx(100 / 4 - 12, abs=1.0)
    cooling = at[20.0]
    assert cooling.cooldown > 0
    assert cooling.learned is None
    assert cooling.held_back_by in ("a cooldown", "requests")
    assert at[23.0].held_back_by == "a cooldown"


def test_a_paused_run_says_so(tmp_path: Path) -> None:
    """A pause closes the slots, so the core holds it for a lack of them."""

    async def watch(runner: Runner) -> None:
        loop = asyncio.get_running_loop()
        monitor = Monitor(loop.time())
        runner.scheduler.pause()
        await asyncio.sleep(5.0)
        now = monitor.look(
            loop.time(), runner.counts, runner.scheduler.stats(), total=9,
            in_flight=0, concurrency=None, stopping=None, paused=runner.scheduler.is_paused,
        )  # fmt: skip
        assert (now.held_back_by, now.left) == ("a pause", None)
        runner.scheduler.resume()

    go(make(tmp_path / "o", Scripted(seconds=1.0)), [plain()] * 9, watch)


def looked_at(runner: Runner, seen: list[Snapshot], every: float, total: int) -> Any:
    async def watch(runner: Runner) -> None:
        loop = asyncio.get_running_loop()
        monitor = Monitor(loop.time())
        while runner.counts.finished < total:
            await asyncio.sleep(every)
            snap = monitor.look(
                loop.time(), runner.counts, runner.scheduler.stats(), total=total,
                in_flight=runner.in_flight, concurrency=None, stopping=None,
            )  # fmt: skip
            seen.append(snap)

    return watch


def test_the_time_left_follows_from_the_limit_and_not_from_the_first_burst(tmp_path: Path) -> None:
    """1,200 calls at 600 a minute with a full bucket: 600 at once, and the rest in a minute."""
    seen: list[Snapshot] = []
    limits = [Limit("requests", 600, 60.0, 600)]
    runner = make(tmp_path / "o", Scripted(seconds=0.2), limits=limits)
    took = go(runner, [plain()] * 1200, looked_at(runner, seen, 1.0, 1200))
    assert took == pytest.approx(60, abs=1)
    told = [now for now in seen if now.left is not None and now.left > 0]
    assert len(told) > 50
    for now in told:
        assert now.elapsed + (now.left or 0) == pytest.approx(took, abs=2), now.elapsed


def test_the_time_left_is_not_less_than_a_cooldown(tmp_path: Path) -> None:
    def script(request: Any, attempt: int) -> Any:
        return answered(429, {}, retry_after="60") if request.line == attempt == 1 else answered()

    seen: list[Snapshot] = []
    runner = make(tmp_path / "o", Scripted(script, seconds=0.1))
    took = go(runner, [plain()] * 4, looked_at(runner, seen, 1.0, 4))
    told = [now for now in seen if now.left]
    assert len(told) > 50
    for now in told:
        assert now.elapsed + (now.left or 0) == pytest.approx(took, abs=2), now.elapsed


def test_the_time_left_follows_from_the_slots_where_they_are_what_binds(tmp_path: Path) -> None:
    seen: list[Snapshot] = []
    runner = make(tmp_path / "o", Scripted(seconds=10.0), concurrency=4)
    runner.scheduler.max_concurrency = 4

    async def watch(runner: Runner) -> None:
        loop = asyncio.get_running_loop()
        monitor = Monitor(loop.time())
        await asyncio.sleep(2.5)  # not in the turns in which calls end, before their lines stand
        while runner.counts.finished < 80:
            await asyncio.sleep(5.0)
            seen.append(monitor.look(
                loop.time(), runner.counts, runner.scheduler.stats(), total=80,
                in_flight=runner.in_flight, concurrency=4, stopping=None,
            ))  # fmt: skip

    took = go(runner, [plain()] * 80, watch)
    for now in seen:
        if now.left:
            # Four calls end at once, which a pace over a minute cannot tell from more.
            assert now.elapsed + now.left == pytest.approx(took, rel=0.1), now.elapsed


def test_rates_count_what_passed_and_not_what_was_refused(tmp_path: Path) -> None:
    """A provider that lets a call pass each second, and refuses nine."""
    last = [0.0]

    def script(request: Any, attempt: int) -> Any:
        now = asyncio.get_running_loop().time()
        if now - last[0] < 0.999:
            return answered(429, {}, retry_after="0.5")
        last[0] = now
        return answered()

    seen: list[Snapshot] = []
    runner = make(tmp_path / "o", Scripted(script, 0.05), limits=[Limit("requests", 10, 1.0, 10)])
    go(runner, [plain()] * 60, looked_at(runner, seen, 0.5, 60))
    steady = [now for now in seen if 15 < now.elapsed < 45]
    rates = [meter.rate for now in steady for meter in now.meters if meter.name == "requests"]
    assert sum(rates) / len(rates) == pytest.approx(1.0, abs=0.15)
    assert sum(now.refusals for now in steady) / len(steady) > 0.5
    bars = [value for meter in steady[-1].meters for value in meter.history[15:]]
    assert sum(bars) / len(bars) < 20  # tokens: 8 a call


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

    try:
        master, slave = pty.openpty()
    except OSError as error:
        pytest.skip(f"there is no pseudo-terminal to be had: {error}")
    server = Server(tmp_path / "server.log", 0.0)
    path = write(tmp_path / "in.jsonl", [plain(f"t{i}") for i in range(30)])
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
        "from xtremeflow.run.views.view import choose, LogLines\n"
        "sys.stderr.isatty = lambda: True\n"
        "import os; os.environ['TERM'] = 'xterm'\n"
        "assert isinstance(choose(quiet=False, plain=False, title=''), LogLines)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
