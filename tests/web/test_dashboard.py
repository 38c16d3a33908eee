"""The dashboard without a browser: samples, controls, the server's rules, the commands."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from xtremeflow import Limit, TaskScheduler
from xtremeflow.cli import main
from xtremeflow.cli.address import Address
from xtremeflow.serve import Settings
from xtremeflow.serve.server import SimulatedServer
from xtremeflow.testing import LatencyModel, run
from xtremeflow.web.control import ControlError, Controls
from xtremeflow.web.dashboard import serve_dashboard
from xtremeflow.web.feed import KEPT, Feed
from xtremeflow.web.sample import sample
from xtremeflow.web.server import PageError, Server


def limited() -> TaskScheduler:
    limits = [Limit("tokens", 600, 60, capacity=60), Limit("tokens", 8640, 86400, capacity=8640)]
    return TaskScheduler(4, limits=limits)


# ---- pause ----


def test_a_paused_scheduler_admits_nothing_and_then_goes_on() -> None:
    async def main() -> None:
        scheduler = TaskScheduler(2)
        loop = asyncio.get_running_loop()
        began = loop.time()
        first = scheduler.submit(asyncio.sleep(1))
        await asyncio.sleep(0.5)
        scheduler.pause()
        assert scheduler.is_paused
        second = scheduler.submit(asyncio.sleep(1))
        await asyncio.sleep(9.5)
        assert first.done()  # what is in flight goes on
        assert scheduler.waiting == 1
        scheduler.resume()
        assert not scheduler.is_paused
        await second
        assert loop.time() - began == pytest.approx(11)

    run(main())


def test_learning_does_not_end_a_pause() -> None:
    async def main() -> None:
        scheduler = TaskScheduler(adapt=True)
        scheduler.pause()
        scheduler._ramp(5)
        task = scheduler.submit(asyncio.sleep(0))
        await asyncio.sleep(1)
        assert not task.done()
        scheduler.resume()
        await task

    run(main())


# ---- samples ----


def test_a_sample_is_json_and_has_the_causes_and_the_limits() -> None:
    async def main() -> None:
        scheduler = limited()
        tasks = [scheduler.submit(asyncio.sleep(1), 20) for _ in range(6)]
        await asyncio.sleep(0.5)
        told = json.loads(json.dumps(sample(scheduler), allow_nan=False))
        assert (told["in_flight"], told["waiting"], told["slots"]) == (3, 3, 4)
        assert [limit["name"] for limit in told["limits"]] == ["tokens", "tokens#2"]
        assert told["configured"][1] == {"name": "tokens", "amount": 8640, "per": 86400}
        assert sum(told["held"].values()) == pytest.approx(0.5)
        await asyncio.gather(*tasks)

    run(main())


def test_a_learning_scheduler_and_a_member_of_a_share_have_samples(tmp_path: Path) -> None:
    for scheduler in (
        TaskScheduler(adapt=True),
        TaskScheduler(2, limits=[Limit("requests", 1)], share=f"file:{tmp_path}/share"),
    ):
        json.dumps(sample(scheduler), allow_nan=False)


def test_the_feed_keeps_the_last_minutes_and_misses_nothing_for_a_quick_reader() -> None:
    async def main() -> None:
        numbers = iter(range(10_000))
        feed = Feed(lambda: {"n": next(numbers)}, interval=1.0)
        for _ in range(KEPT + 10):
            feed.take()
        read = feed.samples()
        kept = [json.loads(each)["n"] for each in await anext(read)]
        assert kept == list(range(10, KEPT + 10))
        running = asyncio.create_task(feed.run())
        assert [json.loads(each)["n"] for each in await anext(read)] == [KEPT + 10]
        assert [json.loads(each)["n"] for each in await anext(read)] == [KEPT + 11]
        running.cancel()
        feed.end()
        assert [json.loads(each)["n"] async for part in read for each in part] == [KEPT + 12]

    run(main())


# ---- controls ----


def test_controls_change_a_running_scheduler() -> None:
    scheduler = limited()
    drained = []
    controls = Controls({"default": scheduler}, lambda: drained.append(1))
    assert controls.do({"action": "concurrency", "calls": 9}) == "calls at a time: 9"
    assert scheduler.max_concurrency == 9
    assert controls.do({"action": "concurrency", "calls": None}) == "calls at a time: no limit"
    assert scheduler.max_concurrency is None
    said = controls.do({"action": "limit", "name": "tokens", "per": 60, "amount": 1200})
    assert said == "tokens: 1,200 in 60 s"
    assert scheduler.limits[0] == Limit("tokens", 1200, 60, capacity=120)
    said = controls.do({"action": "limit", "name": "tokens", "per": 60, "amount": 2_000_000})
    assert said == "tokens: 2,000,000 in 60 s"
    controls.do({"action": "pause", "scheduler": "default"})
    assert scheduler.is_paused
    controls.do({"action": "resume"})
    assert not scheduler.is_paused
    controls.do({"action": "drain"})
    assert drained == [1]


@pytest.mark.parametrize(
    ("order", "said"),
    [
        (None, "the action must be one of pause, resume, limit, concurrency, got None"),
        ({"action": "drain"}, "the action must be one of"),
        ({"action": "pause", "scheduler": "x"}, "the scheduler must be one of default, got 'x'"),
        ({"action": "pause", "scheduler": [1]}, "the scheduler must be one of"),
        ({"action": "concurrency", "calls": 0}, "calls must be from 1 to 1,000,000, or null"),
        ({"action": "concurrency", "calls": True}, "calls must be from 1"),
        ({"action": "concurrency", "calls": "9"}, "calls must be from 1"),
        ({"action": "limit", "name": "tokens", "amount": 5}, "the limit must be one of: tokens"),
        ({"action": "limit", "name": "x", "amount": 5}, "the limit must be one of: tokens per 60"),
        ({"action": "limit", "name": "tokens", "per": 60, "amount": 0}, "amount must be a number"),
        ({"action": "limit", "name": "tokens", "per": 60, "amount": True}, "amount must be a n"),
        ({"action": "limit", "name": "tokens", "per": 60}, "amount must be a number above 0, or n"),
        ({"action": "limit", "name": "tokens", "per": "x", "amount": 1}, "per must be a number"),
        ({"action": "limit", "name": "tokens", "per": 60, "amount": 1e300}, ""),
        ({"action": "limit", "name": "tokens", "per": 60, "amount": 10**400}, ""),
    ],
)
def test_an_order_that_makes_no_sense_is_refused_and_changes_nothing(order: Any, said: str) -> None:
    scheduler = limited()
    before = scheduler.limits, scheduler.max_concurrency
    with pytest.raises(ControlError, match=re.escape(said) or None):
        Controls({"default": scheduler}).do(order)
    assert (scheduler.limits, scheduler.max_concurrency, scheduler.is_paused) == (*before, False)


def test_controls_bound_a_limit_that_is_learned_and_have_it_learned_again() -> None:
    scheduler = TaskScheduler(adapt=True)
    controls = Controls({"default": scheduler})
    order = {"action": "limit", "name": "requests"}
    assert controls.do({**order, "amount": 300}) == "requests: 300 in 60 s"
    assert controls.do({**order, "amount": 5000, "per": 86400}) == "requests: 5,000 in 86400 s"
    assert scheduler.limits == (
        Limit("requests", 300, 60, capacity=0), Limit("requests", 5000, 86400, capacity=0)
    )  # fmt: skip
    told = sample(scheduler)
    assert [limit["bound"] for limit in told["limits"]] == [5, pytest.approx(5000 / 86400)]
    assert {"name": "tokens", "per": 60.0} in told["learnable"]
    assert "requests" not in [limit["name"] for limit in told["learnable"]]
    with pytest.raises(ControlError, match=r"must be one of: requests per 60 s, .* per 60 s"):
        controls.do({**order, "amount": 300})  # which of the two?
    assert controls.do({**order, "amount": None, "per": 60}) == "requests in 60 s: learned"
    assert controls.do({**order, "amount": None}) == "requests in 86400 s: learned"
    assert scheduler.limits == ()
    with pytest.raises(ControlError, match="the limit must be one of: requests per 60 s, tokens"):
        controls.do({**order, "name": "images", "amount": 5})


def test_a_limit_of_a_scheduler_that_learns_nothing_has_no_way_back() -> None:
    order = {"action": "limit", "name": "tokens", "per": 60, "amount": None}
    with pytest.raises(ControlError, match="limits are learned with adapt="):
        Controls({"default": limited()}).do(order)


# ---- the server ----


class Page:
    """A dashboard that runs, asked from threads."""

    def __init__(self, server: Server) -> None:
        self.address = re.sub(r"^http://|/.*$", "", server.url)
        self.token = server.token

    def ask(
        self, path: str, method: str = "GET", body: Any = None, **headers: str
    ) -> tuple[int, Any]:
        connection = http.client.HTTPConnection(self.address, timeout=10)
        try:
            data = None if body is None else json.dumps(body)
            given = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, data, given)
            answer = connection.getresponse()
            text = answer.read()
            is_json = answer.headers["content-type"] == "application/json"
            return answer.status, json.loads(text) if is_json else text
        finally:
            connection.close()


def served(test: Any, **options: Any) -> None:
    """Runs `test(page, scheduler)` in a thread while the page is served."""

    async def main() -> None:
        scheduler = limited()
        async with serve_dashboard(scheduler, **options) as server:
            await asyncio.to_thread(test, Page(server), scheduler)

    asyncio.run(main())


def test_the_page_and_all_that_it_loads_are_served() -> None:
    def test(page: Page, scheduler: TaskScheduler) -> None:
        status, html = page.ask("/")
        assert status == 200
        paths = re.findall(r'(?:src|href)="(/[^"]+)"', html.decode())
        assert paths == ["/app.css", "/app.js"]
        script = page.ask("/app.js")[1].decode()
        for path in [*paths, *re.findall(r'query\("(/[\w.]+)"\)', script)]:
            if path not in ("/events", "/control"):
                assert page.ask(path)[0] == 200
        assert "http://" not in script.replace("http://www.w3.org", "")
        assert "https://" not in script + html.decode()

    served(test)


def test_the_state_and_a_control_over_http() -> None:
    def test(page: Page, scheduler: TaskScheduler) -> None:
        status, told = page.ask("/state")
        assert (status, told["run"]) == (200, None)
        assert told["schedulers"]["default"]["slots"] == 4
        order = {"action": "concurrency", "calls": 7}
        status, told = page.ask("/control", "POST", order, content_type="application/json")
        assert (status, told) == (200, {"done": "calls at a time: 7"})
        assert scheduler.max_concurrency == 7

    served(test)


@pytest.mark.parametrize(
    ("path", "method", "body", "headers", "status"),
    [
        ("/none", "GET", None, {}, 404),
        ("/control", "GET", None, {}, 405),
        ("/", "POST", {}, {}, 405),
        ("/control", "POST", {"action": "pause"}, {"content_type": "text/plain"}, 415),
        ("/control", "POST", {"action": "x"}, {"content_type": "application/json"}, 422),
        ("/state", "GET", None, {"host": "evil.example"}, 403),
        ("/control", "POST", {"action": "pause"},
         {"host": "evil.example:80", "content_type": "application/json"}, 403),
        ("/control", "POST", "x" * 20_000, {"content_type": "application/json"}, 400),
    ],
)  # fmt: skip
def test_a_refused_request_changes_nothing(
    path: str, method: str, body: Any, headers: dict[str, str], status: int
) -> None:
    def test(page: Page, scheduler: TaskScheduler) -> None:
        assert page.ask(path, method, body, **headers)[0] == status
        assert not scheduler.is_paused

    served(test)


def test_a_control_that_is_nested_too_deep_is_refused() -> None:
    def test(page: Page, scheduler: TaskScheduler) -> None:
        connection = http.client.HTTPConnection(page.address, timeout=10)
        body = "[" * 16_000
        connection.request("POST", "/control", body, {"content-type": "application/json"})
        assert connection.getresponse().status == 422
        connection.close()

    served(test)


def test_elsewhere_a_token_is_needed() -> None:
    def test(page: Page, scheduler: TaskScheduler) -> None:
        assert page.token is not None
        assert len(page.token) > 20
        port = page.address.rpartition(":")[2]
        page.address = f"127.0.0.1:{port}"
        assert page.ask("/state")[0] == 401
        assert page.ask("/")[0] == 401
        assert page.ask("/state?token=wrong")[0] == 401
        assert page.ask(f"/state?token={page.token}")[0] == 200
        assert page.ask("/state", authorization=f"Bearer {page.token}")[0] == 200
        assert page.ask("/events?token=x")[0] == 401
        assert page.ask("/control", "POST", {"action": "pause"},
                        content_type="application/json")[0] == 401  # fmt: skip
        assert not scheduler.is_paused

    served(test, host="0.0.0.0")


@pytest.mark.parametrize(
    "data",
    [b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/2\r\n\r\n", b"\x16\x03\x01\x00\r\n\r\n",
     b"GET / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n",
     b"GET //[ HTTP/1.1\r\nhost: localhost\r\n\r\n",
     b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
     b"POST / HTTP/1.1\r\ncontent-length: \xb2\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"x" * 70_000],
)  # fmt: skip
def test_bytes_that_are_no_request_get_a_400(data: bytes) -> None:
    async def main() -> None:
        async with serve_dashboard(limited()) as server:
            host, port = re.sub(r"^http://|/$", "", server.url).split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(data)
            assert (await reader.readline()).startswith(b"HTTP/1.1 400 ")
            writer.close()

    asyncio.run(main())


def test_the_events_begin_with_those_kept_and_end_with_the_page() -> None:
    async def main() -> None:
        scheduler = limited()
        async with serve_dashboard(scheduler) as server:
            host, port = re.sub(r"^http://|/$", "", server.url).split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"GET /events HTTP/1.1\r\nhost: localhost\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"content-type: text/event-stream" in head
            about = await reader.readuntil(b"\n\n")
            assert b'"actions": ["pause", "resume", "limit", "concurrency"]' in about
            event = (await reader.readuntil(b"\n\n")).decode()
            [told] = json.loads(event.removeprefix("data: "))
            assert told["schedulers"]["default"]["submitted"] == 0
        *samples, end, rest = (await asyncio.wait_for(reader.read(), 5)).split(b"\n\n")
        assert (end, rest) == (b"event: end\ndata: {}", b"")
        assert all(each.startswith(b"data: [{") for each in samples)
        assert len(samples) == 1
        writer.close()

    asyncio.run(main())


def test_a_scheduler_serves_its_dashboard() -> None:
    async def main() -> None:
        scheduler = limited()
        async with scheduler.serve_dashboard() as page:
            assert page.url.startswith("http://127.0.0.1:")
            assert page.token is None

    asyncio.run(main())
    with pytest.raises(ValueError, match="port must be from 0 to 65535, got 70000"):
        limited().serve_dashboard(port=70000)
    with pytest.raises(ValueError, match="host must be a name or an address, got ''"):
        limited().serve_dashboard(host="")


def test_without_plotly_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(PageError, match=r"pip install 'xtremeflow\[web\]'"):
        Server(Feed(dict), Controls({}), Address("127.0.0.1", 0))


# ---- xtremeflow run --web and xtremeflow ctl ----

SLOW = LatencyModel(round_trip=0.0, first_token=0.3, per_prompt_token=0.0, per_output_token=0.0)


@contextmanager
def running(tmp_path: Path, *limits: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A run that lasts until it is drained, and the address of its page."""
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}
    source = tmp_path / "in.jsonl"
    source.write_text((json.dumps(body) + "\n") * 20_000)
    with SimulatedServer(Settings(latency=SLOW, limits={"rpm": None, "tpm": None})) as server:
        command = [
            sys.executable, "-m", "xtremeflow", "run", str(source), "-o",
            str(tmp_path / "out.jsonl"), "--base-url", server.base_url, "--concurrency", "4",
            *(limits or ("--rpm", "60000", "--adapt", "no")), "--web", "0",
        ]  # fmt: skip
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            try:
                for line in process.stderr:
                    if found := re.search(r"page: http://([\w.:]+)/", line):
                        yield process, found[1]
                        break
                else:
                    pytest.fail("there is no page")
            finally:
                process.kill()


