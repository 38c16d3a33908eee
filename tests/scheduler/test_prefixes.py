"""Calls that share a prefix: one goes ahead, the others follow when its answer has begun."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Hashable
from typing import Any

import pytest

from xtremeflow import (
    ChargeRule,
    Limit,
    RequestRateScheduler,
    Stats,
    TaskScheduler,
    TokenRateScheduler,
    branch,
    report_first_token,
)
from xtremeflow.providers import PROVIDERS
from xtremeflow.testing import run
from xtremeflow.values.usage import Usage

Ask = Callable[..., Awaitable[Any]]


def now() -> float:
    return asyncio.get_running_loop().time()


class Calls:
    """Calls whose answer begins after a second and ends after ten, and when they were sent."""

    def __init__(self) -> None:
        self.began = now()
        self.sent: dict[Any, float] = {}

    async def __call__(self, name: Any, *, begins: bool = True, fails: bool = False) -> Any:
        self.sent[name] = round(now() - self.began, 6)
        await asyncio.sleep(1.0)
        if fails:
            raise ValueError(name)
        if begins:
            report_first_token()
        await asyncio.sleep(9.0)
        return name


def prefixes(stats: Stats) -> Any:
    assert stats.prefixes is not None
    return stats.prefixes


def test_the_first_call_of_a_prefix_goes_alone_until_its_answer_has_begun() -> None:
    async def main() -> None:
        scheduler, ask = TaskScheduler(), Calls()
        tasks = [scheduler.submit(ask(n), prefix="a") for n in range(4)]
        assert await asyncio.gather(*tasks) == [0, 1, 2, 3]
        assert ask.sent == {0: 0.0, 1: 1.0, 2: 1.0, 3: 1.0}
        stats = scheduler.stats()
        assert prefixes(stats).led == prefixes(stats).held_seconds == 1
        assert stats.held_by_prefix == pytest.approx(1 / 11)

    run(main())


def test_a_call_that_says_nothing_warms_its_prefix_at_its_end() -> None:
    async def main() -> None:
        scheduler, ask = TaskScheduler(), Calls()
        tasks = [scheduler.submit(ask(n, begins=False), prefix="a") for n in range(3)]
        await asyncio.gather(*tasks)
        assert ask.sent == {0: 0.0, 1: 10.0, 2: 10.0}

    run(main())


def test_those_held_have_no_slot_and_calls_of_others_overtake_them() -> None:
    async def main() -> None:
        scheduler, ask = TaskScheduler(max_concurrency=2), Calls()
        names = ["a0", "a1", "a2", "b0", "c0"]
        tasks = [scheduler.submit(ask(name), prefix=name[0]) for name in names]
        await asyncio.gather(*tasks)
        assert ask.sent == {"a0": 0.0, "b0": 0.0, "a1": 10.0, "a2": 10.0, "c0": 20.0}

    run(main())


def test_if_the_call_that_goes_ahead_fails_the_next_one_does() -> None:
    async def main() -> None:
        scheduler, ask = TaskScheduler(), Calls()
        tasks = [scheduler.submit(ask(n, fails=n == 0), prefix="a") for n in range(4)]
        await asyncio.gather(*tasks, return_exceptions=True)
        assert ask.sent == {0: 0.0, 1: 1.0, 2: 2.0, 3: 2.0}

    run(main())


def test_if_it_is_cancelled_the_next_one_goes_at_once() -> None:
    async def main() -> None:
        scheduler, ask = TaskScheduler(), Calls()
        tasks = [scheduler.submit(ask(n), prefix="a") for n in range(3)]
        await asyncio.sleep(0.5)
        tasks[0].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert ask.sent == {0: 0.0, 1: 0.5, 2: 1.5}

    run(main())


def test_no_call_is_held_for_longer_than_three_median_times_to_the_first_token() -> None:
    async def main() -> None:
        scheduler, ask = TaskScheduler(), Calls()
        for name in "abc":
            await scheduler.submit(ask(name), prefix=name)
        assert prefixes(scheduler.stats()).bound == pytest.approx(3.0)
        began = now() - ask.began
        await asyncio.gather(
            scheduler.submit(ask("d0", begins=False), prefix="d"),
            scheduler.submit(ask("d1"), prefix="d"),
        )
        assert ask.sent["d1"] - began == pytest.approx(3.0)
        assert prefixes(scheduler.stats()).lapsed == 1

    run(main())


def test_a_group_that_waited_meanwhile_is_held_no_longer_than_the_bound_known_by_then() -> None:
    async def main() -> None:
        scheduler, ask = TaskScheduler(max_concurrency=1), Calls()
        first = scheduler.submit(ask("first"), prefix="a")
        slow = [scheduler.submit(ask(n, begins=False), prefix="b") for n in range(2)]
        await asyncio.sleep(5.0)  # the first has begun after one second: so the bound is three
        scheduler.max_concurrency = 9
        await asyncio.gather(first, *slow)
        assert ask.sent == {"first": 0.0, 0: 5.0, 1: 8.0}

    run(main())


@pytest.mark.parametrize("prefix", ["a", branch("system", "a")])
@pytest.mark.parametrize(("life", "seconds"), [(None, 300.0), (60, 60.0), (7200.0, 7200.0)])
def test_a_prefix_is_cold_again_when_its_life_after_its_last_call_is_over(
    prefix: Hashable, life: float | None, seconds: float
) -> None:
    async def main() -> None:
        scheduler, ask = TaskScheduler(), Calls()

        def call(name: Any) -> Awaitable[Any]:
            return scheduler.submit(ask(name), prefix=prefix, prefix_life=life)

        await call("first")
        await asyncio.sleep(seconds - 11.0)
        await asyncio.gather(call(0), call(1))
        assert ask.sent[0] == ask.sent[1] == seconds - 1
        await asyncio.sleep(seconds - 10.0)
        await asyncio.gather(call(0), call(1))
        assert (ask.sent[0], ask.sent[1]) == (2 * seconds - 1, 2 * seconds)

    run(main())


def test_a_prefix_that_is_kept_for_ever_is_never_cold() -> None:
    async def main() -> None:
        scheduler, ask = TaskScheduler(), Calls()
        for _ in range(2):
            calls = [scheduler.submit(ask(n), prefix="a", prefix_life=float("inf")) for n in "12"]
            await asyncio.gather(*calls)
            await asyncio.sleep(1e7)
        assert prefixes(scheduler.stats()).led == 1

    run(main())


def test_the_answers_say_whether_the_prefix_was_found() -> None:
    def usage(cached: int, written: int) -> dict[str, int]:
        return {
            "input_tokens": 100, "cache_read_input_tokens": cached,
            "cache_creation_input_tokens": written, "output_tokens": 5,
        }  # fmt: skip

    async def main() -> None:
        scheduler = TokenRateScheduler(max_tpm=10_000_000, burst_ratio=60)
        sent: list[float] = []
        began = now()

        async def ask(cached: int, written: int = 0) -> None:
            sent.append(round(now() - began, 6))
            await asyncio.sleep(1.0)
            report_first_token()
            scheduler.settle(usage(cached, written))

        answers = [(0, 2000), (2000, 0), (1600, 0), (1599, 0), (0, 0)]
        for answer in answers:
            await scheduler.submit(ask(*answer), 10, prefix="a", prefix_tokens=2000)
        stats = prefixes(scheduler.stats())
        assert (stats.expected, stats.read, stats.written) == (8000, 5199, 2000)
        assert stats.hits == 0.5
        # Two in a row have not found it: it is written anew, by one of them.
        sent.clear()
        await asyncio.gather(*(scheduler.submit(ask(0), 10, prefix="a") for _ in range(2)))
        assert sent == [5.0, 6.0]

    run(main())


def test_map_asks_an_item_for_its_prefix() -> None:
    async def main() -> None:
        scheduler, ask = TaskScheduler(), Calls()
        items = ["a0", "a1", "b0", "b1", "-"]

        def key(item: str) -> str | None:
            return None if item == "-" else item[0]

        assert [r async for r in scheduler.map(ask, items, prefix=key)] == items
        assert ask.sent == {"a0": 0.0, "b0": 0.0, "-": 0.0, "a1": 1.0, "b1": 1.0}

    run(main())


def test_an_error_of_the_function_of_prefixes_is_the_items_outcome() -> None:
    async def main() -> None:
        scheduler, ask = TaskScheduler(), Calls()
        results = scheduler.map(ask, ["a", ""], prefix=lambda item: item[0], return_exceptions=True)
        first, second = [r async for r in results]
        assert first == "a"
        assert isinstance(second, IndexError)

    run(main())


def test_arguments_that_mean_nothing_are_refused_and_the_coroutine_is_closed() -> None:
    class Odd:
        def __hash__(self) -> int:
            raise KeyError("odd")

    async def main() -> None:
        scheduler, ask = TaskScheduler(), Calls()
        with pytest.raises(TypeError, match=r"prefix must be hashable, or None, not \[\]"):
            scheduler.submit(ask(0), prefix=[])  # type: ignore[arg-type]
        with pytest.raises(KeyError, match="odd"):
            scheduler.submit(ask(0), prefix=Odd())
        with pytest.raises(ValueError, match="prefix_tokens must be a whole number >= 0, not -1"):
            scheduler.submit(ask(0), prefix="a", prefix_tokens=-1)
        with pytest.raises(TypeError, match="prefix_tokens must be a whole number >= 0, not 'x'"):
            scheduler.submit(ask(0), prefix="a", prefix_tokens="x")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="prefix_tokens must be 0 without prefix=, not 5"):
            scheduler.submit(ask(0), prefix_tokens=5)
        with pytest.raises(ValueError, match="prefix_tokens must be 0 without prefix=, got 5"):
            scheduler.map(ask, [0], prefix_tokens=5)
        with pytest.raises(TypeError, match="prefix_life must be a number of seconds or None, not"):
            scheduler.submit(ask(0), prefix="a", prefix_life="1h")  # type: ignore[arg-type]
        for life in (0, -1.0, float("nan")):
            with pytest.raises(ValueError, match="prefix_life must be > 0 seconds or None, not"):
                scheduler.submit(ask(0), prefix="a", prefix_life=life)
        with pytest.raises(ValueError, match="prefix_life must be None without prefix="):
            scheduler.submit(ask(0), prefix_life=5.0)
        with pytest.raises(ValueError, match="prefix_life must be None without prefix=, got 5"):
            scheduler.map(ask, [0], prefix_life=5)
        assert scheduler.stats().submitted == 0

    run(main())


def test_a_task_that_is_never_started_leaves_its_group() -> None:
    async def main() -> None:
        scheduler, ask = TaskScheduler(), Calls()
        scheduler.start_task(ask(0), prefix="a").close()
        gc.collect()
        task = await scheduler.start_task(ask(1), prefix="a")
        assert await task == 1
        assert ask.sent == {1: 0.0}

    run(main())


def test_prefixes_that_are_of_no_use_any_more_are_forgotten() -> None:
    async def main() -> None:
        scheduler = RequestRateScheduler(max_rps=100)

        async def ask() -> None:
            report_first_token()

        for n in range(40_000):
            await scheduler.submit(ask(), prefix=n)
        assert prefixes(scheduler.stats()).led == 40_000
        # 300 s at 100/s stay warm; what is cold goes when the number has doubled.
        assert 30_000 <= prefixes(scheduler.stats()).groups <= 40_000
        for n in range(40_000, 100_000):
            await scheduler.submit(ask(), prefix=n)
        assert prefixes(scheduler.stats()).groups <= 70_000

    run(main())


def test_nothing_is_told_of_prefixes_where_no_call_has_named_one() -> None:
    async def main() -> None:
        scheduler, ask = TaskScheduler(), Calls()
        await scheduler.submit(ask(0))
        assert scheduler.stats().prefixes is None

    run(main())


def test_outside_a_call_a_first_token_says_nothing() -> None:
    report_first_token()


def test_what_the_cache_saves_is_unknown_where_the_scheduler_knows_no_provider() -> None:
    async def main() -> None:
        scheduler = TaskScheduler()

        async def ask() -> None:
            scheduler.settle({"input_tokens": 10, "output_tokens": 1})

        await scheduler.submit(ask(), prefix="a")
        told = prefixes(scheduler.stats())
        assert (told.prompts, told.saved_share) == (0, None)

    run(main())


def test_where_reads_are_not_charged_a_warm_group_runs_faster_than_its_prompts() -> None:
    """1,000 tokens a minute, prompts of 110."""

    async def sent_by(rule: ChargeRule) -> list[float]:
        limits = [Limit("input_tokens", 1000, 60.0, 330)]
        scheduler, calls = TokenRateScheduler(limits=limits), Calls()

        async def ask(n: int) -> None:
            await calls(n)
            usage = Usage(110, 5, 100 if n else 0)
            scheduler.settle(usage, rule=rule)

        cost = {"input_tokens": 110}
        tasks = [scheduler.submit(ask(n), cost, prefix="a", prefix_tokens=100) for n in range(30)]
        await asyncio.gather(*tasks)
        return sorted(calls.sent.values())

    charged = run(sent_by(ChargeRule("input", settles=True, cached_free=False)))
    free = run(sent_by(PROVIDERS["anthropic"].rule))
    returned = run(sent_by(PROVIDERS["groq"].rule))
    assert charged[:3] == free[:3] == returned[:3] == [0.0, 1.0, 1.0]
    # What has come back of the two that followed pays for the others, of 10 tokens each.
    assert free[-1] == pytest.approx(11.0, abs=0.1)
    assert charged[-1] == pytest.approx(6.6 * 27, abs=1.0)
    # Groq has each of them reserve its whole prompt, and returns 100 tokens of it at the end.
    assert returned[3] == pytest.approx(6.6, abs=0.1)
    assert 20.0 < returned[-1] < 60.0


@pytest.mark.parametrize("gives_way", [True, False])
def test_a_group_gives_way_where_a_machine_serves_only_some_of_its_calls(gives_way: bool) -> None:
    async def main() -> None:
        scheduler, ask = TaskScheduler(), Calls()
        scheduler._give_way(gives_way)

        async def late(name: str) -> None:
            await asyncio.sleep(1.0)
            await ask(name)

        tasks = [
            scheduler.submit(ask(f"a{n}") if m == "a" else late(f"b{n}"), prefix=m)
            for n in range(20)
            for m in "ab"
        ]
        await asyncio.gather(*tasks)
        sent = [ask.sent[f"a{n}"] for n in range(20)]
        assert sent == [0.0, *[1.0] * 14, *[2.0 if gives_way else 1.0] * 5]

    run(main())


def test_the_first_call_of_a_branch_waits_for_its_trunk() -> None:
    async def main() -> None:
        scheduler, ask = TaskScheduler(), Calls()
        tasks = [
            scheduler.submit(ask(f"{document}{n}"), prefix=branch("system", document))
            for document in "ABC"
            for n in range(2)
        ]
        await asyncio.gather(*tasks)
        assert ask.sent == {"A0": 0.0, "A1": 1.0, "B0": 1.0, "C0": 1.0, "B1": 2.0, "C1": 2.0}
        assert prefixes(scheduler.stats()).groups == 4

    run(main())


def test_a_branch_is_known_by_its_own_key() -> None:
    async def main() -> None:
        scheduler, ask = TaskScheduler(), Calls()
        keys = [
            branch("system", "a"),
            "a",
            branch("other", "a"),
            branch(branch("x", "system"), "b"),
        ]
        await asyncio.gather(*(scheduler.submit(ask(n), prefix=key) for n, key in enumerate(keys)))
        assert ask.sent == {0: 0.0, 1: 1.0, 2: 1.0, 3: 1.0}  # the last one waits for "system"
        assert prefixes(scheduler.stats()).groups == 3

    run(main())


def test_a_trunk_that_is_swept_is_opened_again() -> None:
    async def main() -> None:
        scheduler, ask = TaskScheduler(), Calls()
        for n in range(3000):
            scheduler.submit(ask(n), prefix=branch(("trunk", n // 2), n)).cancel()
            if n % 1000 == 0:
                await asyncio.sleep(0)
        await asyncio.sleep(400.0)
        task = scheduler.submit(ask("last"), prefix=branch(("trunk", 0), 0))
        assert await task == "last"

    run(main())


def test_the_call_that_leads_a_branch_does_not_pay_for_its_trunk_where_reads_are_free() -> None:
    async def main() -> None:
        limits = [Limit("input_tokens", 1000, 60.0, 330)]
        scheduler, calls = TokenRateScheduler(limits=limits), Calls()

        async def ask(name: str, read: int) -> None:
            await calls(name)
            scheduler.settle(Usage(110, 5, read), rule=PROVIDERS["anthropic"].rule)

        def submit(name: str, read: int) -> asyncio.Task[None]:
            prefix = branch("system", name[0], trunk_tokens=80)
            cost = {"input_tokens": 110}
            return scheduler.submit(ask(name, read), cost, prefix=prefix, prefix_tokens=100)

        await asyncio.gather(submit("a0", 0), submit("a1", 100))
        await asyncio.sleep(60.0)
        began = round(now() - calls.began, 6)
        await asyncio.gather(*(submit(f"{name}0", 80) for name in "bcdefghijk"))
        assert [calls.sent[f"{name}0"] for name in "bcdefghijk"] == [began] * 10

    run(main())


@pytest.mark.parametrize("wrong", [None, [], {}])
def test_the_keys_of_a_branch_must_be_hashable(wrong: Any) -> None:
    with pytest.raises(TypeError, match="trunk must be hashable and not None, got"):
        branch(wrong, "a")
    with pytest.raises(TypeError, match="key must be hashable and not None, got"):
        branch("a", wrong)
    with pytest.raises(ValueError, match="trunk_tokens must be"):
        branch("a", "b", trunk_tokens=-1)
