"""The client shows its scheduler answers whose heads C has read; `observe` reads them in Python.
Whatever a provider says one after another, both come to the same limits, levels and reasons."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest

from xtremeflow import Limit, TaskScheduler, TokenRateScheduler, _http
from xtremeflow.http._admission import make_admission
from xtremeflow.http._options import Options
from xtremeflow.testing import run

Answer = tuple[int, dict[str, str], bytes]  # status, head, body
DATE = "Sun, 15 Jun 2025 15:06:39 GMT"
BODIES = [
    b'{"usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}}',
    b'{"error": null}',
    b"",
]
ERROR = b'{"error": {"code": "rate_limit_exceeded", "message": "Please try again in 1.5s."}}'


def openai(random: Random, limit: int, left: int) -> dict[str, str]:
    return {
        "X-RateLimit-Limit-Requests": "5000",
        "X-RateLimit-Remaining-Requests": str(random.randrange(4000, 5000)),
        "X-RateLimit-Reset-Requests": f"{random.randrange(1, 999)}ms",
        "x-ratelimit-limit-tokens": str(limit),
        "x-ratelimit-remaining-tokens": str(left),
        "x-ratelimit-reset-tokens": random.choice(["0s", "6m0s", "1m3.5s", "12ms", "60"]),
    }


def azure(random: Random, limit: int, left: int) -> dict[str, str]:
    told = openai(random, limit, left)
    return {**told, "X-RateLimit-Reset-Requests": "10", "x-ratelimit-reset-tokens": "60"}


def anthropic(random: Random, limit: int, left: int) -> dict[str, str]:
    reset = f"2025-06-15T15:06:{random.randrange(30, 60)}Z"
    amounts = {"requests": (4000, 3999), "input-tokens": (limit, left),
               "output-tokens": (limit, left), "tokens": (2 * limit, 2 * left)}  # fmt: skip
    told = {}
    for unit, (amount, remaining) in amounts.items():
        told[f"anthropic-ratelimit-{unit}-limit"] = str(amount)
        told[f"anthropic-ratelimit-{unit}-remaining"] = str(remaining)
        told[f"anthropic-ratelimit-{unit}-reset"] = reset
    return told


def mistral(random: Random, limit: int, left: int) -> dict[str, str]:
    return {
        "x-ratelimit-limit-tokens-minute": str(limit),
        "x-ratelimit-remaining-tokens-minute": str(left),
        "x-ratelimit-limit-req-minute": "360",
        "x-ratelimit-remaining-req-minute": str(random.randrange(360)),
    }


def odd(random: Random, limit: int, left: int) -> dict[str, str]:
    """What C leaves to Python, and what makes no sense."""
    amount = random.choice([f"{limit:_}", f" {limit}", "-1", "nan", "inf", "", "1e5", str(limit)])
    remaining = random.choice([str(left), str(2 * limit), "x", f"{left}.5"])
    reset = random.choice(["1s", "", "soon", "Sun, 15 Jun 2025 15:07:39 GMT", "1750000060", "1, 2"])
    return {
        "x-ratelimit-limit-tokens": amount,
        "x-ratelimit-remaining-tokens": remaining,
        "x-ratelimit-reset-tokens": reset,
    }


def answers(tell: Callable[[Random, int, int], dict[str, str]], random: Random) -> Iterator[Answer]:
    """The same limit for a while, then another model's between, then another for good."""
    limit = 60_000
    for i in range(60):
        if i % 20 == 19:
            limit = random.choice([30_000, 60_000, 90_000])
        said = 7_000 if random.random() < 0.1 else limit
        head = tell(random, said, random.randrange(said)) if random.random() < 0.95 else {}
        if random.random() < 0.9:
            head = {"date": DATE, **head}
        status, body = 200, random.choice(BODIES)
        if random.random() < 0.15:
            status, body = random.choice([(429, ERROR), (529, b"busy"), (400, b"{}"), (200, ERROR)])
            if random.random() < 0.5:
                head["retry-after"] = "2"
        yield status, {**head, "content-type": "application/json", "server": "x"}, body


def state(scheduler: TaskScheduler) -> Any:
    stats = scheduler.stats()
    return stats.limits, stats.charges, scheduler.learned


SCHEDULERS: dict[str, Callable[[], TokenRateScheduler]] = {
    "adapt": lambda: TokenRateScheduler(adapt=True),
    "bounded": lambda: TokenRateScheduler(max_tpm=40_000, adapt="bounded"),
    "fixed": lambda: TokenRateScheduler(max_tpm=40_000, max_rpm=1000),
}


@pytest.mark.parametrize("kind", SCHEDULERS)
@pytest.mark.parametrize("tell", [openai, azure, anthropic, mistral, odd])
@pytest.mark.parametrize("seed", range(3))
def test_client_and_observe_come_to_the_same(
    kind: str, tell: Callable[[Random, int, int], dict[str, str]], seed: int
) -> None:
    async def follow(by_head: bool) -> list[Any]:
        scheduler = SCHEDULERS[kind]()
        admission = make_admission(Options(scheduler=scheduler))
        assert admission is not None

        async def call(status: int, head: dict[str, str], body: bytes) -> Any:
            await asyncio.sleep(1.0)
            now = admission.now()
            if not by_head:
                return scheduler.observe(status, head, body, sent_at=now - 1.0, received_at=now)
            lines = [f"{name}: {value}" for name, value in head.items()]
            raw = "\r\n".join(["HTTP/1.1 200 OK", *lines, "", ""]).encode()
            return admission.shown(admission.answer(status, raw, body, now - 1.0, now))

        come_to = []
        for i, answer in enumerate(answers(tell, Random(seed))):
            verdict = await (await scheduler.start_task(call(*answer), 500))
            come_to.append((answer, verdict, state(scheduler)))
            if i == 30 and kind != "adapt":  # what was told of it counts anew
                scheduler.set_limit(Limit("tokens", 50_000, per=60.0))
        return come_to

    # From the same moment: else times differ by their rounding.
    for one, other in zip(
        run(follow(True), start=1000.0), run(follow(False), start=1000.0), strict=True
    ):
        assert one == other


def test_a_200_with_an_error_in_it_is_asked_when_to_come_again() -> None:
    """The head of an answer that has passed is not read whole, but it is when it matters."""

    async def main() -> None:
        admission = make_admission(Options(scheduler=TokenRateScheduler(adapt=True)))
        assert admission is not None
        body = b'{"error": {"code": "rate_limit_exceeded"}}'
        answer = admission.answer(200, b"HTTP/1.1 200 OK\r\nretry-after: 3\r\n\r\n", body, 0.0, 1.0)
        assert admission.shown(answer).wait == 3.0

    run(main())


def test_most_heads_are_left_to_c(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else this file would compare the reader in Python with itself."""

    async def main() -> None:
        admission = make_admission(Options(scheduler=TokenRateScheduler(adapt=True)))
        assert admission is not None
        parsed: list[bytes] = []
        monkeypatch.setattr(_http, "parse_head", parsed.append)
        for tell in (openai, azure, anthropic, mistral):
            lines = [f"{name}: {value}" for name, value in tell(Random(1), 60_000, 500).items()]
            raw = "\r\n".join(["HTTP/1.1 200 OK", f"date: {DATE}", *lines, "", ""]).encode()
            admission.shown(admission.answer(200, raw, BODIES[0], 0.0, 1.0))
        assert parsed == []

    run(main())
