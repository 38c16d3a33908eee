"""The server of the HTTP benchmark: answers from memory, in a process of its own.

    python bench/http_server.py [CERTIFICATE KEY]

prints its port, and serves until its standard input closes. Paths:

    ...            a chat completion of some 600 bytes
    .../stream     20 events in one write
    .../paced      20 events, 2 ms apart
    .../messages   an Anthropic message
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import sys
from typing import cast

EVENTS = 20

COMPLETION = json.dumps({
    "id": "chatcmpl-9f1c2b7a4d", "object": "chat.completion", "created": 1764000000,
    "model": "gpt-4o-mini", "system_fingerprint": "fp_44709d6fcb",
    "choices": [{"index": 0, "logprobs": None, "finish_reason": "stop", "message": {
        "role": "assistant", "refusal": None,
        "content": "A bucket refills at a steady rate and a call may go when it holds enough."}}],
    "usage": {"prompt_tokens": 412, "completion_tokens": 17, "total_tokens": 429,
              "prompt_tokens_details": {"cached_tokens": 0}},
}).encode()  # fmt: skip

MESSAGE = json.dumps({
    "id": "msg_013Zva2CMHLNnXjNJJKqJ2EF", "type": "message", "role": "assistant",
    "model": "claude-sonnet-4-5", "stop_reason": "end_turn", "stop_sequence": None,
    "content": [{"type": "text", "text": "A bucket refills at a steady rate and a call may go "
                                         "when it holds enough."}],
    "usage": {"input_tokens": 412, "output_tokens": 17, "cache_read_input_tokens": 0},
}).encode()  # fmt: skip


def chunk(index: int) -> bytes:
    return b"data: " + json.dumps({
        "id": "chatcmpl-9f1c2b7a4d", "object": "chat.completion.chunk", "created": 1764000000,
        "model": "gpt-4o-mini",
        "choices": [{"index": 0, "delta": {"content": f" word{index}"}, "finish_reason": None}],
    }).encode() + b"\n\n"  # fmt: skip


CHUNKS = [chunk(i) for i in range(EVENTS)]


def head_fields(body: bytes) -> list[tuple[bytes, bytes]]:
    return [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", b"req_1"),
        (b"x-ratelimit-remaining-requests", b"9999"),
        (b"x-ratelimit-remaining-tokens", b"1999999"),
    ]


def plain(body: bytes) -> bytes:
    lines = b"".join(b"%s: %s\r\n" % field for field in head_fields(body))
    return b"HTTP/1.1 200 OK\r\n%s\r\n%s" % (lines, body)


def chunked(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)
ANSWERS = {
    b"stream": STREAM_HEAD + chunked(b"".join(CHUNKS)) + b"0\r\n\r\n",
    b"messages": plain(MESSAGE),
}
COMPLETION_ANSWER = plain(COMPLETION)


class Server(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.pending = b""

    def data_received(self, data: bytes) -> None:
        self.pending = data = self.pending + data if self.pending else data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return
        head = data[:end].lower()
        size, at = 0, head.find(b"content-length:")
        if at >= 0:
            size = int(head[at + 15 : (head + b"\r").find(b"\r", at)])
        if len(data) < end + 4 + size:
            return
        self.pending = data[end + 4 + size :]
        path = head[: head.find(b" http/")].rsplit(b"/", 1)[-1]
        if path == b"paced":
            self.task = asyncio.get_running_loop().create_task(self.pace())
        else:
            self.transport.write(ANSWERS.get(path, COMPLETION_ANSWER))

    async def pace(self) -> None:
        self.transport.write(STREAM_HEAD)
        for piece in CHUNKS:
            self.transport.write(chunked(piece))
            await asyncio.sleep(0.002)
        self.transport.write(b"0\r\n\r\n")


async def main() -> None:
    if sys.platform == "linux":
        # Does not take the client's CPU from it at each request: a remote server does not either.
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    context = None
    if len(sys.argv) > 2:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[1], sys.argv[2])
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Server, "127.0.0.1", 0, ssl=context, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    try:
        import uvloop
    except ImportError:
        asyncio.run(main())
    else:
        uvloop.run(main())
