"""Each provider's limits, charges, headers and refusals, to the instant on a virtual clock."""

import asyncio
from datetime import datetime, timezone
from zoneinfo import ZoneInfoNotFoundError

import pytest
from kit.serve import EPOCH, PATHS, SLOW, Client, Got, now, simulated

from xtremeflow import Limit, TokenRateScheduler
from xtremeflow.refusals import is_refusal, is_terminal, retry_delay
from xtremeflow.serve import PROFILES
from xtremeflow.serve.profiles.gemini import until_midnight
from xtremeflow.serve.profiles.openai_like import go_duration


async def refused(client: Client, *lengths: int, status: int = 429, **more) -> Got:
    got = await client.call(*lengths, **more)
    assert got.status == status, got.raw
    return got


async def passes_after(client: Client, wait: float, *lengths: int, **more) -> None:
    """The same call is refused until just before the end of `wait` seconds, and passes then."""
    began = now()
    await asyncio.sleep(wait - 0.001)
    assert (await client.call(*lengths, **more)).status != 200
    await asyncio.sleep(began + wait - now())
    assert (await client.call(*lengths, **more)).status == 200


# OpenAI.


@simulated
async def test_openai_charges_the_larger_of_max_tokens_and_the_prompt():
    client = Client("openai", limits={"tpm": 6000, "rpm": 60})
    got = await client.call(100, 10, 600)
    assert got.body["usage"]["total_tokens"] == 110
    headers = got.headers
    assert headers["x-ratelimit-limit-tokens"] == "6000"
    assert headers["x-ratelimit-remaining-tokens"] == "5400"  # nothing comes back
    assert headers["x-ratelimit-reset-tokens"] == "6s"
    assert headers["x-ratelimit-limit-requests"] == "60"
    assert headers["x-ratelimit-remaining-requests"] == "59"
    assert headers["x-ratelimit-reset-requests"] == "1s"
    got = await client.call(700, 10, 600)
    assert got.headers["x-ratelimit-remaining-tokens"] == "4700"
    assert got.headers["x-ratelimit-reset-tokens"] == "13s"
    got = await client.call(10, 10, 200, n=3)
    assert got.headers["x-ratelimit-remaining-tokens"] == "4100"
    assert got.body["usage"]["completion_tokens"] == 30
    assert [choice["index"] for choice in got.body["choices"]] == [0, 1, 2]


@simulated
async def test_openai_refuses_and_says_until_when():
    client = Client("openai", limits={"tpm": 6000})
    assert (await client.call(10, 10, 5950)).status == 200
    got = await refused(client, 10, 10, 175)
    assert got.headers["retry-after"] == "2"
    assert got.headers["retry-after-ms"] == "1250"
    error = got.body["error"]
    assert (error["code"], error["type"]) == ("rate_limit_exceeded", "tokens")
    assert "tokens per min (TPM): Limit 6000, Used 5950, Requested 175." in error["message"]
    assert "Please try again in 1.25s." in error["message"]
    await passes_after(client, 1.25, 10, 10, 175)
    assert client.service.provider.stats.early == 1


@simulated
async def test_openai_refuses_what_never_fits_with_429():
    client = Client("openai", limits={"tpm": 1000})
    got = await refused(client, 1001)
    assert got.body["error"]["message"].startswith("Request too large for m in organization")
    assert "retry-after" not in got.headers
    assert client.service.provider.stats.too_large == 1


@simulated
async def test_openai_counts_requests_of_the_day():
    client = Client("openai", limits={"rpm": 100, "rpd": 2, "tpm": None})
    for _ in range(2):
        await client.call()
    got = await refused(client)
    assert "requests per day (RPD): Limit 2, Used 2, Requested 1." in got.body["error"]["message"]
    assert "Please try again in 12h0m0s." in got.body["error"]["message"]
    assert "x-ratelimit-limit-tokens" not in got.headers


# Azure.


@simulated
async def test_azure_sets_the_trap_of_the_token_limit():
    client = Client("azure", limits={"tpm": 1000})
    got = await client.call(100, 10, 400)
    assert got.headers["x-ratelimit-remaining-tokens"] == "500"
    assert got.headers["x-ratelimit-reset-tokens"] == "60"  # plain seconds
    await asyncio.sleep(20)
    got = await refused(client, 100, 10, 401)
    assert got.headers["retry-after"] == "1"
    assert got.headers["retry-after-ms"] == "0"
    assert got.body["error"]["code"] == "429"
    await passes_after(client, 40, 100, 10, 401)  # the whole minute over


