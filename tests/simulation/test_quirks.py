"""A simulated provider that is not what it says, on the virtual clock."""

import asyncio
import time

import pytest

from xtremeflow.testing import (
    Concurrency,
    FixedWindow,
    LatencyModel,
    Quirks,
    RateLimitError,
    RequestTooLargeError,
    SimulatedProvider,
    SlidingWindow,
    TokenBucket,
    run,
)

INSTANT = LatencyModel(
    round_trip=0.0, first_token=0.0, per_prompt_token=0.0, per_output_token=0.0, jitter=0.0
)


def provider_of(*limits, **quirks):
    return SimulatedProvider(limits, latency=INSTANT, charge="actual", quirks=Quirks(**quirks))


async def refusal(provider, tokens=1):
    """The error of a call, or None where it passes."""
    try:
        await provider.call(prompt_tokens=tokens, output_tokens=0)
    except RateLimitError as error:
        return error
    return None


async def passing(provider, count):
    return [await refusal(provider) for _ in range(count)].count(None)


@pytest.mark.parametrize("kind", [TokenBucket, FixedWindow, SlidingWindow])
@pytest.mark.parametrize(("quantum", "part"), [(1.0, 10), (6.0, 60)])
def test_a_limit_of_a_minute_is_enforced_by_its_part(kind, quantum, part):
    async def main():
        provider = provider_of(kind("requests", 600), quantum=quantum)
        assert await passing(provider, 100) == part
        await asyncio.sleep(quantum)
        assert await passing(provider, 100) == part
        for _ in range(200):  # and the minute's is kept, too
            await asyncio.sleep(quantum)
            await passing(provider, 100)
        admitted = [arrival.time for arrival in provider.arrivals if not arrival.refused]
        span = admitted[-1] - admitted[0]
        assert len(admitted) <= 600 + span * 10 + 1e-6

    run(main())


def test_a_call_larger_than_a_part_passes_when_the_part_is_full():
    async def main():
        provider = provider_of(TokenBucket("tokens", 6_000), quantum=1.0)
        assert await refusal(provider, 1_000) is None  # ten seconds' worth
        error = await refusal(provider, 100)
        assert error.retry_after == pytest.approx(10.0)
        assert [limit.unit for limit in error.limits] == ["tokens"]
        await asyncio.sleep(error.retry_after)
        assert await refusal(provider, 100) is None
        with pytest.raises(RequestTooLargeError):
            await provider.call(prompt_tokens=6_001, output_tokens=0)

    run(main())


def test_days_and_places_have_no_parts():
    async def main():
        day = TokenBucket("requests", 50, per=86_400.0)
        provider = provider_of(day, Concurrency(5), quantum=1.0)
        assert await passing(provider, 60) == 50

    run(main())


def test_a_refused_request_takes_what_has_come_back():
    async def main():
        for counted in (True, False):
            provider = provider_of(TokenBucket("requests", 60), refused_count=counted)
            assert await passing(provider, 120) == 60
            await asyncio.sleep(0.75)
            error = await refusal(provider)
            assert error.retry_after == pytest.approx(1.0 if counted else 0.25)
            await asyncio.sleep(error.retry_after - 1e-6)
            assert await refusal(provider) is not None
            await asyncio.sleep(2e-6)
            assert (await refusal(provider) is None) != counted
            await asyncio.sleep(1.0)
            assert await refusal(provider) is None  # nothing more is owed

    run(main())


def test_a_client_that_keeps_retrying_gets_nothing_where_refused_requests_count():
    async def main():
        for counted, passed in ((True, 60), (False, 60 + 60)):
            provider = provider_of(TokenBucket("requests", 60), refused_count=counted)
            await passing(provider, 60)
            found = 60
            for _ in range(60 * 4):  # four a second, where one passes
                await asyncio.sleep(0.25)
                found += await passing(provider, 1)
            assert found == passed

    run(main())


def test_a_call_refused_for_tokens_takes_a_request_and_no_tokens():
    async def main():
        requests = TokenBucket("requests", 10, per=1e4)
        tokens = TokenBucket("tokens", 100, per=1e4)
        day = TokenBucket("requests", 100, per=86_400.0)
        provider = provider_of(
            requests, tokens, day, Concurrency(9), refused_count=True, longest=2e4
        )
        await refusal(provider, 60)
        assert (await refusal(provider, 60)).limits[0] is tokens
        now = round(provider.now() * 1e9)
        assert (requests.remaining(now), tokens.remaining(now), day.remaining(now)) == (8, 40, 99)

    run(main())


