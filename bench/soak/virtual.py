"""The soak on the virtual clock."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, islice

from bench.soak.client import Client
from bench.soak.phases import HONEST, Phase
from bench.soak.provider import Provider
from xtremeflow.testing import run

REST = 600.0  # s, after which every limit is whole again, if nothing of it is lost
AT_ONCE = 5.0  # s for a call that has nothing to wait for: the way there, the answer


@dataclass(frozen=True)
class Row:
    """A phase's figures.

    in_use  what passed, over what came to the limit until the last answer; of the limit of which
            that is most
    """

    phase: str
    seconds: float
    calls: int
    attempts: int
    refused: int
    in_use: float
    lost: int


@dataclass(frozen=True)
class Soaked:
    rows: Sequence[Row]
    differences: Sequence[str]


def soak(phases: Sequence[Phase], calls: int) -> Soaked:
    """All the phases on one scheduler, with about so many calls in all."""
    logging.getLogger("xtremeflow").setLevel(logging.ERROR)
    return run(_Soak(phases, max(1, calls // len(phases))).run())


class _Soak:
    def __init__(self, phases: Sequence[Phase], calls: int) -> None:
        self._phases = phases
        self._calls = calls  # of a phase
        self._differences: list[str] = []
        self._raised: list[str] = []

    async def run(self) -> Soaked:
        self._provider = Provider(self._phases[0].stages[0])
        clients = max(phase.clients for phase in self._phases)
        self._clients = [Client(number, self._provider) for number in range(clients)]
        requests = [HONEST.requests(client.number) for client in self._clients]
        self._indexes = count()
        self._requests = requests
        rows = [await self._play(phase) for phase in self._phases]
        await self._at_rest()
        return Soaked(rows, self._raised + self._differences)

    async def _send(self, client: Client, calls: int, longest: float) -> None:
        requests = islice(self._requests[client.number], calls)
        await client.send(list(zip(islice(self._indexes, calls), requests, strict=True)), longest)

    async def _play(self, phase: Phase) -> Row:
        provider, clients = self._provider, self._clients[: phase.clients]
        calls = self._calls // phase.clients
        began, seen, down = provider.now(), len(provider.seen), provider.down
        attempts, lost = self._attempts(), self._lost()
        offered, due = provider.offered(), provider.due.copy()
        playing = asyncio.ensure_future(provider.play(phase, calls * phase.clients))
        await asyncio.gather(*(self._send(client, calls, phase.longest) for client in clients))
        ended = provider.now()
        came = {unit: n - offered.get(unit, 0.0) for unit, n in provider.offered().items()}
        playing.cancel()
        await asyncio.gather(playing, return_exceptions=True)
        self._compare(phase.name)
        return Row(
            phase.name,
            ended - began,
            calls * phase.clients,
            self._attempts() - attempts,
            sum(one.refused for one in provider.seen[seen:]) + provider.down - down,
            max((provider.due[unit] - due[unit]) / n for unit, n in came.items() if n),
            self._lost() - lost,
        )

    def _attempts(self) -> int:
        return sum(client.attempts for client in self._clients)

    def _lost(self) -> int:
        return sum(client.lost for client in self._clients)

    def _compare(self, when: str) -> None:
        for client in self._clients:
            raised = client.raised()
            if raised:
                said = f"{len(raised)} calls raised, the first {raised[0]}"
                self._raised.append(f"{when}: client {client.number}: {said}")
        if not self._differences:  # all books are of the whole: what differs, differs from then on
            self._differences = [f"{when}: {difference}" for difference in self._found()]

    def _found(self) -> list[str]:
        found = self._provider.differences()
        for client in self._clients:
            found += client.differences()
        sent = self._provider.down + sum(p.stats.attempts for p in self._provider.providers)
        if sent != self._attempts():
            found.append(f"{self._attempts()} attempts were made, {sent} have come")
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        return found + [f"{task!r} is left" for task in left]

    async def _at_rest(self) -> None:
        await asyncio.sleep(REST)
        for client in self._clients:
            self._differences += client.idle_differences()
            began = self._provider.now()
            await self._send(client, 1, AT_ONCE)
            if self._provider.now() - began > AT_ONCE:
                self._differences.append(f"client {client.number}: an idle scheduler's call waits")
        self._compare("at rest")