def state(where: str) -> Any:
    with urllib.request.urlopen(f"http://{where}/state") as answer:
        return json.load(answer)


def test_a_run_is_controlled_and_drained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(tmp_path) as (process, where):
        assert process.stderr is not None
        while state(where)["run"]["done"] < 4:
            pass
        assert main(["ctl", where, "concurrency", "9"]) == 0
        assert main(["ctl", where, "limit", "requests", "120k"]) == 0
        assert main(["ctl", where, "pause"]) == 0
        own = state(where)["schedulers"]["run"]
        assert (own["slots"], own["paused"]) == (9, True)
        assert own["configured"] == [{"name": "requests", "amount": 120_000, "per": 60}]
        while state(where)["schedulers"]["run"]["in_flight"]:
            pass
        done, left = (state(where)["run"][name] for name in ("done", "left"))
        assert left is None  # the pause has no known end
        assert main(["ctl", where, "status"]) == 0
        assert state(where)["run"]["done"] == done
        assert main(["ctl", where, "resume"]) == 0
        while state(where)["run"]["done"] < done + 4:
            pass
        assert main(["ctl", where, "limit", "nothing", "1"]) == 1
        assert main(["ctl", where, "drain"]) == 0
        rest = process.stderr.read()
        assert process.wait(30) == 3
    assert "Stopped: drained by a control" in rest
    assert (tmp_path / "out.jsonl").read_text().count("\n") >= done + 4
    said = capsys.readouterr()
    assert "paused" in said.out
    assert "the limit must be one of: requests per 60 s; got 'nothing'" in said.err


