"""The simulated provider on real sockets, with the official SDKs and their own transports."""

import asyncio
import json
import math
import socket
import time
import urllib.request

import pytest
from kit.serve import INSTANT

from xtremeflow.refusals import is_refusal
from xtremeflow.serve import Fault, serve
from xtremeflow.testing import LatencyModel

openai = pytest.importorskip("openai")
anthropic = pytest.importorskip("anthropic")
pydantic = pytest.importorskip("pydantic")

QUICK = LatencyModel(0.0, 0.0, 0.01, 0.0, 0.0005, 0.0)
HELLO = [{"role": "user", "content": "Say hello to everybody."}]
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}
FLAT = {"type": "function", "name": "weather", "parameters": PARAMETERS, "strict": True}
NATIVE = {"name": "weather", "input_schema": PARAMETERS}


class Place(pydantic.BaseModel):
    name: str
    size: int


class Trip(pydantic.BaseModel):
    places: list[Place]
    why: str | None


def with_openai(test, profile="openai", **settings):
    """Runs `test(client, server)`."""

    async def main():
        settings.setdefault("latency", QUICK)
        async with (
            serve(profile, **settings) as server,
            openai.AsyncOpenAI(base_url=server.base_url, api_key="any", max_retries=0) as client,
        ):
            await test(client, server)

    asyncio.run(main())


def with_anthropic(test, **settings):
    async def main():
        settings.setdefault("latency", QUICK)
        async with (
            serve("anthropic", **settings) as server,
            anthropic.AsyncAnthropic(
                base_url=server.base_url, api_key="any", max_retries=0
            ) as client,
        ):
            await test(client, server)

    asyncio.run(main())


async def until(condition):
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come about in 10 s")


def check(model):
    """What the SDK has parsed, without validating it, is of its own types and nothing else."""
    type(model).model_validate(model.model_dump(by_alias=True), strict=False)
    assert not model.model_extra


def test_chat_completions_have_the_form_of_the_sdk():
    async def test(client, server):
        answer = await client.chat.completions.create(model="m", messages=HELLO, max_tokens=20)
        check(answer)
        choice = answer.choices[0]
        assert (choice.finish_reason, len(choice.message.content)) == ("length", 80)
        assert answer.usage.completion_tokens == 20
        assert answer.usage.prompt_tokens_details.cached_tokens == 0
        assert answer._request_id.startswith("req_")

        answer = await client.chat.completions.create(
            model="m", messages=HELLO, metadata={"output_tokens": "7"}
        )
        assert (answer.choices[0].finish_reason, answer.usage.completion_tokens) == ("stop", 7)

    with_openai(test)


