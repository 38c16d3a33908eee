"""Faults on demand, and what the admin endpoint tells and does."""

import asyncio

import pytest
from kit.serve import SLOW, Client, now, simulated, texts

from xtremeflow.serve import Fault, Settings, serve


async def statuses(client: Client, count: int) -> list[int]:
    return [(await client.call()).status for _ in range(count)]


@simulated
async def test_the_next_calls_fail():
    client = Client("anthropic", limits={"rpm": None})
    await client.admin("faults", {"kind": "529", "count": 2})
    got = await client.call()
    assert (got.status, got.body["error"]["type"]) == (529, "overloaded_error")
    assert await statuses(client, 2) == [529, 200]
    seen = await client.admin("stats", method="GET")
    assert seen["statuses"] == {"200": 1, "529": 2}
    assert (seen["attempts"], seen["succeeded"], seen["failed"]) == (3, 1, 0)


@simulated
async def test_a_share_of_the_calls_fails_always_the_same():
    found = []
    for _ in range(2):
        client = Client("openai", faults=[Fault("500", 0.2)], seed=3)
        found.append(await statuses(client, 200))
    assert found[0] == found[1]
    assert 20 < found[0].count(500) < 60
    assert found[0].count(500) == client.service.provider.stats.failed
    other = Client("openai", faults=[Fault("500", 0.2)], seed=4)
    assert await statuses(other, 200) != found[0]


@simulated
async def test_an_error_inside_is_charged_and_one_at_the_door_is_not():
    client = Client("openai", latency=SLOW, limits={"tpm": 6000})
    for kind, used, took in (("503", 0, 0.0), ("429", 0, 0.0), ("500", 1000, 1.0)):
        await client.admin("faults", {"kind": kind, "count": 1})
        began = now()
        got = await client.call(1000)
        assert (str(got.status), now() - began) == (kind, took)
        assert client.service.account.used("tpm") == pytest.approx(used, abs=100)


@pytest.mark.parametrize(
    ("profile", "status"), [("openai", 503), ("anthropic", 529), ("vllm", 503)]
)
@simulated
async def test_overload_in_the_providers_own_way(profile, status):
    client = Client(profile, faults=[Fault("overload", count=1)])
    assert await statuses(client, 2) == [status, 200]


@simulated
async def test_an_error_after_a_sign_of_life_has_only_a_body():
    client = Client("deepseek", latency=SLOW, keep_alive=0.4, faults=[Fault("500")])
    for stream in (False, True):
        got = await client.call(stream=stream)
        assert got.status == 200
        body = got.events[0] if stream else got.body
        assert body["error"]["type"] == "server_error"


@simulated
async def test_a_stream_is_cut_in_the_middle():
    client = Client("openai")
    await client.admin("faults", {"kind": "cut", "count": 2})
    got = await client.call(10, 40, stream=True)
    assert got.cut
    assert got.status == 200
    assert 0 < len("".join(texts(got))) < 160
    assert b"[DONE]" not in got.raw
    got = await client.call(10, 40)
    assert got.cut
    assert 0 < len(got.raw) < int(got.headers["content-length"])
    assert (await client.call()).status == 200
    stats = client.service.provider.stats
    assert (stats.failed, stats.succeeded, stats.in_flight) == (2, 1, 0)


@pytest.mark.parametrize(("kind", "first"), [("stall", 21.0), ("pause", 1.0)])
@simulated
async def test_it_stalls_and_pauses(kind, first):
    client = Client("openai", latency=SLOW, faults=[Fault(kind, seconds=20.0)])
    began = now()
    got = await client.call(10, 8, stream=True)
    assert got.chunks[0][0] - began == first
    assert got.chunks[-1][0] - began == 29.0
    began = now()
    assert (await client.call(10, 8)).status == 200
    assert now() - began == 29.0


@simulated
async def test_an_abandoned_call_gives_everything_back():
    client = Client("deepseek", latency=SLOW)
    for stream in (False, True):
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.call(10, 9, stream=stream), 5)
    stats = client.service.provider.stats
    assert (stats.abandoned, stats.in_flight, stats.succeeded) == (2, 0, 0)


@simulated
async def test_the_admin_tells_what_it_saw():
    client = Client("openai", limits={"tpm": 6000}, latency=SLOW)
    await asyncio.gather(*(client.call(600, 10, 1000) for _ in range(6)))
    assert (await client.call(10, 1, 6000)).status == 429
    assert (await client.call(10, 1, 6000)).status == 429
    seen = await client.admin("stats", method="GET")
    assert seen["profile"] == "openai"
    assert (seen["attempts"], seen["succeeded"], seen["refused"], seen["early"]) == (8, 6, 2, 1)
    assert seen["peak_concurrency"] == 6
    assert seen["tokens_served"] == 6 * 610
    assert seen["seconds_since_first_admission"] == 11.0
    tpm = seen["limits"]["tpm"]
    assert (tpm["amount"], tpm["per_seconds"], tpm["quota_used"]) == (6000, 60.0, 1.0)
    assert tpm["remaining"] == 1100

    seen = await client.admin("reset")
    assert (seen["attempts"], seen["statuses"]) == (0, {})
    assert seen["limits"]["tpm"]["remaining"] == 6000


