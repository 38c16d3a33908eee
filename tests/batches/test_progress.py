"""The progress of a batch: the time left, the lines, and tqdm's bar."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncIterator
from typing import Any

import pytest

from xtremeflow import Limit, TaskScheduler, kv_batch
from xtremeflow.batches import progress
from xtremeflow.batches.progress import Progress, time_left
from xtremeflow.testing import run


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where tqdm is not installed."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "tqdm" else find(name)
    )


async def state(calls: int, **limits: Any) -> Any:
    scheduler = TaskScheduler(limits=[Limit("tokens", 600, 60, capacity=100)])
    for _ in range(calls):
        await (await scheduler.start_task(asyncio.sleep(0), 20))
    return scheduler.stats()


def test_the_time_left_is_that_of_the_limit_that_binds() -> None:
    async def main() -> None:
        seen = await state(5)  # the bucket of 100 is empty, and 10 a second come
        assert time_left(seen, 50, pace=1000.0) == (pytest.approx(100.0), "tokens")
        assert time_left(seen, 50, pace=0.1) == (pytest.approx(500.0), "pace")
        assert time_left(seen, 0, pace=1.0) == (0.0, "")
        assert time_left(seen, 50, pace=0.0) is None

    run(main())


def test_tokens_already_in_the_bucket_take_no_time() -> None:
    async def main() -> None:
        seen = await state(1)
        left = time_left(seen, 10, pace=1e6)
        assert left == (pytest.approx((10 * 20 - 80) / 10), "tokens")

    run(main())


def test_a_cooldown_comes_before() -> None:
    async def main() -> None:
        scheduler = TaskScheduler()
        await (await scheduler.start_task(asyncio.sleep(0)))
        scheduler.notify_rate_limit_exceeded(7)
        assert time_left(scheduler.stats(), 10, pace=10.0) == (pytest.approx(8.0), "pace")

    run(main())


@pytest.mark.usefixtures("lines")
def test_a_line_every_ten_seconds_and_one_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Progress("map", 40, None, clock) as shown:
        for _ in range(40):
            clock.now += 1
            shown.step()
    said = capsys.readouterr().err.splitlines()
    assert said == [f"map: {n} of 40 done" for n in (10, 20, 30, 40)] + ["map: 40 of 40 done"]


@pytest.mark.usefixtures("lines")
def test_a_short_batch_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        scheduler = TaskScheduler(2)
        doubled = scheduler.map(double, range(5), progress=True)
        assert [each async for each in doubled] == [0, 2, 4, 6, 8]

    run(main())
    assert capsys.readouterr().err == ""


async def double(number: int) -> int:
    await asyncio.sleep(1)
    return 2 * number


async def items(most: int) -> AsyncIterator[int]:
    for number in range(most):
        yield number


@pytest.mark.usefixtures("lines")
def test_the_line_tells_the_limit(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        monkeypatch.setattr(progress, "_LOOKS", 0.0)
        monkeypatch.setattr(progress, "_INTERVAL", 0.0)
        scheduler = TaskScheduler(2, limits=[Limit("input_tokens", 60, 60)])
        costs = {"input_tokens": 10}
        results = scheduler.map(double, range(4), estimated_tokens=costs, progress=True)
        assert [each async for each in results] == [0, 2, 4, 6]

    run(main())
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("map: 1 of 4 done, 00:")
    assert said[0].endswith(" by input tokens left")


# ---- tqdm ----


@pytest.mark.parametrize("ordered", [True, False])
def test_tqdms_bar_is_shown_and_closed(ordered: bool, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tqdm")

    async def main() -> None:
        scheduler = TaskScheduler(2)
        results = scheduler.map(double, range(6), progress=True, ordered=ordered)
        assert sorted([each async for each in results]) == [0, 2, 4, 6, 8, 10]

    run(main())
    said = capsys.readouterr().err
    assert "map:" in said
    assert "| 6/6 [" in said
    assert "100%" in said


def test_a_source_of_unknown_length_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tqdm")

    async def main() -> None:
        scheduler = TaskScheduler(2)
        results = scheduler.map(double, items(3), progress=True)
        assert len([each async for each in results]) == 3

    run(main())
    assert "map: 3 [" in capsys.readouterr().err


def test_a_map_that_is_left_closes_its_bar(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tqdm")

    async def main() -> None:
        scheduler = TaskScheduler(2)
        results = scheduler.map(double, range(6), progress=True)
        assert await anext(results) == 0
        await results.aclose()
        assert scheduler.active_tasks == scheduler.waiting == 0

    run(main())
    assert capsys.readouterr().err.endswith("\n")


@pytest.mark.parametrize("source", [items, range])
def test_kv_batch_shows_its_progress(source: Any, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tqdm")

    async def main() -> None:
        scheduler = TaskScheduler(2)

        async def calls() -> AsyncIterator[Any]:
            async for number in items(4):
                yield double(number)

        given: Any = calls() if source is items else [double(number) for number in source(4)]
        assert await kv_batch(given, scheduler=scheduler, progress=True) == [0, 2, 4, 6]
        plain = kv_batch([double(1)], progress=True)
        assert await plain == [2]

    run(main())
    assert "kv_batch: 100%" in capsys.readouterr().err


def test_a_batch_that_fails_closes_its_bar_and_raises(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tqdm")

    async def fail() -> None:
        raise KeyError("no")

    async def main() -> None:
        with pytest.raises(KeyError):
            await kv_batch([fail(), fail()], progress=True)

    run(main())
    assert capsys.readouterr().err.endswith("\n")
