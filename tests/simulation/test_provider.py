"""The simulated provider: what it charges, refuses, announces and counts."""

import asyncio
import math
import pickle
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xtremeflow.answers.exceptions import verdict_of
from xtremeflow.simulation.charge import (
    charge_later,
    charge_max_tokens,
    charge_prompt_and_max_tokens,
    charge_uncached_input,
    settle_actual,
    settle_uncached,
)
from xtremeflow.testing import (
    CallRequest,
    CompletionUsage,
    Concurrency,
    FixedWindow,
    LatencyModel,
    ProviderError,
    RateLimitError,
    RequestTooLargeError,
    SimulatedProvider,
    SlidingWindow,
    TokenBucket,
    run,
)

EXACT = LatencyModel(
    round_trip=0.5, first_token=1.0, per_prompt_token=0.0, per_output_token=0.25, jitter=0.0
)


def now() -> float:
    return asyncio.get_running_loop().time()


def test_a_call_takes_its_time_and_says_its_usage():
    async def main():
        provider = SimulatedProvider(latency=EXACT)
        began = now()
        response = await provider.call(prompt_tokens=30, output_tokens=8)
        assert now() - began == 0.5 + 1.0 + 8 * 0.25
        usage = response.usage
        assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (30, 8, 38)
        assert response.finish_reason == "stop"

    run(main())


def test_max_tokens_cuts_the_answer():
    async def main():
        provider = SimulatedProvider(latency=EXACT, charge="actual")
        response = await provider.call(prompt_tokens=30, output_tokens=8, max_tokens=4)
        assert response.usage.total_tokens == 34
        assert response.finish_reason == "length"
        assert provider.stats.tokens_charged == provider.stats.tokens_served == 34

    run(main())


@pytest.mark.parametrize(
    ("charge", "max_tokens", "expected"),
    [
        ("max_tokens", 500, {"tokens": 500, "input_tokens": 100, "output_tokens": 500}),
        ("max_tokens", 50, {"tokens": 100, "input_tokens": 100, "output_tokens": 50}),
        ("max_tokens", None, {"tokens": 100, "input_tokens": 100, "output_tokens": 0}),
        ("actual", 500, {"tokens": 120, "input_tokens": 100, "output_tokens": 20}),
        ("actual", None, {"tokens": 120, "input_tokens": 100, "output_tokens": 20}),
    ],
)
def test_a_call_is_charged_as_the_provider_is_told_to(charge, max_tokens, expected):
    async def main():
        provider = SimulatedProvider(charge=charge)
        await provider.call(prompt_tokens=100, output_tokens=20, max_tokens=max_tokens)
        assert provider.arrivals[0].costs == {"requests": 1, **expected}

    run(main())


def test_a_charge_of_ones_own():
    async def main():
        provider = SimulatedProvider(
            [TokenBucket("images", 1)], charge=lambda request: {"images": request.prompt_tokens}
        )
        await provider.call(prompt_tokens=1, output_tokens=20)
        with pytest.raises(RateLimitError):
            await provider.call(prompt_tokens=1, output_tokens=20)

    run(main())


def test_a_refusal_is_a_429_after_a_round_trip():
    async def main():
        provider = SimulatedProvider(
            [TokenBucket("tokens", 100, per=10.0)], latency=EXACT, charge="actual"
        )
        await provider.call(prompt_tokens=96, output_tokens=0)  # takes 1.5 s: 19 are back
        began = now()
        with pytest.raises(RateLimitError, match=r"TokenBucket\(tokens: 100 per 10 s") as caught:
            await provider.call(prompt_tokens=20, output_tokens=0)
        error = caught.value
        assert now() - began == 0.5
        assert error.status_code == error.response.status_code == 429
        assert error.retry_after == pytest.approx(0.1)
        assert error.response.headers == {
            "retry-after": "1",
            "retry-after-ms": str(math.ceil(1000 * error.retry_after)),
        }

    run(main())