def test_requests_that_grow_too_fast_are_refused_within_the_limits():
    async def main():
        provider = provider_of(
            TokenBucket("requests", 60_000), growth=2.0, growth_over=10.0, growth_free=20
        )
        found = []
        for _ in range(6):
            found.append(await passing(provider, 500))
            await asyncio.sleep(10.0)
        assert found == [20, 40, 80, 160, 320, 500]
        error = [await refusal(provider) for _ in range(2_000)][-1]
        assert (error.status_code, error.code, error.reason) == (429, "slow_down", "growth")
        assert error.response.headers == {}
        assert provider.stats.unruly == provider.stats.refused
        await asyncio.sleep(60.0)
        assert await passing(provider, 500) == 20  # from the start again

    run(main())


def test_noise_tells_nothing_and_is_always_the_same():
    async def refused(seed):
        provider = SimulatedProvider(latency=INSTANT, seed=seed, quirks=Quirks(noise=0.05))
        errors = [await refusal(provider) for _ in range(2_000)]
        assert all(e is None or (e.response.headers == {} and e.reason == "noise") for e in errors)
        return [number for number, error in enumerate(errors) if error]

    found = run(refused(1))
    assert 50 < len(found) < 150
    assert run(refused(1)) == found != run(refused(2))


def test_the_first_calls_are_refused():
    async def main():
        provider = provider_of(TokenBucket("requests", 60), noise_first=2)
        assert [await refusal(provider) is None for _ in range(4)] == [False, False, True, True]

    run(main())


@pytest.mark.parametrize(
    ("waits", "headers"),
    [
        ("honest", {"retry-after": "3", "retry-after-ms": "3000"}),
        ("none", {}),
        ("text", {}),
        ("zero", {"retry-after": "0"}),
        ("short", {"retry-after-ms": "5"}),
        ("joined", {"retry-after": "3, 3"}),
        ("negative", {"retry-after": "-3"}),
        ("absurd", {"retry-after": "1000000000000000"}),
        ("date", {"retry-after": "Wed, 31 Feb 2027 25:61:00 GMT"}),
    ],
)
def test_waits_told_in_all_ways(waits, headers):
    async def main():
        provider = provider_of(blocked=3.0, waits=waits)
        error = await refusal(provider)
        assert dict(error.response.headers) == headers
        assert (error.retry_after, error.wait) == (3.0 if waits == "honest" else None, 3.0)
        assert ("Please retry after 3 seconds." in str(error)) == (waits == "text")
        await asyncio.sleep(2.9)
        assert await refusal(provider) is not None
        await asyncio.sleep(0.2)
        assert await refusal(provider) is None

    run(main())


def test_waits_as_a_unix_time():
    async def main():
        error = await refusal(provider_of(blocked=3.0, waits="unix"))
        assert int(error.response.headers["retry-after"]) == pytest.approx(time.time() + 3, abs=60)

    run(main())


def test_two_clients_share_a_provider():
    async def main():
        provider = provider_of(TokenBucket("requests", 600), quantum=1.0)
        served = [0, 0]

        async def client(number):
            while served[number] < 50:
                error = await refusal(provider)
                served[number] += error is None
                await asyncio.sleep(error.retry_after if error else 0.01)

        began = asyncio.get_running_loop().time()
        await asyncio.gather(client(0), client(1))
        assert served == [50, 50]
        assert asyncio.get_running_loop().time() - began == pytest.approx(9.0, abs=1.0)

    run(main())


@pytest.mark.parametrize(
    ("texts", "quirks"),
    [
        ([], Quirks()),
        (["quantum=1", "noise=0.01"], Quirks(quantum=1, noise=0.01)),
        (["refused_count", "waits=unix"], Quirks(refused_count=True, waits="unix")),
        (["refused_count=false"], Quirks(refused_count=False)),
    ],
)
def test_quirks_may_be_given_as_texts(texts, quirks):
    assert Quirks.from_texts(texts) == quirks


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"quantm": 1}, "there is no quirk 'quantm'; there are quantum, refused_count"),
        ({"quantum": 0}, "quantum must be a number above 0, got 0"),
        ({"noise": 1.5}, "noise must be a share from 0 to 1, got 1.5"),
        ({"noise": "often"}, "noise must be a number, 0 or more, got 'often'"),
        ({"noise_first": -1}, "noise_first must be 0 or more, got -1"),
        ({"growth_status": 500}, "growth_status must be 429, 503, got 500"),
        ({"waits": "soon"}, "waits must be honest, none, text, .*, got 'soon'"),
        ({"headers": "some"}, "headers must be honest, static, none, unix, got 'some'"),
        ({"refused_count": 1}, "refused_count must be None, True, False, got 1"),
        ({"refused_in_200": "yes"}, "refused_in_200 must be True, False, got 'yes'"),
    ],
)
def test_bad_quirks_are_refused(values, text):
    with pytest.raises((ValueError, TypeError), match=text):
        Quirks.of(values)


def test_at_a_higher_speed_all_times_shrink_alike():
    quirks = Quirks(quantum=6.0, growth_over=12.0, blocked=3.0).faster(6.0)
    assert quirks == Quirks(quantum=1.0, growth_over=2.0, blocked=0.5, longest=600.0)
