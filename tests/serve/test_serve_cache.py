"""The prefix cache by each provider's rules, and the usage fields that tell of it."""

import asyncio

import pytest
from kit.serve import SLOW, Client, simulated

from xtremeflow.providers.provider import CacheRules
from xtremeflow.serve import PROFILES
from xtremeflow.serve.cache import PrefixCache

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
async def test_deepseek_reads_from_the_third_call_on_and_seconds_later():
    client = Client("deepseek")
    first = await client.call(text=LONG)
    second = await client.call(text=LONG)
    await asyncio.sleep(2.5)
    third = await client.call(text=LONG)
    await asyncio.sleep(1)
    fourth = await client.call(text=LONG)
    assert [cached(got) for got in (first, second, third, fourth)] == [0, 0, 0, 1984]
    usage = fourth.body["usage"]
    assert usage["prompt_cache_hit_tokens"] == 1984
    assert usage["prompt_cache_miss_tokens"] == usage["prompt_tokens"] - 1984


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
    for tokens in (None, 1920):
        usage = (await client.call(text=LONG)).body["usageMetadata"]
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


def test_nothing_is_cached_by_those_who_say_nothing_of_it():
    assert {name for name, profile in PROFILES.items() if profile.provider.cache is None} == {
        "mistral",
        "groq",
    }


def test_what_is_used_longest_ago_is_forgotten_first(monkeypatch):
    monkeypatch.setattr("xtremeflow.serve.cache.MOST_BLOCKS", 3)
    cache = PrefixCache(CacheRules(minimum=1, unit=1))
    prompts = ["aaaa", "bbbb", "cccc", "aaaa", "dddd"]
    for prompt in prompts:
        cache.store(cache.lookup("m", prompt, 0.0), 0.0)
    assert [cache.lookup("m", prompt, 0.0).read for prompt in ("aaaa", "bbbb", "dddd")] == [1, 0, 1]
    assert cache.lookup("another model", "aaaa", 0.0).read == 0
