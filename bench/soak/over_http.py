"""The soak over HTTP, in real time: the client and the openai SDK on one scheduler, by turns.

The provider's minute lasts six seconds. Each phase begins with the limits full.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from bench.report import announce
from bench.soak.virtual import Row, Soaked
from xtremeflow import TokenRateScheduler
from xtremeflow.http import Client, transport
from xtremeflow.serve import serve
from xtremeflow.simulation.quirks import WAITS
from xtremeflow.testing import LatencyModel

MINUTE = 6.0  # s
RPM, TPM = 600, 400_000
LEAST_TOKENS = 10  # of a prompt; the call of index i has i more, so that its answer is known by it
ANSWER_TOKENS = 8
LATENCY = LatencyModel(round_trip=0.3, first_token=0.5, per_output_token=0.01)  # of a real provider
FAULTS = ("503", "529")
FAILED = 10  # attempts in a row
QUIRKS: Mapping[str, Mapping[str, Any]] = {
    "honest": {},
    "by ten seconds": {"quantum": 10.0},
    "refused requests do not count": {"refused_count": False},
    "steep growth refused": {"growth": 1.5, "growth_over": 5.0, "growth_free": 5},
    "static headers": {"headers": "static"},
    "5 % refused at random": {"noise": 0.05},
    "the first five refused at random": {"noise_first": 5},
    "refusals in a 200": {"refused_in_200": True, "blocked": 3.0},
    **{
        f"no headers, waits: {waits}": {"blocked": 3.0, "headers": "none", "waits": waits}
        for waits in WAITS
    },
}
PHASES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    **{name: ("quirks", quirks) for name, quirks in QUIRKS.items()},
    **{
        f"{FAILED} times {status}": ("faults", {"kind": status, "count": FAILED})
        for status in FAULTS
    },
}
"""By name what the provider is told: the command of its admin endpoint, and its body."""

Ask = Callable[[Mapping[str, Any]], Awaitable[Any]]
"""Makes a call with this body; returns the tokens that its answer counts in the prompt."""


async def soak(phases: Sequence[str], calls: int) -> Soaked:
    """These of PHASES, with about so many calls in all."""
    calls = max(1, calls // len(phases))
    openai: Any = importlib.import_module("openai")
    httpx2: Any = importlib.import_module("httpx2")
    logging.getLogger("xtremeflow").setLevel(logging.ERROR)
    scheduler = TokenRateScheduler(adapt=True)
    limits = {"rpm": RPM, "tpm": TPM}
    async with (
        serve("openai", limits=limits, speed=60.0 / MINUTE, latency=LATENCY) as server,
        Client(scheduler=scheduler) as client,
        httpx2.AsyncClient(transport=transport(scheduler=scheduler)) as below,
    ):
        url = server.base_url
        sdk = openai.AsyncOpenAI(base_url=url, api_key="any", max_retries=0, http_client=below)
        found = _Soak(server.url, scheduler)

        async def by_client(body: Mapping[str, Any]) -> Any:
            answer = await client.post(f"{url}/chat/completions", json=body, idempotent=True)
            return answer.raise_for_status().json()["usage"]["prompt_tokens"]

        async def by_sdk(body: Mapping[str, Any]) -> Any:
            return (await sdk.chat.completions.create(**body)).usage.prompt_tokens

        ways = (by_client, by_sdk)
        for name in phases:
            await found.play(name, *PHASES[name], ways, calls)
    return Soaked(found.rows, found.differences)


class _Soak:
    def __init__(self, url: str, scheduler: TokenRateScheduler) -> None:
        self.rows: list[Row] = []
        self.differences: list[str] = []
        self._admin = f"{url}/admin"
        self._scheduler = scheduler
        self._asked = 0

    async def play(
        self, name: str, command: str, value: object, ways: Sequence[Ask], calls: int
    ) -> None:
        """Tells the provider what it is from now on, and makes so many calls."""
        loop = asyncio.get_running_loop()
        async with Client() as admin:
            for reset in ("quirks", "faults"):
                (await admin.request("DELETE", f"{self._admin}/{reset}")).raise_for_status()
            (await admin.post(f"{self._admin}/{command}", json=value)).raise_for_status()
            admitted = self._scheduler.stats().admitted
            began = loop.time()
            sizes = [LEAST_TOKENS + index for index in range(calls)]
            asking = [ways[size % len(ways)](_body(size)) for size in sizes]
            answers = await asyncio.gather(*asking, return_exceptions=True)
            await self._scheduler.wait_pending()
            seconds = loop.time() - began
            seen = (await admin.get(f"{self._admin}/stats")).raise_for_status().json()
        self._asked += calls
        attempts = self._scheduler.stats().admitted - admitted
        self._compare(name, sizes, answers, attempts, seen)
        used = seen["charged"].get("requests", 0) / (RPM * (1 + seconds / MINUTE))
        lost = len(set(sizes) - {a for a in answers if isinstance(a, int)})
        self.rows.append(Row(name, seconds, calls, attempts, attempts - calls, used, lost))
        announce([name, f"{seconds:.1f} s", f"{attempts} attempts"])

    def _compare(
        self, name: str, sizes: list[int], answers: list[Any], attempts: int, seen: Any
    ) -> None:
        scheduler, stats = self._scheduler, self._scheduler.stats()
        raised = [answer for answer in answers if isinstance(answer, BaseException)]
        failed = sum(seen["statuses"].get(status, 0) for status in FAULTS)
        pairs = {
            "answers": (answers, sizes),
            "raised": (raised, []),
            "passed": (seen["succeeded"], len(sizes)),
            "attempts": (seen["attempts"], attempts),
            "refused and failed": (seen["refused"] + failed, attempts - len(sizes)),
            "in flight at the provider": (seen["in_flight"] + seen["abandoned"], 0),
            "charged": (seen["charged"].get("requests"), len(sizes)),
            "succeeded": (stats.succeeded, self._asked),
            "waiting or in flight": (scheduler.waiting + scheduler.active_tasks, 0),
            "failed": (stats.failed + stats.cancelled + stats.expired, 0),
        }
        self.differences += [
            f"{name}: {what} is {found!r} and should be {expected!r}"
            for what, (found, expected) in pairs.items()
            if found != expected
        ]


def _body(tokens: int) -> Mapping[str, Any]:
    prompt = "x" * (4 * tokens - 6)  # with its role's line so many tokens
    return {
        "model": "gpt-5.6",
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": ANSWER_TOKENS,
    }