@simulated
async def test_azure_counts_requests_in_windows_of_ten_seconds():
    client = Client("azure", limits={"rpm": 60, "tpm": None})
    for n in range(10):
        got = await client.call()
        assert got.headers["x-ratelimit-remaining-requests"] == str(59 - n)
    await asyncio.sleep(4)
    got = await refused(client)
    assert "call rate limit" in got.body["error"]["message"]
    assert (got.headers["retry-after"], got.headers["retry-after-ms"]) == ("6", "6000")
    await passes_after(client, 6)


# Anthropic.


@simulated
async def test_anthropic_tells_thousands_and_dates():
    client = Client("anthropic", limits={"itpm": 60_000, "otpm": 12_000, "rpm": 120})
    await asyncio.sleep(0.25)
    got = await client.call(3400, 2600)
    told = {
        name.removeprefix("anthropic-ratelimit-"): value
        for name, value in got.headers.items()
        if name.startswith("anthropic-ratelimit-")
    }
    assert told == {
        "requests-limit": "120",
        "requests-remaining": "119",
        "requests-reset": "2026-11-24T00:00:01Z",
        "tokens-limit": "72000",
        "tokens-remaining": "66000",
        "tokens-reset": "2026-11-24T00:00:14Z",
        "input-tokens-limit": "60000",
        "input-tokens-remaining": "57000",
        "input-tokens-reset": "2026-11-24T00:00:04Z",
        "output-tokens-limit": "12000",
        "output-tokens-remaining": "9000",
        "output-tokens-reset": "2026-11-24T00:00:14Z",
    }
    assert got.headers["request-id"].startswith("req_")


@simulated
async def test_anthropic_lets_no_minute_pass_in_one_second():
    client = Client("anthropic", limits={"rpm": 120})
    assert [(await client.call()).status for _ in range(3)] == [200, 200, 429]
    await passes_after(client, 0.5)


@simulated
async def test_anthropic_charges_output_as_it_is_produced():
    client = Client("anthropic", limits={"otpm": 60, "rpm": None, "itpm": None}, latency=SLOW)
    client.service.account.limits["otpm"].take(50, client.service.account.now())
    call = asyncio.ensure_future(client.call(10, 90))  # a token in a second, which is the limit's
    await asyncio.sleep(40)
    assert 48 <= client.service.account.used("otpm") <= 51  # it neither falls nor rises
    await client.call(10, 90)
    assert (await call).body["usage"]["output_tokens"] == 90
    # 180 tokens in 131 seconds: twice the rate while both were at it.
    assert client.service.provider.stats.charged["output_tokens"] == 180
    assert client.service.account.used("otpm") > 30


