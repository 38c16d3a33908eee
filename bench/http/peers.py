"""One HTTP client's measurement, in a process of its own: python -m bench.http.peers JOB PORT ...

Prints the CPU time (user and system, all threads) of this process for one call or one stream, in
microseconds. A job of an SDK may name several transports, as in openai:null+ours: then it prints
one line for each, measured in turns. What is measured is in `main`; bench/http/calls.py runs all.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

AT_A_TIME = 64
KEY = "sk-test"
BODY = {
    "model": "gpt-4o-mini",
    "max_tokens": 64,
    "messages": [{"role": "user", "content": "word " * 380}],
}
ENCODED = json.dumps(BODY).encode()
HEADERS = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
EVENTS = 20

One = Callable[[], Awaitable[None]]


async def drive(one: One, calls: int, at_a_time: int) -> None:
    left = iter(range(calls))

    async def worker() -> None:
        for _ in left:
            await one()

    await asyncio.gather(*(worker() for _ in range(at_a_time)))


async def measure(one: One, calls: int, at_a_time: int = AT_A_TIME) -> float:
    await drive(one, max(calls // 5, at_a_time), at_a_time)
    begin = time.process_time()
    await drive(one, calls, at_a_time)
    return (time.process_time() - begin) / calls * 1e6


async def measure_in_turns(ones: Sequence[One], calls: int, turns: int = 10) -> list[float]:
    """The median of each one's turns: A B C A B C, so that what else the machine does, and what the
    heap and the caches are like, meets all alike.
    """
    results: list[list[float]] = [[] for _ in ones]
    for _ in range(turns + 1):
        for one, result in zip(ones, results, strict=True):
            begin = time.process_time()
            await drive(one, calls // turns, AT_A_TIME)
            result.append((time.process_time() - begin) / (calls // turns) * 1e6)
    return [statistics.median(result[1:]) for result in results]


# ---- this project ----


def scheduler() -> Any:
    from xtremeflow import TokenRateScheduler

    return TokenRateScheduler(max_tpm=1e12, max_rpm=1e9, max_concurrency=1000, burst_ratio=60)


async def xtremeflow(url: str, calls: int, how: str = "", ca: str | None = None) -> float:
    from xtremeflow.http import Client

    is_scheduled = how.startswith("scheduled")
    options: dict[str, Any] = {"scheduler": scheduler()} if is_scheduled else {}
    async with Client(ca=ca, **options) as client:

        async def plain() -> None:
            response = await client.post(url, content=ENCODED, headers=HEADERS)
            assert response.status == 200

        async def with_json() -> None:
            response = await client.post(url, json=BODY, headers=HEADERS)
            assert response.json()["usage"]["total_tokens"] == 429

        async def stream() -> None:
            seen = 0
            async with client.stream("POST", url, content=ENCODED, headers=HEADERS) as answer:
                async for event in answer.events():
                    seen += bool(event.data)
            assert seen == EVENTS

        named = {"json": with_json, "stream": stream, "scheduled stream": stream}
        one = named.get(how, plain)
        return await measure(one, calls)


async def told(url: str, calls: int, kinds: str) -> list[float]:
    """Calls whose answers tell of limits: PROVIDER-alone, PROVIDER-adapt or PROVIDER-observe."""
    from bench.http.server import COMPLETION, told_head
    from xtremeflow import TokenRateScheduler
    from xtremeflow.http import Client

    def call(client: Any, url: str) -> One:
        async def one() -> None:
            response = await client.post(url, json=BODY, headers=HEADERS)
            assert response.json()["usage"]["total_tokens"] == 429

        return one

    def observation(provider: str) -> One:
        scheduler = TokenRateScheduler(adapt=True)
        lines = told_head(provider, int(time.time())).decode().split("\r\n")[1:-2]
        headers = dict(line.split(": ", 1) for line in lines)

        async def answered() -> None:
            scheduler.observe(200, headers, COMPLETION)

        async def one() -> None:
            await scheduler.submit(answered(), 500)

        return one

    async with contextlib.AsyncExitStack() as stack:
        ones: list[One] = []
        for provider, _, how in (kind.partition("-") for kind in kinds.split("+")):
            if how == "observe":
                ones.append(observation(provider))
                continue
            options = {"scheduler": TokenRateScheduler(adapt=True)} if how == "adapt" else {}
            client = await stack.enter_async_context(Client(**options))
            ones.append(call(client, f"{url}/{provider}"))
        return await measure_in_turns(ones, calls)


async def many(url: str, streams: int, memory: bool) -> float:
    """CPU of an event with so many streams open at a time, or the memory of a stream in bytes."""
    from xtremeflow.http import Client

    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096

    async with Client(timeout=None, max_idle_connections=max(256, streams)) as client:
        opened: list[Any] = []

        async def one() -> None:
            async with client.stream("POST", url, content=ENCODED, headers=HEADERS) as answer:
                opened.append(answer)
                async for _ in answer.events():
                    pass

        warm = 64 if memory else streams  # connections are not what is measured here
        await drive(one, warm, warm)
        opened.clear()
        before, begin = resident(), time.process_time()
        rounds = 1 if memory else max(2, 4000 // streams)
        tasks = [asyncio.create_task(drive(one, streams * rounds, streams))]
        most = before
        while not tasks[0].done():
            await asyncio.sleep(0.05)
            most = max(most, resident())
        await tasks[0]
        if memory:
            return (most - before) / streams
        return (time.process_time() - begin) / (streams * rounds * EVENTS) * 1e6


# ---- peers ----


async def wreq(url: str, calls: int) -> float:
    import wreq as library

    client = library.Client()

    async def one() -> None:
        response = await client.post(url, body=ENCODED, headers=HEADERS)
        assert len(await response.bytes()) > 300

    return await measure(one, calls)


async def aiohttp(url: str, calls: int, how: str = "", ca: str | None = None) -> float:
    import ssl

    import aiohttp as library

    context = ssl.create_default_context(cafile=ca) if ca else False
    connector = library.TCPConnector(ssl=context, limit=0)
    async with library.ClientSession(connector=connector) as session:

        async def one() -> None:
            async with session.post(url, data=ENCODED, headers=HEADERS) as response:
                if how == "stream":
                    events = 0
                    async for line in response.content:
                        events += line.startswith(b"data: ")
                    assert events == EVENTS
                else:
                    assert len(await response.read()) > 300

        return await measure(one, calls)


async def httpx2(url: str, calls: int) -> float:
    import httpx2 as library

    async with library.AsyncClient(timeout=60, limits=library.Limits(max_connections=100)) as c:

        async def one() -> None:
            response = await c.post(url, content=ENCODED, headers=HEADERS)
            assert len(response.content) > 300

        return await measure(one, calls)


async def pycurl(url: str, calls: int, how: str = "", ca: str | None = None) -> float:
    import pycurl as library

    free: list[Any] = []
    async with library.AsyncCurlMulti() as multi:

        def handle() -> Any:
            curl = library.Curl()
            curl.setopt(library.URL, url)
            curl.setopt(library.POSTFIELDS, ENCODED)
            curl.setopt(library.HTTPHEADER, [f"{k}: {v}" for k, v in HEADERS.items()])
            curl.setopt(library.NOSIGNAL, 1)
            if ca:
                curl.setopt(library.CAINFO, ca)
                curl.setopt(library.HTTP_VERSION, library.CURL_HTTP_VERSION_1_1)
            return curl

        async def one() -> None:
            curl = free.pop() if free else handle()
            if how == "stream":
                pending, events = b"", 0

                def write(data: bytes) -> None:
                    nonlocal pending, events
                    *whole, pending = (pending + data).split(b"\n\n")
                    for event in whole:
                        events += bool(event.removeprefix(b"data: ").decode())

                curl.setopt(library.WRITEFUNCTION, write)
                await multi.perform(curl)
                assert events == EVENTS
            else:
                pieces: list[bytes] = []
                curl.setopt(library.WRITEFUNCTION, pieces.append)
                await multi.perform(curl)
                assert len(b"".join(pieces)) > 300
            free.append(curl)

        result = await measure(one, calls)
        for curl in free:
            curl.close()
        return result


class Bare(asyncio.Protocol):
    """The least that an asyncio client can do: one request after another, no errors."""

    answer: asyncio.Future[bytes]

    def connection_made(self, transport: Any) -> None:
        self.transport, self.pending = transport, b""

    def data_received(self, data: bytes) -> None:
        self.pending += data
        end = self.pending.find(b"\r\n\r\n")
        if end < 0:
            return
        at = self.pending.find(b"content-length: ") + 16
        size = int(self.pending[at : self.pending.find(b"\r", at)])
        if len(self.pending) >= end + 4 + size:
            body, self.pending = self.pending[end + 4 :], b""
            self.answer.set_result(body)


async def protocol(url: str, calls: int) -> float:
    loop = asyncio.get_running_loop()
    port = int(url.split(":")[2].split("/")[0])
    lines = [
        "POST /v1/chat/completions HTTP/1.1",
        f"host: 127.0.0.1:{port}",
        *(f"{name}: {value}" for name, value in HEADERS.items()),
        f"content-length: {len(ENCODED)}",
    ]
    request = "\r\n".join(lines).encode() + b"\r\n\r\n" + ENCODED
    free: list[Any] = []

    async def one() -> None:
        if free:
            bare = free.pop()
        else:
            _, bare = await loop.create_connection(Bare, "127.0.0.1", port)
        bare.answer = loop.create_future()
        bare.transport.write(request)
        assert len(await bare.answer) > 300
        free.append(bare)

    return await measure(one, calls)


# ---- SDKs ----


def sdk_client(kind: str, sdk: str) -> Any:
    """The http_client of an SDK: its own, over aiohttp, ours, ours with a scheduler, or one that
    answers from memory."""
    import httpx2 as library

    if kind == "default":
        return None
    if kind == "aiohttp":
        import openai

        return openai.DefaultAioHttpClient()
    if kind in ("ours", "scheduled"):
        from xtremeflow.http import transport

        way = transport(scheduler=scheduler() if kind == "scheduled" else None)
        return library.AsyncClient(transport=way, timeout=60)
    from bench.http.server import COMPLETION, MESSAGE, head_fields

    body = COMPLETION if sdk == "openai" else MESSAGE
    headers = head_fields(body)

    class Stream(library.AsyncByteStream):
        async def __aiter__(self) -> Any:
            yield body

    class Null(library.AsyncBaseTransport):
        """Answers from memory what the server answers, with its header fields.

        Kind "null": as every transport of answers from elsewhere has to, it lets the loop turn
        once before it answers, so that the calls made at a time are in flight at a time, and gives
        the body as a stream. "null-at-once" answers without a turn of the loop, so that there is
        never more than one call in flight, with a body that httpx2 need not read.
        """

        async def handle_async_request(self, request: Any) -> Any:
            if kind == "null-at-once":
                return library.Response(200, headers=headers, content=body)
            await asyncio.sleep(0)
            return library.Response(200, headers=headers, stream=Stream())

    return library.AsyncClient(transport=Null(), timeout=60)


@contextlib.asynccontextmanager
async def openai(url: str, kind: str) -> AsyncIterator[One]:
    import openai as library

    base = url.rsplit("/chat/", 1)[0]
    options = {"http_client": client} if (client := sdk_client(kind, "openai")) else {}
    async with library.AsyncOpenAI(api_key=KEY, base_url=base, max_retries=0, **options) as sdk:

        async def one() -> None:
            answer = await sdk.chat.completions.create(**BODY)
            assert answer.usage.total_tokens == 429

        yield one


@contextlib.asynccontextmanager
async def anthropic(url: str, kind: str) -> AsyncIterator[One]:
    import anthropic as library

    base = url.rsplit("/v1/", 1)[0]
    options = {"http_client": client} if (client := sdk_client(kind, "anthropic")) else {}
    async with library.AsyncAnthropic(api_key=KEY, base_url=base, max_retries=0, **options) as sdk:

        async def one() -> None:
            answer = await sdk.messages.create(**BODY)
            assert answer.usage.output_tokens == 17

        yield one


async def sdks(sdk: Any, url: str, calls: int, kinds: str) -> list[float]:
    async with contextlib.AsyncExitStack() as stack:
        ones = [await stack.enter_async_context(sdk(url, kind)) for kind in kinds.split("+")]
        return await measure_in_turns(ones, calls)


def main(job: str, base: str, calls: int, ca: str | None) -> list[float]:
    name, _, how = job.partition(":")
    url = base + "/v1/chat/completions"
    runs: dict[str, Callable[[], Any]] = {
        "xtremeflow": lambda: xtremeflow(url, calls, how, ca),
        "told": lambda: told(url, calls, how),
        "xtremeflow-stream": lambda: xtremeflow(f"{url}/{how}", calls, "stream"),
        "scheduled-stream": lambda: xtremeflow(f"{url}/{how}", calls, "scheduled stream"),
        "many": lambda: many(f"{url}/paced", int(how), False),
        "memory": lambda: many(f"{url}/paced", int(how), True),
        "wreq": lambda: wreq(url, calls),
        "aiohttp": lambda: aiohttp(url, calls, how, ca),
        "aiohttp-stream": lambda: aiohttp(f"{url}/{how}", calls, "stream"),
        "httpx2": lambda: httpx2(url, calls),
        "pycurl": lambda: pycurl(url, calls, how, ca),
        "pycurl-stream": lambda: pycurl(f"{url}/{how}", calls, "stream"),
        "protocol": lambda: protocol(url, calls),
        "openai": lambda: sdks(openai, url, calls, how),
        "anthropic": lambda: sdks(anthropic, url, calls, how),
    }
    result: float | list[float] = asyncio.run(runs[name]())
    return result if isinstance(result, list) else [result]


if __name__ == "__main__":
    _, job, base, calls, *rest = sys.argv
    print(*main(job, base, int(calls), rest[0] if rest else None), sep="\n")
