"""`./dev bench threads`: what a second thread brings, on a CPython without the GIL.

Each thread has an event loop, and sends `--calls` calls through it, 1,000 at a time; each awaits
once (`asyncio.sleep(0)`). Calls per second are of all threads together, by the wall clock from the
moment at which all loops run; CPU is the process's own. The median of `--rounds` rounds, in which
the ways take turns. The machine has to be idle: where other programs run, a second thread brings a
larger share of it, or nothing.

- tasks: bare asyncio tasks. What the interpreter makes of a second thread, without us.
- a scheduler each: one TokenRateScheduler for each thread.
- one scheduler: one TokenRateScheduler for all threads, which meet at its lock.

A second thread is to bring 1.5 times as much through one scheduler. `--python` is an interpreter in
whose environment the package is installed, as `./dev check nogil` leaves it in .venv-nogil.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
NOGIL = ROOT / ".venv-nogil" / "bin" / "python"
TASKS, EACH, ONE = "tasks", "a scheduler each", "one scheduler"
THREADS = (1, 2)
AT_ONCE = 1_000

Create = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]


async def work() -> None:
    await asyncio.sleep(0)


def creator(way: str) -> Callable[[], Create]:
    """A function that says, in each thread, what creates a task there."""
    from xtremeflow import TokenRateScheduler

    def scheduled() -> Create:
        scheduler = TokenRateScheduler(10**9, 10**7, 500, 60)
        return lambda coro: scheduler.submit(coro, 100)

    if way == TASKS:
        return lambda: asyncio.get_running_loop().create_task
    if way == EACH:
        return scheduled
    shared = scheduled()
    return lambda: shared


def measure(way: str, threads: int, calls: int) -> tuple[float, float]:
    """Calls per second, and the CPU seconds of a call."""
    of_thread = creator(way)
    ready = threading.Barrier(threads + 1)

    async def batches() -> None:
        create = of_thread()
        await asyncio.gather(*[create(work()) for _ in range(AT_ONCE)])
        await asyncio.to_thread(ready.wait)
        for _ in range(max(1, calls // AT_ONCE)):
            await asyncio.gather(*[create(work()) for _ in range(AT_ONCE)])

    running = [threading.Thread(target=asyncio.run, args=(batches(),)) for _ in range(threads)]
    for thread in running:
        thread.start()
    ready.wait()
    began, cpu = time.perf_counter(), time.process_time()
    for thread in running:
        thread.join()
    done = threads * max(1, calls // AT_ONCE) * AT_ONCE
    return done / (time.perf_counter() - began), (time.process_time() - cpu) / done


def which() -> str:
    """The interpreter, after the package was imported."""
    import xtremeflow.scheduler  # noqa: F401

    has_gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    return f"CPython {sys.version.split()[0]} {'with' if has_gil else 'without'} the GIL"


def in_process(python: str, *arguments: str) -> Any:
    """The answer of this program there. As a file it finds the package of that interpreter, and not
    the one beside it."""
    command = [python, __file__, *arguments]
    return json.loads(subprocess.check_output(command, text=True))


def measured(python: str, way: str, threads: int, calls: int) -> tuple[float, float]:
    rate, cpu = in_process(python, "--measure", way, str(threads), str(calls))
    return rate, cpu


def table(python: str, calls: int, rounds: int) -> str:
    ways = [(way, threads) for way in (TASKS, EACH, ONE) for threads in THREADS]
    seen: dict[tuple[str, int], list[tuple[float, float]]] = {each: [] for each in ways}
    for _ in range(rounds):
        for way, threads in ways:
            seen[way, threads].append(measured(python, way, threads, calls))
    lines = ["| way | threads | calls/s | CPU of a call | x one thread |", "|---|---|---|---|---|"]
    for way, threads in ways:
        rates = [rate for rate, _ in seen[way, threads]]
        gains = [rate / one for rate, (one, _) in zip(rates, seen[way, 1], strict=True)]
        cpu = median(cpu for _, cpu in seen[way, threads])
        lines.append(
            f"| {way} | {threads} | {median(rates):,.0f} | {1e6 * cpu:.1f} us "
            f"| {median(gains):.2f} |"
        )
    return "\n".join(lines)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="./dev bench threads",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--python", default=str(NOGIL if NOGIL.exists() else sys.executable))
    parser.add_argument("--calls", type=int, default=100_000, metavar="N", help="of each thread")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    options = parser.parse_args(argv)
    interpreter = in_process(options.python, "--which")
    print(f"{interpreter}, {os.cpu_count()} CPUs, load average {os.getloadavg()[0]:.1f}")
    print(table(options.python, options.calls, options.rounds))
    return 0


if __name__ == "__main__":
    if sys.argv[1] == "--which":
        print(json.dumps(which()))
    elif sys.argv[1] == "--measure":
        print(json.dumps(measure(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
    else:
        sys.exit(main(sys.argv[1:]))
