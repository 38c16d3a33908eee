"""`run` through the native client against `serve`, every profile of it."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from kit.runs import batches_of, by_line, plain, results_in
from test_command import environment, run, start, until, write

from xtremeflow.learning.costs.estimates import Estimator
from xtremeflow.providers import PROVIDERS
from xtremeflow.run.job.budget import Budget
from xtremeflow.run.job.policy import Policy
from xtremeflow.run.job.runner import Runner
from xtremeflow.run.output.results import Results
from xtremeflow.scheduler import TaskScheduler

pytest.importorskip("uvicorn")
pytest.importorskip("httptools")

from xtremeflow.run.wire.http import HTTPTransport
from xtremeflow.serve.faults import Fault
from xtremeflow.serve.server import SimulatedServer
from xtremeflow.serve.settings import Settings
from xtremeflow.testing import LatencyModel

SPEED = 30.0  # a minute in two seconds
MODELS = {"anthropic": "claude-haiku-5"}


@asynccontextmanager
async def serving(**settings: Any) -> AsyncGenerator[SimulatedServer, None]:
    settings.setdefault("latency", LatencyModel().faster(SPEED))
    settings.setdefault("speed", SPEED)
    async with SimulatedServer(Settings(**settings), host="127.0.0.1", port=0) as server:
        yield server


async def send(
    server: SimulatedServer,
    path: Path,
    lines: list[Any],
    amounts: Mapping[str, float],
    *,
    provider: str = "openai",
    concurrency: int | None = 256,
) -> Runner:
    """Runs the lines with limits of so much per simulated minute."""
    preset = PROVIDERS[provider]
    minute = 60.0 / SPEED
    limits = preset.limits({name: amount * SPEED for name, amount in amounts.items()}, None)
    limits = [
        type(limit)(limit.name, limit.amount, limit.per, (limit.capacity or 0.0) * minute / 60.0)
        for limit in limits
    ]
    transport = HTTPTransport(
        server.base_url, {**preset.headers, "Authorization": "Bearer x", "x-api-key": "x"},
        timeout=60.0, connections=256,
    )  # fmt: skip
    results = Results(path)
    runner = Runner(
        transport, TaskScheduler(concurrency, limits=limits), results, preset,
        estimator=Estimator(), policy=Policy(), budget=Budget(),
    )  # fmt: skip
    try:
        await runner.run(batches_of(lines))
    finally:
        await transport.aclose()
        results.close()
    return runner


@pytest.mark.parametrize(
    ("name", "amounts"),
    [
        ("openai", {"rpm": 600, "tpm": 6_000}),
        ("azure", {"rpm": 600, "tpm": 12_000}),
        ("anthropic", {"rpm": 1_200, "itpm": 10_000, "otpm": 6_000}),
        ("gemini", {"rpm": 300, "itpm": 100_000}),
        ("mistral", {"rpm": 300, "tpm": 100_000}),
        ("groq", {"rpm": 600, "tpm": 12_000}),
        ("deepseek", {"concurrency": 16}),
        ("vllm", {"concurrency": 16}),
    ],
)
def test_every_profile_answers_every_line(
    tmp_path: Path, name: str, amounts: dict[str, int]
) -> None:
    model = MODELS.get(name, "gpt-5-mini")
    lines = [plain(f"word {i} " * 8, model=model, max_tokens=40) for i in range(200)]

    async def main() -> dict[str, Any]:
        async with serving(profile=name, limits=amounts) as server:
            rates = {k: float(v) for k, v in amounts.items() if k != "concurrency"}
            concurrency = amounts.get("concurrency", 256)
            runner = await send(
                server, tmp_path / "o", lines, rates, provider=name, concurrency=concurrency
            )
            assert runner.stopped is None
            assert runner.counts.succeeded == 200
            return dict(server.stats())

    seen = asyncio.run(main())
    assert sorted(by_line(results_in(tmp_path / "o"))) == list(range(1, 201))
    assert seen["succeeded"] == 200
    # Real time on a busy machine: in quiet it is none at all.
    assert seen["refused"] <= 200


def test_it_uses_all_of_the_limit(tmp_path: Path) -> None:
    """A full minute's bucket, and then its rate: near the least time that is possible."""
    lines = [plain(f"word {i} " * 8, model="gpt-5-mini", max_tokens=100) for i in range(1000)]

    async def main() -> float:
        async with serving(profile="openai", limits={"rpm": None, "tpm": 25_000}) as server:
            began = time.monotonic()
            await send(server, tmp_path / "o", lines, {"tpm": 25_000})
            assert server.stats()["refused"] <= 200
            return time.monotonic() - began

    took = asyncio.run(main())
    ideal = (1000 * 100 - 25_000) / (25_000 / 2.0)  # 6 s
    assert ideal * 0.98 <= took <= ideal * 4  # a wide bound, for busy machines


