"""The prefix cache by each provider's rules, and the usage fields that tell of it."""

import asyncio

import pytest
from kit.serve import SLOW, Client, simulated

from xtremeflow.providers.provider import CacheRules
from xtremeflow.serve.cache import PrefixCache
from xtremeflow.serve.diagnoses import Diagnoses
from xtremeflow.serve.inquiry import Inquiry

LONG = "z" * 8000  # 2,000 tokens


def cached(got) -> int:
    return got.body["usage"]["prompt_tokens_details"]["cached_tokens"]


@simulated
async def test_openai_caches_by_128_from_1024_on():
    client = Client("openai")
    assert [cached(await client.call(text=LONG)) for _ in range(2)] == [0, 1920]
    assert cached(await client.call(text=LONG[:6000] + "other" * 400)) == 1408
    assert cached(await client.call(text="other" + LONG)) == 0
    assert [cached(await client.call(text="w" * 4000)) for _ in range(2)] == [0, 0]  # too short
    await asyncio.sleep(301)
    assert cached(await client.call(text=LONG)) == 0


@simulated
async def test_a_first_answer_has_to_begin_before_others_read_its_prompt():
    client = Client("openai", latency=SLOW)
    calls = []
    for _ in range(3):  # at 0, 0.6 and 1.2 s; the first token of the first comes at 1 s
        calls.append(asyncio.ensure_future(client.call(text=LONG)))
        await asyncio.sleep(0.6)
    assert [cached(await call) for call in calls] == [0, 0, 1920]


@simulated
async def test_vllm_reads_what_is_only_scheduled():
    client = Client("vllm", latency=SLOW)
    calls = [asyncio.ensure_future(client.call(text=LONG)) for _ in range(2)]
    assert [cached(await call) for call in calls] == [0, 2000]


@simulated
async def test_openais_key_is_part_of_the_place_and_overflows():
    client = Client("openai")
    assert cached(await client.call(text=LONG, prompt_cache_key="a")) == 0
    assert cached(await client.call(text=LONG, prompt_cache_key="b")) == 0
    hits = [cached(await client.call(text=LONG, prompt_cache_key="a")) for _ in range(17)]
    assert hits == [1920] * 14 + [0, 1920, 1920]  # the 16th call of a minute meets a cold machine
    await asyncio.sleep(60)
    assert cached(await client.call(text=LONG, prompt_cache_key="a")) == 1920


@simulated
async def test_deepseek_reads_what_prompts_have_in_common_from_the_third_call_on():
    client = Client("deepseek")
    first = await client.call(text=LONG + "a" * 400)
    second = await client.call(text=LONG + "b" * 400)
    await asyncio.sleep(2.5)
    third = await client.call(text=LONG + "c" * 400)
    await asyncio.sleep(1)
    fourth = await client.call(text=LONG + "d" * 400)
    assert [cached(got) for got in (first, second, third, fourth)] == [0, 0, 0, 1984]
    usage = fourth.body["usage"]
    assert usage["prompt_cache_hit_tokens"] == 1984
    assert usage["prompt_cache_miss_tokens"] == usage["prompt_tokens"] - 1984


@simulated
async def test_deepseek_reads_a_prompt_that_another_one_goes_on_from_after_one_call():
    client = Client("deepseek")
    await client.call(text=LONG)
    await asyncio.sleep(4)
    assert cached(await client.call(text=LONG + "more" * 100)) == 1984


@simulated
async def test_openai_from_gpt_5_6_on_counts_what_is_written():
    client = Client("openai")
    told = []
    for text in (LONG, LONG + "more"):
        got = await client.send("/v1/responses", {"model": "gpt-5.6", "input": text})
        told.append(got.body["usage"]["input_tokens_details"])
    assert told == [
        {"cached_tokens": 0, "cache_write_tokens": 2001},
        {"cached_tokens": 2001, "cache_write_tokens": 1},
    ]
    await asyncio.sleep(1700)
    body = {"model": "gpt-5.6", "input": LONG, "prompt_cache_options": {"ttl": "12h"}}
    await client.send("/v1/responses", body)
    await asyncio.sleep(40_000)
    usage = (await client.send("/v1/responses", body)).body["usage"]
    assert usage["input_tokens_details"]["cached_tokens"] == 2001


