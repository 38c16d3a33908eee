"""Providers that are not what they say, over their APIs: what answers tell, and the admin."""

import asyncio

import pytest
from kit.serve import EPOCH, Client, simulated

from xtremeflow.testing import Quirks


async def statuses(client, count):
    return [(await client.call()).status for _ in range(count)]


@simulated
async def test_headers_speak_of_the_minute_and_a_second_is_enforced():
    client = Client("openai", limits={"rpm": 600}, quirks=Quirks(quantum=1))
    assert await statuses(client, 12) == [200] * 10 + [429] * 2
    got = await client.call()
    assert got.headers["x-ratelimit-limit-requests"] == "600"
    assert int(got.headers["x-ratelimit-remaining-requests"]) > 500
    assert got.headers["retry-after"] == "1"
    assert "requests per min (RPM): Limit 600" in got.body["error"]["message"]


@simulated
async def test_the_quantum_follows_the_speed():
    client = Client("openai", limits={"rpm": 600}, speed=10.0, quirks=Quirks(quantum=10))
    assert await statuses(client, 110) == [200] * 100 + [429] * 10
    await asyncio.sleep(1.2)
    assert await statuses(client, 100) == [200] * 100


@pytest.mark.parametrize(
    ("profile", "given", "counted"),
    [
        ("openai", None, True),
        ("openai", False, False),
        ("groq", None, False),
        ("groq", True, True),
    ],
)
@simulated
async def test_refused_requests_count_at_openai_by_default(profile, given, counted):
    client = Client(profile, limits={"rpm": 60}, quirks=Quirks(refused_count=given))
    await statuses(client, 60)
    await asyncio.sleep(0.75)
    assert (await client.call()).status == 429
    await asyncio.sleep(0.5)
    assert (await client.call()).status == (429 if counted else 200)


@pytest.mark.parametrize("status", [429, 503])
@simulated
async def test_too_fast_a_growth_is_refused_with_slow_down(status):
    client = Client("openai", quirks=Quirks(growth=2.0, growth_free=5, growth_status=status))
    assert await statuses(client, 7) == [200] * 5 + [status] * 2
    got = await client.call()
    assert got.body["error"]["code"] == "slow_down"
    assert "retry-after" not in got.headers
    assert int(got.headers["x-ratelimit-remaining-requests"]) > 4_900


@simulated
async def test_static_headers_never_move():
    client = Client("openai", limits={"rpm": 60}, quirks=Quirks(headers="static"))
    first = (await client.call()).headers
    for _ in range(70):
        got = await client.call()
        assert {k: v for k, v in got.headers.items() if "ratelimit" in k} == {
            k: v for k, v in first.items() if "ratelimit" in k
        }
    assert got.status == 429
    assert got.headers["x-ratelimit-remaining-requests"] == "59"


@pytest.mark.parametrize("profile", ["openai", "azure", "groq"])
@simulated
async def test_resets_as_unix_times(profile):
    client = Client(profile, limits={"tpm": 6_000}, quirks=Quirks(headers="unix"))
    got = await client.call(1_000, 1, 1_000)
    reset = int(got.headers["x-ratelimit-reset-tokens"])
    left = 60 if profile == "azure" else 10  # a window, and buckets
    assert EPOCH < reset <= EPOCH + 2 * left


@simulated
async def test_without_headers_nothing_is_told():
    client = Client("openai", limits={"rpm": 1}, quirks=Quirks(headers="none", waits="none"))
    for status in (200, 429):
        got = await client.call()
        assert got.status == status
        assert not [k for k in got.headers if "ratelimit" in k or "retry" in k]


@simulated
async def test_noise_is_a_429_without_headers():
    client = Client("openai", quirks=Quirks(noise_first=1))
    got = await client.call()
    assert got.status == 429
    assert not [k for k in got.headers if "ratelimit" in k or "retry" in k]
    assert got.body["error"]["message"] == "The model is busy, please try again later."
    assert (await client.call()).status == 200


@pytest.mark.parametrize(
    ("profile", "waits", "header", "text"),
    [
        ("openai", "zero", "0", None),
        ("openai", "unix", str(round(EPOCH) + 1), None),
        ("openai", "text", None, "Please retry after 1 seconds."),
        ("azure", "text", None, "Please retry after 10 seconds."),
        ("gemini", "negative", "-60", None),
    ],
)
@simulated
async def test_the_wait_of_a_refusal_for_the_rate(profile, waits, header, text):
    limits = {"rpm": 60} if profile != "gemini" else {"rpm": 10}
    quirks = Quirks(waits=waits, refused_count=False)
    client = Client(profile, limits=limits, quirks=quirks)
    await statuses(client, 60)
    got = await client.call()
    assert got.status == 429
    assert got.headers.get("retry-after") == header
    assert "retry-after-ms" not in got.headers
    said = got.body["error"]["message"]
    assert said == f"Rate limit reached. {text}" if text else "again in" not in said
    seen = await client.admin("stats", method="GET")
    assert seen["early"] == 0  # nobody has been told a wait that holds


@simulated
async def test_an_error_object_in_a_200():
    client = Client("openai", limits={"rpm": 1}, quirks=Quirks(refused_in_200=True))
    assert (await client.call()).body["object"] == "chat.completion"
    got = await client.call()
    assert (got.status, got.body["error"]["code"]) == (200, 429)
    got = await client.call(stream=True)
    assert (got.status, got.events[0]["error"]["code"]) == (200, 429)
    seen = await client.admin("stats", method="GET")
    assert (seen["refused"], seen["succeeded"]) == (2, 1)


@simulated
async def test_all_calls_are_refused_at_first():
    client = Client("openai", quirks=Quirks(blocked=3, waits="zero"))
    got = await client.call()
    assert (got.status, got.headers["retry-after"]) == (429, "0")
    await asyncio.sleep(3)
    assert (await client.call()).status == 200


@simulated
async def test_the_admin_changes_quirks():
    client = Client("openai", quirks=Quirks(noise=0.5))
    told = await client.admin("quirks", {"noise_first": 1, "noise": 0})
    assert (told["quirks"]["noise"], told["quirks"]["noise_first"]) == (0, 1)
    assert await client.admin("quirks", method="GET") == told
    assert await statuses(client, 2) == [429, 200]
    told = await client.admin("quirks", method="DELETE")
    assert Quirks(**told["quirks"]) == Quirks()
    for body, text in (
        ({"nois": 1}, "there is no quirk 'nois'"),
        ({"noise": "much"}, "noise must be a number"),
        ([], "quirks must be an object"),
    ):
        got = await client.send("/admin/quirks", body)
        assert (got.status, text in got.body["error"]) == (400, True)
