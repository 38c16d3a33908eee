"""The official SDKs on the transport: their own calls, against a server that answers as they do."""

from __future__ import annotations

import asyncio
import gc
import json
from typing import Any

import pytest
from kit.http import Request, Server, serving

from xtremeflow import TokenRateScheduler
from xtremeflow.http import transport

httpx2 = pytest.importorskip("httpx2")


def run(main: Any) -> Any:
    return asyncio.run(asyncio.wait_for(main, 30))


USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


def completion(message: dict[str, Any], finish: str = "stop") -> dict[str, Any]:
    return {
        "id": "c1", "object": "chat.completion", "created": 1, "model": "m", "usage": USAGE,
        "choices": [{"index": 0, "finish_reason": finish, "message": {"role": "assistant",
                                                                       **message}}],
    }  # fmt: skip


def response_object(status: str = "completed") -> dict[str, Any]:
    return {
        "id": "r1", "object": "response", "created_at": 1, "model": "m", "status": status,
        "output": [{"type": "message", "id": "m1", "status": "completed", "role": "assistant",
                    "content": [{"type": "output_text", "text": "hello", "annotations": []}]}],
        "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
        "usage": {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15,
                  "input_tokens_details": {"cached_tokens": 0},
                  "output_tokens_details": {"reasoning_tokens": 0}},
    }  # fmt: skip


def message(content: list[dict[str, Any]], stop: str = "end_turn") -> dict[str, Any]:
    return {
        "id": "msg1", "type": "message", "role": "assistant", "model": "m", "content": content,
        "stop_reason": stop, "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 5},
    }  # fmt: skip


async def events(request: Request, items: list[tuple[str | None, Any]]) -> None:
    await request.start_stream()
    for name, data in items:
        text = f"event: {name}\n" if name else ""
        text += f"data: {data if isinstance(data, str) else json.dumps(data)}\n\n"
        for cut in (text[:7], text[7:]):
            await request.chunk(cut.encode())
    await request.end_stream()