@simulated
async def test_anthropic_does_not_count_what_it_reads_from_the_cache():
    client = Client("anthropic", limits={"itpm": 10_000})
    marked = [{"type": "text", "text": "y" * 8000, "cache_control": {"type": "ephemeral"}}]
    first = await client.call(system=marked)
    again = await client.call(system=marked)
    usage = first.body["usage"]
    assert usage["cache_creation_input_tokens"] == 2000
    assert (usage["cache_read_input_tokens"], usage["input_tokens"]) == (0, 10)
    usage = again.body["usage"]
    assert (usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"]) == (2000, 0)
    assert client.service.account.used("itpm") == 2020
    assert client.service.cached_tokens == 2000


@simulated
async def test_anthropic_refuses_in_its_own_form_and_keeps_its_word():
    client = Client("anthropic", limits={"itpm": 6000})
    await client.call(5990)
    got = await refused(client, 130)
    assert got.headers["retry-after"] == "2"
    assert got.body["type"] == "error"
    assert got.body["error"]["type"] == "rate_limit_error"
    assert "6,000 input tokens per minute" in got.body["error"]["message"]
    await passes_after(client, 1.2, 130)


# Gemini.


@simulated
async def test_gemini_tells_by_its_body_only():
    client = Client("gemini", limits={"rpm": 2})
    await client.call()
    await asyncio.sleep(23.5)
    got = await client.call()
    assert not [name for name in got.headers if "ratelimit" in name or "retry" in name]
    usage = got.body["usageMetadata"]
    assert usage == {"promptTokenCount": 10, "candidatesTokenCount": 1, "totalTokenCount": 11}
    got = await refused(client)
    assert not [name for name in got.headers if "ratelimit" in name or "retry" in name]
    error = got.body["error"]
    assert (error["code"], error["status"]) == (429, "RESOURCE_EXHAUSTED")
    failure, _, info = error["details"]
    assert failure["violations"][0]["quotaId"].startswith("GenerateRequestsPerMinute")
    assert info["retryDelay"] == "37s"
    await passes_after(client, 36.5)


@simulated
async def test_gemini_counts_input_only():
    client = Client("gemini", limits={"itpm": 100})
    await client.call(60, 5000)
    got = await refused(client, 41)
    violation = got.body["error"]["details"][0]["violations"][0]
    assert "InputTokensPerModelPerMinute" in violation["quotaId"]
    assert violation["quotaValue"] == "100"
    assert (await client.call(40)).status == 200


@simulated
async def test_geminis_day_is_terminal():
    client = Client("gemini", limits={"rpd": 1})
    await client.call()
    got = await refused(client)
    assert is_terminal(got.as_error())
    assert "RetryInfo" not in got.raw.decode()


@pytest.mark.parametrize("speed", [1.0, 60.0])
def test_geminis_day_ends_at_midnight_in_california(speed):
    @simulated
    async def test():
        client = Client("gemini", limits={"rpd": 1, "rpm": None}, speed=speed)
        await asyncio.sleep(3 * 3600)  # the epoch is at 16:00 there: now it is 19:00
        await client.call()
        await passes_after(client, 5 * 3600 / speed)
        await passes_after(client, 24 * 3600 / speed)

    test()


@pytest.mark.parametrize(
    ("moment", "hours"),
    [
        ("2026-11-24T00:00", 8),  # UTC, as all of these
        ("2026-11-24T07:59", 1 / 60),
        ("2026-11-24T08:00", 24),
        ("2026-07-01T00:00", 7),  # summer
        ("2026-11-01T07:30", 24),  # a day of 25 hours
        ("2027-03-14T08:00", 23),
    ],
)
def test_the_next_midnight_in_california(moment, hours):
    wall = datetime.fromisoformat(moment).replace(tzinfo=timezone.utc).timestamp()
    assert until_midnight(wall) == pytest.approx(hours * 3600)


def test_midnight_without_a_time_zone_database(monkeypatch):
    def missing(name):
        raise ZoneInfoNotFoundError(name)

    monkeypatch.setattr("xtremeflow.serve.profiles.gemini.ZoneInfo", missing)
    summer = datetime(2026, 7, 1, tzinfo=timezone.utc).timestamp()
    assert until_midnight(summer) == 8 * 3600


# Mistral.


@simulated
async def test_mistral_counts_what_was_used_in_a_sliding_minute():
    client = Client("mistral", limits={"tpm": 1000, "rpm": 100}, latency=SLOW)
    began = now()
    first = asyncio.ensure_future(client.call(100, 10, 5000))  # done at 11 s
    await asyncio.sleep(5)
    assert client.service.account.used("tpm") == 1
    got = await first
    assert got.headers["x-ratelimit-limit-tokens-minute"] == "1000"
    assert got.headers["x-ratelimit-remaining-tokens-minute"] == "890"
    assert got.headers["x-ratelimit-remaining-req-minute"] == "99"
    assert not [name for name in got.headers if "reset" in name]
    assert (await client.call(950, 1)).status == 200  # overdrawn: nobody knew
    got = await refused(client)
    assert got.headers["x-ratelimit-remaining-tokens-minute"] == "0"
    assert not [name for name in got.headers if name.startswith("retry")]
    assert got.body["message"] == "Tokens rate limit exceeded"
    assert (got.body["type"], got.body["code"]) == ("rate_limited", "1300")
    # It was all but the first token charged at 11 s.
    assert now() - began == 13
    await passes_after(client, 58)


# Groq.


@simulated
async def test_groq_tells_the_requests_of_the_day():
    client = Client("groq", limits={"rpm": 30, "rpd": 500, "tpm": 6000})
    got = await client.call(100, 10, 1000)
    assert got.headers["x-ratelimit-limit-requests"] == "500"
    assert got.headers["x-ratelimit-remaining-requests"] == "499"
    assert got.headers["x-ratelimit-reset-requests"] == "2m52.8s"
    # 1100 were reserved, 110 are used.
    assert got.headers["x-ratelimit-remaining-tokens"] == "5890"
    assert got.headers["x-ratelimit-reset-tokens"] == "1.1s"
    assert "retry-after" not in got.headers


@simulated
async def test_groq_refuses_by_used_and_requested():
    client = Client("groq", limits={"tpm": 6000})
    await client.call(5900, 10, 100)
    got = await refused(client, 100, 10, 20)
    message = got.body["error"]["message"]
    assert "on tokens per minute (TPM): Limit 6000, Used 5910, Requested 120." in message
    assert "Please try again in 300ms." in message
    assert got.headers["retry-after"] == "0.300"
    await passes_after(client, 0.3, 100, 10, 20)


@simulated
async def test_groq_calls_what_never_fits_too_large():
    client = Client("groq", limits={"tpm": 6000})
    got = await refused(client, 100, 10, 6000, status=413)
    assert got.body["error"]["code"] == "rate_limit_exceeded"
    assert not is_refusal(got.as_error())


# DeepSeek.


@simulated
async def test_deepseek_holds_a_place_until_the_answer_is_complete():
    client = Client("deepseek", limits={"concurrency": 2}, latency=SLOW)
    calls = [asyncio.ensure_future(client.call(10, 9)) for _ in range(2)]
    await asyncio.sleep(9.5)
    got = await refused(client)
    assert not [name for name in got.headers if "retry" in name or "ratelimit" in name]
    assert retry_delay(got.as_error(), EPOCH) is None
    for call in calls:
        assert (await call).status == 200
    assert (await client.call()).status == 200


@pytest.mark.parametrize("stream", [False, True])
@simulated
async def test_deepseek_keeps_the_connection_alive(stream):
    client = Client("deepseek", faults=[])
    await client.admin("faults", {"kind": "stall", "seconds": 12})
    began = now()
    got = await client.call(10, 3, stream=stream)
    sign = b": keep-alive\n\n" if stream else b"\n"
    assert [(at - began, data) for at, data in got.chunks[:2]] == [(5.0, sign), (10.0, sign)]
    assert got.chunks[2][0] - began == 12.0
    usage = got.events[-2]["usage"] if stream else got.body["usage"]
    assert usage["prompt_cache_hit_tokens"] + usage["prompt_cache_miss_tokens"] == 10


# vLLM.


@simulated
async def test_vllm_refuses_only_if_asked_to():
    client = Client("vllm", latency=SLOW)
    assert {got.status for got in await asyncio.gather(*(client.call() for _ in range(500)))} == {
        200
    }
    client = Client("vllm", latency=SLOW, limits={"concurrency": 1})
    first = asyncio.ensure_future(client.call())
    await asyncio.sleep(0.1)
    got = await refused(client, status=503)
    assert got.body["error"]["type"] == "ServiceUnavailableError"
    await first


@simulated
async def test_vllm_works_on_a_batch_and_lets_the_others_wait():
    for batch, rounds in ((256, 1), (100, 3), (50, 6)):
        client = Client("vllm", latency=SLOW, batch=batch)
        began = asyncio.get_running_loop().time()
        await client.call()
        alone = asyncio.get_running_loop().time() - began
        await asyncio.gather(*(client.call() for _ in range(256)))
        took = asyncio.get_running_loop().time() - began - alone
        assert took == pytest.approx(rounds * alone)


# All of them.


@pytest.mark.parametrize("name", PROFILES)
@simulated
async def test_a_refusal_that_no_wait_cures_is_known(name):
    client = Client(name)
    await client.admin("spent", {"spent": True})
    got = await client.call()
    error = got.as_error()
    assert got.status in (400, 402, 429)
    if name in ("openai", "azure", "anthropic", "gemini"):
        assert got.status == 429
        assert is_terminal(error)
    await client.admin("spent", {"spent": False})
    assert (await client.call()).status == 200


@pytest.mark.parametrize("name", PROFILES)
@simulated
async def test_credit_runs_out(name):
    client = Client(name, credit=22)
    assert [(await client.call(10, 1)).status for _ in range(2)] == [200, 200]
    assert (await client.call()).status in (400, 402, 429)


@pytest.mark.parametrize(
    ("name", "limits", "lengths", "exact"),
    [
        ("openai", {"tpm": 600}, (10, 10, 550), True),
        ("anthropic", {"itpm": 600}, (550,), False),
        ("gemini", {"rpm": 1}, (10,), False),
        ("groq", {"tpm": 600}, (10, 550, 540), True),
    ],
)
@simulated
async def test_the_announced_wait_is_enough_and_hardly_more(name, limits, lengths, exact):
    client = Client(name, limits=limits)
    await client.call(*lengths)
    got = await client.call(*lengths)
    error = got.as_error()
    assert is_refusal(error)
    assert not is_terminal(error)
    delay = retry_delay(error, EPOCH)
    assert delay is not None
    await asyncio.sleep(delay - (0.002 if exact else 1.001))
    assert (await client.call(*lengths)).status == 429
    await asyncio.sleep(0.002 if exact else 1.001)
    assert (await client.call(*lengths)).status == 200
    assert client.service.provider.stats.early >= 1


@pytest.mark.parametrize("name", PROFILES)
@simulated
async def test_errors_have_the_providers_form(name):
    client = Client(name, only_key="secret", only_models=("m", "gemini"))
    path = PATHS[name]
    key = {"authorization": "Bearer secret"}
    for body, headers, status in (
        ({}, {}, 401),
        (b"{", key, 400),
        ([], key, 400),
        ({"model": "m", "messages": "hello", "contents": []}, key, 400),
    ):
        got = await client.send(path, body, **headers)
        assert got.status == status
        error = got.body if name == "mistral" else got.body["error"]
        assert error["message"]
        assert "secret" not in got.raw.decode()
    for path, status in (("/v1/nothing", 404), ("/v1/models/unknown", 404)):
        assert (await client.send(path, {}, **key)).status == status
    assert client.service.provider.stats.in_flight == 0


@simulated
async def test_an_unknown_model_and_a_wrong_method():
    client = Client("openai", only_models=["m"])
    got = await client.call(model="other")
    assert (got.status, got.body["error"]["code"]) == (404, "model_not_found")
    got = await client.send("/v1/chat/completions", method="GET")
    assert got.status == 405
    got = await client.send("/v1/messages", {})  # is not OpenAI's
    assert got.status == 404


@pytest.mark.parametrize("name", PROFILES)
@simulated
async def test_speed_shortens_the_minute(name):
    client = Client(name, speed=60.0)
    assert client.service.settings.minute == 1.0
    limits = client.service.account.limits
    if "tpm" in limits:
        await client.call(10_000, 100, 100)
        await asyncio.sleep(1)
        assert client.service.account.used("tpm") == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (-1, "0s"),
        (0.0201, "21ms"),
        (0.02, "20ms"),
        (0.9999, "1s"),
        (1, "1s"),
        (7.66, "7.66s"),
        (59.9999, "1m0s"),
        (172.8, "2m52.8s"),
        (360, "6m0s"),
        (3600, "1h0m0s"),
        (86399.5, "23h59m59.5s"),
    ],
)
def test_openais_durations_are_written_so_that_clients_read_them(seconds, text):
    assert go_duration(seconds) == text
    error = Got(429, {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": text})
    error.chunks = [(0.0, b"{}")]
    assert retry_delay(error.as_error(), EPOCH) == pytest.approx(max(seconds, 0), abs=0.001)


def test_bad_limits_are_refused():
    with pytest.raises(ValueError, match="Mistral has no limit 'itpm'; it has rpm, tpm"):
        PROFILES["mistral"].amounts({"itpm": 1})
    with pytest.raises(ValueError, match="rpm must be 1 or more, got 0"):
        PROFILES["mistral"].amounts({"rpm": 0})


# What all this is for: a scheduler that knows the provider's limits is not refused.


@pytest.mark.parametrize(
    ("name", "limits", "known"),
    [
        ("openai", {"tpm": 60_000}, Limit("tokens", 60_000, per=60.0, capacity=60_000)),
        # A window: the capacity and what a window's time brings are the limit together.
        ("azure", {"tpm": 60_000, "rpm": None}, Limit("tokens", 54_000, per=60.0, capacity=6_000)),
        ("anthropic", {"rpm": 120}, Limit("requests", 120, per=60.0, capacity=2)),
    ],
)
@simulated
async def test_a_scheduler_at_the_providers_limits_is_never_refused(name, limits, known):
    client = Client(name, limits=limits, latency=SLOW)
    scheduler = TokenRateScheduler(limits=[known])
    began = now()
    calls = 200 if known.name == "tokens" else 60
    cost = 1_000 if known.name == "tokens" else 1  # of a call, in the unit of the limit

    async def call() -> int:
        return (await client.call(800, 5, 200 if name == "azure" else 1_000)).status

    tasks = [await scheduler.start_task(call(), estimated_tokens=1_000) for _ in range(calls)]
    assert {await task for task in tasks} == {200}
    ideal = (calls * cost - known.capacity) * known.per / known.amount
    assert ideal <= now() - began <= ideal + 6 + 0.01