@simulated
async def test_a_reset_in_the_middle_of_a_call_is_not_upset_by_its_end():
    client = Client("deepseek", latency=SLOW)
    call = asyncio.ensure_future(client.call())
    await asyncio.sleep(1)
    await client.admin("reset")
    assert (await call).status == 200
    seen = await client.admin("stats", method="GET")
    assert (seen["in_flight"], seen["succeeded"]) == (0, 0)


@simulated
async def test_the_admin_changes_limits():
    client = Client("openai")
    told = await client.admin("limits", {"tpm": 100, "rpm": None})
    assert told == {"limits": {"tpm": 100}}
    assert await client.admin("limits", method="GET") == told
    assert await statuses(client, 11) == [200] * 10 + [429]


@simulated
async def test_the_admin_refuses_what_it_does_not_understand():
    client = Client("openai")
    for command, body, method, status, text in (
        ("nothing", None, "GET", 404, "there is no /admin/nothing; there are: /admin/stats"),
        ("stats", None, "POST", 405, "/admin/stats takes GET, not POST"),
        ("faults", b"{", "POST", 400, "Expecting"),
        (
            "faults",
            {"kind": "fire"},
            "POST",
            400,
            "kind must be overload, stall, pause, break, cut or a status",
        ),
        ("faults", {"kind": "cut", "rate": 2}, "POST", 400, "rate must be a number from 0 to 1"),
        ("faults", {"kind": "cut", "count": 0}, "POST", 400, "count must be 1 or more, got 0"),
        (
            "faults",
            {"kind": "cut", "when": 1},
            "POST",
            400,
            "a fault has no 'when'; it has kind, rate, count, seconds",
        ),
        ("faults", [7], "POST", 400, "a fault must be an object with a 'kind', got 7"),
        ("limits", {"itpm": 1}, "POST", 400, "OpenAI has no limit 'itpm'; it has rpm, tpm"),
        ("limits", {"tpm": 1.5}, "POST", 400, "tpm must be a whole number or null, got 1.5"),
        ("limits", [], "POST", 400, "limits must be an object"),
        ("spent", {"spent": 1}, "POST", 400, "spent must be true or false, got 1"),
    ):
        got = await client.send(f"/admin/{command}", body, method=method)
        assert got.status == status
        assert text in got.body["error"]
    assert await client.admin("faults", method="GET") == {"faults": []}
    await client.admin("faults", [{"kind": "cut"}, {"kind": "500", "rate": 0.5}])
    assert len((await client.admin("faults", method="GET"))["faults"]) == 2
    assert await client.admin("faults", method="DELETE") == {"faults": []}


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"profile": "openia"}, "profile must be one of openai, azure, .*, got 'openia'"),
        ({"limits": {"rpm": 0}}, "rpm must be 1 or more, got 0"),
        ({"speed": 0}, "speed must be a number above 0, got 0"),
        ({"keep_alive": -1}, "keep_alive must be a number above 0, got -1"),
        ({"output_tokens": -1}, "output_tokens must be a number, 0 or more, got -1"),
        ({"tokens_per_event": 0}, "tokens_per_event must be 1 or more, got 0"),
        ({"credit": 1.5}, "credit must be an integer, got 1.5"),
        ({"limits": 5}, "limits must be a Mapping, got 5"),
        ({"limits": {"rpm": "x"}}, "rpm must be an integer, got 'x'"),
        ({"speed": "fast"}, "speed must be a number above 0, got 'fast'"),
        ({"latency": 5}, "latency must be a LatencyModel, got 5"),
        ({"quirks": "noise"}, "quirks must be a Quirks, got 'noise'"),
        ({"faults": 5}, "faults must be a list of Fault objects, got 5"),
        ({"faults": ["cut"]}, "faults must be a list of Fault objects, but one of them is 'cut'"),
        ({"only_models": "gpt"}, "only_models must be a list of names, got 'gpt'"),
        ({"only_models": [5]}, "only_models must be a list of str objects, but one of them is 5"),
        ({"only_key": 5}, "only_key must be a text or None, got 5"),
        ({"profile": ["openai"]}, r"profile must be a str, got \['openai'\]"),
        ({"seed": "a"}, "seed must be an integer, got 'a'"),
    ],
)
def test_bad_settings_are_refused(settings, text):
    with pytest.raises((ValueError, TypeError), match=text):
        Settings(**settings)


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ({"kind": 500}, "kind must be a str, got 500"),
        ({"kind": "cut", "count": 1.5}, "count must be an integer, got 1.5"),
        ({"kind": "cut", "rate": "often"}, "rate must be a number from 0 to 1, got 'often'"),
    ],
)
def test_bad_faults_are_refused(fault, text):
    with pytest.raises((ValueError, TypeError), match=text):
        Fault(**fault)


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ({"host": None}, "host must be a name or an address, got None"),
        ({"host": ""}, "host must be a name or an address, got ''"),
        ({"port": "80"}, "port must be an integer, got '80'"),
        ({"port": 70000}, "port must be from 0 to 65535, got 70000"),
    ],
)
def test_a_bad_address_is_refused(address, text):
    with pytest.raises((ValueError, TypeError), match=text):
        serve(**address)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("cut=0.25", Fault("cut", 0.25)),
        ("529=1", Fault("529", 1.0)),
        ("stall", Fault("stall", 1.0)),
    ],
)
def test_faults_may_be_given_as_texts(text, fault):
    assert Fault.from_text(text) == fault
    with pytest.raises(ValueError, match="a fault must be KIND=RATE, got 'cut=often'"):
        Fault.from_text("cut=often")
