"""Several processes on one account: what they use of its limit, and what that costs them.

All processes begin at once and have very different numbers of calls, the first as many as all the
others together (1, 1/2, 1/3, ...). Calls are short, so the limit alone decides.

- xtremeflow: the members of one share, `share="shm:..."`.
- xtremeflow, server: the same on a Valkey server, `share="redis://..."`.
- xtremeflow, divided: each process has its part of the limit, as programs without a share must.
- pyrate-limiter, token-throttle: a file of SQLite, or a server. Each process asks for each call,
  and asks again after a pause while there is no room.
- LiteLLM, router: a router that counts on a server (`enforce_model_rate_limits`), with a provider
  in its own process. It knows limits by the minute only, and holds no call back before those of a
  minute are spent.

"used" is what was dispatched between the first call and the last one, of what the limit allows in
that time; in all of it some call waits. Above 1 the limit was not kept. "refused" is what a
provider would have refused that counts a bucket of one call and of 125 ms of the rate, the time by
which members may differ: the calls are replayed by their times on the machine's clock. "CPU" is the
process's own of a call that waits for nothing, and "paced" that of a call of which a limit lets 50
pass a second. "uneven" is the first two of calls that cost 50 to 150 tokens, by the limit of
tokens. "calls/s" is how many calls the processes send through one limit together that holds none
back. "slot back" is how long a call waits for the slot of a process that is killed with SIGKILL.
"""

from __future__ import annotations

import asyncio
import math
import sys
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

from bench.measure import Numbers, middle, rounds
from bench.peers import OURS, TOKEN_SERVER
from bench.report import Figure, Section
from bench.share.peers import TOLERANCE
from bench.share.senders import COSTS, free_scheduler, send_all, sent
from bench.share.together import sent_together, soon
from bench.share.ways import DIVIDED, SERVER, SHARED, WAYS, dispatched, installed, place
from xtremeflow import RequestRateScheduler, TaskScheduler
from xtremeflow.simulation.enforcers import NANOSECONDS
from xtremeflow.testing import TokenBucket

SLOWER = 20  # times fewer kills on a server, where each takes seconds
PACED = 50  # calls that pass in a second
FEWER = 10  # times fewer calls of a way that sends some tens a second


def _hold(share: str, ready: Any) -> None:
    async def main() -> None:
        scheduler = TaskScheduler(1, share=share)
        await scheduler.start_task(asyncio.sleep(3600))
        ready.send(None)
        await asyncio.sleep(3600)

    asyncio.run(main())


def _parts(calls: int, processes: int) -> list[int]:
    """How many calls each process sends, the first one most of them."""
    weights = [1 / (n + 1) for n in range(processes)]
    return [max(1, round(calls * weight / sum(weights))) for weight in weights]


def _job(way: str, where: str, rate: float, calls: int, processes: int) -> Numbers:
    times = dispatched(way, where, rate, _parts(calls, processes))
    return kept(times, rate)


def kept(times: Sequence[float], rate: float) -> Numbers:
    """Returns the part of a limit that calls have used from the first to the last, and how many of
    them a strict provider would refuse."""
    return {
        "used": (len(times) - 1) / rate / (times[-1] - times[0]),
        "refused": float(_refused([(instant, 1) for instant in times], rate)),
    }


def p99(seconds: Sequence[float]) -> float:
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]


def _uneven_job(where: str, rate: float, calls: int, processes: int) -> Numbers:
    rows = [(where, rate, part) for part in _parts(calls, processes)]
    found = sent_together(sys.executable, "bench.share.senders:uneven_calls", rows)
    sent_calls = sorted((instant, cost) for of_process in found for instant, cost in of_process)
    (first, _), (last, _) = sent_calls[0], sent_calls[-1]
    tokens = sum(cost for _, cost in sent_calls[1:])
    return {
        "uneven_used": tokens / rate / (last - first),
        "uneven_refused": float(_refused(sent_calls, rate)),
    }


def _refused(calls: Sequence[tuple[float, int]], rate: float) -> int:
    largest = max(cost for _, cost in calls)
    bucket = TokenBucket("units", rate, per=1.0, capacity=largest + TOLERANCE * rate)
    count = 0
    for instant, cost in calls:
        now = round(instant * NANOSECONDS)
        if bucket.wait(cost, now) > 0:
            count += 1
        else:
            bucket.take(cost, now)
    return count


