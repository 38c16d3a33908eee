"""Compressed answers are whole, or an error: libcurl by itself takes half of one for a success."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
from typing import Any

import pytest
from kit.http import Request, serving

from xtremeflow import TokenRateScheduler, http
from xtremeflow.http import Client

TEXT = json.dumps([random.Random(1).random() for _ in range(2000)]).encode()
WHOLE = gzip.compress(TEXT)


def run(main: Any) -> Any:
    return asyncio.run(asyncio.wait_for(main, 30))


def sending(body: bytes, framing: str, coding: bytes = b"gzip", pieces: int = 1) -> Any:
    async def handler(request: Request) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Encoding: %s\r\n" % coding
        if framing == "chunked":
            await request.send(head + b"transfer-encoding: chunked\r\n\r\n")
            size = -(-len(body) // pieces) or 1
            for at in range(0, len(body), size):
                await request.chunk(body[at : at + size])
            await request.end_stream()
        elif framing == "length":
            await request.send(head + b"content-length: %d\r\n\r\n%s" % (len(body), body))
        else:
            await request.send(head + b"\r\n" + body)
            raise ConnectionError

    return handler


async def read_stream(client: Client, url: str) -> bytes:
    async with client.stream("GET", url) as answer:
        return await answer.aread()


CUT = {
    "half": WHOLE[: len(WHOLE) // 2],
    "no trailer": WHOLE[:-8],
    "half a trailer": WHOLE[:-3],
    "its head only": WHOLE[:10],
    "half a second member": WHOLE + gzip.compress(TEXT)[:100],
}


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("cut", CUT)
@pytest.mark.parametrize("stream", [False, True])
def test_a_cut_stream_is_no_success(cut: str, framing: str, stream: bool) -> None:
    async def main() -> None:
        async with serving(sending(CUT[cut], framing)) as server, Client() as client:
            read = read_stream(client, server.url) if stream else client.get(server.url)
            with pytest.raises(http.ProtocolError, match="before its gzip stream"):
                await read

    run(main())


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("coding", [b"gzip", b"x-gzip", b" GZIP "])
def test_a_whole_one_is(framing: str, coding: bytes) -> None:
    async def main() -> None:
        async with serving(sending(WHOLE, framing, coding, 50)) as server, Client() as client:
            assert (await client.get(server.url)).body == TEXT
            async with client.stream("GET", server.url) as answer:
                assert await answer.aread() == TEXT

    run(main())


@pytest.mark.parametrize("pieces", [1, 7])
def test_members_one_after_another_are_one_body(pieces: int) -> None:
    body = WHOLE + gzip.compress(b"") + gzip.compress(b" end")

    async def main() -> None:
        async with (
            serving(sending(body, "chunked", pieces=pieces)) as server,
            Client() as client,
        ):
            assert (await client.get(server.url)).body == TEXT + b" end"

    run(main())


@pytest.mark.parametrize("body", [b"plain text", WHOLE[:-8] + b"\0" * 8, WHOLE + b"junk"])
def test_a_body_that_is_no_gzip_is_refused(body: bytes) -> None:
    async def main() -> None:
        async with serving(sending(body, "length")) as server, Client() as client:
            with pytest.raises(http.ProtocolError, match="not the gzip stream"):
                await client.get(server.url)

    run(main())


UNDECODABLE = [(b"br", b"?"), (b"deflate", b"?"), (b"gzip, br", WHOLE), (b"gzip", b"plain")]


@pytest.mark.parametrize(("coding", "body"), UNDECODABLE)
@pytest.mark.parametrize("stream", [False, True])
def test_an_error_that_cannot_be_decoded_is_an_answer(
    coding: bytes, body: bytes, stream: bool
) -> None:
    async def handler(request: Request) -> None:
        head = b"HTTP/1.1 418 X\r\nContent-Encoding: %s\r\nContent-Length: %d\r\n\r\n"
        await request.send(head % (coding, len(body)) + body)

    async def main() -> None:
        async with serving(handler) as server, Client() as client:
            if stream:
                async with client.stream("GET", server.url) as answer:
                    assert (answer.status, await answer.aread()) == (418, body)
                return
            whole = await client.get(server.url)
            assert (whole.status, whole.body) == (418, body)

    run(main())


@pytest.mark.parametrize(("coding", "body"), UNDECODABLE)
def test_an_answer_that_cannot_be_decoded_is_asked_for_once(coding: bytes, body: bytes) -> None:
    async def main() -> None:
        async with serving(sending(body, "length", coding)) as server:
            scheduler = TokenRateScheduler(max_rpm=1e6)
            for client in (Client(), Client(scheduler=scheduler)):
                async with client:
                    with pytest.raises(http.CodingError) as caught:
                        await client.get(server.url)
                    assert caught.value.headers["content-encoding"] == coding.decode()
            assert len(server.requests) == 2

    run(main())


def test_other_codings_are_refused_with_a_way_out() -> None:
    async def main() -> None:
        async with serving(sending(b"?", "length", b"br")) as server:
            async with Client() as client:
                with pytest.raises(http.ProtocolError, match="compressed=False"):
                    await client.get(server.url)
                assert server.requests[0].header("accept-encoding") == "gzip"
            async with Client(compressed=False) as client:
                assert (await client.get(server.url)).body == b"?"
                assert server.requests[1].header("accept-encoding") is None

    run(main())


@pytest.mark.parametrize("coding", [b"gzip", b"br", b"identity"])
def test_no_body_needs_no_decoding(coding: bytes) -> None:
    async def main() -> None:
        async with serving(sending(b"", "length", coding)) as server, Client() as client:
            assert (await client.get(server.url)).body == b""
            assert (await client.request("HEAD", server.url)).body == b""

    run(main())


def test_a_small_body_that_decodes_to_a_large_one_is_bounded() -> None:
    bomb = gzip.compress(bytes(20_000_000))

    async def main() -> None:
        async with (
            serving(sending(bomb, "length")) as server,
            Client(max_body=1_000_000) as client,
        ):
            with pytest.raises(http.TooLarge, match="max_body"):
                await client.get(server.url)
            async with client.stream("GET", server.url) as answer:
                assert sum([len(piece) async for piece in answer.aiter_bytes()]) == 20_000_000

    run(main())


def told(request: Request) -> dict[str, str]:
    return {name.lower(): value for name, value in request.headers}


@pytest.mark.parametrize("library", ["httpx2", "httpx"])
@pytest.mark.parametrize("way", ["whole", "stream"])
@pytest.mark.parametrize("offered", [None, "gzip, zstd;q=0.5", "br", "identity"])
def test_a_compressed_answer_under_an_sdk_is_read_like_a_plain_one(
    library: str, way: str, offered: str | None
) -> None:
    httpx = pytest.importorskip(library)
    text = b'event: x\ndata: {"usage": {"prompt_tokens": 40, "completion_tokens": 2}}\n\n'
    seen: list[str | None] = []

    async def handler(request: Request) -> None:
        accepted = told(request).get("accept-encoding", "")
        seen.append(accepted)
        if accepted == "gzip":
            await sending(gzip.compress(text), "length")(request)
        else:
            await request.answer(text)

    async def main() -> None:
        s = TokenRateScheduler(max_tpm=600)
        headers = {} if offered is None else {"accept-encoding": offered}
        async with serving(handler) as server:
            through = http.transport(scheduler=s, settle=True)
            async with httpx.AsyncClient(transport=through) as client:
                if way == "whole":
                    response = await client.post(server.url, json={}, headers=headers)
                    body = response.content
                else:
                    async with client.stream("POST", server.url, headers=headers) as response:
                        body = b"".join([piece async for piece in response.aiter_bytes()])
        assert response.status_code == 200
        assert body == text
        assert "content-encoding" not in response.headers
        assert s.stats().tokens_used == 42

    run(main())
    assert set(seen) == {"gzip" if offered is None or "gzip" in offered else "identity"}


def test_a_compressed_refusal_under_an_sdk_is_read() -> None:
    httpx2 = pytest.importorskip("httpx2")
    spent = b'{"error": {"code": "insufficient_quota", "message": "no credit"}}'

    async def handler(request: Request) -> None:
        await request.answer(gzip.compress(spent), 429, {"content-encoding": "gzip"})

    async def main() -> None:
        async with serving(handler) as server:
            through = http.transport(scheduler=TokenRateScheduler(max_tpm=600))
            async with httpx2.AsyncClient(transport=through) as client:
                response = await client.post(server.url, json={})
                assert (response.status_code, response.content) == (429, spent)
            assert len(server.requests) == 1  # no wait cures it

    run(main())


def test_events_come_out_of_a_compressed_stream_as_they_are_flushed() -> None:
    import zlib

    async def handler(request: Request) -> None:
        packer = zlib.compressobj(wbits=31)
        await request.send(
            b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        for i in range(3):
            text = packer.compress(b"data: %d\n\n" % i) + packer.flush(zlib.Z_SYNC_FLUSH)
            await request.chunk(text)
            await seen[i].wait()
        await request.chunk(packer.flush())
        await request.end_stream()

    seen: list[asyncio.Event] = []

    async def main() -> None:
        seen.extend(asyncio.Event() for _ in range(3))
        async with serving(handler) as server, Client() as client:
            async with client.stream("GET", server.url) as answer:
                async for event in answer.events():
                    seen[int(event.data)].set()
            assert all(event.is_set() for event in seen)

    run(main())