def test_retry_after_is_exact():
    async def main():
        instant = LatencyModel(round_trip=0.0, first_token=0.0, per_output_token=0.0)
        provider = SimulatedProvider(
            [SlidingWindow("requests", 3, per=60.0), TokenBucket("tokens", 77, per=60.0)],
            latency=instant,
            charge="actual",
        )
        loop = asyncio.get_running_loop()
        passed = 0
        for tokens in Random(3).choices(range(78), k=200):
            try:
                await provider.call(prompt_tokens=tokens, output_tokens=0)
            except RateLimitError as error:
                refused = loop.time()
                await asyncio.sleep(error.retry_after - 1e-6)
                with pytest.raises(RateLimitError):
                    await provider.call(prompt_tokens=tokens, output_tokens=0)
                await asyncio.sleep(refused + error.retry_after - loop.time())
                await provider.call(prompt_tokens=tokens, output_tokens=0)
                passed += 1
        assert passed > 100

    run(main())


def test_a_refusal_charges_none_of_the_limits():
    async def main():
        provider = SimulatedProvider(
            [TokenBucket("requests", 2, per=1e6), TokenBucket("tokens", 100, per=1e6)],
            charge="actual",
        )
        await provider.call(prompt_tokens=60, output_tokens=0)
        for _ in range(5):
            with pytest.raises(RateLimitError):
                await provider.call(prompt_tokens=60, output_tokens=0)
        await provider.call(prompt_tokens=40, output_tokens=0)
        with pytest.raises(RateLimitError, match=r"requests.*tokens"):
            await provider.call(prompt_tokens=40, output_tokens=0)
        assert provider.stats.tokens_charged == 100
        assert [arrival.refused for arrival in provider.arrivals] == [False] + 5 * [True] + [
            False,
            True,
        ]

    run(main())


def test_a_call_that_never_passes_is_a_413():
    async def main():
        provider = SimulatedProvider([TokenBucket("tokens", 100)], charge="actual")
        with pytest.raises(RequestTooLargeError, match="a call of 101 never passes") as caught:
            await provider.call(prompt_tokens=101, output_tokens=0)
        assert caught.value.status_code == 413
        assert (provider.stats.attempts, provider.stats.too_large) == (1, 1)
        assert provider.stats.refused == 0

    run(main())


@pytest.mark.parametrize("limit", [TokenBucket, FixedWindow, SlidingWindow])
@pytest.mark.parametrize("tokens", [60, 101])
def test_a_refusal_comes_back_from_another_process(limit, tokens):
    async def main():
        provider = SimulatedProvider([limit("tokens", 100, 10.0)], latency=EXACT)
        calls = [provider.call(prompt_tokens=tokens, output_tokens=0) for _ in range(2)]
        return await asyncio.gather(*calls, return_exceptions=True)

    _, error = run(main())
    assert isinstance(error, ProviderError)
    there = pickle.loads(pickle.dumps(error))
    assert type(there) is type(error)
    assert str(there) == str(error)
    assert list(map(repr, vars(there).values())) == list(map(repr, vars(error).values()))
    assert verdict_of(there) == verdict_of(error)


def test_concurrency_is_held_to_completion_and_no_time_promised():
    async def main():
        provider = SimulatedProvider([Concurrency(2)], latency=EXACT)
        calls = [
            asyncio.ensure_future(provider.call(prompt_tokens=1, output_tokens=n)) for n in (1, 9)
        ]
        await asyncio.sleep(0)
        with pytest.raises(RateLimitError) as caught:
            await provider.call(prompt_tokens=1, output_tokens=1)
        assert caught.value.retry_after is None
        assert caught.value.response.headers == {}
        await calls[0]
        calls.append(asyncio.ensure_future(provider.call(prompt_tokens=1, output_tokens=1)))
        await asyncio.sleep(0)
        calls[1].cancel()  # gives its place back too
        await asyncio.sleep(0)
        await provider.call(prompt_tokens=1, output_tokens=1)
        await calls[2]
        stats = provider.stats
        assert (stats.attempts, stats.succeeded, stats.refused, stats.abandoned) == (5, 3, 1, 1)
        assert (stats.peak_concurrency, stats.in_flight) == (2, 0)

    run(main())


