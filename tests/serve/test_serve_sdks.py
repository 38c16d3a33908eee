"""Providers' own SDKs against their profiles, where these SDKs are installed."""

import asyncio
import time

import pytest
from kit.serve import INSTANT

from xtremeflow.refusals import is_refusal, retry_delay
from xtremeflow.serve import serve

HELLO = [{"role": "user", "content": "Say hello to everybody."}]


def test_the_google_genai_sdk_is_served():
    genai = pytest.importorskip("google.genai")
    types, errors = genai.types, genai.errors
    schema = types.Schema(type="OBJECT", properties={"days": types.Schema(type="INTEGER")})
    tool = types.Tool(
        function_declarations=[types.FunctionDeclaration(name="weather", parameters=schema)]
    )

    with (
        serve("gemini", limits={"rpm": 3}, latency=INSTANT) as server,
        genai.Client(api_key="any", http_options=types.HttpOptions(base_url=server.url)) as client,
    ):
        ask = {"model": "gemini-3-pro", "contents": "hello"}
        short = types.GenerateContentConfig(max_output_tokens=10)
        whole = client.models.generate_content(**ask, config=short)
        assert len(whole.text) == 40
        assert whole.usage_metadata.total_token_count == 13
        assert whole.candidates[0].finish_reason.name == "MAX_TOKENS"
        chunks = list(client.models.generate_content_stream(**ask, config=short))
        assert "".join(chunk.text or "" for chunk in chunks) == whole.text
        assert chunks[-1].usage_metadata.candidates_token_count == 10
        tools = types.GenerateContentConfig(tools=[tool])
        called = client.models.generate_content(**ask, config=tools)
        assert called.function_calls[0].args == {"days": 1}
        with pytest.raises(errors.ClientError) as caught:
            client.models.generate_content(**ask)
        assert is_refusal(caught.value)
        assert 0 < retry_delay(caught.value, time.time()) <= 60
        assert [model.name for model in client.models.list()]


def test_the_groq_sdk_is_served():
    groq = pytest.importorskip("groq")

    async def main():
        limits = {"tpm": 6000}
        async with (
            serve("groq", limits=limits, latency=INSTANT) as server,
            groq.AsyncGroq(base_url=server.url, api_key="any", max_retries=0) as client,
        ):
            ask = {"model": "m", "messages": HELLO}
            answer = await client.chat.completions.create(**ask, max_tokens=5)
            assert answer.usage.completion_tokens == 5
            with pytest.raises(groq.APIStatusError) as caught:
                await client.chat.completions.create(**ask, max_tokens=7000)
            assert caught.value.status_code == 413
            await client.chat.completions.create(**ask, max_tokens=5900)
            with pytest.raises(groq.RateLimitError) as caught:
                await client.chat.completions.create(**ask, max_tokens=5900)
            assert 0 < retry_delay(caught.value, time.time()) < 60

    asyncio.run(main())


def test_the_mistral_sdk_is_served():
    mistral = pytest.importorskip("mistralai.client")

    async def main():
        async with (
            serve("mistral", limits={"rpm": 2}, latency=INSTANT) as server,
            mistral.Mistral(api_key="any", server_url=server.url) as client,
        ):
            ask = {"model": "m", "messages": HELLO, "max_tokens": 5}
            answer = await client.chat.complete_async(**ask)
            assert answer.usage.completion_tokens == 5
            chunks = [chunk async for chunk in await client.chat.stream_async(**ask)]
            assert chunks[-1].data.usage.total_tokens == answer.usage.total_tokens
            with pytest.raises(Exception, match="rate limit") as caught:
                await client.chat.complete_async(**ask)
            assert is_refusal(caught.value)
            assert retry_delay(caught.value, time.time()) is None

    asyncio.run(main())
