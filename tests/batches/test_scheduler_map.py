"""TaskScheduler.map: what a scheduler adds to map_calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from xtremeflow import (
    RequestRateScheduler,
    TokenRateScheduler,
)
from xtremeflow.testing import run


def test_map_yields_the_results_in_order_and_within_the_limits() -> None:
    async def main() -> None:
        scheduler = RequestRateScheduler(max_rps=10, max_concurrency=3)
        now = asyncio.get_running_loop().time
        began = now()
        running = most = 0

        async def square(n: int) -> int:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.25 if n % 2 else 0.15)
            running -= 1
            return n * n

        async def items() -> AsyncIterator[int]:
            for n in range(20):
                yield n

        assert [r async for r in scheduler.map(square, items())] == [n * n for n in range(20)]
        assert most == 3
        assert now() - began == pytest.approx(19 / 10 + 0.25, abs=0.2)
        assert scheduler.stats().succeeded == 20

    run(main())


def test_map_as_completed_with_exceptions_and_costs() -> None:
    async def main() -> None:
        scheduler = TokenRateScheduler(max_tps=1000, burst_ratio=1)

        async def call(n: int) -> int:
            await asyncio.sleep(5 - n)
            if n == 3:
                raise KeyError(n)
            return n

        costs: Callable[[int], int] = lambda n: 10 * n  # noqa: E731
        out = [
            r
            async for r in scheduler.map(
                call, range(5), ordered=False, return_exceptions=True, estimated_tokens=costs
            )
        ]
        assert out[0] == 4
        assert isinstance(out[1], KeyError)
        assert out[2:] == [2, 1, 0]
        assert scheduler.stats().tokens_used == 10 * (1 + 2 + 3 + 4)

    run(main())