async def provider(request: Request) -> None:
    body = json.loads(request.body) if request.body else {}
    kind = str(body.get("model", ""))
    if kind.isdigit():
        error = {"error": {"message": f"status {kind}", "type": "t", "code": None}}
        await request.answer(
            json.dumps(error).encode(), int(kind),
            {"content-type": "application/json", "x-request-id": "req_9", "retry-after": "0.01"},
        )  # fmt: skip
        return
    if kind == "hang":
        await asyncio.sleep(60)
    if kind == "cut":
        await request.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")
        raise ConnectionError
    path = request.path
    if path == "/v1/chat/completions" and body.get("stream"):
        chunks: list[tuple[str | None, Any]] = [
            (None, {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m",
                    "choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]})
            for word in ["hel", "lo ", "wörld"]
        ]  # fmt: skip
        usage = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m",
                 "choices": [], "usage": USAGE}  # fmt: skip
        await events(request, [*chunks, (None, usage), (None, "[DONE]")])
    elif path == "/v1/chat/completions":
        if body.get("tools"):
            call = {"id": "t1", "type": "function",
                    "function": {"name": "weather", "arguments": '{"city": "Bern"}'}}  # fmt: skip
            answer = completion({"content": None, "tool_calls": [call]}, "tool_calls")
        else:
            answer = completion({"content": "hello"})
        await request.answer(json.dumps(answer).encode(), headers={
            "content-type": "application/json", "x-request-id": "req_1"})  # fmt: skip
    elif path == "/v1/embeddings":
        answer = {"object": "list", "model": "m",
                  "usage": {"prompt_tokens": 8, "total_tokens": 8},
                  "data": [{"object": "embedding", "index": 0, "embedding": [0.5, 1.0]}]
        }  # fmt: skip
        await request.answer(
            json.dumps(answer).encode(), headers={"content-type": "application/json"}
        )
    elif path == "/v1/responses" and body.get("stream"):
        await events(request, [
            ("response.created", {"type": "response.created", "sequence_number": 0,
                                  "response": response_object("in_progress")}),
            ("response.output_text.delta", {"type": "response.output_text.delta", "item_id": "m1",
                                            "output_index": 0, "content_index": 0,
                                            "delta": "hello", "sequence_number": 1,
                                            "logprobs": []}),
            ("response.completed", {"type": "response.completed", "sequence_number": 2,
                                    "response": response_object()}),
        ])  # fmt: skip
    elif path == "/v1/responses":
        await request.answer(
            json.dumps(response_object()).encode(), headers={"content-type": "application/json"}
        )
    elif path == "/v1/messages" and body.get("stream"):
        start = message([])
        start["usage"] = {"input_tokens": 10, "output_tokens": 1}
        await events(request, [
            ("message_start", {"type": "message_start", "message": start}),
            ("content_block_start", {"type": "content_block_start", "index": 0,
                                     "content_block": {"type": "text", "text": ""}}),
            ("ping", {"type": "ping"}),
            ("content_block_delta", {"type": "content_block_delta", "index": 0,
                                     "delta": {"type": "text_delta", "text": "hello"}}),
            ("content_block_stop", {"type": "content_block_stop", "index": 0}),
            ("message_delta", {"type": "message_delta", "usage": {"output_tokens": 5},
                               "delta": {"stop_reason": "end_turn", "stop_sequence": None}}),
            ("message_stop", {"type": "message_stop"}),
        ])  # fmt: skip
    elif path == "/v1/messages":
        if body.get("tools"):
            use = {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Bern"}}
            answer = message([use], "tool_use")
        else:
            answer = message([{"type": "text", "text": "hello"}])
        await request.answer(
            json.dumps(answer).encode(), headers={"content-type": "application/json"}
        )
    else:
        await request.answer(b'{"error": {"message": "no such path"}}', 404)


def scheduler() -> TokenRateScheduler:
    return TokenRateScheduler(max_tpm=10_000_000, max_rpm=100_000, max_concurrency=8, burst_ratio=1)


@pytest.fixture(params=["plain", "scheduled"])
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {} if request.param == "plain" else {"scheduler": scheduler()}


MESSAGES: Any = [{"role": "user", "content": "hi"}]


def open_ai(server: Server, options: dict[str, Any], **kwargs: Any) -> Any:
    openai = pytest.importorskip("openai")
    return openai.AsyncOpenAI(
        api_key="sk-test", base_url=server.url + "/v1", max_retries=0,
        http_client=httpx2.AsyncClient(transport=transport(**options)), **kwargs,
    )  # fmt: skip


def claude(server: Server, options: dict[str, Any]) -> Any:
    anthropic = pytest.importorskip("anthropic")
    return anthropic.AsyncAnthropic(
        api_key="sk-test", base_url=server.url, max_retries=0,
        http_client=httpx2.AsyncClient(transport=transport(**options)),
    )  # fmt: skip


def assert_idle(options: dict[str, Any]) -> None:
    if "scheduler" in options:
        assert options["scheduler"].active_tasks == 0
        assert not options["scheduler"].pending_tasks


def test_the_openai_sdk_works_on_the_transport(options: dict[str, Any]) -> None:
    async def main() -> None:
        async with serving(provider) as server, open_ai(server, options) as client:
            chat = client.chat.completions
            answers = await asyncio.gather(
                *(chat.create(model="m", messages=MESSAGES) for _ in range(20))
            )
            assert {a.choices[0].message.content for a in answers} == {"hello"}
            assert answers[0]._request_id == "req_1"
            sent = server.requests[0]
            assert sent.header("authorization") == "Bearer sk-test"
            assert sent.header("content-type") == "application/json"
            assert len([n for n, _ in sent.headers if n.lower() == "host"]) == 1
            assert len([n for n, _ in sent.headers if n.lower() == "content-length"]) == 1

            stream = await chat.create(
                model="m", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
            )
            text = [c.choices[0].delta.content async for c in stream if c.choices]
            assert "".join(text) == "hello wörld"

            tool = {"type": "function", "function": {"name": "weather", "parameters": {}}}
            answer = await chat.create(model="m", messages=MESSAGES, tools=[tool])
            assert answer.choices[0].message.tool_calls[0].function.name == "weather"

            embedding = await client.embeddings.create(
                model="m", input="x", encoding_format="float"
            )
            assert embedding.data[0].embedding == [0.5, 1.0]

            assert (await client.responses.create(model="m", input="hi")).output_text == "hello"
            stream = await client.responses.create(model="m", input="hi", stream=True)
            kinds = [event.type async for event in stream]
            assert kinds[-1] == "response.completed"

            raw = await chat.with_raw_response.create(model="m", messages=MESSAGES)
            assert raw.headers["x-request-id"] == "req_1"
            assert raw.http_response.http_version == "HTTP/1.1"
            assert_idle(options)

    run(main())


def test_the_openai_sdk_raises_its_own_errors_on_the_transport(options: dict[str, Any]) -> None:
    openai = pytest.importorskip("openai")
    options = {**options, "max_retries": 1}

    async def main() -> None:
        async with serving(provider) as server, open_ai(server, options, timeout=5) as client:

            async def call(model: str, **kwargs: Any) -> Any:
                return await client.chat.completions.create(
                    model=model, messages=MESSAGES, **kwargs
                )

            for model, error in [
                ("400", openai.BadRequestError), ("401", openai.AuthenticationError),
                ("404", openai.NotFoundError), ("429", openai.RateLimitError),
                ("500", openai.InternalServerError), ("503", openai.InternalServerError),
            ]:  # fmt: skip
                for stream in (False, True):
                    with pytest.raises(error) as caught:
                        await call(model, stream=stream)
                    assert caught.value.request_id == "req_9"
                    assert f"status {model}" in str(caught.value)
            with pytest.raises(openai.APITimeoutError):
                await call("hang", timeout=0.05)
            with pytest.raises(openai.APIConnectionError):
                await call("cut")
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(call("hang"), 0.05)
            assert (await call("m")).choices[0].message.content == "hello"
            tries = [r for r in server.requests if b'"429"' in r.body]
            assert len(tries) == (4 if "scheduler" in options else 2)
            assert_idle(options)
        async with open_ai(Server(url="http://127.0.0.1:1"), options) as client:
            with pytest.raises(openai.APIConnectionError) as caught:
                await client.chat.completions.create(model="m", messages=MESSAGES)
            assert isinstance(caught.value.__cause__, httpx2.ConnectError)

    run(main())


def test_the_anthropic_sdk_works_on_the_transport(options: dict[str, Any]) -> None:
    anthropic = pytest.importorskip("anthropic")
    options = {**options, "max_retries": 1}

    async def main() -> None:
        async with serving(provider) as server, claude(server, options) as client:
            answer = await client.messages.create(model="m", messages=MESSAGES, max_tokens=50)
            assert answer.content[0].text == "hello"
            async with client.messages.stream(
                model="m", messages=MESSAGES, max_tokens=50
            ) as stream:
                assert [text async for text in stream.text_stream] == ["hello"]
            stream = await client.messages.create(
                model="m", messages=MESSAGES, max_tokens=50, stream=True
            )
            assert [event.type async for event in stream][-1] == "message_stop"
            tool = {"name": "weather", "input_schema": {"type": "object"}}
            answer = await client.messages.create(
                model="m", messages=MESSAGES, max_tokens=50, tools=[tool]
            )
            assert answer.content[0].input == {"city": "Bern"}
            with pytest.raises(anthropic.RateLimitError):
                await client.with_options(max_retries=0).messages.create(
                    model="429", messages=MESSAGES, max_tokens=50
                )
            with pytest.raises(anthropic.BadRequestError):
                await client.messages.create(model="400", messages=MESSAGES, max_tokens=50)
            assert_idle(options)

    run(main())


@pytest.mark.parametrize("name", ["httpx2", "httpx"])
def test_httpx_and_httpx2_work_on_the_transport(name: str, options: dict[str, Any]) -> None:
    library = pytest.importorskip(name)

    async def handler(request: Request) -> None:
        if request.path == "/stall":
            await request.send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab")
            await asyncio.sleep(60)
        if request.path == "/endless":
            await request.start_stream()
            while True:
                await request.chunk(b"x\n")
                await asyncio.sleep(0.001)
        await request.answer(
            request.body, headers={"set-cookie": "a=b", "x-raw": "\xe9", "x-connection": "k"}
        )

    async def pieces() -> Any:
        for _ in range(3):
            yield b"abc"

    async def main() -> None:
        async with serving(handler) as server:
            async with library.AsyncClient(transport=transport(**options)) as client:
                response = await client.post(server.url, content=b"hello")
                assert isinstance(response, library.Response)
                assert response.content == b"hello"
                assert response.reason_phrase == "X"
                assert response.http_version == "HTTP/1.1"
                assert response.headers["x-raw"] == "é"
                assert client.cookies["a"] == "b"
                response = await client.post(server.url, content=pieces())
                assert response.content == b"abcabcabc"
                assert server.requests[-1].header("transfer-encoding") == "chunked"
                response = await client.post(server.url, files={"f": b"file"})
                assert b"file" in response.content
                async with client.stream("GET", server.url + "/endless") as response:
                    async for line in response.aiter_lines():
                        assert line == "x"
                        break
                with pytest.raises(library.ReadTimeout):
                    await client.get(server.url + "/stall", timeout=0.05)
                with pytest.raises(library.ConnectError):
                    await client.get("http://127.0.0.1:1/")
                assert_idle(options)
            with pytest.raises(RuntimeError, match="closed"):
                await client.get(server.url)

    run(main())


def test_a_stream_holds_its_slot_until_it_is_read_or_closed() -> None:
    s = TokenRateScheduler(max_tpm=1_000_000, max_concurrency=1, burst_ratio=60)
    options = {"scheduler": s}

    async def main() -> None:
        async with serving(provider) as server, open_ai(server, options) as client:
            create = client.chat.completions.create
            stream = await create(model="m", messages=MESSAGES, stream=True)
            assert s.active_tasks == 1
            other = asyncio.create_task(create(model="m", messages=MESSAGES))
            await asyncio.sleep(0.05)
            assert not other.done()
            async for _ in stream:
                pass
            await other
            stream = await create(model="m", messages=MESSAGES, stream=True)
            await stream.close()
            assert s.active_tasks == 0
            stream = await create(model="m", messages=MESSAGES, stream=True)
            del stream  # forgotten
            gc.collect()  # and with it the slot is given back
            await create(model="m", messages=MESSAGES)
            assert s.active_tasks == 0

    run(main())


def test_the_usage_of_an_answer_is_settled() -> None:
    async def main() -> None:
        for stream in (False, True):
            for sdk in ("openai", "anthropic"):
                s = TokenRateScheduler(max_tpm=600, burst_ratio=60)
                options = {"scheduler": s, "estimate": lambda url, body: 500}
                async with serving(provider) as server:
                    if sdk == "openai":
                        async with open_ai(server, options) as client:
                            answer = await client.chat.completions.create(
                                model="m", messages=MESSAGES, stream=stream
                            )
                            if stream:
                                async for _ in answer:
                                    pass
                    else:
                        async with claude(server, options) as client:
                            answer = await client.messages.create(
                                model="m", messages=MESSAGES, max_tokens=9, stream=stream
                            )
                            if stream:
                                async for _ in answer:
                                    pass
                await asyncio.sleep(0)
                [limit] = [x for x in s.stats().limits if x.name == "tokens"]
                assert limit.used == 15, (sdk, stream)

    run(main())


@pytest.mark.parametrize("retries", [0, 2])
def test_an_sdk_that_tries_again_by_itself_is_told_once(
    retries: int, caplog: pytest.LogCaptureFixture
) -> None:
    openai = pytest.importorskip("openai")
    httpx2 = pytest.importorskip("httpx2")

    async def refuse(request: Request) -> None:
        await request.answer(b"{}", 500, {"retry-after-ms": "1"})

    async def main() -> None:
        async with (
            serving(refuse) as server,
            openai.AsyncOpenAI(
                api_key="any",
                base_url=server.url,
                max_retries=retries,
                http_client=httpx2.AsyncClient(
                    transport=transport(scheduler=scheduler(), retries=0)
                ),
            ) as client,
        ):
            for _ in range(2):
                with pytest.raises(openai.InternalServerError):
                    await client.models.list()

    run(main())
    said = [each.message for each in caplog.records if "set max_retries=0" in each.message]
    assert len(said) == (1 if retries else 0)