def test_early_calls_are_those_sent_before_a_wait_that_was_known():
    async def main():
        provider = SimulatedProvider(
            [TokenBucket("requests", 1, per=10.0)], latency=EXACT, charge="actual"
        )

        async def attempt():
            await provider.call(prompt_tokens=1, output_tokens=0)

        await attempt()  # back after 1.5 s
        refused = [asyncio.ensure_future(attempt()) for _ in range(2)]
        await asyncio.sleep(0.1)
        refused.append(asyncio.ensure_future(attempt()))  # the refusals are still on their way
        await asyncio.wait(refused)
        assert provider.stats.early == 0
        await asyncio.sleep(1)
        with pytest.raises(RateLimitError) as caught:
            await attempt()
        assert provider.stats.early == 1
        await asyncio.sleep(caught.value.retry_after)
        await attempt()
        assert provider.stats.early == 1
        for task in refused:
            assert isinstance(task.exception(), RateLimitError)

    run(main())


def test_calls_overtake_one_another_on_a_jittery_way_up():
    async def main():
        provider = SimulatedProvider(latency=LatencyModel(uplink_jitter=1.0), charge="actual")
        calls = [provider.call(prompt_tokens=n, output_tokens=1) for n in range(20)]
        await asyncio.gather(*calls)
        order = [arrival.costs["input_tokens"] for arrival in provider.arrivals]
        assert sorted(order) == list(range(20))
        assert order != sorted(order)
        times = [arrival.time for arrival in provider.arrivals]
        assert times == sorted(times)

    run(main())


def test_a_run_is_repeatable_and_a_key_outlives_the_order():
    async def durations(order, seed, keyed):
        provider = SimulatedProvider(seed=seed)
        found = {}
        for n in order:
            began = now()
            await provider.call(prompt_tokens=n, output_tokens=n, key=n if keyed else None)
            found[n] = now() - began
        return [round(found[n], 9) for n in sorted(found)]

    up, down = range(10), range(9, -1, -1)
    assert run(durations(up, 1, False)) == run(durations(up, 1, False))
    assert run(durations(up, 1, False)) != run(durations(up, 2, False))
    assert run(durations(up, 1, True)) == run(durations(down, 1, True))
    assert run(durations(up, 1, False)) != run(durations(down, 1, False))


def test_nothing_is_recorded_unless_wanted():
    async def main():
        provider = SimulatedProvider(record=False)
        await provider.call(prompt_tokens=1, output_tokens=1)
        assert provider.arrivals == []
        assert provider.stats.succeeded == 1

    run(main())


def test_a_clock_of_ones_own():
    async def main():
        provider = SimulatedProvider([TokenBucket("requests", 1)], clock=lambda: 42.0)
        await provider.call(prompt_tokens=1, output_tokens=1)
        await asyncio.sleep(1e6)
        with pytest.raises(RateLimitError):
            await provider.call(prompt_tokens=1, output_tokens=1)
        assert [arrival.time for arrival in provider.arrivals] == [42.0, 42.0]

    run(main())


def test_it_runs_on_real_time():
    async def main():
        latency = LatencyModel(round_trip=0.001, first_token=0.001, per_output_token=0.0)
        provider = SimulatedProvider([TokenBucket("requests", 1, per=60.0)], latency=latency)
        await provider.call(prompt_tokens=1, output_tokens=1)
        with pytest.raises(RateLimitError) as caught:
            await provider.call(prompt_tokens=1, output_tokens=1)
        assert 30 < caught.value.retry_after < 60

    asyncio.run(main())