def test_limits_that_are_too_high_lose_nothing(tmp_path: Path) -> None:
    lines = [plain(f"word {i}", model="gpt-5-mini", max_tokens=50) for i in range(200)]

    async def main() -> None:
        async with serving(profile="openai", limits={"rpm": 100, "tpm": None}) as server:
            runner = await send(server, tmp_path / "o", lines, {"rpm": 300})
            assert runner.counts.succeeded == 200
            assert runner.counts.failed == 0
            assert server.stats()["early"] <= server.stats()["attempts"] * 0.1

    asyncio.run(main())


def test_faults_are_waited_out(tmp_path: Path) -> None:
    lines = [plain(f"word {i}", model="gpt-5-mini", max_tokens=20) for i in range(150)]
    faults = [Fault("500", 0.06), Fault("503", 0.03), Fault("cut", 0.03)]

    async def main() -> None:
        async with serving(
            profile="openai", limits={"rpm": None, "tpm": None}, faults=faults
        ) as server:
            runner = await send(server, tmp_path / "o", lines, {}, concurrency=32)
            assert runner.stopped is None
            assert runner.counts.succeeded == 150
            assert runner.counts.attempts > 150

    asyncio.run(main())


def test_spent_credit_stops_the_run(tmp_path: Path) -> None:
    lines = [plain(f"word {i}", model="gpt-5-mini", max_tokens=50) for i in range(300)]

    async def main() -> None:
        limits = {"rpm": None, "tpm": None}
        async with serving(profile="openai", limits=limits, credit=2_000) as server:
            runner = await send(server, tmp_path / "o", lines, {}, concurrency=4)
            assert runner.stopped is not None
            assert "waiting is no use" in runner.stopped
            assert 0 < runner.counts.succeeded < 300
            assert runner.counts.failed <= 4

    asyncio.run(main())


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Serve:
    """`xtremeflow serve` as a process, on a port that stays when it is started again."""

    def __init__(self, *arguments: str) -> None:
        self.port = free_port()
        self._command = [
            sys.executable, "-m", "xtremeflow", "serve", "--port", str(self.port), *arguments
        ]  # fmt: skip
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(self._answers)

    def _answers(self) -> bool:
        try:
            self.stats()
        except OSError:
            return False
        return True

    def stats(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/admin/stats") as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def stop(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()


def test_a_server_that_is_started_again_in_mid_job(tmp_path: Path) -> None:
    serve = Serve("--rpm", "none", "--tpm", "none", "--instant")
    out = tmp_path / "o.jsonl"
    try:
        path = write(tmp_path / "in.jsonl", [plain(f"w{i}", model="gpt-5") for i in range(600)])
        url = f"http://127.0.0.1:{serve.port}/v1"
        process = start(path, "-o", out, "--base-url", url, "--rpm", 6000, "--concurrency", 50)
        until(lambda: serve.stats()["succeeded"] > 100)
        serve.stop()
        time.sleep(1.5)
        serve.start()
        _, said = process.communicate(timeout=90)
        assert process.returncode == 0, said
        assert sorted(by_line(results_in(out))) == list(range(1, 601))
    finally:
        serve.stop()


@pytest.mark.parametrize("profile", ["openai", "anthropic"])
def test_the_command_with_a_preset(tmp_path: Path, profile: str) -> None:
    serve = Serve("--profile", profile, "--speed", "60")
    try:
        model = MODELS.get(profile, "gpt-5-mini")
        lines = [plain(f"word {i}", model=model, max_tokens=50) for i in range(100)]
        path = write(tmp_path / "in.jsonl", lines)
        base = f"http://127.0.0.1:{serve.port}" + ("/v1" if profile == "openai" else "")
        picture = tmp_path / "run.png"
        done = run(
            path, "-o", tmp_path / "o.jsonl", "--provider", profile, "--base-url", base,
            "--json", "--plot", picture, env=environment(OPENAI_API_KEY="x", ANTHROPIC_API_KEY="y"),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        summary = json.loads(done.stdout)
        assert summary["succeeded"] == 100
        assert summary["refused"] == 0
        assert summary["learned"][model]["output_tokens"] > 0
        assert picture.exists()
    finally:
        serve.stop()


def test_going_on_at_once_asks_for_no_burst_that_is_not_there(tmp_path: Path) -> None:
    """The bucket of 10 s is used up by the first run; the second begins at the limit's rate."""
    serve = Serve("--rpm", "600", "--tpm", "none", "--speed", "6", "--instant")
    try:
        lines = [plain(f"word {i}", model="gpt-5-mini", max_tokens=50) for i in range(900)]
        path = write(tmp_path / "in.jsonl", lines)
        arguments = (
            path, "-o", tmp_path / "o.jsonl", "--base-url", f"http://127.0.0.1:{serve.port}/v1",
            "--rpm", 3540, "--burst", "9.5", "--adapt", "no", "--json", "--quiet",
        )  # fmt: skip
        first = json.loads(run(*arguments, "--max-requests", 700).stdout)
        second = json.loads(run(*arguments).stdout)
        assert first["succeeded"] == 700
        assert second["succeeded"] == 200
        assert second["refused"] <= 40
    finally:
        serve.stop()