@simulated
async def test_anthropics_time_to_live_counts_from_the_start_and_may_be_an_hour():
    client = Client("anthropic", latency=SLOW)

    async def read(ttl=None):
        control = {"type": "ephemeral", **({"ttl": ttl} if ttl else {})}
        part = {"type": "text", "text": LONG, "cache_control": control}
        return (await client.call(system=[part])).body["usage"]

    began = asyncio.get_running_loop().time()
    await read()
    await asyncio.sleep(began + 299 - asyncio.get_running_loop().time())
    assert (await read())["cache_read_input_tokens"] == 2000
    await asyncio.sleep(301)
    usage = await read("1h")
    assert usage["cache_creation"] == {
        "ephemeral_5m_input_tokens": 0,
        "ephemeral_1h_input_tokens": 2000,
    }
    await asyncio.sleep(3500)
    assert (await read())["cache_read_input_tokens"] == 2000


@simulated
async def test_anthropic_looks_back_twenty_parts_from_a_mark():
    client = Client("anthropic")
    part = {"type": "text", "text": LONG}
    marked = {**part, "cache_control": {"type": "ephemeral"}}
    short = {"type": "text", "text": "turn"}
    end = {**short, "cache_control": {"type": "ephemeral"}}

    async def read(*parts):
        return (await client.call(system=list(parts))).body["usage"]["cache_read_input_tokens"]

    assert await read(marked) == 0
    assert await read(part, *[short] * 19, end) == 2000
    assert await read(part, *[{"type": "text", "text": "other"}] * 20, end) == 0


@simulated
async def test_anthropics_minimum_depends_on_the_model():
    client = Client("anthropic")
    part = {"type": "text", "text": LONG, "cache_control": {"type": "ephemeral"}}
    for model, tokens in (("claude-sonnet-4-5", 2000), ("claude-haiku-4-5", 0)):
        usage = (await client.call(model=model, system=[part])).body["usage"]
        assert usage["cache_creation_input_tokens"] == tokens


@simulated
async def test_mistral_caches_what_has_a_key():
    client = Client("mistral")
    for key, tokens in (("", 0), ("", 0), ("k", 0), ("k", 1984)):
        assert cached(await client.call(text=LONG, prompt_cache_key=key)) == tokens


@simulated
async def test_groq_keeps_a_prompt_for_two_hours():
    client = Client("groq")
    for wait, tokens in ((0, 0), (7000, 1920), (7300, 0)):
        await asyncio.sleep(wait)
        assert cached(await client.call(text=LONG, max_tokens=1)) == tokens


@simulated
async def test_groq_reserves_the_whole_prompt_and_returns_the_part_that_was_read():
    client = Client("groq", limits={"tpm": 3000}, latency=SLOW)
    await client.call(text=LONG, max_tokens=1)
    await asyncio.sleep(60)
    together = await asyncio.gather(*(client.call(text=LONG, max_tokens=1) for _ in range(2)))
    assert [got.status for got in together] == [200, 429]
    assert [(await client.call(text=LONG, max_tokens=1)).status for _ in range(9)] == [200] * 9


@simulated
async def test_anthropics_cache_is_warmed_by_a_call_for_no_tokens():
    client = Client("anthropic")
    part = {"type": "text", "text": LONG, "cache_control": {"type": "ephemeral"}}
    for stream in (False, True):
        got = await client.call(system=[part], max_tokens=0, stream=stream)
        assert got.status == 200
    usage = (await client.call(system=[part])).body["usage"]
    assert usage["cache_read_input_tokens"] == 2000


@simulated
async def test_openais_cache_is_warmed_by_a_call_without_output():
    client = Client("openai")
    body = {"model": "gpt-5.6", "input": LONG, "prompt_cache_options": {"prewarm": True}}
    got = await client.send("/v1/responses", body)
    assert (got.body["status"], got.body["output"]) == ("completed", [])
    assert got.body["usage"]["output_tokens"] == 0
    assert got.body["usage"]["input_tokens_details"]["cache_write_tokens"] == 2001
    got = await client.send("/v1/responses", {**body, "stream": True})
    assert [event["type"] for event in got.events] == [
        "response.created", "response.in_progress", "response.completed",
    ]  # fmt: skip
    got = await client.send("/v1/responses", {"model": "gpt-5.6", "input": LONG})
    assert got.body["usage"]["input_tokens_details"]["cached_tokens"] == 2001
    assert got.body["output"] != []


STOP = {"prompt_cache_breakpoint": {"mode": "explicit"}}
EXPLICIT = {"mode": "explicit"}


