"""Jobs at providers whose limits the client is not told, on a virtual clock.

    ./dev bench learning jobs                         the tables, some minutes of computing
    ./dev bench learning jobs openai azure            only these profiles
    ./dev bench learning jobs --tells nothing         only of answers that tell nothing
    ./dev bench learning jobs --ways adapt            without the others beside it
    ./dev bench learning jobs --minutes 60 --seeds 20 a full study: an hour of computing

A job is a queue that is never empty, of requests of a real trace, for so many minutes at the
profile's limits. Delays to the provider vary, and so do the lengths of answers. "ideal / wall" is
the time that an all-knowing client would need, divided by the time it took; "in use" is the share
of the limit that is used most, from the sixth minute on; "refused" is the share of the attempts
that the provider refused; "lost" counts the calls never answered. Each figure is the mean over the
seeds, "refused" the worst.

Answers tell all that the provider tells of its limits, only how long a refused call has to wait
("waits"), or nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

from bench.learning.jobs.edges import edges
from bench.learning.jobs.ways import WAYS
from bench.learning.jobs.world import World, requests_for
from bench.report import announce, table
from xtremeflow.serve.profiles import PROFILES
from xtremeflow.testing import run

WITH_HEADERS = ("openai", "azure", "anthropic", "mistral", "groq")
WITH_RATES = (*WITH_HEADERS, "gemini")
TELLS = ("all", "waits", "nothing")
WARM_UP = 300.0  # s
TITLES = {
    "all": "answers tell all that the provider tells",
    "waits": "answers tell nothing but how long a refused call has to wait",
    "nothing": "answers tell nothing",
}


@dataclass(frozen=True)
class Result:
    efficiency: float
    in_use: float
    refused: float
    lost: int


def measure(profile: str, way: str, minutes: float, seed: int, tells: str = "all") -> Result:
    async def job() -> Result:
        requests = requests_for(PROFILES[profile], minutes, seed)
        world = World(PROFILES[profile], requests, seed, tells)
        clock = asyncio.get_running_loop().time
        began = clock()
        await WAYS[way](world)
        stats = world.provider.stats
        end = max(served.time for served in world.served)
        return Result(
            world.ideal_wall() / (clock() - began),
            world.in_use(WARM_UP, end) if end > 1.1 * WARM_UP else float("nan"),
            stats.refused / stats.attempts,
            len(world.requests) - stats.succeeded,
        )

    return run(job())


def rows(
    profile: str, minutes: float, seeds: int, tells: str, ways: Sequence[str]
) -> list[list[str]]:
    found = []
    for way in ways:
        results = [measure(profile, way, minutes, seed, tells) for seed in range(seeds)]
        found.append(
            [
                f"{profile}: {way}",
                f"{mean(r.efficiency for r in results):.3f}",
                f"{mean(r.in_use for r in results):.3f}",
                f"{max(r.refused for r in results):.2%}",
                str(sum(r.lost for r in results)),
            ]
        )
        announce(found[-1])
    return found


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="./dev bench learning jobs",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("profiles", nargs="*", metavar="PROFILE", help=", ".join(WITH_RATES))
    parser.add_argument("--minutes", type=float, default=10.0, help="of a job at the limit")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tells", choices=TELLS, action="append", help="may be repeated")
    parser.add_argument("--ways", default="", metavar="TEXT", help="only those with it in the name")
    options = parser.parse_args(argv)
    for profile in options.profiles:
        if profile not in WITH_RATES:
            parser.error(f"there is no profile {profile!r} here, only {', '.join(WITH_RATES)}")
    ways = [way for way in WAYS if options.ways in way]
    if not ways:
        parser.error(f"no way has {options.ways!r} in its name, they are {', '.join(WAYS)}")
    logging.getLogger("xtremeflow").setLevel(logging.ERROR)
    for tells in options.tells or TELLS:
        profiles = options.profiles or (WITH_HEADERS if tells == "all" else WITH_RATES)
        found: list[list[str]] = []
        for profile in profiles:
            found += rows(profile, options.minutes, options.seeds, tells, ways)
        print(table([TITLES[tells], "ideal / wall", "in use", "refused", "lost"], found))
        print()
        if not options.profiles:
            print(table([f"openai, {TITLES[tells]}", ""], edges(options.seeds, tells)))
            print()
    return 0