def test_a_streamed_chat_adds_up_to_the_whole_one():
    async def test(client, server):
        options = {"model": "m", "messages": HELLO, "max_tokens": 20}
        whole = await client.chat.completions.create(**options)
        stream = await client.chat.completions.create(
            **options, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        for chunk in chunks:
            check(chunk)
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        assert text == whole.choices[0].message.content
        assert [c.usage for c in chunks[:-1]] == [None] * (len(chunks) - 1)
        assert chunks[-1].usage == whole.usage
        assert chunks[-1].choices == []
        assert chunks[-2].choices[0].finish_reason == "length"

    with_openai(test)


def test_chat_tools_and_structured_output():
    async def test(client, server):
        options = {"model": "m", "messages": HELLO, "tools": [WEATHER]}
        answer = await client.chat.completions.create(**options)
        check(answer)
        choice = answer.choices[0]
        assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
        call = choice.message.tool_calls[0]
        assert call.function.name == "weather"
        assert json.loads(call.function.arguments) == {"city": "text", "days": 1}

        async with client.chat.completions.stream(**options) as stream:
            async for _ in stream:
                pass
            streamed = (await stream.get_final_completion()).choices[0].message.tool_calls[0]
        assert streamed.function.arguments == call.function.arguments
        assert streamed.id.startswith("call_")

        result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
        messages = [*HELLO, choice.message, result]
        answer = await client.chat.completions.create(**{**options, "messages": messages})
        assert answer.choices[0].finish_reason == "stop"  # the loop of an agent ends

        parsed = await client.chat.completions.parse(
            model="m", messages=HELLO, response_format=Trip
        )
        assert parsed.choices[0].message.parsed.places[0].size == 1

    with_openai(test)


def test_responses_whole_and_streamed_have_the_form_of_the_sdk():
    async def test(client, server):
        whole = await client.responses.create(model="m", input="hello", max_output_tokens=16)
        check(whole)
        assert (whole.status, whole.incomplete_details.reason) == (
            "incomplete",
            "max_output_tokens",
        )
        assert len(whole.output_text) == 64
        assert whole.usage.output_tokens == 16

        stream = await client.responses.create(
            model="m", input="hello", max_output_tokens=16, stream=True
        )
        events = [event async for event in stream]
        for event in events:
            check(event)
        assert [event.sequence_number for event in events] == list(range(len(events)))
        assert events[0].type == "response.created"
        assert events[-1].type == "response.incomplete"
        assert events[-1].response.usage == whole.usage
        text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
        assert text == whole.output_text

        async with client.responses.stream(model="m", input=HELLO, tools=[FLAT]) as stream:
            async for _ in stream:
                pass
            final = await stream.get_final_response()
        assert final.output[0].type == "function_call"
        assert json.loads(final.output[0].arguments) == {"city": "text", "days": 1}

        parsed = await client.responses.parse(model="m", input="hello", text_format=Trip)
        assert parsed.output_parsed.places[0].name == "text"

    with_openai(test)


def test_embeddings_and_models_have_the_form_of_the_sdk():
    async def test(client, server):
        for encoding in ({}, {"encoding_format": "float"}):
            answer = await client.embeddings.create(model="m", input=["one", "two"], **encoding)
            check(answer)
            assert [len(item.embedding) for item in answer.data] == [1536, 1536]
            one, two = (item.embedding for item in answer.data)
            assert one != two
            assert math.isclose(sum(value * value for value in one), 1.0, rel_tol=1e-5)
        short = await client.embeddings.create(model="m", input=[1, 2, 3], dimensions=8)
        assert (len(short.data[0].embedding), short.usage.prompt_tokens) == (8, 3)
        models = [model async for model in client.models.list()]
        check(models[0])
        check(await client.models.retrieve(models[0].id))

    with_openai(test)


def test_messages_whole_and_streamed_have_the_form_of_the_sdk():
    async def test(client, server):
        options = {"model": "m", "messages": HELLO, "max_tokens": 20}
        whole = await client.messages.create(**options)
        check(whole)
        assert (whole.stop_reason, len(whole.content[0].text)) == ("max_tokens", 80)
        assert whole.usage.output_tokens == 20
        async with client.messages.stream(**options) as stream:
            text = "".join([text async for text in stream.text_stream])
            final = await stream.get_final_message()
        assert text == whole.content[0].text
        assert (final.usage.output_tokens, final.stop_reason) == (20, "max_tokens")
        for event in [e async for e in await client.messages.create(**options, stream=True)]:
            check(event)

        tools = {"model": "m", "max_tokens": 999, "tools": [NATIVE]}
        called = await client.messages.create(**tools, messages=HELLO)
        check(called)
        assert called.stop_reason == "tool_use"
        use = called.content[0]
        assert (use.name, use.input) == ("weather", {"city": "text", "days": 1})
        async with client.messages.stream(**tools, messages=HELLO) as stream:
            assert (await stream.get_final_message()).content[0].input == use.input
        result = {"type": "tool_result", "tool_use_id": use.id, "content": "sunny"}
        messages = [
            *HELLO,
            {"role": "assistant", "content": called.content},
            {"role": "user", "content": [result]},
        ]
        assert (await client.messages.create(**tools, messages=messages)).stop_reason == "end_turn"

        counted = await client.messages.count_tokens(model="m", messages=HELLO)
        assert counted.input_tokens == whole.usage.input_tokens
        models = [model async for model in client.models.list()]
        check(models[0])

    with_anthropic(test)


def test_the_sdks_see_errors_as_those_of_the_provider():
    async def with_client(client, server):
        await client.chat.completions.create(model="m", messages=HELLO)
        with pytest.raises(openai.RateLimitError) as caught:
            await client.chat.completions.create(model="m", messages=HELLO)
        assert caught.value.code == "rate_limit_exceeded"
        assert caught.value.response.headers["x-ratelimit-remaining-requests"] == "0"
        with pytest.raises(openai.BadRequestError, match="'messages' must be a non-empty array"):
            await client.chat.completions.create(model="m", messages=[])
        server.service.spent = True
        with pytest.raises(openai.RateLimitError) as caught:
            await client.chat.completions.create(model="m", messages=HELLO)
        assert caught.value.code == "insufficient_quota"

    with_openai(with_client, limits={"rpm": 1})

    async def with_native(client, server):
        with pytest.raises(anthropic.APIStatusError) as caught:
            await client.messages.create(model="m", messages=HELLO, max_tokens=1)
        assert (caught.value.status_code, caught.value.type) == (529, "overloaded_error")

    with_anthropic(with_native, faults=[Fault("529")])

    async def with_key(client, server):
        with pytest.raises(openai.AuthenticationError):
            await client.chat.completions.create(model="m", messages=HELLO)
        await client.with_options(api_key="right").models.list()

    with_openai(with_key, only_key="right")


@pytest.mark.parametrize("profile", ["gemini", "mistral", "groq", "deepseek", "vllm", "azure"])
def test_other_providers_speak_chat_too(profile):
    async def test(client, server):
        answer = await client.chat.completions.create(model="m", messages=HELLO, max_tokens=5)
        assert answer.usage.total_tokens == answer.usage.prompt_tokens + 5
        stream = await client.chat.completions.create(
            model="m", messages=HELLO, max_tokens=5, stream=True
        )
        last = [chunk async for chunk in stream][-1]
        assert last.choices[0].finish_reason == "length"
        assert (last.usage is not None) == server.service.profile.usage_always
        assert [model.id async for model in client.models.list()]

    with_openai(test, profile)


def test_azures_own_client_is_understood():
    async def main():
        async with (
            serve("azure", latency=QUICK) as server,
            openai.AsyncAzureOpenAI(
                azure_endpoint=server.url, api_key="any", api_version="2024-10-21", max_retries=0
            ) as client,
        ):
            answer = await client.chat.completions.create(model="deployed", messages=HELLO)
            check(answer)

    asyncio.run(main())


def test_a_cut_stream_is_an_error_and_no_short_answer():
    async def test(client, server):
        for stream in (True, False):
            with pytest.raises(openai.APIConnectionError):  # noqa: PT012 - the stream breaks
                answer = await client.chat.completions.create(
                    model="m", messages=HELLO, max_tokens=40, stream=stream
                )
                if stream:
                    async for _ in answer:
                        pass
        server.service.faults.faults.clear()
        await client.chat.completions.create(model="m", messages=HELLO)

    with_openai(test, faults=[Fault("cut")])


def test_a_stream_that_breaks_off_is_an_error_of_the_sdk():
    async def chat(client, server):
        options = {"model": "m", "messages": HELLO, "max_tokens": 40}
        stream = await client.chat.completions.create(**options, stream=True)
        with pytest.raises(openai.APIError, match="overloaded"):
            _ = [chunk async for chunk in stream]
        with pytest.raises(openai.InternalServerError) as caught:
            await client.chat.completions.create(**options)
        assert caught.value.status_code == 503
        stream = await client.responses.create(model="m", input="hello", stream=True)
        last = [event async for event in stream][-1]
        check(last)
        assert (last.type, last.code) == ("error", "slow_down")
        assert server.stats()["failed"] == 3

    with_openai(chat, faults=[Fault("break")])

    async def messages(client, server):
        stream = await client.messages.create(model="m", messages=HELLO, max_tokens=40, stream=True)
        with pytest.raises(anthropic.APIStatusError) as caught:
            _ = [event async for event in stream]
        assert caught.value.type == "overloaded_error"
        assert is_refusal(caught.value)

    with_anthropic(messages, faults=[Fault("break")])


def test_a_client_that_goes_away_abandons_its_call():
    slow = LatencyModel(0.0, 0.0, 30.0, 0.0, 0.0, 0.0)

    async def test(client, server):
        with pytest.raises(openai.APITimeoutError):
            await client.with_options(timeout=0.3).chat.completions.create(
                model="m", messages=HELLO
            )
        await until(lambda: server.stats()["abandoned"])
        assert (server.stats()["abandoned"], server.stats()["in_flight"]) == (1, 0)

    with_openai(test, latency=slow)


def test_it_stops_at_once_though_calls_are_in_flight():
    slow = LatencyModel(0.0, 0.0, 300.0, 0.0, 0.0, 0.0)
    failed = []

    async def main():
        async with openai.AsyncOpenAI(base_url="http://x", api_key="any", max_retries=0) as client:
            async with serve(latency=slow) as server:
                near = client.with_options(base_url=server.base_url)
                call = asyncio.ensure_future(
                    near.chat.completions.create(model="m", messages=HELLO)
                )
                await until(lambda: server.stats()["in_flight"])
                began = time.monotonic()
            assert time.monotonic() - began < 10
            failed.extend(await asyncio.gather(call, return_exceptions=True))

    asyncio.run(main())
    assert isinstance(failed[0], openai.APIError)


def test_it_runs_in_a_thread_of_its_own():
    with (
        serve("anthropic", latency=QUICK) as server,
        anthropic.Anthropic(base_url=server.base_url, api_key="any", max_retries=0) as client,
    ):
        client.messages.create(model="m", messages=HELLO, max_tokens=5)
        assert server.stats()["succeeded"] == 1
        with urllib.request.urlopen(f"{server.url}/admin/stats") as answer:
            assert json.load(answer)["succeeded"] == 1
    with pytest.raises(RuntimeError, match="the server is not running"):
        print(server.url)
    with server:  # may be started again
        assert server.stats()["succeeded"] == 1


def test_a_port_that_is_taken_is_an_os_error():
    with serve() as server, pytest.raises(OSError, match="use"):
        serve(port=int(server.url.rsplit(":", 1)[1])).__enter__()


def test_a_body_that_is_too_large(monkeypatch):
    monkeypatch.setattr("xtremeflow.serve.asgi.LARGEST_BODY", 1000)

    async def test(client, server):
        with pytest.raises(openai.APIStatusError) as caught:
            await client.responses.create(model="m", input="x" * 2000)
        assert caught.value.status_code == 413

    with_openai(test)


def test_thousands_of_calls_a_second():
    """Of order only: on an idle core of today it is 5,000."""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "word " * 400}]})
    request = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n{body}"
    ).encode()
    calls, connections = 500, 10

    def ask(connection: socket.socket, count: int) -> None:
        with connection, connection.makefile("rb") as answers:
            for _ in range(count):
                connection.sendall(request)
                assert answers.readline().startswith(b"HTTP/1.1 200")
                length = 0
                while (line := answers.readline()) != b"\r\n":
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                assert len(answers.read(length)) == length

    async def main():
        limits = {"rpm": None, "tpm": None}
        async with serve(latency=INSTANT, limits=limits) as server:
            host, port = server.url[7:].split(":")
            open_ = [socket.create_connection((host, int(port))) for _ in range(connections)]
            began = time.process_time()
            await asyncio.gather(
                *(asyncio.to_thread(ask, one, calls // connections) for one in open_)
            )
            took = time.process_time() - began
            assert server.stats()["succeeded"] == calls
        assert took / calls < 0.005  # seconds of CPU, those of the client's threads included

    asyncio.run(main())
