"""The job done by `xtremeflow run`, in a process of its own that shares this one's terminal."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from operator import itemgetter
from pathlib import Path

from xtremeflow.demo.outcome import Outcome, json_lines
from xtremeflow.demo.provider import watched
from xtremeflow.run.output.history import history_path
from xtremeflow.run.views.summary import DONE


class Stopped(Exception):
    """`xtremeflow run` stopped before its end. `status` is its exit status."""

    def __init__(self, status: int) -> None:
        super().__init__(f"xtremeflow run ended with status {status}")
        self.status = status


async def run_scheduled(options: list[str], results: Path, base_url: str) -> Outcome:
    """Runs `xtremeflow run` with `options`, which name the same `results`. Raises Stopped."""
    loop = asyncio.get_running_loop()
    # A Ctrl-C in the terminal reaches both processes. `run` handles it: calls in flight finish.
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    try:
        async with watched(base_url) as seen:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "xtremeflow", "run", *options),
                env={
                    **os.environ,
                    "OPENAI_API_KEY": "any",
                },  # the user's own key is not sent to the simulator
            )
            try:
                status = await process.wait()
            except BaseException:
                process.terminate()
                raise
    finally:
        loop.remove_signal_handler(signal.SIGINT)
    if status != DONE:
        raise Stopped(status if status > 0 else 128 - status)  # a signal killed it
    summary = json_lines(history_path(results))[-1]["summary"]
    calls = sorted((line["xtremeflow"] for line in json_lines(results)), key=itemgetter("line"))
    return Outcome(
        summary["seconds"],
        summary["lines"],
        [call["attempts"] - 1 for call in calls],
        [call["seconds"] for call in calls],
        seen,
    )
