"""The members of a share withstand kills without end, each other's refusals, and their own number.

- kills: the queues of 8 processes are never empty. A random one of those that send calls is killed
  with SIGKILL every 0.05 s, on a server every second, and another one begins. "used" is the part of
  the limit that they use from the first call to the last, "refused" is as in processes.py.
- told: the time from a refusal in one member to the pause of another one, which sends no calls.
- many: 1,000 members in 8 processes send calls together. "CPU" is the server's, of a core.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any

from bench.measure import Numbers, middle, rounds
from bench.peers import OURS
from bench.report import Figure, Section
from bench.share.processes import kept, p99
from bench.share.senders import sent
from bench.share.together import Send, sent_together, soon
from bench.share.ways import SERVER, installed, place
from xtremeflow import RequestRateScheduler, auto_backoff

WAYS = (OURS, SERVER)
EVERY = {OURS: 0.05, SERVER: 1.0}  # seconds between two kills
PAUSE = 0.05  # seconds for which a refusal pauses
MANY_RATE = 1000.0  # calls a second of many members

Sender = tuple[Any, Connection]  # a process, and the instants of its calls


# -- kills


def _send_for_ever(share: str, rate: float, told: Connection) -> None:
    async def call() -> None:
        told.send(time.monotonic())

    async def main() -> None:
        scheduler = RequestRateScheduler(max_rps=rate, share=share)
        while True:
            await (await scheduler.start_task(call()))

    asyncio.run(main())


def _killed(share: str, rate: float, processes: int, kills: int, every: float) -> Numbers:
    context, chance, times = soon(), random.Random(1), list[float]()

    def begin() -> Sender:
        hears, tells = context.Pipe(duplex=False)
        process = context.Process(target=_send_for_ever, args=(share, rate, tells), daemon=True)
        process.start()
        tells.close()
        return process, hears

    def kill(sender: Sender) -> None:
        process, hears = sender
        process.kill()
        times.extend(_heard(hears))
        process.join()

    living = [begin() for _ in range(processes)]
    for _ in range(kills):
        time.sleep(every)
        victim = chance.choice(_those_that_send(living))
        living[living.index(victim)] = begin()
        kill(victim)
    for sender in living:
        kill(sender)
    return kept(sorted(times), rate)


def _those_that_send(living: Sequence[Sender]) -> list[Sender]:
    """Waits until most of them do."""
    while True:
        found = [each for each in living if each[1].poll()]
        if 2 * len(found) > len(living):
            return found
        time.sleep(0.01)


def _heard(hears: Connection) -> list[float]:
    times = list[float]()
    try:
        with hears:
            while True:
                times.append(hears.recv())
    except EOFError:
        return times


# -- refusals


class _Refused(Exception):
    status_code, retry_after = 429, PAUSE


async def _told(share: str, count: int) -> list[float]:
    """Returns the seconds from refusals in one member to the pauses of another, in order."""
    first, second = (RequestRateScheduler(max_rps=1000, share=share) for _ in range(2))
    due, refused_at, found = list[bool](), list[float](), list[float]()

    @auto_backoff()
    async def call() -> None:
        if due:
            due.clear()
            refused_at.append(time.monotonic())
            raise _Refused

    for _ in range(count):
        due.append(True)
        task = first.submit(call())
        while not second.stats().cooldown_left:  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.0002)
        found.append(time.monotonic() - refused_at[-1])
        await task
        await asyncio.sleep(2 * PAUSE)
    return sorted(found)


# -- many


async def calls_of_many(share: str, rate: float, members: int, count: int) -> Send:
    """Sends so many calls of so many members; the server's CPU and commands in a second of that."""
    server = import_module("redis").Redis.from_url(share.partition("#")[0])
    schedulers = [RequestRateScheduler(max_rps=rate, share=share) for _ in range(members)]

    def counted() -> tuple[float, float, float]:
        info: Any = server.info("everything")
        cpu = info["used_cpu_user"] + info["used_cpu_sys"]
        return time.monotonic(), cpu, info["cmdstat_evalsha"]["calls"]

    async def send() -> tuple[float, float]:
        began, cpu, commands = counted()
        await asyncio.gather(*(schedulers[i % members].submit(sent()) for i in range(count)))
        ended, cpu_then, commands_then = counted()
        return (cpu_then - cpu) / (ended - began), (commands_then - commands) / (ended - began)

    return send


def _many(where: str, rate: float, processes: int, members: int, seconds: float) -> Numbers:
    rows = [[where, rate, members // processes, round(rate * seconds) // processes]] * processes
    found = sent_together(sys.executable, "bench.share.members:calls_of_many", rows)
    cpu, commands = found[0]
    return {"cpu": cpu, "commands": commands}


def measure(
    way: str,
    *,
    rate: float,
    processes: int,
    kills: int,
    refusals: int,
    members: int,
    seconds: float,
) -> Numbers:
    with place(way) as where:
        fewer = max(1, round(kills * EVERY[OURS] / EVERY[way]))
        numbers = _killed(where, rate, processes, fewer, EVERY[way])
    with place(way) as where:
        told = asyncio.run(_told(where, refusals))
    numbers |= {
        "told": told[len(told) // 2],
        "told_p99": p99(told),
    }
    if way == SERVER:
        with place(way) as where:
            numbers |= _many(where, MANY_RATE, processes, members, seconds)
    return numbers


def section(quick: bool = False, kills: int = 200) -> Section:
    size = {"rate": 400.0, "processes": 8, "kills": kills, "refusals": 100, "members": 1000}
    seconds = 20.0
    if quick:
        size, seconds = (
            {"rate": 100.0, "processes": 2, "kills": 1, "refusals": 2, "members": 4},
            1.0,
        )
    ways = [way for way in WAYS if installed(way)]
    found = rounds("share.members", ways, 1, **size, seconds=seconds)
    ours, served = found[OURS], found.get(SERVER)
    used, killed = middle(ours, "used"), middle(ours, "refused")
    figures = [
        Figure(
            "a member killed each 0.05 s: quota in use / refused",
            f"{used:.3f} / {killed:.0f}",
            ">= 0.98 / 0",
            used >= 0.98 and killed == 0,
            {},
        )
    ]
    if served is not None:
        told, cpu = middle(served, "told_p99") * 1e3, middle(served, "cpu")
        figures += [
            Figure(
                "a cooldown is known on a server, p99, ms", f"{told:.1f}", "<= 5", told <= 5, {}
            ),
            Figure(
                f"{size['members']:,.0f} members on a server: its CPU, of a core",
                f"{cpu:.0%}",
                "<= 15 %",
                cpu <= 0.15,
                {},
            ),
        ]
    return Section(
        title="Members that die, are refused, and are many",
        text="See bench/share/members.py.",
        header=["way", "used", "refused", "told, ms", "p99", "CPU of many", "commands/s"],
        rows=[
            [
                way,
                f"{middle(numbers, 'used'):.3f}",
                f"{middle(numbers, 'refused'):.0f}",
                f"{middle(numbers, 'told') * 1e3:.1f}",
                f"{middle(numbers, 'told_p99') * 1e3:.1f}",
                f"{middle(numbers, 'cpu'):.1%}" if "cpu" in numbers[0] else "-",
                f"{middle(numbers, 'commands'):,.0f}" if "cpu" in numbers[0] else "-",
            ]
            for way, numbers in found.items()
        ],
        figures=figures,
    )
