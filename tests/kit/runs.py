"""Helpers for the runner's tests: a scripted transport, and a run on a virtual clock."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping
from pathlib import Path
from typing import Any

from xtremeflow import Limit
from xtremeflow.providers.provider import ANY
from xtremeflow.run.input.requests import RequestLine
from xtremeflow.run.job.runner import Runner
from xtremeflow.run.output.results import Results, errors_path
from xtremeflow.run.wire.transport import Reply
from xtremeflow.scheduler import TaskScheduler
from xtremeflow.testing import run

Answer = Reply | Exception


def plain(text: str = "hello", model: str = "m", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


def answered(status: int = 200, body: Any = None, **headers: str) -> Reply:
    if body is None:
        body = {"usage": {"prompt_tokens": 3, "completion_tokens": 5}, "choices": []}
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, headers, json.dumps(body).encode())


class Scripted:
    """Answers as `script` says, after `seconds`; notes when each attempt came."""

    def __init__(
        self, script: Callable[[RequestLine, int], Answer] | None = None, seconds: float = 1.0
    ) -> None:
        self.script = script or (lambda request, attempt: answered())
        self.seconds = seconds
        self.sent: list[tuple[float, int]] = []  # when, line
        self.in_flight = 0
        self.peak = 0

    async def send(self, request: RequestLine) -> Reply:
        self.sent.append((asyncio.get_running_loop().time(), request.line))
        attempt = sum(line == request.line for _, line in self.sent)
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.in_flight -= 1
        answer = self.script(request, attempt)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def aclose(self) -> None:
        pass

    @property
    def lines(self) -> list[int]:
        return [line for _, line in self.sent]


async def batches_of(lines: Iterable[Any]) -> AsyncGenerator[list[bytes], None]:
    for line in lines:
        yield [line if isinstance(line, bytes) else json.dumps(line).encode()]


def make(
    path: Path,
    transport: Any,
    limits: Iterable[Limit] = (),
    concurrency: int | None = None,
    **options: Any,
) -> Runner:
    options.setdefault("provider", ANY)
    scheduler = TaskScheduler(concurrency, limits=limits)
    return Runner(transport, scheduler, Results(path), **options)


def go(
    runner: Runner,
    lines: Iterable[Any],
    beside: Callable[[Runner], Coroutine[Any, Any, None]] | None = None,
) -> float:
    """Runs it to its end on a virtual clock; returns how many seconds that took."""

    async def main() -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        other = asyncio.create_task(beside(runner)) if beside else None
        try:
            await runner.run(batches_of(lines))
            return loop.time() - began
        finally:
            if other is not None:
                await other
            runner.results.close()

    return run(main())


def results_in(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def errors_in(path: Path) -> list[dict[str, Any]]:
    return results_in(errors_path(path))


def by_line(records: Iterable[Mapping[str, Any]]) -> dict[int, Mapping[str, Any]]:
    found: dict[int, Mapping[str, Any]] = {}
    for record in records:
        line = record["xtremeflow"]["line"]
        assert line not in found, f"line {line} is there twice"
        found[line] = record
    return found