def _cpu(share: str | None, calls: int) -> float:
    """Microseconds of a call."""

    async def main() -> float:
        scheduler = free_scheduler(share)
        await send_all(scheduler, calls // 10)
        begun = time.process_time()
        await send_all(scheduler, calls)
        return (time.process_time() - begun) / calls * 1e6

    return asyncio.run(main())


def _paced_cpu(share: str | None, seconds: int) -> float:
    """Microseconds of a call of which the limit lets few pass in a second."""

    async def main() -> float:
        scheduler = RequestRateScheduler(max_rps=PACED, share=share)
        calls = [scheduler.submit(sent()) for _ in range(PACED * (seconds + 1))]
        await asyncio.gather(*calls[:PACED])
        begun = time.process_time()
        await asyncio.gather(*calls[PACED:])
        return (time.process_time() - begun) / (PACED * seconds) * 1e6

    return asyncio.run(main())


def _throughput(share: str | None, calls: int, processes: int) -> float:
    rows = [(share, calls)] * processes
    found = sent_together(sys.executable, "bench.share.senders:stream", rows)
    return processes * calls / (max(last for _, last in found) - min(first for first, _ in found))


async def _slots_back(share: str, kills: int) -> list[float]:
    context, seconds = soon(), list[float]()
    scheduler = TaskScheduler(1, share=share)
    for _ in range(kills):
        ready, told = context.Pipe(duplex=False)
        process = context.Process(target=_hold, args=(share, told))
        process.start()
        await asyncio.to_thread(ready.recv)
        waits = scheduler.submit(sent())
        await asyncio.sleep(0.02)
        killed = time.monotonic()
        process.kill()
        seconds.append(await waits - killed)
        process.join()
    return seconds


def measure(
    way: str, *, rate: float, calls: int, processes: int, stream: int, paced: int, kills: int
) -> Numbers:
    with place(way) as where:
        fewer = FEWER if way == TOKEN_SERVER else 1
        numbers = _job(way, where, rate, calls // fewer, processes)
    if way in (OURS, SERVER, DIVIDED):
        with place(way) as where:
            numbers["cpu"] = _cpu(where if way in SHARED else None, stream)
        with place(way) as where:
            numbers["paced"] = _paced_cpu(where if way in SHARED else None, paced)
        with place(way) as where:
            share = where if way in SHARED else None
            numbers["calls_per_s"] = _throughput(share, stream, processes)
    if way in SHARED:
        with place(way) as where:
            numbers |= _uneven_job(where, rate * sum(COSTS) / 2, calls, processes)
        with place(way) as where:
            times = kills if way == OURS else math.ceil(kills / SLOWER)
            back = asyncio.run(_slots_back(where, times))
        numbers["back"] = median(back)
        numbers["back_p99"] = p99(back)
    return numbers


def _used(numbers: Sequence[Numbers], of: str = "") -> str:
    return f"{middle(numbers, f'{of}used'):.3f} / {middle(numbers, f'{of}refused'):.0f}"


def section(quick: bool = False) -> Section:
    rate, calls, processes, stream, paced, kills, repeat = 400.0, 2000, 8, 20_000, 20, 100, 3
    if quick:
        rate, calls, processes, stream, paced, kills, repeat = 400.0, 40, 2, 500, 1, 1, 1
    found = rounds(
        "share.processes",
        [way for way in WAYS if installed(way)],
        repeat,
        rate=rate,
        calls=calls,
        processes=processes,
        stream=stream,
        paced=paced,
        kills=kills,
    )
    rows = [
        [
            way,
            f"{middle(numbers, 'used'):.3f}",
            f"{middle(numbers, 'refused'):.0f}",
            _used(numbers, "uneven_") if way in SHARED else "-",
            f"{middle(numbers, 'cpu'):.2f}" if "cpu" in numbers[0] else "-",
            f"{middle(numbers, 'paced'):.0f}" if "cpu" in numbers[0] else "-",
            f"{middle(numbers, 'calls_per_s'):,.0f}" if "cpu" in numbers[0] else "-",
            f"{middle(numbers, 'back') * 1e3:.0f}" if way in SHARED else "-",
            f"{middle(numbers, 'back_p99') * 1e3:.0f}" if way in SHARED else "-",
        ]
        for way, numbers in found.items()
    ]
    ours, divided = found[OURS], found[DIVIDED]
    used, refused = middle(ours, "used"), middle(ours, "refused")
    added = middle(ours, "cpu") - middle(divided, "cpu")
    rapid, back = middle(ours, "calls_per_s"), middle(ours, "back_p99") * 1e3
    served = list[Figure]()
    if SERVER in found:
        more = middle(found[SERVER], "paced") - middle(divided, "paced")
        what = f"CPU that a server's share adds to a call, {PACED} a second, us"
        served.append(Figure(what, f"{more:.0f}", "<= 5", more <= 5, {}))
    title = f"One limit, {processes} processes"
    return Section(
        title=title,
        text=f"{rate:.0f} requests per second, {calls:,} calls ({TOKEN_SERVER}: "
        f"{calls // FEWER:,}). token-throttle's bucket holds a second's calls at least, and is "
        "emptied first. LiteLLM's router counts by the minute, so it holds no call back here. See "
        "bench/share/processes.py.",
        header=[
            *("way", "used", "refused", "uneven", "CPU, us", "paced, us", "calls/s"),
            *("slot back, ms", "p99"),
        ],
        rows=rows,
        figures=[
            Figure(
                f"{title}, skewed: quota in use / refused",
                _used(ours),
                ">= 0.99 / 0",
                used >= 0.99 and refused == 0,
                {way: _used(numbers) for way, numbers in found.items() if way != OURS},
            ),
            Figure(
                f"{title}, costs of {COSTS[0]} to {COSTS[1]} tokens: quota in use / refused",
                _used(ours, "uneven_"),
                ">= 0.99 / 0",
                middle(ours, "uneven_used") >= 0.99 and middle(ours, "uneven_refused") == 0,
                {SERVER: _used(found[SERVER], "uneven_")} if SERVER in found else {},
            ),
            Figure("CPU that a share adds to a call, us", f"{added:.2f}", "<= 1", added <= 1, {}),
            *served,
            Figure(
                f"calls/s through one limit, {processes} processes",
                f"{rapid:,.0f}",
                ">= 100,000",
                rapid >= 100_000,
                {},
            ),
            Figure("slot back after SIGKILL, p99, ms", f"{back:.0f}", "<= 100", back <= 100, {}),
        ],
    )