@given(
    st.lists(
        st.tuples(st.floats(0, 5), st.integers(0, 90), st.integers(0, 90), st.booleans()),
        max_size=40,
    )
)
def test_every_call_is_counted_exactly_once(calls):
    async def main():
        provider = SimulatedProvider(
            [TokenBucket("tokens", 100, per=1.0), Concurrency(5)], charge="actual"
        )

        async def one(delay, prompt, output, cancel):
            await asyncio.sleep(delay)
            call = provider.call(prompt_tokens=prompt, output_tokens=output)
            return await (asyncio.wait_for(call, 0.5) if cancel else call)

        results = await asyncio.gather(*(one(*call) for call in calls), return_exceptions=True)
        kinds = {
            RateLimitError: provider.stats.refused,
            RequestTooLargeError: provider.stats.too_large,
        }
        for kind, counted in kinds.items():
            assert sum(isinstance(result, kind) for result in results) == counted
        stats = provider.stats
        assert stats.attempts == len(calls) == len(provider.arrivals)
        assert stats.refused + stats.too_large + stats.succeeded + stats.abandoned == len(calls)
        assert stats.in_flight == 0
        assert stats.peak_concurrency <= 5
        admitted = [arrival for arrival in provider.arrivals if not arrival.refused]
        assert stats.tokens_charged == sum(arrival.costs["tokens"] for arrival in admitted)

    run(main())


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        (
            {"prompt_tokens": -1, "output_tokens": 1},
            ValueError,
            "prompt_tokens must be 0 or more",
        ),
        (
            {"prompt_tokens": 1, "output_tokens": 1.5},
            TypeError,
            "output_tokens must be an integer",
        ),
        ({"prompt_tokens": 1, "output_tokens": 1, "max_tokens": -1}, ValueError, "max_tokens"),
    ],
)
def test_bad_calls_are_refused(arguments, error, match):
    async def main():
        with pytest.raises(error, match=match):
            await SimulatedProvider().call(**arguments)

    run(main())


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="charge must be one of max_tokens, actual, got 'all'"):
        SimulatedProvider(charge="all")
    with pytest.raises(ValueError, match=r"TokenBucket\(token.*counts what is never charged"):
        SimulatedProvider([TokenBucket("token", 1)])
    for limits, told in ((5, "got 5"), ([5], "but one of them is 5")):
        with pytest.raises(TypeError, match=f"limits must be a list of Enforcer objects, {told}"):
            SimulatedProvider(limits)
    with pytest.raises(TypeError, match="quirks must be a Quirks, got 5"):
        SimulatedProvider(quirks=5)
    with pytest.raises(TypeError, match="latency must be a LatencyModel, or draw as one, got 5"):
        SimulatedProvider(latency=5)
    for settings, told in (
        ({"charge": 5}, "charge must be a name or a function of a CallRequest, got 5"),
        ({"batch": 1.5}, "batch must be an integer, got 1.5"),
        ({"clock": 5}, "clock must be a function that returns seconds, or None, got 5"),
        ({"seed": "a"}, "seed must be an integer, got 'a'"),
        ({"record": 1}, "record must be True or False, not 1"),
    ):
        with pytest.raises(TypeError, match=told):
            SimulatedProvider(**settings)
    with pytest.raises(TypeError, match="unit must be a str, got 5"):
        TokenBucket(5, 100)
    with pytest.raises(ValueError, match="jitter must be a number, 0 or more, got -1"):
        LatencyModel(jitter=-1)
    with pytest.raises(TypeError, match="jitter must be a number, 0 or more, got '1'"):
        LatencyModel(jitter="1")


def test_latency_grows_with_the_lengths_and_has_the_mean_of_the_model():
    model = LatencyModel()
    random = Random(7)
    drawn = [model.draw(1000, 200, random) for _ in range(4000)]
    mean = sum(latency.total for latency in drawn) / len(drawn)
    assert mean == pytest.approx(0.02 + 0.2 + 0.1 + 2.0, rel=0.02)
    exact = LatencyModel(jitter=0.0)
    assert exact.draw(10, 5, random).total < exact.draw(10, 6, random).total
    assert exact.draw(10, 5, random).total < exact.draw(11, 5, random).total
    assert SimulatedProvider(latency=exact).latency_of(CallRequest(10, 5)).generation == 0.05


