"""The examples of workers that keep one limit together, as they stand, in the real packages.

Real time: the tests assert totals and wide bounds.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from kit.frameworks import need
from kit.redis_servers import Server, binaries, free_port
from kit.shares import share_name
from kit.strict import overdrawn

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples" / "workers"
RATE = 100  # of all examples
# The calls that came too soon: 0 on a machine that has nothing else to do.
FEW = 12


@contextmanager
def running(*command: str, **variables: str) -> Iterator[None]:
    """A command of Python's, while the block runs."""
    process = subprocess.Popen([sys.executable, "-m", *command], env=os.environ | variables)
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)


def test_all_examples_are_run() -> None:
    found = {path.name for path in EXAMPLES.glob("*.py")}
    assert found == {"asgi_app.py", "celery_app.py", "dask_tasks.py", "ray_tasks.py"}


COMMANDS = {
    "uvicorn": ("uvicorn", "--app-dir", str(EXAMPLES), "--log-level", "warning"),
    "gunicorn": ("gunicorn", "--chdir", str(EXAMPLES), "--worker-class", "asgi"),
}


@pytest.mark.parametrize("server", COMMANDS)
def test_workers_of_a_web_server(server: str) -> None:
    need(server)
    port = free_port()
    bind = ("--port", str(port)) if server == "uvicorn" else ("--bind", f"127.0.0.1:{port}")
    with share_name() as share:
        command = (*COMMANDS[server], *bind, "--workers", "2", "asgi_app:app")
        with running(*command, SHARE=share):
            answers = asyncio.run(asked(f"http://127.0.0.1:{port}/", 100))
    assert len({worker for worker, _ in answers}) == 2
    assert overdrawn(sorted(float(sent) for _, sent in answers), RATE) <= FEW


async def asked(url: str, requests: int) -> list[list[str]]:
    """The answers: the workers and their times. Waits until both workers answer."""
    limits = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(limits=limits, timeout=60) as client:

        async def ask() -> list[str]:
            return (await client.get(url)).text.split()

        workers: set[str] = set()
        give_up = time.monotonic() + 60
        while len(workers) < 2:
            assert time.monotonic() < give_up, "the workers do not answer"
            answers = await asyncio.gather(*(ask() for _ in range(4)), return_exceptions=True)
            workers |= {answer[0] for answer in answers if isinstance(answer, list)}
            await asyncio.sleep(0.05)
        return await asyncio.gather(*(ask() for _ in range(requests)))


@pytest.mark.skipif(not binaries(), reason="no server is installed")
def test_processes_of_celery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("celery")
    with Server(tmp_path) as server:
        monkeypatch.setenv("BROKER", server.url)
        monkeypatch.syspath_prepend(EXAMPLES)
        from celery_app import ask

        command = ("celery", "--workdir", str(EXAMPLES), "--app", "celery_app", "worker")
        with running(*command, "--concurrency", "2", "--loglevel", "ERROR"):
            results = [ask.delay(["Question"] * 25) for _ in range(4)]
            times = sorted(at for result in results for at in result.get(timeout=60))
    assert len(times) == 100
    assert overdrawn(times, RATE) <= FEW


@pytest.mark.parametrize("package", ["distributed", "ray"])
def test_tasks_of(package: str) -> None:
    need(package)
    name = {"distributed": "dask_tasks.py", "ray": "ray_tasks.py"}[package]
    with share_name() as share:
        ran = subprocess.run(
            [sys.executable, EXAMPLES / name],
            env=os.environ | {"SHARE": share}, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    last = ran.stdout.splitlines()[-1]
    found = re.fullmatch(r"200 calls in \d+\.\d s, at the most (\d+) in half a second", last)
    assert found, last
    assert int(found[1]) <= 0.5 * RATE + 0.125 * RATE + 1 + FEW
