"""The server of the HTTP benchmark: answers from memory, in a process of its own.

    python -m bench.http.server [CERTIFICATE KEY]

prints its port, and serves until its standard input closes. Paths:

    ...            a chat completion of some 600 bytes
    .../stream     20 events in one write
    .../paced      20 events, 2 ms apart
    .../messages   an Anthropic message
    .../openai, .../anthropic, .../azure
                   the completion, with the head that this provider sends
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import sys
import time
from email.utils import formatdate
from functools import lru_cache
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


# What real answers have besides what tells of limits.
EDGE = """\
content-type: application/json
connection: keep-alive
x-request-id: req_7c1d0cfa5d3a4f0a9f2b3c4d5e6f7a8b
strict-transport-security: max-age=31536000; includeSubDomains; preload
cf-cache-status: DYNAMIC
x-content-type-options: nosniff
server: cloudflare
cf-ray: 9a1b2c3d4e5f6a7b-FRA
alt-svc: h3=":443"; ma=86400
"""
# Limits that the benchmark does not come near to, in the form in which each provider tells them.
TOLD = {
    "openai": """\
openai-organization: org-benchmark
openai-processing-ms: 412
openai-version: 2020-10-01
x-ratelimit-limit-requests: 300000000
x-ratelimit-limit-tokens: 150000000000
x-ratelimit-remaining-requests: 299999990
x-ratelimit-remaining-tokens: 149999996000
x-ratelimit-reset-requests: 2ms
x-ratelimit-reset-tokens: 16ms
""",
    "anthropic": """\
anthropic-organization-id: 1c6b1c3e-7a62-4c02-9d0a-8d6b0a4f4b1e
anthropic-ratelimit-requests-limit: 300000000
anthropic-ratelimit-requests-remaining: 299999990
anthropic-ratelimit-requests-reset: {now}
anthropic-ratelimit-input-tokens-limit: 150000000000
anthropic-ratelimit-input-tokens-remaining: 149999996000
anthropic-ratelimit-input-tokens-reset: {now}
anthropic-ratelimit-output-tokens-limit: 30000000000
anthropic-ratelimit-output-tokens-remaining: 29999999000
anthropic-ratelimit-output-tokens-reset: {now}
anthropic-ratelimit-tokens-limit: 180000000000
anthropic-ratelimit-tokens-remaining: 179999995000
anthropic-ratelimit-tokens-reset: {now}
""",
    "azure": """\
apim-request-id: 7b1f5d6a-3a77-4a8e-9a51-2c9a6a1b7d10
azureml-model-session: d156-20250113133455
x-ms-region: Sweden Central
x-ratelimit-limit-requests: 300000000
x-ratelimit-limit-tokens: 150000000000
x-ratelimit-remaining-requests: 299999990
x-ratelimit-remaining-tokens: 149999996000
x-ratelimit-reset-requests: 10
x-ratelimit-reset-tokens: 60
""",
}


@lru_cache(maxsize=8)
def told_head(provider: str, second: int) -> bytes:
    """A provider's head in that second, as the dates in it are."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))
    lines = f"date: {formatdate(second, usegmt=True)}\n{EDGE}{TOLD[provider]}".format(now=now)
    head = f"HTTP/1.1 200 OK\n{lines}content-length: {len(COMPLETION)}\n\n"
    return head.replace("\n", "\r\n").encode()


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
        elif path.decode() in TOLD:
            self.transport.write(told_head(path.decode(), int(time.time())) + COMPLETION)
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
