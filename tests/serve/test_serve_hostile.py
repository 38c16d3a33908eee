"""Hostile requests are answered as the provider would, and cost little."""

import asyncio
import json
import tracemalloc
from contextlib import closing

import pytest
from kit.serve import INSTANT, PATHS, Client, simulated

from xtremeflow.serve import heads, serve
from xtremeflow.serve.fields import BadRequestError
from xtremeflow.serve.schema import instance

HELLO = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def nested(depth):
    return b"[" * depth + b"]" * depth


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({**HELLO, "messages": [{"role": "user", "content": "\ud83d"}]}).encode(),
        json.dumps({**HELLO, "\udc00": 1}).encode(),
        json.dumps({**HELLO, "model": "\ud800m"}).encode(),
        b'{"model":"m","messages":[{"role":"user","content":"\xed\xa0\x80"}]}',
        json.dumps(HELLO).encode("utf-16"),
        b'{"model":"m","messages":[{"content":"hi"}],"temperature":NaN}',
        b'{"model":"m","messages":[{"content":"hi"}],"temperature":1e999}',
        b'{"model":"m","messages":[{"content":"hi"}],"max_tokens":' + b"9" * 4_000 + b"}",
        *(
            b'{"model":"m","messages":[{"content":"hi"}],"tools":' + nested(depth) + b"}"
            for depth in (101, 500, 900, 2_000, 100_000)
        ),
    ],
)
@simulated
async def test_a_body_that_is_no_json_of_an_api_is_a_400(body):
    for api in ("chat", "responses"):
        client = Client("openai")
        path = PATHS["openai"] if api == "chat" else "/v1/responses"
        got = await client.send(path, body)
        assert got.status == 400
        assert got.body["error"]["message"]
        got = await client.send("/admin/faults", body)
        assert got.status == 400


@simulated
async def test_an_unusual_request_that_is_right_is_answered():
    client = Client("openai")
    for content in ("\U0001f600", "\ufeff", "\0", "\u2028"):
        body = {**HELLO, "messages": [{"role": "user", "content": content}]}
        for data in (json.dumps(body).encode(), json.dumps(body, ensure_ascii=False).encode()):
            assert (await client.send(PATHS["openai"], data)).status == 200
    assert (await client.send(PATHS["openai"], b"\xef\xbb\xbf" + json.dumps(HELLO).encode())).body
    deep = b'{"model":"m","messages":[{"content":' + nested(90) + b"}]}"
    assert (await client.send(PATHS["openai"], deep)).status == 200


LARGE = "x" * 100_000


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/$defs/x"},
        {"enum": [[LARGE]]},
        {"type": "string", "minLength": 10_000},
        {"type": "object", "required": [LARGE]},
        {"$ref": "#" + "/a" * 400_000},
        {"anyOf": [{}] * 100_000},
    ],
    ids=["const", "enum", "text", "required", "reference", "choice"],
)
def test_a_large_schema_takes_no_more_than_its_answer(schema):
    many = {"type": "array", "minItems": 9_000, "items": schema}
    tracemalloc.start()
    try:
        with pytest.raises(BadRequestError):
            instance({"$defs": {"x": {"const": LARGE}}, **many})
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


@simulated
async def test_the_only_key_covers_the_admin():
    client = Client("openai", only_key="secret")
    for command in ("stats", "limits", "nothing"):
        got = await client.send(f"/admin/{command}", method="GET")
        assert (got.status, "secret" in got.raw.decode()) == (401, False)
    got = await client.send("/admin/limits", {"rpm": 1}, authorization="Bearer secret")
    assert got.body["limits"]["rpm"] == 1
    assert (await client.send("/admin/stats", method="GET", x_api_key="secret")).status == 200


@pytest.mark.parametrize("profile", PATHS)
@simulated
async def test_a_wrong_prefix_is_a_404(profile):
    client = Client(profile)
    right = PATHS[profile]
    assert (await client.call()).status == 200
    for path in (f"/v9{right}", f"/api{right}", right + "/", right.replace("/", "//", 1)):
        got = await client.send(path, HELLO)
        assert got.status == 404
    if right.startswith("/v1/"):
        assert (await client.send(right[3:], HELLO)).status == 404
    assert client.service.provider.stats.succeeded == 1


@pytest.mark.parametrize(
    ("profile", "path"),
    [
        ("azure", "/openai/deployments/my-gpt/chat/completions"),
        ("deepseek", "/v1/chat/completions"),
        ("deepseek", "/beta/chat/completions"),
        ("gemini", "/v1beta/openai/chat/completions"),
    ],
)
@simulated
async def test_a_provider_s_other_addresses(profile, path):
    assert (await Client(profile).send(path, HELLO)).status == 200


async def heard(port, *parts, wait=0.0):
    """What comes back until the server hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with closing(writer):
        try:
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(wait)
            return await asyncio.wait_for(reader.read(), 30)
        except ConnectionError:
            return b""


def served(test, **settings):
    async def main():
        async with serve("openai", latency=INSTANT, **settings) as server:
            await test(int(server.url.rsplit(":", 1)[1]))

    asyncio.run(main())


START = b"POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\n"


@pytest.mark.parametrize(
    "parts",
    [
        [START + b"x: " + b"y" * 70_000 + b"\r\n\r\n"],
        [START + b"x: " + b"y" * 70_000],
        [START, *[b"x: " + b"y" * 5_000 + b"\r\n"] * 14],
        [b"GET /" + b"y" * 70_000],
    ],
    ids=["whole", "part", "many", "path"],
)
def test_a_head_that_is_too_large(parts):
    async def test(port):
        assert (await heard(port, *parts)).startswith(b"HTTP/1.1 431 ")

    served(test)


@pytest.mark.parametrize("parts", [[], [START]])
def test_a_head_that_is_too_slow(parts, monkeypatch):
    monkeypatch.setattr(heads, "LONGEST_HEAD", 0.1)

    async def test(port):
        assert (await heard(port, *parts)).startswith(b"HTTP/1.1 408 ")

    served(test)


def test_a_body_may_be_larger_and_slower_than_a_head(monkeypatch):
    monkeypatch.setattr(heads, "LONGEST_HEAD", 0.2)
    body = json.dumps({**HELLO, "user": "y" * 100_000}).encode()
    head = START + f"content-length: {len(body)}\r\n\r\n".encode()

    async def test(port):
        parts = (head, body[:70_000], body[70_000:], b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n")
        answers = await heard(port, *parts, wait=0.15)
        assert answers.startswith(b"HTTP/1.1 200 ")
        assert b"HTTP/1.1 404 " in answers

    served(test)


def test_an_idle_connection_stays(monkeypatch):
    """The time of a head begins with its first byte, not with the end of the last answer."""
    monkeypatch.setattr(heads, "LONGEST_HEAD", 0.2)
    ask = b"GET /v1/models HTTP/1.1\r\nhost: h\r\n\r\n"

    async def test(port):
        last = ask.replace(b"host: h", b"connection: close")
        answers = await heard(port, ask, last, wait=0.5)
        assert answers.count(b"HTTP/1.1 200 ") == 2

    served(test)