def test_a_call_step_by_step_is_charged_what_it_is_settled_at():
    async def main():
        provider = SimulatedProvider([TokenBucket("tokens", 100, per=100.0)], charge="max_tokens")
        provider.arrive()
        with provider.admit(CallRequest(10, 5, max_tokens=80)) as reservation:
            assert (provider.stats.in_flight, provider.stats.tokens_charged) == (1, 80)
            reservation.settle(settle_actual(CallRequest(10, 5), 5))
            assert provider.stats.tokens_charged == 15
            reservation.complete(CompletionUsage(10, 5))
        with pytest.raises(RateLimitError) as caught:
            provider.admit(CallRequest(10, 5, max_tokens=86))
        assert caught.value.costs["tokens"] == 86
        assert [limit.unit for limit in caught.value.limits] == ["tokens"]
        provider.admit(CallRequest(10, 5, max_tokens=85))
        assert provider.stats.charged["requests"] == 2

    run(main())


def test_the_end_of_a_reservation_counts_the_call_as_failed_or_abandoned():
    async def main():
        provider = SimulatedProvider([Concurrency(1)])
        with pytest.raises(OSError, match="broken"), provider.admit(CallRequest(1, 1)):
            raise OSError("broken")
        with pytest.raises(asyncio.CancelledError), provider.admit(CallRequest(1, 1)):
            raise asyncio.CancelledError
        stats = provider.stats
        assert (stats.failed, stats.abandoned, stats.succeeded, stats.in_flight) == (1, 1, 0, 0)

    run(main())


def test_a_cost_that_is_cached_or_asked_for_twice():
    request = CallRequest(100, 20, max_tokens=50, answers=3, cached_tokens=60)
    assert request.completion_tokens == 60
    assert charge_max_tokens(request)["tokens"] == 150
    assert charge_prompt_and_max_tokens(request)["tokens"] == 250
    assert charge_later(request)["tokens"] == 1
    assert charge_uncached_input(request) == {
        "requests": 1,
        "tokens": 40,
        "input_tokens": 40,
        "output_tokens": 0,
    }
    assert settle_uncached(request, 60)["tokens"] == 100


# A server that works on so many calls at a time.


async def timed(provider: SimulatedProvider, output_tokens: int) -> float:
    began = now()
    await provider.call(prompt_tokens=1, output_tokens=output_tokens)
    return now() - began


def test_beyond_its_batch_calls_wait_in_their_order():
    async def main():
        provider = SimulatedProvider(latency=EXACT, batch=2)
        # 1 s and a quarter for each token; half a second on the way.
        took = await asyncio.gather(*(timed(provider, tokens) for tokens in (4, 8, 0, 0, 0)))
        assert took == [2.5, 3.5, 3.5, 4.5, 4.5]
        assert provider.stats.peak_concurrency == 5

    run(main())


def test_a_call_that_is_cancelled_leaves_its_place_in_the_batch():
    async def main():
        provider = SimulatedProvider([Concurrency(3)], latency=EXACT, batch=1)
        working, waiting, last = (asyncio.ensure_future(timed(provider, 0)) for _ in range(3))
        await asyncio.sleep(0.5)
        with pytest.raises(RateLimitError):  # the batch and its queue are full
            await provider.call(prompt_tokens=1, output_tokens=0)
        waiting.cancel()
        working.cancel()
        assert await last == 2.0 + 0.5
        assert provider.stats.abandoned == 2

    run(main())


@pytest.mark.parametrize("batch", [0, -1, 1.5, True])
def test_a_batch_is_of_at_least_one(batch):
    with pytest.raises((ValueError, TypeError), match="batch must be"):
        SimulatedProvider(batch=batch)