def test_ctl_bounds_a_limit_of_a_run_that_learns_its_limits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(tmp_path, "--adapt", "bounded") as (process, where):
        assert process.stderr is not None
        while state(where)["run"]["done"] < 4:
            pass
        assert main(["ctl", where, "limit", "requests", "300/h"]) == 0
        own = state(where)["schedulers"]["run"]
        assert own["configured"] == [{"name": "requests", "amount": 300, "per": 3600}]
        while state(where)["schedulers"]["run"]["in_flight"]:
            pass
        now = state(where)["schedulers"]["run"]
        assert now["waiting"] > 0
        assert now["admitted"] <= own["admitted"] + 3  # 12 s each
        assert main(["ctl", where, "limit", "requests", "learned/h"]) == 0
        while state(where)["schedulers"]["run"]["admitted"] < now["admitted"] + 20:
            pass
        assert state(where)["schedulers"]["run"]["configured"] == []
        assert main(["ctl", where, "drain"]) == 0
        process.stderr.read()
        assert process.wait(30) == 3
    assert "requests: 300 in 3600 s" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("1 pause now", "pause: takes no argument"),
        ("1 limit tokens 5/year", "limit: must be per one of s, min, h, day"),
        ("1 limit tokens learned/x", "limit: must be per one of s, min, h, day"),
        ("1 limit tokens", "limit: takes NAME AMOUNT"),
        ("1 limit tokens -5", "limit: must be a number above 0 such as 5000, 800k or 2M, got '-5'"),
        ("1 concurrency x", "concurrency: must be a number above 0"),
        ("1 stop", "argument action: invalid choice: 'stop'"),
        ("x pause", "argument [HOST:]PORT: must be a port"),
    ],
)
def test_wrong_arguments_of_ctl_are_refused_by_name_with_a_hint(
    arguments: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["ctl", *arguments.split()])
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert message in said
    assert "see xtremeflow ctl --help" in said


def test_ctl_asks_only_for_what_every_control_needs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["ctl"])
    said = capsys.readouterr().err
    assert "required: [HOST:]PORT, action" in said
    assert "VALUE" not in said


def test_ctl_with_nobody_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ctl", "1", "pause"]) == 1
    assert "127.0.0.1:1 does not answer" in capsys.readouterr().err
