"""prefix="auto": calls whose prompts begin alike follow the first event of the one that leads."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from kit.http import Request, serving

from xtremeflow import TaskScheduler
from xtremeflow.http import Client, ConnectionLost, Prefixes, Response, TooLarge, transport
from xtremeflow.serve import Settings
from xtremeflow.serve.faults import Fault
from xtremeflow.serve.responder import Incoming, Sink
from xtremeflow.serve.server import SimulatedServer
from xtremeflow.testing import LatencyModel

SYSTEM = "You answer questions about the following text. " * 120
SOON = LatencyModel(
    round_trip=0.0, first_token=0.02, per_prompt_token=0.0, per_output_token=0.001, jitter=0.0
)


class Provider:
    """A simulated provider that notes the bodies that it is sent, and in which order."""

    def __init__(self, profile: str, **settings: Any) -> None:
        settings.setdefault("latency", SOON)
        self.server = SimulatedServer(Settings(profile, **settings))
        self.bodies: list[dict[str, Any]] = []
        service = self.server.service
        handle = service.handle

        async def noted(request: Incoming, sink: Sink) -> None:
            self.bodies.append(json.loads(request.body))
            await handle(request, sink)

        service.handle = noted  # type: ignore[method-assign]

    async def __aenter__(self) -> Provider:
        await self.server.__aenter__()
        return self

    async def __aexit__(self, *raised: Any) -> None:
        await self.server.__aexit__(*raised)

    @property
    def keys(self) -> list[str | None]:
        return [body.get("prompt_cache_key") for body in self.bodies]

    @property
    def streamed(self) -> list[bool]:
        return [bool(body.get("stream")) for body in self.bodies]


def chat(group: str, question: str, **more: Any) -> dict[str, Any]:
    messages = [
        {"role": "system", "content": f"{group} {SYSTEM}"},
        {"role": "user", "content": question},
    ]
    return {"model": "gpt-4o", "max_tokens": 20, "messages": messages, **more}


def message(group: str, question: str, *, mark: bool = True, **more: Any) -> dict[str, Any]:
    system: dict[str, Any] = {"type": "text", "text": f"{group} {SYSTEM}"}
    if mark:
        system["cache_control"] = {"type": "ephemeral"}
    said = [{"role": "user", "content": question}]
    return {"model": "claude-sonnet-m", "max_tokens": 20, "system": [system], "messages": said,
            **more}  # fmt: skip


@asynccontextmanager
async def following(
    profile: str, scheduler: TaskScheduler, *, mark: bool = False, **settings: Any
) -> AsyncIterator[tuple[Provider, Client]]:
    """A provider, and a client that finds the prefixes of its calls."""
    async with Provider(profile, **settings) as provider, Client(
        provider.server.url, scheduler=scheduler, prefix=Prefixes(provider=profile, mark=mark)
    ) as client:  # fmt: skip
        yield provider, client


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, 30))


MAKERS: dict[str, tuple[str, Callable[..., dict[str, Any]]]] = {
    "openai": ("/v1/chat/completions", chat),
    "anthropic": ("/v1/messages", message),
}

PRICES = {"openai": (0.5, 1.0), "anthropic": (0.1, 1.25)}  # of a read and a write, for these models


@pytest.mark.parametrize("profile", MAKERS)
def test_one_call_of_each_prefix_leads_and_the_others_find_it(profile: str) -> None:
    path, body = MAKERS[profile]

    async def main() -> None:
        scheduler = TaskScheduler()
        async with following(profile, scheduler) as (provider, client):
            calls = [client.post(path, json=body(group, q)) for q in "1234" for group in "AB"]
            answers = await asyncio.gather(*calls)
        assert {answer.status for answer in answers} == {200}
        assert {answer.headers["content-type"] for answer in answers} == {"application/json"}
        assert len({frozenset(answer.json()) for answer in answers}) == 1
        assert provider.streamed == [True] * 2 + [False] * 6
        prefixes = scheduler.stats().prefixes
        assert prefixes is not None
        assert (prefixes.led, prefixes.hits) == (2, 1.0)
        assert prefixes.read >= 0.8 * prefixes.expected > 0
        read, written = PRICES[profile]
        saved = (1 - read) * prefixes.read + (1 - written) * prefixes.written
        assert prefixes.saved == pytest.approx(saved)
        assert 0 < saved < prefixes.prompts

    run(main())


@pytest.mark.parametrize("profile", MAKERS)
def test_streams_of_a_prefix_follow_the_first_event_of_the_one_that_leads(profile: str) -> None:
    path, body = MAKERS[profile]

    async def main() -> None:
        scheduler = TaskScheduler()
        more: dict[str, Any] = {"stream": True}
        if profile == "openai":
            more["stream_options"] = {"include_usage": True}

        async def read(client: Client, question: str) -> int:
            async with client.stream("POST", path, json=body("A", question, **more)) as stream:
                return len([event async for event in stream.events()])

        async with following(profile, scheduler) as (_, client):
            counts = await asyncio.gather(*(read(client, question) for question in "1234"))
        assert min(counts) > 3
        prefixes = scheduler.stats().prefixes
        assert prefixes is not None
        assert (prefixes.led, prefixes.hits) == (1, 1.0)

    run(main())


@pytest.mark.parametrize("profile", MAKERS)
def test_the_sdks_get_the_same_objects_as_without(profile: str) -> None:
    httpx2 = pytest.importorskip("httpx2")
    _, body = MAKERS[profile]

    async def asked(prefix: Prefixes | None) -> tuple[list[Any], list[bool], float | None]:
        scheduler = TaskScheduler()
        async with Provider(profile) as provider:
            way = transport(scheduler=scheduler, prefix=prefix)
            http = httpx2.AsyncClient(transport=way)
            options = {"api_key": "k", "max_retries": 0, "http_client": http}
            url = provider.server.url
            sdk: Any = pytest.importorskip(profile)
            if profile == "openai":
                client = sdk.AsyncOpenAI(base_url=f"{url}/v1", **options)
                create = client.chat.completions.create
            else:
                client = sdk.AsyncAnthropic(base_url=url, **options)
                create = client.messages.create
            answers = await asyncio.gather(*(create(**body("A", q)) for q in "1234"))
            await http.aclose()
            prefixes = scheduler.stats().prefixes
            hits = None if prefixes is None else prefixes.hits
            return answers, provider.streamed, hits

    def shape(answer: Any) -> Any:
        found = answer.model_dump()
        for name in ("id", "created", "usage"):  # each call's own
            found.pop(name, None)
        return found

    async def main() -> None:
        plain, _, _ = await asked(None)
        answers, streamed, hits = await asked(Prefixes(provider=profile))
        assert streamed == [True, False, False, False]
        assert hits == 1.0
        assert [shape(answer) for answer in answers] == [shape(answer) for answer in plain]
        assert [type(answer) for answer in answers] == [type(answer) for answer in plain]

    run(main())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("streams", [False, True])
def test_a_call_that_is_cancelled_at_once_leaves_nothing_behind(streams: bool) -> None:
    async def main() -> None:
        scheduler = TaskScheduler()
        options: dict[str, Any] = {"scheduler": scheduler, "prefix": Prefixes(provider="openai")}
        async with Client("http://127.0.0.1:9", **options) as client:

            async def read() -> None:
                async with client.stream("POST", "/v1/chat/completions", json=chat("A", "?")):
                    raise AssertionError("it was sent")

            call = read() if streams else client.post("/v1/chat/completions", json=chat("A", "?"))
            task = asyncio.ensure_future(call)
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            gc.collect()
        assert (scheduler.waiting, scheduler.active_tasks, scheduler.stats().submitted) == (0, 0, 0)

    run(main())


def test_each_machine_has_a_key_and_a_leader_of_its_own() -> None:
    async def main() -> None:
        scheduler = TaskScheduler()
        async with following("openai", scheduler) as (provider, client):
            path = "/v1/chat/completions"
            await asyncio.gather(*(client.post(path, json=chat("A", str(n))) for n in range(32)))
            own = [chat("B", q, prompt_cache_key="mine") for q in "12"]
            await asyncio.gather(*(client.post(path, json=body) for body in own))
        used: dict[str | None, int] = {}
        for key in provider.keys:
            used[key] = used.get(key, 0) + 1
        assert used.pop("mine") == 2
        assert sorted(used.values()) == [2, 15, 15]
        prefixes = scheduler.stats().prefixes
        assert prefixes is not None
        assert (prefixes.led, prefixes.hits) == (4, 1.0)

    run(main())


def test_marked_documents_behind_a_marked_system_prompt_read_that_too() -> None:
    def body(document: str, question: str) -> dict[str, Any]:
        [system] = message("", question)["system"]
        return message("", question, system=[system, {**system, "text": document + SYSTEM}])

    async def main() -> None:
        scheduler = TaskScheduler()
        async with following("anthropic", scheduler) as (_, client):
            calls = [client.post("/v1/messages", json=body(d, q)) for d in "ABC" for q in "123"]
            answers = await asyncio.gather(*calls)
        usages = [answer.json()["usage"] for answer in answers]
        read = [usage["cache_read_input_tokens"] for usage in usages]
        system = min(tokens for tokens in read if tokens)
        whole = max(read)
        assert sorted(read) == [0, system, system, *[whole] * 6]
        assert whole == pytest.approx(2 * system, rel=0.01)

    run(main())


def test_a_mark_is_put_at_the_end_of_what_calls_share() -> None:
    async def main() -> None:
        scheduler = TaskScheduler()
        async with following("anthropic", scheduler, mark=True) as (provider, client):
            bodies = [message("A", q, mark=False) for q in "1234"]
            await asyncio.gather(*(client.post("/v1/messages", json=body) for body in bodies))
        assert [body["system"][0].get("cache_control") for body in provider.bodies] == [
            {"type": "ephemeral"}
        ] * 4
        assert [body["messages"] for body in provider.bodies] == [b["messages"] for b in bodies]
        prefixes = scheduler.stats().prefixes
        assert prefixes is not None
        assert (prefixes.led, prefixes.hits) == (1, 1.0)

    run(main())


@pytest.mark.parametrize("options", [{}, {"prompt_cache_options": {"mode": "explicit"}}])
def test_a_breakpoint_of_openai_s_is_put_there_too(options: dict[str, Any]) -> None:
    async def main() -> None:
        scheduler = TaskScheduler()
        async with following("openai", scheduler, mark=True) as (provider, client):
            bodies = [{**chat("A", q), "model": "gpt-5.6", **options} for q in "1234"]
            answers = await asyncio.gather(
                *(client.post("/v1/chat/completions", json=body) for body in bodies)
            )
        for sent, own in zip(provider.bodies, bodies, strict=True):
            [part] = sent["messages"][0]["content"]
            assert part["prompt_cache_breakpoint"] == {"mode": "explicit"}
            assert sent["messages"][1:] == own["messages"][1:]
        details = [answer.json()["usage"]["prompt_tokens_details"] for answer in answers]
        read = sorted(each["cached_tokens"] for each in details)
        assert read[0] == 0
        assert len(set(read[1:])) == 1
        if options:  # nothing is written but the part up to the breakpoint
            assert sorted(each.get("cache_write_tokens", 0) for each in details) == [
                0,
                0,
                0,
                read[1],
            ]

    run(main())


@pytest.mark.parametrize("mark", [False, True])
def test_what_anthropic_would_not_cache_is_not_held(mark: bool) -> None:
    async def main() -> None:
        scheduler = TaskScheduler()
        async with following("anthropic", scheduler, mark=mark) as (provider, client):
            short = {"model": "claude-sonnet-m", "max_tokens": 5, "system": "Be brief."}
            bodies = [{**short, "messages": [{"role": "user", "content": q}]} for q in "12"]
            if not mark:
                bodies = [message("A", q, mark=False) for q in "12"]
            await asyncio.gather(*(client.post("/v1/messages", json=body) for body in bodies))
        assert b"cache_control" not in json.dumps(provider.bodies).encode()
        assert scheduler.stats().prefixes is None

    run(main())


def test_of_a_server_that_is_not_known_nothing_is_asked() -> None:
    async def main() -> None:
        scheduler = TaskScheduler()
        async with Provider("openai") as provider, Client(
            provider.server.url, scheduler=scheduler, prefix="auto"
        ) as client:  # fmt: skip
            path = "/v1/chat/completions"
            bodies = [chat("A", q) for q in "123"]
            await asyncio.gather(*(client.post(path, json=body) for body in bodies))
        assert provider.bodies == bodies
        prefixes = scheduler.stats().prefixes
        assert prefixes is not None
        assert (prefixes.led, prefixes.hits) == (1, 1.0)

    run(main())


def test_prompts_without_anything_in_common_are_not_held() -> None:
    async def main() -> None:
        scheduler = TaskScheduler()
        async with following("openai", scheduler) as (provider, client):
            path = "/v1/chat/completions"
            bodies = [chat(group, "?") for group in "ABCD"]
            await asyncio.gather(*(client.post(path, json=body) for body in bodies))
        assert provider.bodies == bodies
        assert scheduler.stats().prefixes is None

    run(main())


def test_three_groups_without_a_hit_end_it_for_their_model(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        scheduler = TaskScheduler()
        path = "/v1/chat/completions"
        async with following("openai", scheduler, cache_room=1) as (provider, client):
            for group in "ABCDEF":
                await asyncio.gather(*(client.post(path, json=chat(group, q)) for q in "1234"))
        assert provider.streamed.count(True) == 3
        prefixes = scheduler.stats().prefixes
        assert prefixes is not None
        assert prefixes.hits == 0.0

    with caplog.at_level(logging.WARNING, "xtremeflow"):
        run(main())
    assert [record.getMessage()[:22] for record in caplog.records] == ["prefixes of gpt-4o are"]


@pytest.mark.parametrize("kind", ["break", "cut"])
def test_another_call_leads_when_the_stream_of_the_first_breaks(kind: str) -> None:
    async def main() -> None:
        scheduler = TaskScheduler()
        async with Provider("openai", faults=[Fault(kind, count=1)]) as provider, Client(
            provider.server.url, scheduler=scheduler, prefix=Prefixes(provider="openai"), retries=0
        ) as client:  # fmt: skip
            calls = [client.post("/v1/chat/completions", json=chat("A", q)) for q in "1234"]
            answers = await asyncio.gather(*calls, return_exceptions=True)
        passed = [each for each in answers if isinstance(each, Response) and each.ok]
        assert len(passed) == (4 if kind == "break" else 3)
        assert {type(each) for each in answers} <= {Response, ConnectionLost}

    run(main())


@pytest.mark.parametrize(("max_body", "fits"), [(30_000, True), (29_000, False)])
def test_a_stream_put_together_is_as_large_as_its_bytes(max_body: int, fits: bool) -> None:
    async def answer(request: Request) -> None:
        await request.start_stream()
        for _ in range(10):
            delta = {"choices": [{"index": 0, "delta": {"content": "\u2713" * 960}}]}
            data = json.dumps(delta, ensure_ascii=False).encode()
            await request.chunk(b"data: %s\n\n" % data)
        end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        await request.chunk(b"data: %s\n\ndata: [DONE]\n\n" % json.dumps(end).encode())
        await request.end_stream()

    async def main() -> None:
        options: dict[str, Any] = {"prefix": Prefixes(provider="openai"), "max_body": max_body}
        async with serving(answer) as server, Client(
            server.url, scheduler=TaskScheduler(), **options
        ) as client:  # fmt: skip
            path = "/v1/chat/completions"
            calls = [client.post(path, json=chat("A", q)) for q in "12"]
            first, _ = await asyncio.gather(*calls, return_exceptions=True)
        if fits:
            assert isinstance(first, Response)
            assert first.json()["choices"][0]["message"]["content"] == "\u2713" * 9600
        else:
            assert isinstance(first, TooLarge)

    run(main())


@pytest.mark.parametrize("prefix", ["Auto", True, 5, "off"])
def test_prefix_must_be_one_of_its_values(prefix: Any) -> None:
    with pytest.raises(ValueError, match="prefix must be 'auto', a Prefixes or None"):
        Client(prefix=prefix, scheduler=TaskScheduler())
    with pytest.raises(ValueError, match="prefix must be 'auto', a Prefixes or None"):
        transport(prefix=prefix, scheduler=TaskScheduler())


def test_prefixes_need_a_scheduler_and_a_provider_that_is_known() -> None:
    with pytest.raises(ValueError, match="prefix='auto' needs a scheduler"):
        Client(prefix="auto")
    with pytest.raises(ValueError, match=r"provider must be None or one of openai, .* got 'opena'"):
        Prefixes(provider="opena")
    with pytest.raises(TypeError, match="mark must be True or False, not 1"):
        Prefixes(mark=1)  # type: ignore[arg-type]