def openais(api: str, *parts: tuple[str, bool], **more) -> dict:
    """A body of one message, whose parts end at a breakpoint or not."""
    kind, field = ("input_text", "input") if api == "responses" else ("text", "messages")
    content = [{"type": kind, "text": text, **(STOP if stop else {})} for text, stop in parts]
    return {"model": "gpt-5.6", field: [{"role": "user", "content": content}], **more}


async def read_and_written(client, api: str, body: dict) -> tuple[int, int]:
    got = await client.send(f"/v1/{api}", body)
    usage = got.body["usage"]
    details = usage.get("input_tokens_details") or usage["prompt_tokens_details"]
    return details["cached_tokens"], details.get("cache_write_tokens", 0)


@simulated
@pytest.mark.parametrize("api", ["responses", "chat/completions"])
async def test_openai_caches_only_up_to_breakpoints_in_explicit_mode(api):
    client = Client("openai")
    no_stop = openais(api, (LONG, False), prompt_cache_options=EXPLICIT)
    for _ in range(2):
        assert await read_and_written(client, api, no_stop) == (0, 0)
    found = []
    for question in ("one", "one", "another"):
        body = openais(api, (LONG, True), (question * 500, False), prompt_cache_options=EXPLICIT)
        found.append(await read_and_written(client, api, body))
    assert found == [(0, 2001), (2001, 0), (2001, 0)]
    # The implicit breakpoint is beside them.
    body = openais(api, (LONG, True), ("one" * 500, False))
    assert await read_and_written(client, api, body) == (2001, 375)
    # A prefix of the same text is read at a breakpoint alone.
    body = openais(api, (LONG + "other", True), prompt_cache_options=EXPLICIT)
    assert await read_and_written(client, api, body) == (0, 2002)


@simulated
async def test_openai_writes_the_latest_four_breakpoints_and_reads_at_all():
    client = Client("openai")
    parts = [(LONG, True)] * 5
    first = openais("responses", *parts, prompt_cache_options=EXPLICIT)
    assert await read_and_written(client, "responses", first) == (0, 10_001)
    for ends, read in ((1, 0), (2, 4001)):
        body = openais("responses", *parts[:ends], ("q", False), prompt_cache_options=EXPLICIT)
        assert (await read_and_written(client, "responses", body))[0] == read
    # The breakpoints of the first two parts are not written here, but read.
    longer = openais(
        "responses", *parts[:2], *[("w" * 8000, True)] * 4, prompt_cache_options=EXPLICIT
    )
    assert await read_and_written(client, "responses", longer) == (4001, 8000)


@simulated
async def test_openai_diagnoses_a_miss_by_comparison_with_another_response():
    client = Client("openai")
    tool = {"type": "function", "name": "f", "parameters": {"type": "object"}}

    async def response(text: str = LONG, compared: str | None = None, **more):
        options = {} if compared is None else {"comparison_response_id": compared}
        body = {"model": "gpt-5.6", "input": text, "prompt_cache_options": options, **more}
        return (await client.send("/v1/responses", body)).body

    def miss(reason: str, reusable: int, missed: int) -> dict:
        return {
            "type": "cache_miss",
            "reason": reason,
            "comparison_reusable_tokens": reusable,
            "cache_missed_tokens": missed,
        }

    first = await response()
    assert first["prompt_cache_diagnostics"] is None
    for more, told in (
        ({}, {"type": "cache_hit"}),
        ({"text": LONG + "more"}, {"type": "cache_hit"}),
        ({"model": "gpt-5.6-mini"}, miss("model_changed", 0, 2002)),
        ({"prompt_cache_key": "k"}, miss("prompt_cache_key_changed", 0, 2002)),
        ({"text": "z" * 3995 + "y" * 4000}, miss("input_changed", 1000, 1001)),
        ({"compared": "resp_unknown"}, {"type": "comparison_response_not_found"}),
    ):
        assert (await response(**{"compared": first["id"], **more}))[
            "prompt_cache_diagnostics"
        ] == told
    shorter = await response(text=LONG[:800], compared=first["id"])  # below the minimum
    assert shorter["prompt_cache_diagnostics"]["type"] == "cache_miss"
    found = await response(compared=first["id"], tools=[tool])
    assert found["prompt_cache_diagnostics"]["reason"] == "tools_changed"
    await asyncio.sleep(1801)  # it is no longer in the cache, which the request cannot know
    assert (await response(compared=first["id"]))["prompt_cache_diagnostics"] == {
        "type": "unavailable"
    }
    body = {"model": "gpt-5.6", "input": LONG, "stream": True}
    options = {"comparison_response_id": first["id"]}
    got = await client.send("/v1/responses", {**body, "prompt_cache_options": options})
    assert got.events[-1]["response"]["prompt_cache_diagnostics"] == {"type": "cache_hit"}


def test_the_oldest_responses_are_no_longer_compared(monkeypatch):
    monkeypatch.setattr("xtremeflow.serve.diagnoses.MOST_RESPONSES", 2)
    diagnoses = Diagnoses()
    for name in "abc":
        diagnoses.keep(name, Inquiry("m", "prompt", settings={"model_changed": "m"}))
    diagnoses.keep("d", Inquiry("m", "prompt"))  # of another API
    found = [
        diagnoses.diagnosis(Inquiry("m", "prompt", settings={}, compared=name), 1)["type"]
        for name in "abcd"
    ]
    lost = "comparison_response_not_found"
    assert found == [lost, "cache_hit", "cache_hit", lost]


@simulated
async def test_a_model_before_gpt_5_6_knows_no_breakpoints():
    client = Client("openai")
    for tokens in (0, 1920):
        got = await client.call(text=LONG, prompt_cache_options=EXPLICIT)
        assert cached(got) == tokens


def test_a_bounded_cache_drops_the_ends_of_prefixes_first():
    cache = PrefixCache(lambda _: CacheRules(minimum=16, unit=16, usable="scheduled"), room=64)
    shared = "s" * 128  # 32 tokens
    for ending in "abc":
        cache.store(cache.lookup("m", shared + ending * 64, 0.0), 0.0)
    assert [cache.lookup("m", shared + end * 64, 0.0).read for end in "abc"] == [32, 48, 48]


def test_a_prompt_has_its_price():
    rules = CacheRules(minimum=1, unit=1, read_price=0.1, write_price=1.25)
    assert rules.paid(1000, 800, 100) == pytest.approx(100 + 80 + 125)


@simulated
async def test_anthropic_caches_only_what_is_marked():
    client = Client("anthropic")
    part = {"type": "text", "text": LONG}
    for _ in range(2):
        usage = (await client.call(system=[part])).body["usage"]
        assert (usage["cache_read_input_tokens"], usage["input_tokens"]) == (0, 2010)
    marked = {**part, "cache_control": {"type": "ephemeral"}}
    found = []
    for text in ("one", "one", "another"):
        messages = [{"role": "user", "content": text}]
        usage = (await client.call(system=[marked], messages=messages)).body["usage"]
        found.append((usage["cache_creation_input_tokens"], usage["cache_read_input_tokens"]))
    assert found == [(2000, 0), (0, 2000), (0, 2000)]


@simulated
async def test_gemini_and_the_responses_api_tell_it_in_their_own_fields():
    client = Client("gemini")
    for tokens in (None, 3968):
        usage = (await client.call(text=2 * LONG)).body["usageMetadata"]
        assert usage.get("cachedContentTokenCount") == tokens
    client = Client("openai")
    for tokens in (0, 1920):
        got = await client.send("/v1/responses", {"model": "m", "input": LONG})
        assert got.body["usage"]["input_tokens_details"]["cached_tokens"] == tokens


@simulated
async def test_a_cached_prompt_is_read_faster():
    from kit.serve import now

    from xtremeflow.testing import LatencyModel

    client = Client("openai", latency=LatencyModel(0.0, 0.0, 0.0, 0.01, 0.0, 0.0))
    took = []
    for _ in range(2):
        began = now()
        got = await client.call(text=LONG)
        took.append(now() - began)
    tokens = got.body["usage"]["prompt_tokens"]
    assert took == pytest.approx([0.01 * tokens, 0.01 * (tokens - 1920)])


def test_the_least_recently_used_is_forgotten_first(monkeypatch):
    monkeypatch.setattr("xtremeflow.serve.cache.MOST_BLOCKS", 3)
    cache = PrefixCache(lambda _: CacheRules(minimum=1, unit=1))
    prompts = ["aaaa", "bbbb", "cccc", "aaaa", "dddd"]
    for prompt in prompts:
        cache.store(cache.lookup("m", prompt, 0.0), 0.0)
    assert [cache.lookup("m", prompt, 0.0).read for prompt in ("aaaa", "bbbb", "dddd")] == [1, 0, 1]
    assert cache.lookup("another model", "aaaa", 0.0).read == 0
